"""A small picture of exactly what the model sees of the slice in view."""

from dataclasses import dataclass
from threading import Thread

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QWidget

from napari_qmedsam.gui.shared.worker import Report, Worker
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.volumes.reslicing import seen_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

SIDE = 96
"""Pixels of the picture on the screen."""

DELAY_MS = 60
"""A slider that moves asks for many pictures; only the last is made."""


@dataclass(frozen=True)
class ModelInput:
    """A slice as a model of this configuration is shown it."""

    volume: Volume
    axis: int
    slice_index: int
    window: Window
    config: ModelConfig

    def picture(self) -> NDArray[np.uint8]:
        """Return the model input as (S, S, 3) uint8, by the model's own steps."""
        seen = seen_along(self.volume, self.axis)
        geometry = SliceGeometry.of(self.config, *seen.shape[1:], seen.pixel_aspect)
        image = slice_image(seen.array, self.slice_index, self.window)
        shown = geometry.prepare(image).transpose(1, 2, 0)
        return np.ascontiguousarray(np.rint(255 * shown).astype(np.uint8))


class Preview(QLabel):
    """Shows the latest view that was asked for, made in a thread."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedSize(QSize(SIDE, SIDE))
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setToolTip(
            "What the model sees of this slice: the window applied, resized to the "
            "model's input, empty margin in black."
        )
        self.worker = Worker(self)
        self._wanted: ModelInput | None = None
        self._mirrored = False, False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._make)
        self.pixels: NDArray[np.uint8] | None = None
        """(S, S, 3), of the view that is shown."""

    def ask(
        self, view: ModelInput | None, mirrored: tuple[bool, bool] = (False, False)
    ) -> None:
        """Show another view soon; None shows nothing.

        Parameters
        ----------
        view : ModelInput or None
        mirrored : tuple of bool
            Whether the canvas shows rows and columns the other way round: then the
            picture does, too.
        """
        self._wanted, self._mirrored = view, mirrored
        self._timer.start()

    def stop(self) -> list[Thread]:
        """Make no more pictures; return the thread of one under way."""
        self._timer.stop()
        self._wanted = None
        return self.worker.close()

    def _make(self) -> None:
        if self.worker.is_busy:
            return  # comes back here at its end
        view, self._wanted = self._wanted, None
        if view is None:
            self.pixels = None
            self.clear()
            return

        def job(report: Report) -> None:
            report(view.picture())

        self.worker.start(job, self._show, self._ended)

    def _show(self, picture: NDArray[np.uint8]) -> None:
        self.pixels = picture
        height, width, _ = picture.shape
        rows, columns = (-1 if turned else 1 for turned in self._mirrored)
        data = picture[
            ::rows, ::columns
        ].tobytes()  # kept until the pixmap has its own copy
        image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
        self.setPixmap(
            QPixmap.fromImage(image).scaled(
                SIDE,
                SIDE,
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        )

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self.pixels = None
            self.setText("no preview")
        if self._wanted is not None:
            self._timer.start()
