"""Commands that measure labels, without a model: score, report."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_qmedsam.cli import options, shared
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.rules import TOLERANCE_MM, Matching

NamesOption = Annotated[
    str | None,
    typer.Option(
        "--class-list",
        metavar="LIST",
        help="Names of the labels: total or total_mr (TotalSegmentator), or a CSV, "
        "JSON or YAML file with id, name and colour. Default: those in the file.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Table, .csv or .md."),
]


def score(
    labels: Annotated[
        Path, typer.Option(metavar="FILE", help="Labels to be scored: file or folder.")
    ],
    reference: Annotated[
        Path, typer.Option(metavar="FILE", help="Reference labels: file or folder.")
    ],
    match: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="What an object is scored against: the label of its number, of its "
            "name, or the one of most overlap. number and name count labels that one "
            "side lacks as missed.",
        ),
    ] = Matching.NUMBER.value,
    classes: options.ClassesOption = None,
    tolerance_mm: options.ToleranceOption = TOLERANCE_MM,
    output: OutputOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Score labels against others, object by object; no model is needed.

    The two are brought together by their affines. DSC, NSD, 95th percentile of the
    surface distances (HD95), relative volume difference (RVD), and volumes.
    """
    from napari_qmedsam.evaluation.label_scores import score_labels
    from napari_qmedsam.volumes import read_labels

    way = shared.parse_choice(Matching, match, "--match")
    wanted = shared.class_ids(classes)
    if output is not None:
        shared.check_file_target(output, labels, reference)
    scores = score_labels(
        read_labels(labels),
        read_labels(reference),
        matching=way,
        classes=wanted,
        tolerance_mm=tolerance_mm,
    )
    if output is not None:
        scores.save(output)
    if as_json:
        content = {
            "objects": [
                {
                    **asdict(item.pair),
                    **_finite(item.scores.shown()),
                    **_finite(
                        {
                            "volume": item.volume,
                            "reference_volume": item.reference_volume,
                        }
                    ),
                }
                for item in scores.pairs
            ],
            "mean": _finite(scores.mean.shown()),
            "volume_unit": "ml" if scores.has_spacing else "voxels",
            "left_out": list(scores.left_out),
            "notices": list(scores.notices),
        }
        typer.echo(json.dumps(content))
        return
    shared.print_table(scores.cells, has_mean=True)
    if scores.note:
        typer.echo(f"Note: {scores.note}", err=True)


def report(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Folders of `evaluate --images`: what many cases and models came to.",
        ),
    ] = None,
    image: options.ImageOption = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Label file or DICOM folder.")
    ] = None,
    class_list: NamesOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="Table, .csv or .md. Of runs a folder; default: report, in the first.",
        ),
    ] = None,
    margin_dsc: options.MarginDscOption = STANDARD.dsc,
    margin_nsd: options.MarginNsdOption = STANDARD.nsd,
    against: options.AgainstOption = None,
    frame: options.FrameOption = None,
    series: options.SeriesOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure every object: slices, ml, HU or intensity, longest axial diameter.

    The diameter is the longest distance between two points of the object on one
    axial slice, as RECIST measures lesions.

    Of RUNs it is one page (HTML, also Markdown, CSV, PNG and SVG): scores with
    intervals by patient, whether few bits are enough, worst cases, speed, size and
    provenance. Cases have numbers there, and no names.
    """
    if runs:
        idle = {"image", "labels", "class_list", "frame", "series", "as_json"}
        shared.refuse_idle(context, idle, "it is for --image and --labels.")
        _report_runs(runs, output, Margins(margin_dsc, margin_nsd), against)
        return
    if image is None or labels is None:
        raise InvalidSettings("Give --image and --labels, or folders of runs.")
    idle = {"margin_dsc", "margin_nsd", "against"}
    shared.refuse_idle(context, idle, "it is for folders of runs.")
    from napari_qmedsam.evaluation.object_report import report_objects
    from napari_qmedsam.volumes import read_labels, read_volume
    from napari_qmedsam.volumes.class_lists import class_list as named

    known = None if class_list is None else named(class_list)
    if output is not None:
        shared.check_file_target(output, image, labels)
    volume = read_volume(image, frame=frame, series=series)
    placed = read_labels(labels, like=volume)
    shared.notices(volume.notices + placed.notices)
    # Of a list of 117 classes only those that are there are of interest.
    names = None if known is None else known.present_in(placed.array)
    found = report_objects(volume, placed, names)
    if output is not None:
        found.save(output)
    if as_json:
        objects = [_finite(asdict(item)) for item in found.objects]
        typer.echo(json.dumps({"objects": objects, "has_spacing": found.has_spacing}))
        return
    shared.print_table(found.cells)


def _report_runs(
    runs: list[Path], output: Path | None, margins: Margins, against: str | None
) -> None:
    from napari_qmedsam.cohort.merged_runs import read_runs
    from napari_qmedsam.cohort.report import make_report
    from napari_qmedsam.cohort.report_writing import write_report

    folder = output or runs[0] / "report"
    shared.check_folder_target(folder)
    made = make_report(read_runs(runs), margins, against)
    shared.console().print(f"Report: {write_report(made, folder)}", soft_wrap=True)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return values rounded, None for what JSON has no number for."""
    return {
        key: (round(value, 4) if math.isfinite(value) else None)
        if isinstance(value, float)
        else value
        for key, value in values.items()
    }
