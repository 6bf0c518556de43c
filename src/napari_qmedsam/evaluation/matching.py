"""Which object is which value of a reference label volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.objects import ObjectPrompt, SegmentObject
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
    """

    name: str
    prompt: ObjectPrompt
    reference_id: int

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
            raise InvalidSettings(
                f"The reference labels are empty in the box of '{o.name}' "
                f"(slices {box.z_min} to {box.z_max - 1})."
            )
        found.append(ComparedObject(o.name, prompt, value))
    if not found:
        where = "" if slice_index is None else f" on slice {slice_index}"
        raise InvalidSettings(f"There is no box{where} to compare on. Draw one first.")
    return found


def boxes_of_labels(
    reference: NDArray[np.integer], names: Mapping[int, str] | None = None
) -> list[SegmentObject]:
    """Return an object with a tight box for every value of a label volume."""
    objects = []
    for value, place in enumerate(find_objects(_small_integers(reference)), 1):
        if place is not None:
            z, y, x = place
            box = Box3D(x.start, y.start, z.start, x.stop, y.stop, z.stop)
            name = (names or {}).get(value, f"label {value}")
            objects.append(SegmentObject(value, box, name))
    return objects


# Helpers ------------------------------------------------------------------


def _best_value(reference: NDArray[np.integer], box: Box3D) -> int | None:
    slab = _small_integers(reference[box.z_min : box.z_max])
    best, chosen = 0.0, None
    for value, place in enumerate(find_objects(slab), 1):
        if place is None:
            continue
        z, y, x = place
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


def _small_integers(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return labels as SciPy's `find_objects` takes them."""
    return labels if labels.dtype.kind == "i" else labels.astype(np.int32)
