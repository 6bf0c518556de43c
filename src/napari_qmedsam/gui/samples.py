"""napari's sample data: generated abdomens, no patient's."""

from functools import lru_cache

import numpy as np

from napari_qmedsam.gui.shared.layers import (
    LayerData,
    image_layer_data,
    labels_layer_data,
)
from napari_qmedsam.gui.shared.rectangles import DrawnBox, box_layer_data
from napari_qmedsam.phantoms.abdomen import PhantomCase, abdomen_case
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.volumes.volume import Modality

BOXED_ORGANS = ("liver", "spleen", "right kidney", "left kidney", "aorta")
"""Organs of the labelled sample that come with a box."""


@lru_cache(maxsize=2)
def phantom(modality: Modality, seed: int = 0) -> PhantomCase:
    """Return a phantom, made once: it takes about a second."""
    return abdomen_case(modality, seed)


def ct_phantom() -> list[LayerData]:
    """Return an abdominal CT."""
    return [image_layer_data(phantom(Modality.CT).volume, "CT phantom")]


def mr_phantom() -> list[LayerData]:
    """Return an abdominal MR."""
    return [image_layer_data(phantom(Modality.MR).volume, "MR phantom")]


def labelled_ct_phantom() -> list[LayerData]:
    """Return an abdominal CT with reference labels and boxes of some organs."""
    case = phantom(Modality.CT)
    boxes = organ_boxes(case, BOXED_ORGANS)
    data, arguments, kind = labels_layer_data(
        case.labels.array, case.volume, "CT phantom reference"
    )
    # It would cover what the model makes.
    reference = data, {**arguments, "visible": False}, kind
    return [
        image_layer_data(case.volume, "CT phantom"),
        reference,
        box_layer_data(boxes, case.volume, "CT phantom boxes"),
    ]


def organ_boxes(
    case: PhantomCase, organs: tuple[str, ...], margin: int = 2
) -> list[DrawnBox]:
    """Return a box around each organ, drawn where a viewer opens or it is largest.

    A viewer opens on the middle slice; a box is drawn there if the organ is half
    as large there as on its largest slice, or larger. Organs that the phantom lacks
    are left out; the ids are those of the labels.
    """
    boxes = []
    for object_id, name in case.names.items():
        if name not in organs:
            continue
        mask = case.labels.array == object_id
        area = mask.sum(axis=(1, 2))
        slices = np.flatnonzero(area)
        around = Box2D.around(mask.any(axis=0), margin)
        if around is None:
            continue
        box = around.clip(*mask.shape[1:])
        first, last = int(slices[0]), int(slices[-1])
        box3d = Box3D(box.x_min, box.y_min, first, box.x_max, box.y_max, last + 1)
        middle = (len(area) - 1) // 2
        is_seen = 2 * area[middle] >= area.max()
        drawn = middle if is_seen else int(area.argmax())
        boxes.append(DrawnBox(object_id, name, box3d, drawn))
    return boxes
