"""The command that makes labels again: replay."""

from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import options, shared


def replay(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Label file, with its provenance.")
    ],
    image: Annotated[
        Path, typer.Option(metavar="FILE", help="Image file or DICOM folder.")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the weights file is now.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the labels made again."
        ),
    ] = None,
    frame: options.FrameOption = None,
    modality: options.ModalityOption = None,
    series: options.SeriesOption = None,
) -> None:
    """Make the labels of a file again, from what is kept beside it, and compare.

    `segment` writes LABELS.provenance.json: boxes, points, model with checksum,
    precision, window, corrections by hand, versions. The exit status is 1 where the
    labels come out otherwise.
    """
    from napari_qmedsam.label_provenance import read_provenance
    from napari_qmedsam.replay import replay as make_again
    from napari_qmedsam.volumes import read_volume
    from napari_qmedsam.volumes.writing import check_target

    made = read_provenance(labels)
    volume = read_volume(
        image, frame=frame, series=series, modality=shared.modality(modality)
    )
    if output is not None:
        check_target(output, volume)
        shared.keep_inputs(output, image, labels)
    again = make_again(made, volume, model)
    if output is not None:
        again.session.save_labels(output)
    corrected = len(made.corrections.positions)
    shared.console().print(
        "The labels are the same, voxel for voxel"
        if again.is_same
        else "The labels are not the same: another processor, or other versions",
        f"({corrected} voxels were corrected by hand or by other runs).",
    )
    if not again.is_same:
        raise typer.Exit(1)
