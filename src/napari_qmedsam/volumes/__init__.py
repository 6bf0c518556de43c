"""Volumes: reading, writing, grids and windows.

Importing this loads numpy only. nibabel, SimpleITK and OpenCV are loaded by
the functions that need them.
"""

from napari_qmedsam.volumes.dicom.series import Series, list_series
from napari_qmedsam.volumes.grid import display_affine, same_grid
from napari_qmedsam.volumes.labels import labels_on_grid, read_labels
from napari_qmedsam.volumes.npz import NpzCase, read_npz_case
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.resampling import resample_like
from napari_qmedsam.volumes.volume import Modality, Source, Volume
from napari_qmedsam.volumes.windows import CT_PRESETS, Window, percentile_window
from napari_qmedsam.volumes.writing import write_labels, write_volume

__all__ = [
    "CT_PRESETS",
    "Modality",
    "NpzCase",
    "Series",
    "Source",
    "Volume",
    "Window",
    "display_affine",
    "labels_on_grid",
    "list_series",
    "percentile_window",
    "read_labels",
    "read_npz_case",
    "read_volume",
    "resample_like",
    "same_grid",
    "write_labels",
    "write_volume",
]
