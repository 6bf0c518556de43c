"""The offer of what an earlier session left unsaved."""

import time

from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from napari_qmedsam.gui.segment.autosaver import Autosaver
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.forms import status_line
from napari_qmedsam.gui.shared.notices import Say, errors_shown


class RecoveryBar(QFrame):
    """Offers what there is for the workspace in hand; hidden while there is nothing.

    Parameters
    ----------
    workspaces : Workspaces
    autosaver : Autosaver
    say : callable
        Called with what is wrong with what was left.
    parent : QWidget
    """

    def __init__(
        self, workspaces: Workspaces, autosaver: Autosaver, say: Say, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._workspaces, self._say = workspaces, say
        self.text = status_line(
            self, "Boxes and labels that were kept when they were not saved."
        )
        self.take = QPushButton("Restore", self)
        self.take.setToolTip("Put these boxes and labels in place of what is here.")
        self.drop = QPushButton("Discard", self)
        self.drop.setToolTip("Delete them.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.take)
        layout.addWidget(self.drop)
        self.take.clicked.connect(lambda: self._answer(is_taken=True))
        self.drop.clicked.connect(lambda: self._answer(is_taken=False))
        self.hide()
        workspaces.turned.connect(self.offer)
        autosaver.found.connect(self.offer)

    def offer(self) -> None:
        """Offer what there is, if there is anything."""
        workspace = self._workspaces.current
        recovery = None if workspace is None else workspace.recovery
        if recovery is not None:
            when = time.strftime("%d %b %H:%M", time.localtime(recovery.saved))
            count = len(recovery.objects)
            objects = "1 object" if count == 1 else f"{count} objects"
            self.text.setText(f"Unsaved work of {when}: {objects}.")
        self.setVisible(recovery is not None)

    def _answer(self, is_taken: bool) -> None:
        workspace = self._workspaces.current
        if workspace is None or workspace.recovery is None:
            return
        recovery, workspace.recovery = workspace.recovery, None
        self.offer()
        if is_taken:
            with errors_shown(self._say):
                workspace.show_labels()
                with workspace.edit(paints=True) as session:
                    session.restore(recovery.objects, recovery.labels)
        recovery.discard()
