"""What the three panels are: controls, work in a thread, choices that are kept."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from qtpy.QtWidgets import QAbstractButton, QVBoxLayout, QWidget

from napari_qmedsam.gui.shared.closing import ClosingWatch
from napari_qmedsam.gui.shared.docking import TabsWhereLow
from napari_qmedsam.gui.shared.forms import Controls, Scrolled
from napari_qmedsam.gui.shared.panel_choices import Choices, recall, remember, take
from napari_qmedsam.gui.shared.viewer_state import state_of
from napari_qmedsam.gui.shared.work import Work

if TYPE_CHECKING:
    import napari

ControlsType = TypeVar("ControlsType", bound=Controls)
ChoicesType = TypeVar("ChoicesType", bound=Choices)


class Panel(QWidget, Generic[ControlsType, ChoicesType]):
    """A dock of napari's that does one thing at a time.

    A subclass calls :meth:`start` last of all in its making.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    controls : callable
        Makes the panel's controls, given their parent.
    choices : type
        What is remembered from one start to the next.
    """

    MARGIN: ClassVar[int] = 6
    """Pixels around the controls; the style's are too many in a small window."""

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        controls: Callable[[QWidget], ControlsType],
        choices: type[ChoicesType],
    ) -> None:
        super().__init__()
        self.viewer, self.state = viewer, state_of(viewer)
        self.work = Work(self)
        self.worker = self.work.worker
        self.say = self.work.said.emit
        self.choices = recall(choices)
        self.controls = controls(self)
        self._watch = ClosingWatch(self, self._close_work)
        TabsWhereLow(self, self.controls)
        self.work.said.connect(self.controls.status.setText)
        self.work.progressed.connect(self.controls.progress.show_steps)
        self.work.changed.connect(self.enable)
        self.work.changed.connect(self._watch.watch_window)

    def start(self) -> None:
        """Lay the controls out and show what is so far."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(4 * [self.MARGIN]))
        layout.addWidget(Scrolled(self.controls))
        if self.controls.footer is not None:
            layout.addWidget(self.controls.footer)
        self.controls.progress.show_steps(0, 1)
        self.enable()

    @abstractmethod
    def enabled(self) -> Iterable[tuple[QWidget, bool]]:
        """Return each control that is not always of use, and whether it is now."""

    @abstractmethod
    def close_layers(self) -> Iterable[Thread]:
        """Let go of viewer and layers; return threads of the panel's own."""

    def enable(self) -> None:
        """Let only those controls be used that make sense now."""
        for control, makes_sense in self.enabled():
            control.setEnabled(bool(makes_sense))

    def cancel(self) -> None:
        """Stop now."""
        self.work.cancel("Stopping…")

    def remember(self) -> None:
        """Keep what was chosen for the next start."""
        take(self.choices, self.controls)
        remember(self.choices)

    def close_down(self) -> None:
        """Stop the work, within a second, and let go of viewer and layers."""
        self._watch.close()

    def _close_work(self) -> Iterable[Thread]:
        self.remember()
        return [*self.worker.close(), *self.close_layers()]


def connect_buttons(actions: Iterable[tuple[QAbstractButton, Callable]]) -> None:
    """Let buttons do things; the bool that their signal carries is nobody's."""
    for button, action in actions:
        button.clicked.connect(partial(_call, action))


def _call(action: Callable[[], None], *_: object) -> None:
    action()
