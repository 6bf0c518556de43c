"""Volumes to napari layers and back.

The display world is in mm: array axes scaled by the spacing, with a sign that
turns the patient's head up, back down and left side to the right. napari has
`scale` for the spacing, `translate` for the place, and `affine` for the signs.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidVolume
from napari_qmedsam.volumes.cleaning import NoFiniteVoxel, finish, guess_modality
from napari_qmedsam.volumes.grid import (
    LPS_FROM_RAS,
    display_affine,
    spacing_from_affine,
)
from napari_qmedsam.volumes.volume import Source, Volume
from napari_qmedsam.volumes.windows import Window

VOLUME = "qmedsam_volume"
"""Metadata key of the :class:`Volume` that a layer shows or belongs to."""

COMPARED = "qmedsam_compared"
"""Metadata key of layers that a comparison made: name of the variant, or ''."""

RESULT = "qmedsam_result"
"""Metadata key of labels layers that the panel paints into."""

LayerData = tuple[Any, dict[str, Any], str]
"""What napari's readers and sample data return for one layer."""


def placement(volume: Volume) -> dict[str, Any]:
    """Return the `scale`, `translate`, `affine` and `units` of a volume's layers."""
    display = display_affine(volume)
    steps = np.diag(display)[:3]
    sign = np.where(steps < 0, -1.0, 1.0)
    return {
        "scale": np.abs(steps),
        # napari scales and translates first, then applies the affine.
        "translate": display[:3, 3] * sign,
        "affine": np.diag([*sign, 1.0]),
        "units": ("mm",) * 3,
    }


def placement_of(layer: Layer) -> dict[str, Any]:
    """Return what another layer needs to lie exactly on this one."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
    }


def image_layer_data(volume: Volume, name: str) -> LayerData:
    """Return an image layer that shows a volume in its default window."""
    arguments: dict[str, Any] = {
        "name": name,
        "metadata": {VOLUME: volume},
        "rgb": volume.is_colour,
        **placement(volume),
    }
    if not volume.is_colour:
        window = volume.default_window()
        # No colormap: gray is napari's own, and a labels layer could not take it.
        arguments["contrast_limits"] = (window.lower, window.upper)
    return volume.array, arguments, "image"


def labels_layer_data(labels: NDArray, volume: Volume, name: str) -> LayerData:
    """Return a labels layer on the grid of a volume."""
    arguments = {"name": name, "metadata": {VOLUME: volume}, **placement(volume)}
    return labels, arguments, "labels"


def is_scan(layer: Layer) -> bool:
    """Tell images from other layers, and from pictures of results."""
    return isinstance(layer, Image) and COMPARED not in layer.metadata


def is_result(layer: Layer) -> bool:
    """Tell labels that the panel Segment paints into from others."""
    return isinstance(layer, Labels) and bool(layer.metadata.get(RESULT))


def is_of(layer: Layer, volume: Volume) -> bool:
    """Tell whether a layer was made for this volume."""
    return layer.metadata.get(VOLUME) is volume


def scans(layers: Iterable[Layer]) -> list[Image]:
    """Return the image layers that are scans, without copies of the same volume."""
    found: dict[int, Image] = {}
    for layer in layers:
        if is_scan(layer):
            found.setdefault(id(layer.metadata.get(VOLUME, layer)), layer)
    return list(found.values())


def volume_of(layer: Image | Labels, scan: Layer | None = None) -> Volume:
    """Return the volume behind a layer, whoever opened it.

    A layer of our reader brings its volume along. Any other layer gives one
    made of its data, with spacing and affine from its place in the world and
    a guessed modality.

    Parameters
    ----------
    layer : Image or Labels
    scan : Layer, optional
        With a volume. A layer that brings none lies in the patient as it lies on
        this one in the viewer: the display world is no patient's where a scan is
        oblique. Default: its world counts as the patient.

    Raises
    ------
    InvalidVolume
        If the layer is not one 2D or 3D image.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    volume = layer.metadata.get(VOLUME)
    shape = data.shape[: layer.ndim]
    if isinstance(volume, Volume) and volume.shape == (1, 1, 1)[layer.ndim :] + shape:
        if volume.array is data:
            return volume
        return volume.with_array(as_stack(layer))
    if layer.ndim not in (2, 3):
        raise InvalidVolume(
            f"Layer '{layer.name}' has {layer.ndim} axes; a volume has 3 and a slice "
            "2. Split the layer along the others first."
        )
    array = as_stack(layer)
    affine = layer_affine(layer, scan)
    try:
        return finish(
            Volume(
                array,
                spacing_from_affine(affine),
                affine,
                guess_modality(array),
                Source(layer.source.path or "", dimensions=layer.ndim),
            )
        )
    except NoFiniteVoxel:
        raise InvalidVolume(
            f"Not one voxel of layer '{layer.name}' is a finite number."
        ) from None


def window_of(layer: Image) -> Window:
    """Return the window that a layer's contrast limits stand for."""
    if layer.rgb:
        return Window(0.0, 255.0)
    lower, upper = (float(v) for v in layer.contrast_limits)
    return Window(lower, upper)


def voxel_to_world(layer: Layer) -> NDArray[np.float64]:
    """Return the homogeneous matrix from a layer's voxel indices to the world.

    Made by asking the layer, so that scale, rotation, shear and affine count
    as napari itself applies them.
    """
    n = layer.ndim
    matrix = np.eye(n + 1)
    origin = np.asarray(layer.data_to_world(np.zeros(n)))
    matrix[:n, n] = origin
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit)) - origin
    return matrix


def as_stack(layer: Image | Labels) -> NDArray:
    """Return layer data as (Z, Y, X) or (Z, Y, X, 3), never to be changed.

    Raises
    ------
    InvalidVolume
        If they are no plain numbers.
    """
    array = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise InvalidVolume(
            f"Layer '{layer.name}' holds {array.dtype}, not plain numbers."
        )
    if getattr(layer, "rgb", False):
        array = array[..., :3]
    if layer.ndim == 2:
        array = array[np.newaxis]
    # Cleaning works in place where it may; these voxels are the user's.
    array = array.view()
    array.setflags(write=False)
    return array


def layer_affine(layer: Layer, scan: Layer | None = None) -> NDArray[np.float64]:
    """Return the affine, voxel (x, y, z) to RAS mm, of a layer as it is seen.

    Parameters
    ----------
    layer : Layer
        With 2 or 3 axes.
    scan : Layer, optional
        With a volume, and as many axes. It says where in the patient the viewer's
        places are. Default: the world is display mm, see
        :func:`~napari_qmedsam.volumes.grid.display_affine`.
    """
    world = _world_3d(layer)
    if scan is None:
        lps = np.eye(4)
        lps[:3, :3] = world[2::-1, 2::-1]
        lps[:3, 3] = world[2::-1, 3]
        return LPS_FROM_RAS @ lps
    in_scan = np.linalg.solve(_world_3d(scan), world)  # (z, y, x, 1) to (z, y, x, 1)
    turned = [2, 1, 0, 3]
    return scan.metadata[VOLUME].affine @ in_scan[np.ix_(turned, turned)]


# Helpers ------------------------------------------------------------------


def _world_3d(layer: Layer) -> NDArray[np.float64]:
    world = voxel_to_world(layer)
    if layer.ndim == 2:
        flat, world = world, np.eye(4)
        world[1:, 1:] = flat
    return world
