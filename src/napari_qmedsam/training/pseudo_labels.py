"""Pseudo-labels: the objects that a teacher finds on slices nobody has labelled.

A model that is trained on phantoms forgets what its teacher knows of patients. So
some slices of a run may be unlabelled ones, labelled by the teacher: it is asked
with boxes of all sizes all over a slice, and what it marks again when it is asked
with the box of its own mask, tight and widened, counts as an object that it knows.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.datasets.dataset import DataSet, open_data
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.overlap import dice
from napari_qmedsam.preprocessing import SliceGeometry, is_blank, slice_image
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.training.boxes import tight_box
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Modality, Volume

SIDES = (28, 48, 80, 128, 176)
"""Sides of the boxes that are asked with, in pixels of a 256-pixel input."""

MIN_AREA, LARGEST = 60, 0.27
"""Pixels of the smallest object, and the part of the input of the largest."""

NEAR = 0.3
"""Intersection over union of a mask's box and the box that it answers."""

AGAIN, STABLE = 0.8, 0.9
"""Dice of a mask with that of its own box, and of that with that of a wider one."""

WIDENED = 3
"""Pixels by which the box is widened the last time."""

OVERLAP = 0.1
"""Part of an object that may lie on others."""

BODY = 25 / 255
"""Greys above this are taken for the body."""

FILLED, OUTSIDE = 0.6, 0.05
"""Part of a box that the body fills, and of an object that may lie beside it."""

STEP, OUTLINED = 0.06, 0.75
"""What counts as an edge, of the range of greys, and how much of an outline has one."""

SLICES = 64
"""Slices of a volume that are labelled, at most."""

BATCH = 32
"""Boxes that are decoded at a time."""

Boxes = NDArray[np.float32]
Masks = NDArray[np.bool_]


def pseudo_label(
    volumes: Sequence[Path],
    teacher: Backend,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> DataSet:
    """Label slices of volumes with a teacher and write them down, a file a volume.

    What is there already is taken as it is; names are made from where the scans lie.

    Parameters
    ----------
    volumes : sequence of Path
        Files, and folders of DICOM series.
    teacher : Backend
    folder : Path
        Made if missing: ``CT/NAME.npz``, ``MR/NAME.npz``, with ``imgs`` and ``gts``
        at the size of the teacher's input.
    progress : callable, optional
        Called with volumes done and volumes in all.

    Returns
    -------
    DataSet

    Raises
    ------
    UnreadableVolume
        If a volume cannot be read.
    UnusableData
        If there are no volumes, or one is blank.
    """
    if not volumes:
        raise UnusableData("There is no image to label: the folder holds none.")
    for number, path in enumerate(volumes):
        check_cancelled("Stopped while slices were labelled.")
        # By the scan's place: a scan that is added later changes no other's name.
        where = str(path.resolve()).encode()
        name = f"{hashlib.blake2b(where, digest_size=8).hexdigest()}.npz"
        if not list(folder.glob(f"*/{name}")):
            volume = read_volume(path)
            try:
                images, labels = label_volume(volume, teacher)
            except UnusableData as error:
                raise UnusableData(f"'{path}': {error}") from error
            kind = volume.modality or Modality.OTHER
            target = folder / kind.value / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as part, part.open("wb") as file:
                np.savez_compressed(file, imgs=images, gts=labels)
        if progress is not None:
            progress(number + 1, len(volumes))
    return open_data(str(folder))


def label_volume(
    volume: Volume, teacher: Backend, slices: int = SLICES
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Label slices spread over a volume, at the size of the teacher's input.

    Returns
    -------
    images : ndarray, (Z, Y, X) uint8
        Windowed; the longer side is that of the input.
    labels : ndarray, (Z, Y, X) uint8
        Every value but 0 is one object.

    Raises
    ------
    UnusableData
        If every slice is blank.
    """
    geometry = SliceGeometry.of(teacher.config, *volume.shape[1:3])
    rows, columns = geometry.content
    filled = [z for z in range(volume.shape[0]) if not is_blank(volume.array, z)]
    if not filled:
        raise UnusableData(
            "Every slice of the volume has one value, so there is nothing to label on "
            "it. Leave it out."
        )
    places = np.linspace(0, len(filled) - 1, min(slices, len(filled))).round()
    window = volume.default_window()
    images, labels = [], []
    for place in places.astype(int):
        check_cancelled("Stopped while slices were labelled.")
        image = slice_image(volume.array, filled[place], window)
        prepared = geometry.prepare(image)
        found = label_input(prepared, teacher)
        images.append(np.round(prepared[0, :rows, :columns] * 255).astype(np.uint8))
        labels.append(found[:rows, :columns])
    return np.stack(images), np.stack(labels)


def label_input(
    model_input: NDArray[np.float32], teacher: Backend
) -> NDArray[np.uint8]:
    """Label the objects that a teacher knows on a model input (3, S, S): (S, S).

    The ones it is surest of come first; what lies on them is left out.
    """
    embedding = teacher.encode(model_input)
    size = model_input.shape[1]

    def masks_of(boxes: Boxes) -> Masks:
        parts = [
            teacher.decode(embedding, boxes[i : i + BATCH]) > 0
            for i in range(0, len(boxes), BATCH)
        ]
        return np.concatenate([np.zeros((0, size, size), bool), *parts])

    body = body_of(model_input[0])
    asked = asking_boxes(body)
    masks = masks_of(asked)
    fair = _of_fair_size(masks)
    first, asked = masks[fair], asked[fair]
    boxes = _tight_boxes(first)
    _, once = np.unique(boxes, axis=0, return_index=True)
    near = once[_box_overlap(boxes[once], asked[once]) >= NEAR]
    second = masks_of(boxes[near])
    again = _of_fair_size(second) & (_dice(first[near], second) >= AGAIN)
    again &= (second & ~body).sum((1, 2)) <= OUTSIDE * second.sum((1, 2))
    second = second[again]
    second = second[outlined(model_input[0], second) >= OUTLINED]
    reach = np.array([-WIDENED, -WIDENED, WIDENED, WIDENED], np.float32)
    third = masks_of(np.clip(_tight_boxes(second) + reach, 0, size - 1))
    return _painted(second, _dice(second, third))


def body_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the largest thing on a slice (S, S), what it encloses included."""
    above = (image > BODY).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    body = np.zeros_like(above)
    if outlines:
        cv2.drawContours(body, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return body.astype(bool)


def asking_boxes(body: NDArray[np.bool_]) -> Boxes:
    """Boxes of all sizes over a body (S, S): (n, 4) corner pixels."""
    size = body.shape[0]
    filled = cv2.integral(body.astype(np.uint8))
    boxes = []
    for side in (round(each * size / 256) for each in SIDES):
        starts = np.linspace(0, size - side, 1 + -(-2 * (size - side) // side)).round()
        starts = starts.astype(int)
        for top, left in product(starts, starts):
            bottom, right = top + side, left + side
            inside = filled[bottom, right] - filled[top, right]
            inside += filled[top, left] - filled[bottom, left]
            if inside >= FILLED * side * side:
                boxes.append((left, top, right - 1, bottom - 1))
    return np.array(boxes, np.float32).reshape(-1, 4)


def outlined(image: NDArray[np.float32], masks: Masks) -> NDArray[np.floating]:
    """Return the part of each mask's outline along which a slice (S, S) has an edge.

    Parts that a box cuts out of a larger organ have none where the box ended.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, kernel) >= STEP
    edge = cv2.dilate(edge.astype(np.uint8), kernel) > 0
    shares = [
        edge[cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0]
        for m in masks
    ]
    return np.array([share.mean() for share in shares])


def _painted(masks: Masks, agreement: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Paint the stable masks (n, S, S), the most stable first, side by side."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    count = 0
    for index in np.argsort(-agreement, kind="stable"):
        if agreement[index] < STABLE or count == 255:
            break
        mask = masks[index]
        if (labels[mask] > 0).mean() <= OVERLAP:
            count += 1
            labels[mask & (labels == 0)] = count
    return labels


def _of_fair_size(masks: Masks) -> NDArray[np.bool_]:
    areas, size = masks.sum((1, 2)), masks.shape[1]
    return (areas >= MIN_AREA * (size / 256) ** 2) & (areas <= LARGEST * size * size)


def _tight_boxes(masks: Masks) -> Boxes:
    return np.array([tight_box(m) for m in masks], np.float32).reshape(-1, 4)


def _dice(a: Masks, b: Masks) -> NDArray[np.floating]:
    """DSC of masks (n, S, S) in pairs: (n,)."""
    return np.array([dice(x, y) for x, y in zip(a, b, strict=True)], float)


def _box_overlap(a: Boxes, b: Boxes) -> NDArray[np.floating]:
    """Intersection over union of boxes (n, 4) in pairs."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = np.maximum(high - low + 1, 0).prod(1)
    areas = [(c[:, 2:] - c[:, :2] + 1).prod(1) for c in (a, b)]
    return both / (areas[0] + areas[1] - both)
