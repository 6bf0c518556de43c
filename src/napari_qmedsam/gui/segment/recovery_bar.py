"""The offer of what an earlier session left unsaved."""

import time

from qtpy.QtWidgets import QFrame, QHBoxLayout, QMessageBox, QPushButton, QWidget

from napari_qmedsam.gui.segment.autosaver import Autosaver
from napari_qmedsam.gui.segment.workspace import Workspace
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
        recovery = None if workspace is None else workspace.recovery
        if workspace is None or recovery is None:
            return
        if is_taken and has_work(workspace) and not self._may_replace(workspace):
            return
        with errors_shown(self._say):
            if is_taken:
                workspace.show_labels()
                with workspace.edit(paints=True) as session:
                    session.restore(recovery.objects, recovery.labels)
                # Its file goes when the next one is whole, and not before.
                workspace.autosave.take_over(recovery)
            else:
                recovery.discard()
            workspace.recovery = None
        self.offer()

    def _may_replace(self, workspace: Workspace) -> bool:
        count = len(workspace.session.objects)
        here = "1 object" if count == 1 else f"{count} objects"
        answer = QMessageBox.question(
            self,
            "Restore unsaved work?",
            f"There is new work on '{workspace.image.name}': {here}. Put the unsaved "
            "work in its place? Undo brings it back.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )
        return answer == QMessageBox.StandardButton.Yes


def has_work(workspace: Workspace) -> bool:
    """Tell whether there is anything that restoring would replace."""
    session = workspace.session
    return bool(session.objects) or bool(session.labels.any())
