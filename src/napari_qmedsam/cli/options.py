"""Options that several commands have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.cli import shared
from napari_qmedsam.runtime.registry import BackendName, Device

if TYPE_CHECKING:
    from napari_qmedsam.segmentation.propagation import Follow

COORDINATES = (
    "Coordinates are voxel indices of the (Z, Y, X) array as napari shows it; "
    "maxima are excluded."
)

SPELLINGS = {"carry": "propagate", "propagation": "follow"}
"""Further names of options, and the one by which commands know them."""

ModelOption = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help=f"auto (the best), {', '.join(CATALOGUE)}, a weights "
        "file, or a folder with exported graphs.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Weights file for a named model, instead of the download."
    ),
]
BackendOption = Annotated[
    str, typer.Option(metavar="NAME", help=f"{', '.join(BackendName)}.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"{', '.join(Device)}, as the backend has it (see qmedsam devices). "
        "auto: in torch a GPU if there, else the CPU.",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="fp32; bf16 or f16, for the encoder; fast, packed weights with inputs "
        "rounded to 8 bits; int8: the model's quantized sibling if it has one, or its "
        "graphs quantized by NNCF on phantoms; auto: the fastest on this machine that "
        "agrees with fp32. Quantized models run in int8 anyway.",
    ),
]
WindowOption = Annotated[
    str,
    typer.Option(
        metavar="WINDOW",
        help="auto, soft-tissue, mediastinum, lung, bone, brain, liver, angiography, "
        "or lower,upper. auto: soft-tissue for CT, 0.5 to 99.5 percentile for MR.",
    ),
]
MaxBoxesOption = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Boxes decoded at once; fewer need less memory."
    ),
]
FrameOption = Annotated[
    int | None, typer.Option(metavar="N", help="Frame of a 4D file, from 0.")
]
SeriesOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="DICOM series, by UID or exact description."),
]
ModalityOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="CT, MR, PET, US or X-Ray, where the file does not say or is wrong; it "
        "decides the automatic window. Default: what the file says, or a guess.",
    ),
]
FollowOption = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        help="What slices of a 3D box follow. box: the same box on each; mask: "
        "from the middle outwards, each its neighbour's mask. (--propagation is "
        "another spelling.)",
    ),
]
BoxJitterOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Each box side moves by up to N voxels.")
]
ToleranceOption = Annotated[
    float, typer.Option(min=0, metavar="MM", help="Of the NSD.")
]
MarginDscOption = Annotated[
    float, typer.Option(metavar="POINTS", help="Of DSC that may be lost.")
]
MarginNsdOption = Annotated[
    float, typer.Option(metavar="POINTS", help="Of NSD that may be lost.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Model that the others are compared with. Default: the float one.",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(metavar="IDS", help="Comma-separated, like 1,2,3; default: all."),
]
ImageOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Image file or DICOM folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ImagesOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of images: many cases at once."),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="[NAME:=]MODEL",
        help=f"auto (the best, the default), {', '.join(CATALOGUE)}, a "
        "weights file, or a folder with exported graphs. For many cases repeatable, "
        "with a name, and MODEL@int8 for its int8 form.",
    ),
]
RunOption = Annotated[
    Path,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Folder of a run over many cases; one that was stopped goes on.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Processes for many cases. Default: a core each, as memory allows.",
    ),
]
MemoryOption = Annotated[
    float,
    typer.Option(min=0.5, metavar="GB", help="Of each process at most."),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, tcp://host:port: many cases on its workers instead.",
    ),
]


def parse_follow(text: str) -> "Follow":
    """Read what `FollowOption` says, or refuse it."""
    from napari_qmedsam.segmentation.propagation import Follow

    return shared.parse_choice(Follow, text, "--follow / --propagation")
