"""Commands that score models: evaluate, evaluate-modalities."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_qmedsam.cli import shared
from napari_qmedsam.cli.shared import (
    BackendOption,
    BoxJitter,
    DeviceOption,
    Frame,
    MaxBoxes,
    ModalityOption,
    Model,
    PrecisionOption,
    PropagationOption,
    SeriesOption,
    Tolerance,
    Weights,
    WindowOption,
)
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.rules import TOLERANCE_MM

if TYPE_CHECKING:
    from napari_qmedsam.evaluation.report import EvaluationReport
    from napari_qmedsam.evaluation.volumes import Mode


def evaluate(
    context: typer.Context,
    image: Annotated[
        Path, typer.Option(metavar="FILE", help="Image file or DICOM folder.")
    ],
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Reference labels: file or DICOM folder."),
    ],
    classes: Annotated[
        str | None,
        typer.Option(metavar="IDS", help="Comma-separated, like 1,2,3; default: all."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="slice: every slice of a class with at least 100 voxels, by its "
            "own box. volume: every class by one 3D box. Default: slice.",
        ),
    ] = None,
    effort: Annotated[
        bool,
        typer.Option(
            "--effort",
            help="Score whole classes by the number of boxes drawn instead: 1, 2, 3, "
            "5, one on every slice, and by a user who redraws the worst slice.",
        ),
    ] = False,
    box_jitter: BoxJitter = 0,
    tolerance_mm: Tolerance = TOLERANCE_MM,
    model: Model = "auto",
    weights: Weights = None,
    backend: BackendOption = "openvino",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    window: WindowOption = "auto",
    propagation: PropagationOption = "box",
    max_boxes: MaxBoxes = 32,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the jitter.")] = 0,
    frame: Frame = None,
    modality: ModalityOption = None,
    series: SeriesOption = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write JSON there; - prints it."),
    ] = None,
) -> None:
    """Segment from boxes of the reference labels; score against them.

    DSC, NSD, 95th percentile of the surface distances (HD95) and relative volume
    difference (RVD) of each class. Missed objects have no distance.
    """
    from napari_qmedsam.evaluation.effort import measure_effort
    from napari_qmedsam.evaluation.effort_report import EffortReport, effort_table
    from napari_qmedsam.evaluation.report import EvaluationReport
    from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
    from napari_qmedsam.segmentation.propagation import Propagation
    from napari_qmedsam.volumes import read_labels, read_volume
    from napari_qmedsam.volumes.windows import parse_window

    wanted = shared.class_ids(classes)
    if effort and (mode is not None or propagation != "box"):
        raise InvalidSettings(
            "--effort prompts in ways of its own: leave out --mode and --propagation."
        )
    chosen_mode = shared.parse_choice(Mode, mode or Mode.SLICE.value, "--mode")
    way = shared.parse_choice(Propagation, propagation, "--propagation")
    if chosen_mode is Mode.SLICE:
        why = "every slice has a box of its own; 3D boxes are --mode volume."
        shared.refuse_idle(context, {"propagation"}, why)
    if not box_jitter:
        shared.refuse_idle(context, {"seed"}, "it is that of --box-jitter.")
    chosen_window = parse_window(window)
    if json_path not in (None, Path("-")):
        shared.check_file_target(json_path, image, labels)
    volume = read_volume(
        image, frame=frame, series=series, modality=shared.modality(modality)
    )
    reference = read_labels(labels, like=volume)
    segmenter = shared.segmenter(model, weights, backend, max_boxes, precision, device)
    options: dict[str, Any] = {
        "classes": wanted,
        "box_jitter": box_jitter,
        "tolerance_mm": tolerance_mm,
        "window": chosen_window,
        "seed": seed,
    }
    report: EvaluationReport | EffortReport
    with shared.bar("Evaluating", quiet=json_path == Path("-")) as advance:
        options["progress"] = advance
        if effort:
            report = measure_effort(segmenter, volume, reference, **options)
        else:
            options |= {"mode": chosen_mode, "propagation": way}
            report = evaluate_volume(segmenter, volume, reference, **options)
    content = json.dumps(report.to_dict(), indent=2)
    if json_path not in (None, Path("-")):
        shared.write_report(json_path, content + "\n")
    shared.notices(volume.notices + reference.notices)
    if json_path == Path("-"):
        typer.echo(content)
        return
    if isinstance(report, EffortReport):
        shared.print_table(effort_table([report]))
        shared.console().print(
            f"{report.summary()} ({report.model}, {report.backend}, {report.precision})"
        )
    else:
        _print_scores(report, chosen_mode, tolerance_mm)


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
    device: DeviceOption = "auto",
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
    tolerance_mm: Tolerance = TOLERANCE_MM,
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
    """Score models by modality, with seconds for a case, and their average.

    A case is a file, or a phantom slice. Its score is the mean over its
    objects; that of a modality the mean over its cases; the average that over
    modalities.
    """
    from napari_qmedsam.datasets.dataset import open_data
    from napari_qmedsam.evaluation import modalities, tables
    from napari_qmedsam.evaluation.volumes import Mode

    chosen_mode = shared.parse_choice(Mode, mode, "--mode")
    if out is not None:
        shared.check_folder_target(out)
    opened = open_data(data, seed, held_out=True)
    reports = []
    for text in model or ["auto"]:
        heading, name = _heading(text)
        segmenter = shared.segmenter(name, None, backend, max_boxes, device=device)
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
    shared.print_table(cells, has_mean=True)


def _print_scores(
    report: "EvaluationReport", mode: "Mode", tolerance_mm: float
) -> None:
    from napari_qmedsam.evaluation.scores import Scores, headings

    rows = [["class", f"{mode.value}s", "missed", *headings(tolerance_mm)]]
    every = [item.scores for item in report.objects]
    classes = {str(c): report.of_class(c) for c in report.class_ids()}
    for name, scores in [*classes.items(), ("mean", every)]:
        missed = sum(item.is_missed for item in scores)
        means = Scores.mean(scores).cells()
        rows.append([name, str(len(scores)), str(missed), *means])
    shared.print_table(rows, has_mean=True)
    shared.console().print(
        f"{report.seconds:.1f} s, {report.milliseconds_per_slice:.0f} ms per slice "
        f"({report.model}, {report.backend}, {report.precision})"
    )


def _heading(text: str) -> tuple[str | None, str]:
    """Part ``NAME:=MODEL``; a Windows path has a colon, but not this sign."""
    parts = re.split(":=", text, maxsplit=1)
    return (parts[0], parts[1]) if len(parts) == 2 else (None, text)
