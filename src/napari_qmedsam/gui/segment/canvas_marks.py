"""What the canvas says of the picture: sides of the patient, scale, names of axes."""

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.canvas import camera_of, native_canvas_of, scale_bar_of
from napari_qmedsam.gui.shared.rectangles import upper_left
from napari_qmedsam.volumes.registry import tells_sides
from napari_qmedsam.volumes.reslicing import axis_order, view_name

LETTERS = ("RL", "AP", "SI")
"""Of each axis of RAS: the side that its numbers rise to, and the other one."""

OBLIQUE = 0.414
"""A second letter is told from 22.5 degrees on, the tangent of which this is."""

MARGIN = 6
"""Pixels between a letter and the canvas's edge."""

LEFT, TOP, RIGHT, BOTTOM = range(4)


def side_letters(direction: NDArray[np.floating]) -> str:
    """Return which side of the patient a direction points to.

    Parameters
    ----------
    direction : ndarray, (3,)
        In RAS, of any length but 0.

    Returns
    -------
    str
        One letter, or two where it is oblique, the nearer side first: ``"AR"``.
    """
    largest = np.abs(direction).max()
    order = np.argsort(-np.abs(direction), kind="stable")[:2]
    told = [i for i in order if abs(direction[i]) >= OBLIQUE * largest]
    return "".join(LETTERS[i][int(direction[i] < 0)] for i in told)


class CanvasMarks(QObject):
    """Letters on the canvas's edges, its scale bar, and the names of its sliders."""

    def __init__(self, workspaces: Workspaces) -> None:
        super().__init__(workspaces)
        self.viewer, self._workspaces = workspaces.viewer, workspaces
        self.letters: list[QLabel] = []
        """Left, top, right and bottom; none without a window."""
        self._canvas: QWidget | None = native_canvas_of(self.viewer)
        self._had_bar = scale_bar_of(self.viewer).visible
        if self._canvas is not None:
            self.letters = [self._letter(self._canvas) for _ in range(4)]
            self._canvas.installEventFilter(self)
        for event in self._events():
            event.connect(self.show)
        workspaces.turned.connect(self._turn)

    def close(self) -> None:
        """Take the letters off; the viewer may outlive the panel."""
        for event in self._events():
            event.disconnect(self.show)
        self._workspaces.turned.disconnect(self._turn)
        scale_bar_of(self.viewer).visible = self._had_bar
        if self._canvas is not None:
            self._canvas.removeEventFilter(self)
        for letter in self.letters:
            letter.deleteLater()
        self.letters = []

    def show(self) -> None:
        """Show the letters of what is in view."""
        workspace = self._workspaces.current
        texts = ("",) * 4 if workspace is None else self._texts(workspace)
        for letter, text in zip(self.letters, texts, strict=False):
            letter.setText(text)
            letter.adjustSize()
            letter.setVisible(bool(text))
        if workspace is not None and not workspace.view.is_3d:
            workspace.box_layer.name_at(upper_left(*workspace.view.is_mirrored))
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the letters at the edges; hold up no event."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    # Helpers --------------------------------------------------------------

    def _turn(self) -> None:
        workspace = self._workspaces.current
        if workspace is not None:
            scale_bar_of(self.viewer).visible = True
            self._name_sliders(workspace)
        self.show()

    def _name_sliders(self, workspace: Workspace) -> None:
        dims, volume = self.viewer.dims, workspace.session.volume
        if workspace.image.ndim == 3:
            names = tuple(view_name(volume, axis) for axis in range(3))
            dims.axis_labels = (*dims.axis_labels[: dims.ndim - 3], *names)

    def _texts(self, workspace: Workspace) -> tuple[str, str, str, str]:
        """Return what lies left, at the top, right and at the bottom."""
        volume, image = workspace.session.volume, workspace.image
        if image.ndim != 3 or workspace.view.is_3d or not tells_sides(volume):
            return "", "", "", ""
        _, rows, columns = axis_order(workspace.view.axis)
        down = self._direction(workspace, rows)
        right = self._direction(workspace, columns)
        orientation = getattr(
            camera_of(self.viewer), "orientation2d", ("down", "right")
        )
        down = -down if str(orientation[0]) == "up" else down
        right = -right if str(orientation[1]) == "left" else right
        return (
            side_letters(-right),
            side_letters(-down),
            side_letters(right),
            side_letters(down),
        )

    def _direction(self, workspace: Workspace, axis: int) -> NDArray[np.floating]:
        """Return where the world's numbers rise to along an axis, in RAS."""
        ends = np.zeros((2, 3))
        ends[1, axis] = 1
        start, end = (workspace.image.data_to_world(place)[axis] for place in ends)
        # Columns of the affine are x, y, z: the array axes backwards.
        along = workspace.session.volume.affine[:3, 2 - axis]
        return along if end > start else -along

    def _events(self) -> tuple:
        dims, camera = self.viewer.dims.events, camera_of(self.viewer).events
        turned = getattr(camera, "orientation", None)
        return tuple(filter(None, (dims.order, dims.ndisplay, turned)))

    def _letter(self, canvas: QWidget) -> QLabel:
        letter = QLabel(canvas)
        # White on a dark rim can be read on air and on bone, in both themes.
        letter.setStyleSheet(
            "color: white; background: rgba(0, 0, 0, 110); border-radius: 3px;"
            "padding: 0px 4px; font-size: 14px; font-weight: bold;"
        )
        letter.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        letter.hide()
        return letter

    def _place(self) -> None:
        if self._canvas is None or not self.letters:
            return
        width, height = self._canvas.width(), self._canvas.height()
        for side, letter in enumerate(self.letters):
            x, y = (width - letter.width()) // 2, (height - letter.height()) // 2
            if side in (LEFT, RIGHT):
                x = MARGIN if side == LEFT else width - letter.width() - MARGIN
            else:
                y = MARGIN if side == TOP else height - letter.height() - MARGIN
            letter.move(x, y)
