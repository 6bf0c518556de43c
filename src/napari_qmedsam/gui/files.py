"""napari's reader and writer, over the readers and writers of the core."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
from napari.layers import Labels
from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray

from napari_qmedsam.errors import AmbiguousSeries, GridMismatch, UnreadableVolume
from napari_qmedsam.gui.shared.colours import with_hidden
from napari_qmedsam.gui.shared.layer_placement import file_volume, lie_alike, scan_under
from napari_qmedsam.gui.shared.layers import (
    VOLUME,
    LayerData,
    image_layer_data,
    labels_layer_data,
    volume_of,
)
from napari_qmedsam.volumes.dicom.reading import DICOM
from napari_qmedsam.volumes.dicom.series import list_series
from napari_qmedsam.volumes.labels import read_labels
from napari_qmedsam.volumes.npz import NPZ, npz_shapes
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.registry import format_of, opens
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_labels

log = logging.getLogger(__name__)

LABELS_NAME = re.compile(
    r"(^|[_. -])(labels?|seg|segmentations?|masks?|gts?)([_. -]|\d|$)", re.IGNORECASE
)
"""In the names of files that hold labels, such as ``ct_labels.nii.gz``."""

LayerReader = Callable[[str | Sequence[str]], list[LayerData]]


def get_reader(path: str | Sequence[str]) -> LayerReader | None:
    """Return a reader if the core opens this, else None.

    So other plugins get what is theirs: folders without DICOM, ``.npz`` files
    without an image.
    """
    first = Path(path if isinstance(path, str) else path[0])
    return read_layers if opens(first) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read image layers; of several files at once, one volume each.

    Slices of one DICOM series are one volume, whichever of them are named.

    Raises
    ------
    UnreadableVolume
        If a file cannot be read.
    """
    paths = [path] if isinstance(path, str) else list(path)
    layers: list[LayerData] = []
    seen: set[Path] = set()
    for file in map(Path, paths):
        if file in seen:
            continue
        kind = format_of(file)
        if kind is DICOM and len(paths) > 1:
            seen.update(_same_series(file))
        if kind.holds_labels(file):
            layers.append(_read_labels(file))
        elif kind is NPZ:
            layers += _case_layers(file)
        else:
            layers.append(_layer_of(file))
    return layers


def write_labels_layer(path: str, data: NDArray, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer where it lies in the patient.

    On the grid of the image it belongs to. A layer that says of none has its own grid,
    which lies in the patient as it lies on the scan below it in the viewer; only where
    there is no scan does the viewer's world count as the patient.

    Raises
    ------
    InvalidVolume
        If it lies on scans that do not agree where that is.
    UnwritableLabels
        If the file cannot be written.
    """
    known = ("scale", "translate", "rotate", "shear", "affine", "name", "metadata")
    layer = Labels(data, **{key: meta[key] for key in known if key in meta})
    volume = file_volume(layer)
    if volume is None:
        layer.metadata = {}
        viewer = napari.current_viewer()
        scan = scan_under(layer, viewer.layers) if viewer is not None else None
        if scan is not None and lie_alike(layer, scan):
            volume = scan.metadata[VOLUME]
        else:
            volume = volume_of(layer, scan)
    stack = data.reshape(volume.shape)
    return [str(write_labels(stack, volume, path))]


# Helpers ------------------------------------------------------------------


def _shown(volume: Volume, path: Path) -> LayerData:
    for notice in volume.notices:
        show_info(f"{path.name}: {notice}")
    return image_layer_data(volume, path.name)


def _layer_of(path: Path) -> LayerData:
    """Return a labels layer for a file of labels, an image layer for any other.

    Labels are told by the names of segments in the file, or by the file's name where
    it holds nothing but whole numbers from 0. DICOM says itself what it holds.
    """
    is_named = format_of(path) is not DICOM and LABELS_NAME.search(path.name)
    volume = None if is_named else _read_one(path)
    if volume is None or volume.segments:
        try:
            return _read_labels(path)
        except UnreadableVolume as error:
            log.info("Opened as an image: %s", error)
    return _shown(_read_one(path) if volume is None else volume, path)


def _case_layers(path: Path) -> list[LayerData]:
    """Return the image of a challenge file, and its labels where they fit it."""
    volume = read_volume(path)
    layers = [_shown(volume, path)]
    if npz_shapes(path)[1] is not None:
        try:
            labels = read_labels(path, volume)
            layers.append(labels_layer_data(labels.array, volume, f"{path.name} gts"))
        except (GridMismatch, UnreadableVolume) as error:
            show_warning(str(error))
    return layers


def _read_labels(path: Path) -> LayerData:
    """Return a layer with the names and colours that the file gives its labels."""
    labels = read_labels(path)
    for notice in labels.notices:
        show_info(f"{path.name}: {notice}")
    data, arguments, kind = labels_layer_data(labels.array, labels, path.name)
    own = {s.number: s.colour for s in labels.segments if s.colour is not None}
    if own:
        arguments["colormap"] = with_hidden((), int(labels.array.max()), own)
    if labels.segments:
        # napari shows the name of the label under the mouse.
        arguments["features"] = {
            "index": [0, *(s.number for s in labels.segments)],
            "name": ["background", *(s.name for s in labels.segments)],
        }
    return data, arguments, kind


def _read_one(path: Path) -> Volume:
    try:
        return read_volume(path)
    except AmbiguousSeries:
        uid = _ask_for_series(path)
        if uid is None:
            raise
        return read_volume(path, series=uid)


def _same_series(file: Path) -> set[Path]:
    """Return the files of the DICOM series that a file belongs to."""
    for series in list_series(file):
        files = {Path(name) for name in series.files}
        if file in files:
            return files
    return set()


def _ask_for_series(path: Path) -> str | None:
    """Let the user choose a series where there is a window, else None."""
    from qtpy.QtWidgets import QApplication, QInputDialog

    if QApplication.instance() is None or QApplication.activeWindow() is None:
        return None
    entries = {
        f"{number}. {s.description or 'no description'}, {s.count} slices": s.uid
        for number, s in enumerate(list_series(path), 1)
    }
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Choose a series",
        f"'{path.name}' holds several DICOM series:",
        list(entries),
        0,
        False,
    )
    return entries[chosen] if accepted else None
