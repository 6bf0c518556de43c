"""The images of a folder one after the other, with what was made of each kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.datasets.files import LABEL_ENDINGS, entries, stem_of
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.segmentation.autosave import UNREADABLE
from napari_qmedsam.segmentation.object_entries import object_entry, object_of
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.labels import read_labels
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_labels

KEPT = "qmedsam-cases"
"""Folder beside the images, with boxes and labels of each."""

FORMAT, VERSION = "qmedsam-case-boxes", 1
"""Kind and version that a file of boxes names."""


@dataclass(frozen=True, eq=False)
class KeptCase:
    """What was made of an image."""

    objects: tuple[SegmentObject, ...]
    labels: NDArray[np.integer]


class CaseFolder:
    """The images that lie in one folder, by name.

    Names that end like labels (``_labels``, ``_seg``, ...) are passed over, and so is
    what lies in folders below, DICOM series apart.

    Parameters
    ----------
    image : Path
        One of the images: a file, or the folder of a DICOM series.
    """

    def __init__(self, image: Path) -> None:
        self.path = image.parent
        self.images = [
            path
            for path in entries(self.path)
            if path.parent == self.path
            and not stem_of(path).lower().endswith(LABEL_ENDINGS)
        ]

    def beside(self, image: Path, step: int) -> Path:
        """Return the image some steps after this one, or before it.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        names = [path.name for path in self.images]
        place = names.index(image.name) + step if image.name in names else -1
        if not 0 <= place < len(names):
            which = "last" if step > 0 else "first"
            raise InvalidSettings(
                f"'{image.name}' is the {which} image of '{self.path.name}'."
            )
        return self.images[place]

    def place_of(self, image: Path) -> str:
        """Return ``3 of 20``."""
        names = [path.name for path in self.images]
        return f"{names.index(image.name) + 1} of {len(names)}"

    def keep(
        self,
        image: Path,
        volume: Volume,
        objects: Sequence[SegmentObject],
        labels: NDArray[np.integer],
        names: Sequence[Segment] = (),
    ) -> None:
        """Write boxes and labels of an image, each whole or not at all.

        Where nothing was made of it, nothing is written.

        Raises
        ------
        UnwritableLabels, OSError
            If the disk does not take them.
        """
        if not objects and not labels.any():
            return
        boxes, masks = self._files(image)
        boxes.parent.mkdir(exist_ok=True)
        write_labels(labels, volume, masks, names=names)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "objects": [object_entry(item) for item in objects],
        }
        with atomic_write(boxes) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def kept(self, image: Path, volume: Volume) -> KeptCase | None:
        """Return what was made of an image before; None where there is nothing.

        Raises
        ------
        InvalidSettings
            If there is something that cannot be read; it is left as it is.
        """
        boxes, masks = self._files(image)
        if not boxes.exists():
            return None
        try:
            content = json.loads(boxes.read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ValueError("another version")
            objects = tuple(object_of(entry) for entry in content["objects"])
            labels = read_labels(masks, like=volume).array
        except UNREADABLE as error:
            raise InvalidSettings(
                f"Cannot read what was kept of '{image.name}' in '{boxes.parent}': "
                f"{error}. Move it away to start anew."
            ) from error
        return KeptCase(objects, labels)

    def _files(self, image: Path) -> tuple[Path, Path]:
        stem = self.path / KEPT / image.name
        return (
            stem.with_name(f"{stem.name}.boxes.json"),
            stem.with_name(f"{stem.name}.labels.nii.gz"),
        )
