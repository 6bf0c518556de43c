"""Which object is which value of a reference label volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings, NothingThere
from napari_qmedsam.evaluation.rules import MINIMUM_VOXELS
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.objects import ObjectPrompt, SegmentObject
from napari_qmedsam.volumes.label_bounds import label_bounds
from napari_qmedsam.volumes.reslicing import stacked_along


@dataclass(frozen=True)
class ComparedObject:
    """An object, what a model is asked for it, and its value in the reference.

    Parameters
    ----------
    name : str
    prompt : ObjectPrompt
        Only slices it covers are segmented and scored.
    reference_id : int
    reference_name : str
        What the reference calls it; empty where it gives numbers alone.
    """

    name: str
    prompt: ObjectPrompt
    reference_id: int
    reference_name: str = ""

    @property
    def reference(self) -> str:
        """The label it is scored by: ``label 1``, or ``label 1, liver``."""
        number = f"label {self.reference_id}"
        return f"{number}, {self.reference_name}" if self.reference_name else number

    @property
    def title(self) -> str:
        """Name, and the label it is scored by where that says something else."""
        number = f"label {self.reference_id}"
        said = number if self.reference_name == self.name else self.reference
        return self.name if self.name == said else f"{self.name} ({said})"

    @property
    def object_id(self) -> int:
        """Value of its voxels in the masks of the variants."""
        return self.prompt.object_id

    @property
    def slices(self) -> range:
        """Slices it covers, counted along the prompt's axis."""
        return range(self.prompt.box.z_min, self.prompt.box.z_max)


def match_objects(
    objects: Sequence[SegmentObject],
    reference: NDArray[np.integer],
    slice_index: int | None = None,
    axis: int = 0,
    names: Mapping[int, str] | None = None,
) -> list[ComparedObject]:
    """Find out which value of a reference each object is.

    It is the value whose own box, on the slices of the object's box, overlaps
    that box best (intersection over union).

    Parameters
    ----------
    objects : sequence of SegmentObject
    reference : ndarray, (Z, Y, X) integer
    slice_index : int, optional
        Compare on this slice alone; objects that do not reach it are left out.
    axis : int
        Array axis that `slice_index` counts along.
    names : mapping of int to str, optional
        What the reference's labels are called.

    Raises
    ------
    InvalidSettings
        If nothing in the reference lies in an object's box, or no object
        reaches the slice.
    """
    found = []
    for o in objects:
        prompt = o.prompt
        if slice_index is not None:
            if o.axis != axis or not o.box.z_min <= slice_index < o.box.z_max:
                continue
            prompt = prompt.on_slice(slice_index)
        box = prompt.box
        value = _best_value(stacked_along(reference, o.axis), box)
        if value is None:
            raise NothingThere(
                f"The reference labels are empty in the box of '{o.name}', on",
                (box.z_min, box.z_max - 1),
                ".",
                o.axis,
            )
        found.append(
            ComparedObject(o.name, prompt, value, (names or {}).get(value, ""))
        )
    if not found:
        if slice_index is None:
            raise InvalidSettings("There is no box to compare on. Draw one first.")
        after = " to compare on. Draw one first."
        raise NothingThere("There is no box on", [slice_index], after, axis)
    return found


def boxes_of_labels(
    reference: NDArray[np.integer], names: Mapping[int, str] | None = None
) -> list[SegmentObject]:
    """Return an object with a tight box for every value of a label volume."""
    objects = []
    for value, (z, y, x) in label_bounds(reference).items():
        box = Box3D(x.start, y.start, z.start, x.stop, y.stop, z.stop)
        name = (names or {}).get(value, f"label {value}")
        objects.append(SegmentObject(value, box, name))
    return objects


@dataclass(frozen=True)
class SliceBoxes:
    """The boxes of labels on one slice.

    Parameters
    ----------
    objects : tuple of SegmentObject
        Of that slice alone.
    left_out : tuple of str
        Names of labels that are too small there to be scored.
    """

    objects: tuple[SegmentObject, ...]
    left_out: tuple[str, ...]

    @property
    def note(self) -> str:
        """What was left out, in a sentence; empty if nothing was."""
        if not self.left_out:
            return ""
        return (
            f"Left out, under {MINIMUM_VOXELS} voxels on this slice: "
            f"{', '.join(self.left_out)}."
        )


def boxes_on_slice(
    reference: NDArray[np.integer],
    slice_index: int,
    axis: int = 0,
    names: Mapping[int, str] | None = None,
) -> SliceBoxes:
    """Return an object for every label on one slice, with its tight box there.

    Parameters
    ----------
    reference : ndarray, (Z, Y, X) integer
    slice_index : int
    axis : int
        Array axis that `slice_index` counts along.
    names : mapping of int to str, optional

    Raises
    ------
    InvalidSettings
        If no label has 100 voxels there.
    """
    plane = stacked_along(reference, axis)[slice_index]
    objects, left_out = [], []
    for value, (y, x) in label_bounds(plane).items():
        name = (names or {}).get(value, f"label {value}")
        if np.count_nonzero(plane[y, x] == value) < MINIMUM_VOXELS:
            left_out.append(name)
            continue
        box = Box3D(x.start, y.start, slice_index, x.stop, y.stop, slice_index + 1)
        objects.append(SegmentObject(value, box, name, axis))
    if not objects:
        raise NothingThere(
            f"No label has {MINIMUM_VOXELS} voxels on",
            [slice_index],
            ". Go to a slice that shows more of one.",
            axis,
        )
    return SliceBoxes(tuple(objects), tuple(left_out))


# Helpers ------------------------------------------------------------------


def _best_value(reference: NDArray[np.integer], box: Box3D) -> int | None:
    slab = reference[box.z_min : box.z_max]
    best, chosen = 0.0, None
    for value, (z, y, x) in label_bounds(slab).items():
        height = min(y.stop, box.y_max) - max(y.start, box.y_min)
        width = min(x.stop, box.x_max) - max(x.start, box.x_min)
        if height <= 0 or width <= 0:
            continue
        overlap = height * width * (z.stop - z.start)
        own = (y.stop - y.start) * (x.stop - x.start) * (z.stop - z.start)
        drawn = (box.y_max - box.y_min) * (box.x_max - box.x_min)
        union = own + drawn * (box.z_max - box.z_min) - overlap
        if overlap / union > best:
            best, chosen = overlap / union, value
    return chosen
