"""The command line: thin commands over the functions of the package.

Everything heavy is imported inside the commands, so that ``qmedsam --help``
answers at once. Bad input ends with exit code 2 and one line.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_qmedsam
from napari_qmedsam.errors import InvalidSettings, QMedSAMError

if TYPE_CHECKING:
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter

app = typer.Typer(
    name="qmedsam",
    help="Segment CT and MR volumes from boxes with MedSAM-family models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train_app = typer.Typer(no_args_is_help=True, help="Train models of the family.")
app.add_typer(train_app, name="train")

COORDINATES = (
    "Coordinates are voxel indices of the (Z, Y, X) array as napari shows it; "
    "maxima are excluded."
)

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

Model = Annotated[
    str,
    typer.Option(help="demo, lite_medsam, medsam_vit_b, or a weights file."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights file for a named model, instead of the download."),
]
BackendOption = Annotated[str, typer.Option(help="openvino or torch.")]
WindowOption = Annotated[
    str,
    typer.Option(
        help="auto, soft-tissue, lung, bone, brain, liver, or lower,upper. "
        "auto: soft-tissue for CT, 0.5 to 99.5 percentile for MR."
    ),
]
MaxBoxes = Annotated[
    int, typer.Option(min=1, help="Boxes decoded at once; fewer need less memory.")
]
Frame = Annotated[int | None, typer.Option(help="Frame of a 4D file, from 0.")]
SeriesOption = Annotated[
    str | None, typer.Option(help="DICOM series, by UID or exact description.")
]
PropagationOption = Annotated[
    str,
    typer.Option(
        help="How a 3D box prompts its slices. box: the same box on each; mask: "
        "from the middle outwards, each by its neighbour's mask."
    ),
]


UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of the errors typer raises for wrong options: click's, or typer's own
copy of click, by version."""


def main() -> None:
    """Run the command line; errors of the user's making become one line."""
    try:
        status = app(standalone_mode=False)
    except QMedSAMError as error:
        _fail(str(error))
    except UsageProblem as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        typer.echo("Stopped.", err=True)
    sys.exit(status if isinstance(status, int) else 0)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show version.")] = False,
) -> None:
    if version:
        typer.echo(napari_qmedsam.__version__)
        raise typer.Exit()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
        "qmedsam-demo"
    ),
    backend: BackendOption = "openvino",
) -> None:
    """Segment a sample CT and a sample MR volume with the embedded demo model."""
    from rich.table import Table

    from napari_qmedsam.demo import TOLERANCE_MM, run_demo

    console = _console()
    with _bar("Loading the demo model") as advance:
        segmenter = _segmenter("demo", None, backend, 32)
        advance(1, 1)
    info = segmenter.backend.info
    console.print(
        f"Model {info.model} on {info.backend}, {info.precision}, {info.device}. "
        "Research only, not for clinical use."
    )
    with _bar("Segmenting") as advance:
        results = list(
            run_demo(segmenter, out, lambda _, done, all_: advance(done, all_))
        )
    for result in results:
        table = Table(title=result.name, title_justify="left")
        table.add_column("object")
        table.add_column("slices", justify="right")
        table.add_column("DSC %", justify="right")
        table.add_column(f"NSD % at {TOLERANCE_MM:g} mm", justify="right")
        for item in result.objects:
            table.add_row(
                item.name,
                str(item.slices),
                f"{100 * item.dsc:.1f}",
                f"{100 * item.nsd:.1f}",
            )
        console.print(table)
        console.print(f"{result.milliseconds_per_slice:.0f} ms per slice")
        console.print(f"Labels:  {result.labels}", soft_wrap=True)
        console.print(f"Picture: {result.sheet}", soft_wrap=True)


@app.command(epilog=COORDINATES)
def segment(
    image: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Image file or DICOM folder.")
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(help="z,x_min,y_min,x_max,y_max; one object each. Repeatable."),
    ] = None,
    box3d: Annotated[
        list[str] | None,
        typer.Option(
            help="x_min,y_min,z_min,x_max,y_max,z_max; one object each. Repeatable."
        ),
    ] = None,
    model: Model = "demo",
    weights: Weights = None,
    backend: BackendOption = "openvino",
    window: WindowOption = "auto",
    propagation: PropagationOption = "mask",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Label file; default INPUT_labels.nii.gz."),
    ] = None,
    max_boxes: MaxBoxes = 32,
    frame: Frame = None,
    series: SeriesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Segment boxes and write a label volume on the image's own grid.

    Objects are numbered 1, 2, ... : first the --box ones, then the --box3d
    ones. Where objects overlap, the later one wins.
    """
    import time

    from napari_qmedsam.prompts import parse_box, parse_slice_box
    from napari_qmedsam.segmentation.propagation import Propagation
    from napari_qmedsam.segmentation.session import Session
    from napari_qmedsam.volumes import read_volume
    from napari_qmedsam.volumes.windows import parse_window
    from napari_qmedsam.volumes.writing import check_target

    boxes = [parse_slice_box(text) for text in box or []]
    boxes += [parse_box(text) for text in box3d or []]
    if not boxes:
        raise InvalidSettings("Give at least one --box or --box3d.")
    chosen_window = parse_window(window)
    way = _choice(Propagation, propagation, "--propagation")
    volume = read_volume(image, frame=frame, series=series)
    _notices(volume.notices)
    # Boxes and output are checked before a model is loaded or downloaded.
    for wanted in boxes:
        wanted.clip(*volume.shape)
    target = output or _default_output(image, volume.source.format)
    check_target(target)
    segmenter = _segmenter(model, weights, backend, max_boxes)
    session = Session(volume, segmenter, chosen_window)
    for wanted in boxes:
        session.add_object(wanted)
    start, visits = time.perf_counter(), 0
    with _bar("Segmenting", quiet=as_json) as advance:
        for update in session.segment(propagation=way):
            visits += 1
            advance(update.done, update.total)
    seconds = time.perf_counter() - start
    path = session.save_labels(target)
    info = segmenter.backend.info
    voxel_ml = _product(volume.spacing_mm) / 1000
    report: dict[str, Any] = {
        "output": str(path),
        "objects": [
            {
                "id": item.object_id,
                "voxels": (count := int((session.labels == item.object_id).sum())),
                "volume_ml": round(count * voxel_ml, 3),
            }
            for item in session.objects.values()
        ],
        "seconds": round(seconds, 3),
        "milliseconds_per_slice": round(1000 * seconds / max(1, visits), 1),
        "model": info.model,
        "backend": info.backend,
        "precision": info.precision,
        "window": [session.window.lower, session.window.upper],
        "notices": list(volume.notices),
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = _console()
    for item in report["objects"]:
        console.print(
            f"object {item['id']}: {item['voxels']} voxels, {item['volume_ml']} ml"
        )
    console.print(
        f"{report['milliseconds_per_slice']:.0f} ms per slice "
        f"({info.model}, {info.backend}, {info.precision})"
    )
    console.print(f"Labels: {path}", soft_wrap=True)


@app.command()
def evaluate(
    image: Annotated[Path, typer.Option(help="Image file or DICOM folder.")],
    labels: Annotated[Path, typer.Option(help="Reference labels.")],
    classes: Annotated[
        str | None, typer.Option(help="Comma-separated; default: all.")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="slice: every slice of a class with at least 100 voxels, by its "
            "own box. volume: every class by one 3D box."
        ),
    ] = "slice",
    box_jitter: Annotated[
        int, typer.Option(min=0, help="Each box side moves by up to N voxels.")
    ] = 0,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Of the NSD.")] = 2.0,
    model: Model = "demo",
    weights: Weights = None,
    backend: BackendOption = "openvino",
    window: WindowOption = "auto",
    propagation: PropagationOption = "mask",
    max_boxes: MaxBoxes = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the jitter.")] = 0,
    frame: Frame = None,
    series: SeriesOption = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write JSON there; - prints it.")
    ] = None,
) -> None:
    """Segment from boxes of the reference labels; report DSC and NSD."""
    from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
    from napari_qmedsam.segmentation.propagation import Propagation
    from napari_qmedsam.volumes import read_labels, read_volume
    from napari_qmedsam.volumes.windows import parse_window

    wanted = _class_ids(classes)
    chosen_mode = _choice(Mode, mode, "--mode")
    way = _choice(Propagation, propagation, "--propagation")
    chosen_window = parse_window(window)
    volume = read_volume(image, frame=frame, series=series)
    reference = read_labels(labels, like=volume)
    _notices(volume.notices + reference.notices)
    segmenter = _segmenter(model, weights, backend, max_boxes)
    with _bar("Evaluating", quiet=json_path == Path("-")) as advance:
        report = evaluate_volume(
            segmenter,
            volume,
            reference.array,
            classes=wanted,
            mode=chosen_mode,
            box_jitter=box_jitter,
            tolerance_mm=tolerance_mm,
            window=chosen_window,
            propagation=way,
            seed=seed,
            progress=advance,
        )
    content = report.to_dict()
    if json_path == Path("-"):
        typer.echo(json.dumps(content, indent=2))
        return
    if json_path is not None:
        _write_text(json_path, json.dumps(content, indent=2) + "\n")
    from rich.table import Table

    what = "slices" if chosen_mode is Mode.SLICE else "objects"
    table = Table()
    for heading in ("class", what, "DSC %", f"NSD % at {tolerance_mm:g} mm"):
        table.add_column(heading, justify="right")
    for class_id, row in content["classes"].items():
        table.add_row(
            class_id, str(row["count"]), f"{row['dsc']:.2f}", f"{row['nsd']:.2f}"
        )
    mean = content["mean"]
    table.add_section()
    table.add_row(
        "mean", str(content["count"]), f"{mean['dsc']:.2f}", f"{mean['nsd']:.2f}"
    )
    console = _console()
    console.print(table)
    console.print(
        f"{report.seconds:.1f} s, {report.milliseconds_per_slice:.0f} ms per slice "
        f"({report.model}, {report.backend}, {report.precision})"
    )


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models, where they come from and whether they are here."""
    from napari_qmedsam.models.catalogue import CATALOGUE
    from napari_qmedsam.models.download import is_fetched, weights_path

    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "licence": entry.licence,
            "size_bytes": entry.size_bytes,
            "installed": is_fetched(entry),
            "path": str(weights_path(entry)),
            "page": entry.page,
        }
        for entry in CATALOGUE.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table()
    for heading in ("name", "what", "licence", "on this machine"):
        table.add_column(heading)
    for row in rows:
        here = "yes" if row["installed"] else "fetched when first used"
        table.add_row(*(str(row[key]) for key in ("name", "title", "licence")), here)
    _console().print(table)


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A model name or weights file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's card: architecture, size, origin, limits."""
    from napari_qmedsam.models.card import describe

    card = describe(model)
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    console = _console()
    for key, value in card.items():
        console.print(f"[bold]{key.replace('_', ' ')}[/]: {value}", soft_wrap=True)


@train_app.command("demo")
def train_demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; resumed if it exists.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings as YAML; options below win.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    workers: Annotated[int | None, typer.Option(min=0)] = None,
    threads: Annotated[int | None, typer.Option(min=0)] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Where the weights go; default OUT/demo.safetensors."),
    ] = None,
) -> None:
    """Train the demo model on phantoms.

    Ctrl-C saves the run; the same command goes on with it.
    """
    from napari_qmedsam.training.demo_model import train_demo_model
    from napari_qmedsam.training.settings import load_settings

    given = {"steps": steps, "seed": seed, "workers": workers, "threads": threads}
    settings = load_settings(config, given)
    with _bar("Training") as advance:
        path = train_demo_model(
            out,
            settings,
            export or out / "demo.safetensors",
            lambda step, losses: advance(
                step, settings.steps, f"Training, Dice loss {losses['dice']:.3f}"
            ),
        )
    _console().print(f"Weights: {path}", soft_wrap=True)


def _segmenter(
    model: str, weights: Path | None, backend: str, max_boxes: int
) -> "SliceSegmenter":
    from napari_qmedsam.runtime import load_backend
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter

    with _bar("Downloading weights") as advance:
        loaded = load_backend(
            model,
            backend,
            weights=weights,
            progress=lambda done, total: advance(done, total or done),
        )
    return SliceSegmenter(loaded, max_boxes=max_boxes)


@contextmanager
def _bar(title: str, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Progress bar on standard error; it appears with the first step."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    progress = Progress(*columns, console=console, transient=True, disable=hidden)
    task: Any = None

    def advance(done: int, total: int, description: str = title) -> None:
        nonlocal task
        if task is None:
            progress.start()
            task = progress.add_task(title)
        progress.update(task, completed=done, total=total, description=description)

    try:
        yield advance
    finally:
        if task is not None:
            progress.stop()


def _choice(kind: Any, text: str, option: str) -> Any:
    known = [member.value for member in kind]
    if text not in known:
        raise InvalidSettings(f"{option} '{text}' must be {' or '.join(known)}.")
    return kind(text)


def _class_ids(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidSettings(
            f"--classes '{text}' must be whole numbers like 1,2,3."
        ) from None


def _default_output(image: Path, source_format: str) -> Path:
    stem = image.name.removesuffix(".gz")
    stem = stem if image.is_dir() else Path(stem).stem
    suffix = ".png" if source_format == "picture" else ".nii.gz"
    return Path(f"{stem}_labels{suffix}")


def _product(numbers: tuple[float, ...]) -> float:
    result = 1.0
    for number in numbers:
        result *= number
    return result


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        raise InvalidSettings(f"Cannot write '{path}': {error.strerror}.") from error


def _notices(notices: tuple[str, ...]) -> None:
    for notice in notices:
        typer.echo(f"Note: {notice}", err=True)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _fail(message: str) -> None:
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
