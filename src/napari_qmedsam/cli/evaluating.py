"""Commands that score models: evaluate, evaluate-modalities."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_qmedsam.cli import cohorts, options, shared
from napari_qmedsam.cli.many_cases import evaluate_many
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.margins import STANDARD
from napari_qmedsam.evaluation.rules import TOLERANCE_MM

if TYPE_CHECKING:
    from napari_qmedsam.evaluation.report import EvaluationReport
    from napari_qmedsam.evaluation.volumes import Mode


def evaluate(
    context: typer.Context,
    image: options.ImageOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Reference labels: file or DICOM folder; with --images a folder of "
            "them.",
        ),
    ] = None,
    images: options.ImagesOption = None,
    case_list: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Many cases: columns image, label and, if wanted, modality, patient.",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="How names in --images and --labels pair, without suffixes: "
            "{case}_0000:{case}. Default: equal names, but for _0000 and _labels.",
        ),
    ] = None,
    classes: options.ClassesOption = None,
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
    box_jitter: options.BoxJitterOption = 0,
    tolerance_mm: options.ToleranceOption = TOLERANCE_MM,
    model: options.ModelsOption = None,
    bits: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of many cases: quantize the model to these, 8,4,3,2, and say which "
            "is enough.",
        ),
    ] = None,
    margin_dsc: options.MarginDscOption = STANDARD.dsc,
    margin_nsd: options.MarginNsdOption = STANDARD.nsd,
    against: options.AgainstOption = None,
    weights: options.WeightsOption = None,
    backend: options.BackendOption = "openvino",
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "fp32",
    window: options.WindowOption = "auto",
    follow: options.FollowOption = "box",
    max_boxes: options.MaxBoxesOption = 32,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the jitter.")] = 0,
    frame: options.FrameOption = None,
    modality: options.ModalityOption = None,
    series: options.SeriesOption = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write JSON there; - prints it."),
    ] = None,
    run: options.RunOption = cohorts.RUN,
    workers: options.WorkersOption = None,
    memory: options.MemoryOption = cohorts.MEMORY_GB,
    scheduler: options.SchedulerOption = None,
) -> None:
    """Segment from boxes of the reference labels; score against them.

    DSC, NSD, 95th percentile of the surface distances (HD95) and relative volume
    difference (RVD) of each class. Missed objects have no distance.

    With --images or --case-list many cases, by one or more models: means with
    intervals over patients, and whether models of fewer bits are enough.
    """
    if images is not None or case_list is not None:
        evaluate_many(context)
        return
    if image is None or labels is None:
        raise InvalidSettings(
            "Give --image and --labels, or many cases: --images and --labels, or "
            "--case-list."
        )
    only_many = {"pattern", "bits", "margin_dsc", "margin_nsd", "against"}
    why = "it is for many cases (--images, --case-list)."
    shared.refuse_idle(context, cohorts.ONLY_MANY | only_many, why)
    chosen_model = cohorts.one_model(model)
    from napari_qmedsam.evaluation.effort import measure_effort
    from napari_qmedsam.evaluation.effort_report import EffortReport, effort_table
    from napari_qmedsam.evaluation.report import EvaluationReport
    from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
    from napari_qmedsam.volumes import read_labels, read_volume
    from napari_qmedsam.volumes.windows import parse_window

    wanted = shared.class_ids(classes)
    if effort and (mode is not None or follow != "box"):
        raise InvalidSettings(
            "--effort prompts in ways of its own: leave out --mode and --follow."
        )
    chosen_mode = shared.parse_choice(Mode, mode or Mode.SLICE.value, "--mode")
    way = options.parse_follow(follow)
    if chosen_mode is Mode.SLICE:
        why = "every slice has a box of its own; 3D boxes are --mode volume."
        shared.refuse_idle(context, {"follow"}, why)
    if not box_jitter:
        shared.refuse_idle(context, {"seed"}, "it is that of --box-jitter.")
    chosen_window = parse_window(window)
    if json_path not in (None, Path("-")):
        shared.check_file_target(json_path, image, labels)
    volume = read_volume(
        image, frame=frame, series=series, modality=shared.modality(modality)
    )
    reference = read_labels(labels, like=volume)
    segmenter = shared.segmenter(
        chosen_model, weights, backend, max_boxes, precision, device
    )
    asked: dict[str, Any] = {
        "classes": wanted,
        "box_jitter": box_jitter,
        "tolerance_mm": tolerance_mm,
        "window": chosen_window,
        "seed": seed,
    }
    report: EvaluationReport | EffortReport
    with shared.bar("Evaluating", quiet=json_path == Path("-")) as advance:
        asked["progress"] = advance
        if effort:
            report = measure_effort(segmenter, volume, reference, **asked)
        else:
            asked |= {"mode": chosen_mode, "follow": way}
            report = evaluate_volume(segmenter, volume, reference, **asked)
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
    backend: options.BackendOption = "openvino",
    device: options.DeviceOption = "auto",
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
    box_jitter: options.BoxJitterOption = 0,
    tolerance_mm: options.ToleranceOption = TOLERANCE_MM,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of jitter and phantoms.")
    ] = 0,
    max_boxes: options.MaxBoxesOption = 32,
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
        heading, name = shared.heading(text)
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
