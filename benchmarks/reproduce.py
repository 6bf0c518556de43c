"""Run the experiments of the Permutation-COMQ paper again.

    python benchmarks/reproduce.py table1|table2|methods [--model demo]
        [--weights FILE] [--cases DIR] [--organs ID ...] [--every 1] [--slices 200]
        [--calibration 32] [--seed 0] [--nncf] [--timed] [--out docs/tables]
    python benchmarks/reproduce.py simulation [--seed 0] [--out docs/tables]

table1 scores RTN, COMQ and Permutation-COMQ at 2, 3, 4 and 8 bits, and FP32; table2
one scale per layer against permuted units; methods rounding, COMQ and GPTQ in groups
of 128, 64 and 32, and HQQ, at 2 and 4 bits; simulation gives the relative error against
the magnitude of simulated weights with outliers. --cases adds labelled cases:
NAME.nii.gz beside NAME_labels.nii.gz, folders images/ and labels/, or
MODALITY/DATASET/*.npz. --organs names the values of the labels that are organs: they
and the rest are scored apart. Differences are to FP32, with their 95 % intervals by
resampling objects. --nncf adds NNCF's int8, and its int4 with AWQ and scale estimation.
--timed adds memory, time and arithmetic in OpenVINO: on a quiet machine only. CSV,
Markdown and PNG are written to --out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from paper import reports, tables
from paper.scored_slices import scored_sets
from paper.simulation import simulate

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.evaluation.rules import TOLERANCE_MM

VARIANTS = {
    "table1": tables.TABLE_1,
    "table2": tables.TABLE_2,
    "methods": tables.METHODS,
}


def make_table(arguments: argparse.Namespace) -> list[Path]:
    name, seed = arguments.experiment, arguments.seed
    source = resolve_model(arguments.model, arguments.weights)
    samples = from_phantoms(source.config, arguments.calibration, seed)
    chosen = VARIANTS[name]
    if arguments.bits:
        chosen = tuple(v for v in chosen if v.settings["bit_width"] in arguments.bits)
    rows = list(
        tables.make_rows(
            source,
            chosen,
            samples,
            scored_sets(
                arguments.slices,
                seed,
                arguments.cases,
                arguments.organs,
                arguments.every,
            ),
            _progress,
            with_graphs=arguments.nncf,
            is_timed=arguments.timed,
        )
    )
    note = (
        f"`python benchmarks/reproduce.py {' '.join(given_arguments(arguments))}`, "
        f"weights {source.sha256[:12]}, {reports.made_by()}. Ours: {source.name}, each "
        f"object of 100 pixels and more by its tight box, NSD at {TOLERANCE_MM:g} mm "
        "(pixels of phantoms are 1 mm); differences to FP32 with 95 % intervals by "
        "resampling objects, an object being all slices of a label in a volume."
    )
    if any(variant.published for variant in chosen):
        note += (
            " The paper's: MedSAM ViT-B on AbdomenCT-1K; its figures are not to be "
            "compared with ours but in how they fall."
        )
    written = reports.write_table(reports.table_cells(rows), arguments.out, name, note)
    picture = arguments.out / f"{name}.png"
    return [*written, reports.draw_table(rows, picture, source.name)]


def given_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments that the table depends on, without folders."""
    words = [arguments.experiment, "--model", arguments.model]
    for name in ("weights", "cases"):
        path = getattr(arguments, name)
        words += [] if path is None else [f"--{name}", path.name]
    for name in ("organs", "bits"):
        values = getattr(arguments, name)
        words += [f"--{name}", *map(str, values)] if values else []
    words += ["--every", str(arguments.every)] if arguments.every > 1 else []
    for name in ("slices", "calibration", "seed"):
        words += [f"--{name}", str(getattr(arguments, name))]
    return words + [
        f"--{name}" for name in ("nncf", "timed") if getattr(arguments, name)
    ]


def make_simulation(arguments: argparse.Namespace) -> list[Path]:
    result, out = simulate(arguments.seed), arguments.out
    command = f"python benchmarks/reproduce.py simulation --seed {arguments.seed}"
    note = f"`{command}`, {reports.made_by()}"
    cells = reports.simulation_cells(result)
    return [
        *reports.write_table(cells, out, "simulation", note),
        reports.draw_magnitudes(result, out / "simulation_magnitudes.png"),
        reports.draw_relative_errors(result, out / "simulation_errors.png"),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=[*VARIANTS, "simulation"])
    parser.add_argument("--model", default="demo", help="name or weights file")
    parser.add_argument("--weights", type=Path, help="weights file of a named model")
    parser.add_argument("--cases", type=Path, help="folder with labelled cases")
    parser.add_argument("--organs", type=int, nargs="+", help="labels of organs")
    parser.add_argument("--every", type=int, default=1, help="takes every n-th slice")
    parser.add_argument("--bits", type=int, nargs="+", help="only rows of these")
    parser.add_argument("--nncf", action="store_true", help="also NNCF's rows")
    parser.add_argument("--timed", action="store_true", help="also memory and time")
    parser.add_argument("--slices", type=int, default=200, help="phantoms to score on")
    parser.add_argument("--calibration", type=int, default=32, help="slices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("qmedsam-tables"))
    given = parser.parse_args(arguments)
    make = make_simulation if given.experiment == "simulation" else make_table
    paths = make(given)
    print(paths[1].read_text(encoding="utf-8"))
    for path in paths:
        print(path)


def _progress(done: int, total: int, label: str) -> None:
    print(f"{done}/{total} {label}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
