"""Commands that run the paper's experiments again: reproduce."""

from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import shared

app = typer.Typer(
    no_args_is_help=True,
    help="Run the experiments of the Permutation-COMQ paper again.",
)

Out = Annotated[Path, typer.Option(help="Folder for CSV, Markdown and PNG.")]
Slices = Annotated[int, typer.Option(min=1, help="Phantom slices to score on.")]
Calibration = Annotated[int, typer.Option(min=1, help="Calibration slices.")]
Seed = Annotated[int, typer.Option(min=0)]
Cases = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Also score on labelled cases: NAME.nii.gz beside NAME_labels.nii.gz, "
        "folders images/ and labels/, or MODALITY/DATASET/*.npz.",
    ),
]


@app.command()
def table1(
    model: shared.Model = "demo",
    weights: shared.Weights = None,
    out: Out = Path("qmedsam-tables"),
    cases: Cases = None,
    slices: Slices = 200,
    calibration: Calibration = 32,
    seed: Seed = 0,
) -> None:
    """Score RTN, COMQ and Permutation-COMQ at 2, 3, 4 and 8 bits, and FP32."""
    _table("table1", model, weights, out, cases, slices, calibration, seed)


@app.command()
def table2(
    model: shared.Model = "demo",
    weights: shared.Weights = None,
    out: Out = Path("qmedsam-tables"),
    cases: Cases = None,
    slices: Slices = 200,
    calibration: Calibration = 32,
    seed: Seed = 0,
) -> None:
    """Score one scale per layer against permuted units."""
    _table("table2", model, weights, out, cases, slices, calibration, seed)


@app.command()
def simulation(out: Out = Path("qmedsam-tables"), seed: Seed = 0) -> None:
    """Relative error against magnitude, on simulated weights with outliers."""
    from napari_qmedsam.studies import reports
    from napari_qmedsam.studies.simulation import simulate

    result = simulate(seed)
    note = f"`qmedsam reproduce simulation --seed {seed}`, {reports.made_by()}"
    paths = reports.write_table(
        reports.simulation_cells(result), out, "simulation", note
    )
    paths.append(reports.draw_magnitudes(result, out / "simulation_magnitudes.png"))
    paths.append(reports.draw_relative_errors(result, out / "simulation_errors.png"))
    _tell(paths)


def _table(
    name: str,
    model: str,
    weights: Path | None,
    out: Path,
    cases: Path | None,
    slices: int,
    calibration: int,
    seed: int,
) -> None:
    from napari_qmedsam.checkpoints.resolve import resolve_model
    from napari_qmedsam.quantization.calibration import from_phantoms
    from napari_qmedsam.studies import reports, tables
    from napari_qmedsam.studies.scored_slices import case_slices, phantom_slices

    source = resolve_model(model, weights)
    variants = tables.TABLE_1 if name == "table1" else tables.TABLE_2
    test_sets = {"phantoms": phantom_slices(source.config, slices, seed)}
    if cases is not None:
        test_sets[cases.name] = case_slices(source.config, cases)
    samples = from_phantoms(source.config, calibration, seed)
    with shared.bar("Quantizing and scoring") as advance:
        rows = list(
            tables.make_rows(source.build(), variants, samples, test_sets, advance)
        )
    given = "" if cases is None else f" --cases {cases.name}"
    note = (
        f"`qmedsam reproduce {name} --model {model}{given} --slices {slices} "
        f"--calibration {calibration} --seed {seed}`, weights "
        f"{source.sha256[:12]}, {reports.made_by()}. Ours: {source.name}, every object "
        "of 100 pixels and more by its tight box, NSD at 2 mm (phantoms: 2 pixels). "
        "The paper's: MedSAM ViT-B on AbdomenCT-1K; its figures are not to be compared "
        "with ours but in how they fall."
    )
    paths = reports.write_table(reports.table_cells(rows), out, name, note)
    paths.append(reports.draw_table(rows, out / f"{name}.png", source.name))
    _tell(paths)


def _tell(paths: list[Path]) -> None:
    typer.echo(paths[1].read_text(encoding="utf-8"))
    for path in paths:
        typer.echo(str(path))
