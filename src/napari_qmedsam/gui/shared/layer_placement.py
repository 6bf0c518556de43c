"""Where layers lie in the patient, and how two of them meet.

Shapes of arrays say nothing of it: the rows of two files of one scan may be stored
in opposite directions. Nor does the viewer's world alone, from which the turn of an
oblique scan was dropped.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch, InvalidVolume
from napari_qmedsam.gui.shared.layers import (
    VOLUME,
    as_stack,
    layer_affine,
    voxel_to_world,
)
from napari_qmedsam.volumes.grid import display_affine, spacing_from_affine
from napari_qmedsam.volumes.volume import Modality, Volume

NEAR_MM = 0.01
"""Voxels that lie nearer to each other than this are at one place."""


def labels_beside(labels: Labels, scan: Image) -> Volume:
    """Return labels with their place in the patient, as they lie beside a scan.

    Two layers that lie where their files say keep the affines of the files. Else the
    labels lie in the patient as they lie on the scan in the viewer. The result is to
    be brought onto the scan's grid by
    :func:`~napari_qmedsam.volumes.labels.labels_on_grid`.

    Parameters
    ----------
    labels : Labels
    scan : Image
        With its volume in the metadata.

    Returns
    -------
    Volume
        Shares the layer's voxels; they may be painted on meanwhile.

    Raises
    ------
    GridMismatch
        If the two have not the same number of axes.
    """
    if labels.ndim != scan.ndim:
        raise GridMismatch(
            f"'{labels.name}' has {labels.ndim} axes, but '{scan.name}' has "
            f"{scan.ndim}. Choose labels of this image."
        )
    array, own = as_stack(labels), file_volume(labels)
    if own is not None and file_volume(scan) is not None:
        return own.with_array(array)
    affine = layer_affine(labels, scan)
    spacing = spacing_from_affine(affine)
    return Volume(array, spacing, affine, Modality.OTHER)


def file_volume(layer: Layer) -> Volume | None:
    """Return the volume that a layer brings, if it still lies where that says."""
    volume, n = layer.metadata.get(VOLUME), layer.ndim
    if not isinstance(volume, Volume) or n not in (2, 3):
        return None
    shape = _shape(layer)
    if volume.shape != (1, 1, 1)[n:] + shape:
        return None
    expected = display_affine(volume)[3 - n :, 3 - n :]
    return volume if _are_near(expected, voxel_to_world(layer), shape) else None


def lie_alike(layer: Layer, other: Layer) -> bool:
    """Tell whether two layers have the same voxels at the same places."""
    shape = _shape(layer)
    return shape == _shape(other) and _are_near(
        voxel_to_world(layer), voxel_to_world(other), shape
    )


def lie_together(layer: Layer, other: Layer) -> bool:
    """Tell whether two layers fill the same part of the viewer's world."""
    one, two = layer.extent.world, other.extent.world
    return one.shape == two.shape and bool(np.allclose(one, two, atol=NEAR_MM))


def scan_under(layer: Layer, layers: Iterable[Layer]) -> Layer | None:
    """Return the layer with a volume that tells where in the patient another lies.

    For layers that bring no volume, such as napari's *New labels layer* and what
    other plugins make of a scan.

    Parameters
    ----------
    layer : Layer
    layers : iterable of Layer
        Those of the viewer.

    Returns
    -------
    Layer or None
        None where it lies on none.

    Raises
    ------
    InvalidVolume
        If it lies on several that disagree.
    """
    found = [
        other
        for other in layers
        if other is not layer
        and isinstance(other, Image | Labels)
        and isinstance(other.metadata.get(VOLUME), Volume)
        and other.ndim == layer.ndim
        and _meet(layer, other)
    ]
    same = [other for other in found if lie_alike(layer, other)]
    if same or len(found) < 2:
        return next(iter(same or found), None)
    first, *rest = (layer_affine(layer, other) for other in found)
    shape = (1, 1, 1)[layer.ndim :] + _shape(layer)
    for other, affine in zip(found[1:], rest, strict=True):
        if not _are_near(first, affine, shape[::-1]):
            raise InvalidVolume(
                f"'{layer.name}' lies on '{found[0].name}' and on '{other.name}', "
                "which do not agree where in the patient that is. Remove one of them."
            )
    return found[0]


# Helpers ------------------------------------------------------------------


def _shape(layer: Layer) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(data.shape[: layer.ndim])


def _meet(layer: Layer, other: Layer) -> bool:
    (low, high), (other_low, other_high) = layer.extent.world, other.extent.world
    return bool(((low <= other_high) & (other_low <= high)).all())


def _are_near(a: NDArray, b: NDArray, shape: tuple[int, ...]) -> bool:
    """Tell whether two homogeneous matrices take the corners to the same places."""
    corners = np.array([(*end, 1) for end in product(*((0, n - 1) for n in shape))]).T
    apart = ((a - b) @ corners)[:-1]
    return bool(np.linalg.norm(apart, axis=0).max() <= NEAR_MM)
