"""Run the experiments of the Permutation-COMQ paper again.

    python benchmarks/reproduce.py table1|table2 [--model demo] [--cases DIR]
        [--slices 200] [--calibration 32] [--seed 0] [--out docs/tables]
    python benchmarks/reproduce.py simulation [--seed 0] [--out docs/tables]

table1 scores RTN, COMQ and Permutation-COMQ at 2, 3, 4 and 8 bits, and FP32; table2
one scale per layer against permuted units; simulation gives the relative error against
the magnitude of simulated weights with outliers. --cases adds labelled cases:
NAME.nii.gz beside NAME_labels.nii.gz, folders images/ and labels/, or
MODALITY/DATASET/*.npz. CSV, Markdown and PNG are written to --out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from paper import reports, tables
from paper.scored_slices import case_slices, phantom_slices
from paper.simulation import simulate

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.evaluation.rules import TOLERANCE_MM

VARIANTS = {"table1": tables.TABLE_1, "table2": tables.TABLE_2}


def make_table(arguments: argparse.Namespace) -> list[Path]:
    name, seed, cases = arguments.experiment, arguments.seed, arguments.cases
    source = resolve_model(arguments.model)
    test_sets = {"phantoms": phantom_slices(arguments.slices, seed)}
    if cases is not None:
        test_sets[cases.name] = case_slices(cases)
    samples = from_phantoms(source.config, arguments.calibration, seed)
    model, variants = source.build(), VARIANTS[name]
    rows = list(tables.make_rows(model, variants, samples, test_sets, _progress))
    given = "" if cases is None else f" --cases {cases.name}"
    note = (
        f"`python benchmarks/reproduce.py {name} --model {arguments.model}{given} "
        f"--slices {arguments.slices} --calibration {arguments.calibration} --seed "
        f"{seed}`, weights {source.sha256[:12]}, {reports.made_by()}. Ours: "
        f"{source.name}, every object of 100 pixels and more by its tight box, NSD at "
        f"{TOLERANCE_MM:g} mm (pixels of phantoms are 1 mm). The paper's: MedSAM ViT-B "
        "on AbdomenCT-1K; its figures are not to be compared with ours but in how they "
        "fall."
    )
    written = reports.write_table(reports.table_cells(rows), arguments.out, name, note)
    picture = arguments.out / f"{name}.png"
    return [*written, reports.draw_table(rows, picture, source.name)]


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
    parser.add_argument("--cases", type=Path, help="folder with labelled cases")
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
