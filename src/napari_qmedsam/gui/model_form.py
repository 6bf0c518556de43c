"""Choosing a model and a runtime."""

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget

from napari_qmedsam.models.catalogue import CATALOGUE
from napari_qmedsam.models.checkpoints import embedded_weights
from napari_qmedsam.models.download import fetch
from napari_qmedsam.runtime import Backend, load_backend
from napari_qmedsam.runtime.protocol import BackendName

from .workers import Report, ShouldStop
