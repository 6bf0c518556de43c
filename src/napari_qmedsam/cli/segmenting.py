"""Commands that segment: demo, segment."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_qmedsam.cli import cohorts, options, shared
from napari_qmedsam.cli.drawn_prompts import DrawnPrompts
from napari_qmedsam.cli.many_cases import segment_many
from napari_qmedsam.errors import InvalidSettings

if TYPE_CHECKING:
    from napari_qmedsam.segmentation.result import Segmentation
    from napari_qmedsam.session import Session


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
        "qmedsam-demo"
    ),
    model: options.ModelOption = "auto",
    weights: options.WeightsOption = None,
    backend: options.BackendOption = "openvino",
    precision: options.PrecisionOption = "fp32",
    device: options.DeviceOption = "auto",
) -> None:
    """Segment a sample CT and a sample MR volume from boxes around their organs."""
    from rich.table import Table

    from napari_qmedsam.demo import run_demo
    from napari_qmedsam.evaluation.rules import TOLERANCE_MM
    from napari_qmedsam.evaluation.scores import headings

    shared.make_folder(out)
    console = shared.console()
    with shared.bar("Loading the model") as advance:
        segmenter = shared.segmenter(model, weights, backend, 32, precision, device)
        advance(1, 1)
    info = segmenter.backend.info
    console.print(
        f"Model {info.model} on {info.backend}, {info.precision}, "
        f"{info.device.upper()}. Research only, not for clinical use."
    )
    with shared.bar("Segmenting") as advance:
        results = list(
            run_demo(segmenter, out, lambda _, done, all_: advance(done, all_))
        )
    for result in results:
        table = Table(title=result.name, title_justify="left")
        table.add_column("object")
        table.add_column("slices", justify="right")
        for heading in headings(TOLERANCE_MM):
            table.add_column(heading, justify="right")
        for item in result.objects:
            table.add_row(item.name, str(item.slices), *item.scores.cells("{:.1f}"))
        console.print(table)
        console.print(f"{result.milliseconds_per_slice:.0f} ms per slice")
        console.print(f"Labels:    {result.labels}", soft_wrap=True)
        console.print(f"Reference: {result.reference}", soft_wrap=True)
        console.print(f"Picture:   {result.sheet}", soft_wrap=True)


def segment(
    context: typer.Context,
    image: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="Image file or DICOM folder."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOX",
            help="z,x_min,y_min,x_max,y_max; one object each. Repeatable.",
        ),
    ] = None,
    box3d: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOX",
            help="x_min,y_min,z_min,x_max,y_max,z_max; one object each. Repeatable.",
        ),
    ] = None,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys", help="All --box are key boxes of one object, slices between too."
        ),
    ] = False,
    propagate: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="Propagate masks beyond the outermost boxes: up, down or both. Up is "
            "to higher slice indices. (--carry is another spelling.)",
        ),
    ] = None,
    tighten: Annotated[
        bool,
        typer.Option(
            "--tighten", help="Look again at boxes that may be too large or shifted."
        ),
    ] = False,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOX",
            help="z,x_min,y_min,x_max,y_max; a further piece of the one object.",
        ),
    ] = None,
    take: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOX",
            help="z,x_min,y_min,x_max,y_max; what it gives is no part of the object.",
        ),
    ] = None,
    absent: Annotated[
        list[int] | None,
        typer.Option(metavar="Z", help="A slice without the one object. Repeatable."),
    ] = None,
    smooth: Annotated[
        float, typer.Option(min=0, metavar="MM", help="Smooth masks across slices.")
    ] = 0.0,
    largest_piece: Annotated[
        bool, typer.Option("--largest-piece", help="Keep each object's largest piece.")
    ] = False,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill holes of each object in 3D.")
    ] = False,
    images: options.ImagesOption = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Boxes for --images, a line each: image, x_min, y_min, z_min, x_max, "
            "y_max, z_max and, if wanted, name, modality.",
        ),
    ] = None,
    model: options.ModelsOption = None,
    weights: options.WeightsOption = None,
    backend: options.BackendOption = "openvino",
    precision: options.PrecisionOption = "fp32",
    device: options.DeviceOption = "auto",
    window: options.WindowOption = "auto",
    follow: options.FollowOption = "box",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Label file; default INPUT_labels.nii.gz.",
        ),
    ] = None,
    max_boxes: options.MaxBoxesOption = 32,
    embeddings_gb: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="GB",
            help="Keep encoded slices on disk for the next time, up to this size.",
        ),
    ] = 0.0,
    frame: options.FrameOption = None,
    modality: options.ModalityOption = None,
    series: options.SeriesOption = None,
    as_json: options.JsonOption = False,
    run: options.RunOption = cohorts.RUN,
    workers: options.WorkersOption = None,
    memory: options.MemoryOption = cohorts.MEMORY_GB,
    scheduler: options.SchedulerOption = None,
) -> None:
    """Segment boxes and write a label volume on the image's own grid.

    Objects are numbered 1, 2, ... : first the --box ones, then the --box3d
    ones; with --keys there is one. Where objects overlap, the later one wins. With
    --images and --boxes many images, by one or more models, into the folder of a run.
    """
    if images is not None:
        segment_many(context)
        return
    if image is None:
        raise InvalidSettings("Name an image, or many: --images DIR --boxes CSV.")
    why = "it is for many images (--images)."
    shared.refuse_idle(context, cohorts.ONLY_MANY | {"boxes"}, why)
    chosen_model = cohorts.one_model(model)
    from napari_qmedsam.replay import save_with_provenance
    from napari_qmedsam.segmentation.embedding_archive import users_archive
    from napari_qmedsam.segmentation.plausibility import Doubt, check_object
    from napari_qmedsam.segmentation.propagation import Direction
    from napari_qmedsam.segmentation.tidying import Tidying
    from napari_qmedsam.session import Session
    from napari_qmedsam.volumes import read_volume
    from napari_qmedsam.volumes.windows import parse_window
    from napari_qmedsam.volumes.writing import check_target

    drawn = DrawnPrompts.read(context.params)
    ways = {way.name.lower(): way for way in Direction}
    if propagate is not None and propagate not in ways:
        raise InvalidSettings(
            f"--propagate / --carry '{propagate}' must be {' or '.join(ways)}."
        )
    tidying = Tidying(smooth, largest_piece, fill_holes)
    chosen_window = parse_window(window)
    way = options.parse_follow(follow)
    if not box3d:
        shared.refuse_idle(context, {"follow"}, "it is that of --box3d.")
    if propagate is not None:
        why = (
            "with --propagate a slice beyond a box is prompted by its neighbour's mask."
        )
        shared.refuse_idle(context, {"follow"}, why)
    volume = read_volume(
        image, frame=frame, series=series, modality=shared.modality(modality)
    )
    # Boxes and output are checked before a model is loaded or downloaded.
    drawn.check(volume)
    target = output or _default_output(image, volume.source.format)
    if output is None and target.exists():
        raise InvalidSettings(
            f"'{target}' exists already. Say -o {target} to replace it, or give "
            "another name."
        )
    check_target(target, volume)
    shared.keep_inputs(target, image)
    segmenter = shared.segmenter(
        chosen_model, weights, backend, max_boxes, precision, device
    )
    # In half precision, as in the window: masks may differ by a pixel of an edge.
    segmenter.store.archive = users_archive(embeddings_gb)
    session = Session(volume, segmenter, chosen_window, tighten=tighten)
    drawn.draw_in(session)
    with shared.bar("Segmenting", quiet=as_json) as advance:
        if propagate is None:
            done = session.segment(follow=way, progress=advance)
        else:
            done = session.propagate(direction=ways[propagate], progress=advance)
    # Boxes alone make the same labels again; whatever came after them is kept by voxel.
    automatic = None
    if propagate is None and not tighten:
        automatic = session.labels.copy() if tidying else session.labels
    for object_id in session.objects if tidying else ():
        session.tidy(object_id, tidying)
    path, _ = save_with_provenance(session, target, way, automatic)
    for item in session.objects.values():
        doubts = check_object(item, volume, session.labels, session.window)
        if any(Doubt.BOX_TOO_LARGE in found for found in doubts.doubts.values()):
            shared.notices((f"{item.name}: {Doubt.BOX_TOO_LARGE.value}.",))
    shared.notices(volume.notices)
    report = {"output": str(path), **_report(session, done)}
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = shared.console()
    for item in report["objects"]:
        ml = f", {item['volume_ml']} ml" if volume.has_spacing else ""
        console.print(f"object {item['id']}: {item['voxels']} voxels{ml}")
    names = {item.object_id: item.name for item in session.objects.values()}
    console.print(done.end.text(names))
    console.print(
        f"{report['milliseconds_per_slice']:.0f} ms per slice "
        f"({report['model']}, {report['backend']}, {report['precision']})"
    )
    console.print(f"Labels: {path}", soft_wrap=True)


def _report(session: "Session", done: "Segmentation") -> dict[str, Any]:
    """Return what was made, and by what."""
    from napari_qmedsam.segmentation.measuring import Tally

    info, volume = session.model().backend.info, session.volume
    tally = Tally(volume)
    tally.count(session.labels)
    sizes = {item: tally.measure(item) for item in session.objects}
    return {
        "objects": [
            {
                "id": object_id,
                "voxels": size.voxels,
                # A picture has pixels; without their size there are no millilitres.
                "volume_ml": size.volume_ml and round(size.volume_ml, 3),
            }
            for object_id, size in sizes.items()
        ],
        "seconds": round(done.seconds, 3),
        "milliseconds_per_slice": round(done.milliseconds_per_slice, 1),
        "model": info.model,
        "backend": info.backend,
        "precision": info.precision,
        "modality": volume.modality.value,
        "window": [session.window.lower, session.window.upper],
        "notices": list(volume.notices),
    }


def _default_output(image: Path, source_format: str) -> Path:
    if image.is_dir():
        stem = image.resolve().name  # "." has no name of its own
    else:
        stem = Path(image.name.removesuffix(".gz")).stem
    suffix = ".png" if source_format == "picture" else ".nii.gz"
    return Path(f"{stem}_labels{suffix}")
