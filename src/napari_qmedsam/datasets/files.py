"""Which files of a folder are labelled images, and of which modality.

Three layouts are understood, also mixed:

- ``root/modality/dataset/*.npz``, image and labels in one file, as the MedSAM
  challenges have it;
- an image with its labels beside it: ``liver.nii.gz``, ``liver_labels.nii.gz``;
  a DICOM series is a folder: ``liver/``, ``liver_labels/`` or
  ``liver_labels.nrrd``;
- ``images*/liver_0000.nii.gz`` and ``labels*/liver.nii.gz``.

The modality is the first folder below the root. Images without one are sorted
by a word in their names: ``ct_17.nii.gz``, ``3DBox_MR_0621.npz``.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.errors import GridMismatch, UnreadableVolume, UnusableData
from napari_qmedsam.volumes.dicom.reading import DICOM
from napari_qmedsam.volumes.files import suffix_of
from napari_qmedsam.volumes.npz import npz_shapes
from napari_qmedsam.volumes.reading import volume_shape
from napari_qmedsam.volumes.registry import by_suffix, format_of
from napari_qmedsam.volumes.volume import Modality

logger = logging.getLogger(__name__)

LABEL_ENDINGS = ("_labels", "_label", "_seg", "_mask", "_gt")
"""What is added to an image's name to name its labels."""

KNOWN = {
    "ct": "CT",
    "mr": "MR",
    "mri": "MR",
    "pet": "PET",
    "us": "US",
    "ultrasound": "US",
    "xray": "X-Ray",
    "x-ray": "X-Ray",
    "endoscopy": "Endoscopy",
    "dermoscopy": "Dermoscopy",
    "oct": "OCT",
    "mammography": "Mammography",
    "mammo": "Mammography",
    "fundus": "Fundus",
    "microscopy": "Microscopy",
    "microscope": "Microscopy",
}
"""Spellings of the challenge's modalities, in lower case, and one name for each."""

OTHER = "Other"
"""Modality of images whose folder and name say nothing."""


@dataclass(frozen=True)
class LabelledFile:
    """An image and its labels on disk, known by their headers.

    Parameters
    ----------
    modality : str
    image : Path
        File, or folder of a DICOM series.
    labels : Path
        `image` itself for ``.npz``.
    shape : tuple of int
        (Z, Y, X) of both.
    """

    modality: str
    image: Path
    labels: Path
    shape: tuple[int, int, int]

    @property
    def reader_modality(self) -> Modality | None:
        """What the reader should take the image for; None leaves it to guess."""
        known = {member.value: member for member in Modality}
        return known.get(self.modality)


def find_labelled(root: Path) -> list[LabelledFile]:
    """Return the labelled images below a folder, in the order of their paths.

    Only headers are read. Images without labels are left out with a warning.

    Raises
    ------
    UnusableData
        If there is no such folder, or nothing labelled in it.
    GridMismatch
        If labels have another shape than their image.
    UnreadableVolume
        If a header is damaged.
    """
    if not root.is_dir():
        raise UnusableData(f"There is no data folder '{root}'.")
    readable = entries(root)
    labels = {
        _key(path): path for path in readable if _is_label(path) and not _is_npz(path)
    }
    found, bare = [], 0
    for path in readable:
        if _is_npz(path):
            image_shape, labels_shape = npz_shapes(path)
            partner = None if labels_shape is None else path
        elif _is_label(path):
            continue
        else:
            partner = labels.get(_key(path))
        if partner is None:
            bare += 1
            continue
        if partner is not path:
            image_shape, labels_shape = volume_shape(path), volume_shape(partner)
        if labels_shape != image_shape:
            raise GridMismatch(
                f"The labels of '{path}' are {labels_shape}, but the image is "
                f"{image_shape} (z, y, x). Export them on the grid of the image."
            )
        found.append(LabelledFile(_modality(path, root), path, partner, image_shape))
    if not found:
        what = f"{bare} images, but no labels for them" if bare else "no images"
        raise UnusableData(
            f"The data folder '{root}' holds {what}. Expected are "
            "modality/dataset/*.npz with gts, or images with NAME_labels beside "
            "them or in a folder 'labels' next to 'images'."
        )
    if bare:
        logger.warning("%d images in '%s' have no labels; left out", bare, root)
    return found


def entries(folder: Path) -> list[Path]:
    """Return readable files and DICOM folders below `folder`, sorted."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _is_dicom_folder(path):
                found.append(path)
            else:
                found += entries(path)
        elif by_suffix(path) is not None:
            found.append(path)
    return found


def _is_dicom_folder(folder: Path) -> bool:
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith("."):
            try:
                return format_of(path) is DICOM
            except UnreadableVolume:
                continue
    return False


def _is_npz(path: Path) -> bool:
    return suffix_of(path) == ".npz"


def stem_of(path: Path) -> str:
    """Return the name of a file without its suffix, or that of a folder."""
    end = 0 if path.is_dir() else len(suffix_of(path))
    return path.name[: len(path.name) - end]


def _is_label(path: Path) -> bool:
    return stem_of(path).lower().endswith(LABEL_ENDINGS) or any(
        re.fullmatch(r"labels\w*", parent.name, re.I) for parent in path.parents[:1]
    )


def _key(path: Path) -> tuple[Path, str]:
    """Return what an image and its labels have in common."""
    stem = stem_of(path)
    for ending in LABEL_ENDINGS:
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    parent = path.parent
    sibling = re.fullmatch(r"(?:images|labels)(\w*)", parent.name, re.I)
    if sibling:
        stem = stem.removesuffix("_0000")
        parent = parent.with_name(f"labels{sibling[1]}")
    return parent, stem


def _modality(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts[:-1]
    if parts and not re.fullmatch(r"(?:images|labels)\w*", parts[0], re.I):
        return KNOWN.get(parts[0].lower(), parts[0])
    for word in re.split(r"[_\s.]+", stem_of(path).lower()):
        if word in KNOWN:
            return KNOWN[word]
    return OTHER
