"""The command that compares models by modality: evaluate-modalities."""

import re
from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import shared
from napari_qmedsam.cli.shared import BackendOption, BoxJitter, MaxBoxes, Tolerance


def evaluate_modalities(
    data: Annotated[
        str,
        typer.Option(
            metavar="DIR|phantoms",
            help="Folder with labelled images, sorted by modality; or phantoms.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME:=]MODEL",
            help="A model's name or a weights file, and a heading for its columns: "
            "'Stage 1:=run/stage-1.safetensors'. Repeatable; default: demo.",
        ),
    ] = None,
    backend: BackendOption = "openvino",
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="slice: every slice of a class by its own box. volume: every class "
            "by one 3D box.",
        ),
    ] = "slice",
    cases: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Of each modality; default: all files, or 20 phantoms.",
        ),
    ] = None,
    run_time: Annotated[
        bool, typer.Option(help="Add columns with the seconds for a case.")
    ] = True,
    box_jitter: BoxJitter = 0,
    tolerance_mm: Tolerance = 2.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of jitter and phantoms.")
    ] = 0,
    max_boxes: MaxBoxes = 32,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write modalities.csv, modalities.md and cases.csv there.",
        ),
    ] = None,
) -> None:
    """Score models by modality: DSC, NSD, seconds for a case, and their average.

    A case is a file, or a phantom slice. Its score is the mean over its
    objects; that of a modality the mean over its cases; the average that over
    modalities.
    """
    from rich.table import Table

    from napari_qmedsam.datasets.dataset import open_data
    from napari_qmedsam.evaluation import modalities, tables
    from napari_qmedsam.evaluation.volumes import Mode

    chosen_mode = shared.choice(Mode, mode, "--mode")
    if out is not None:
        shared.check_folder_target(out)
    opened = open_data(data, seed, held_out=True)
    reports = []
    for text in model or ["demo"]:
        heading, name = _heading(text)
        segmenter = shared.segmenter(name, None, backend, max_boxes)
        with shared.bar(f"Evaluating {heading or name}") as advance:
            report = modalities.evaluate_modalities(
                segmenter,
                opened,
                label=heading,
                cases=cases,
                mode=chosen_mode,
                box_jitter=box_jitter,
                tolerance_mm=tolerance_mm,
                seed=seed,
                progress=advance,
            )
        reports.append(report)
    cells = modalities.modality_table(reports, run_time)
    skipped = reports[0].skipped
    if skipped:
        few = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        typer.echo(f"Note: {len(skipped)} cases hold too little: {few}", err=True)
    if out is not None:
        shared.make_folder(out)
        tables.save_table(cells, out / "modalities.csv")
        tables.save_table(cells, out / "modalities.md")
        tables.save_table(modalities.case_table(reports), out / "cases.csv")
    table = Table()
    for heading in cells[0]:
        table.add_column(heading, justify="left" if heading == "modality" else "right")
    for row in cells[1:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*cells[-1])
    shared.console().print(table)


def _heading(text: str) -> tuple[str | None, str]:
    """Part ``NAME:=MODEL``; a Windows path has a colon, but not this sign."""
    parts = re.split(":=", text, maxsplit=1)
    return (parts[0], parts[1]) if len(parts) == 2 else (None, text)
