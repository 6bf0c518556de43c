"""The panel "Segment": boxes in, masks out.

It passes on what the user does to the session of the chosen image layer and
shows what comes back.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.box_layer import Edit
from napari_qmedsam.gui.segment.housekeeping import Housekeeper, RecoveryBar
from napari_qmedsam.gui.segment.image_choice import ImageChoice
from napari_qmedsam.gui.segment.keys import ACTIONS, HelpDialog
from napari_qmedsam.gui.segment.object_edits import ObjectEdits
from napari_qmedsam.gui.segment.panel_view import PanelView
from napari_qmedsam.gui.segment.point_layer import target_of
from napari_qmedsam.gui.segment.runner import Request, Runner
from napari_qmedsam.gui.segment.segment_controls import SegmentChoices, SegmentControls
from napari_qmedsam.gui.segment.waiting import Waiting
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.closing import ClosingWatch
from napari_qmedsam.gui.shared.docking import TabsWhereLow
from napari_qmedsam.gui.shared.forms import Scrolled
from napari_qmedsam.gui.shared.loading import LoadModel, load_model
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.panel_choices import (
    preference,
    recall,
    remember,
    restore,
    take,
)
from napari_qmedsam.segmentation.autosave import Recovery
from napari_qmedsam.segmentation.propagation import Direction
from napari_qmedsam.volumes.registry import FORMATS
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    import napari

SAVE_FILTERS = ";;".join(
    f"{kind.title} ({' '.join(f'*{suffix}' for suffix in kind.written)})"
    for kind in FORMATS
    if kind.write_labels is not None
)

MINIMUM_WIDTH = 412
"""Pixels at which nothing of the panel is cut off."""


class SegmentPanel(QWidget):
    """Segment boxes of an image layer with a MedSAM-family model.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    load : callable
        How a chosen model is loaded; exchanged by tests.
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", load: LoadModel = load_model
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.runner = Runner(load, self)
        self.say = self.runner.work.said.emit
        self.controls = SegmentControls(self)
        self.recovery = RecoveryBar(self)
        self.remembered = recall(SegmentChoices)
        self.waiting = Waiting(self.runner, self._request)
        self._watch = ClosingWatch(self, self._let_go)
        TabsWhereLow(self, self.controls)
        methods = {a.name: getattr(self, a.name) for a in ACTIONS}
        self.images = ImageChoice(viewer, self.controls.image, methods, self.say, self)
        self.housekeeper = Housekeeper(
            self.images.workspaces, lambda: self.runner.is_busy, self
        )
        self.housekeeper.is_autosaving = preference("autosave", True)
        self.view = PanelView(self)
        self.edits = ObjectEdits(
            self.controls.table, self._chosen, self.view.show_objects, self.say
        )
        self._arrange()
        self._restore()
        self._connect()
        self.controls.show_progress(0, 1)
        self.images.start()
        self.view.show_theme()
        self.view.show_model()

    @property
    def workspace(self) -> Workspace | None:
        """What belongs to the chosen image layer; None if there is none."""
        return self.images.workspace

    # What the buttons and keys do -----------------------------------------

    def draw_boxes(self) -> None:
        """Turn the rectangle tool of the box layer on."""
        with errors_shown(self.say):
            self._chosen().draw_boxes()
        self.view.enable()

    def add_key_box(self) -> None:
        """Put the selected object's box on the slice in view, to be adjusted."""
        with errors_shown(self.say):
            self._chosen().add_key_box(self._target())
        self.view.enable()

    def set_positive(self) -> None:
        """Turn the point tool on, for points inside the selected object."""
        self._set_points(True)

    def set_negative(self) -> None:
        """Turn the point tool on, for points outside the selected object."""
        self._set_points(False)

    def segment_slice(self) -> None:
        """Segment the boxes on the slice in view."""
        with errors_shown(self.say):
            self._segment(self._chosen().slice_index)

    def segment_range(self) -> None:
        """Segment the objects over all their slices."""
        with errors_shown(self.say):
            self._segment(None)

    def propagate_up(self) -> None:
        """Propagate the masks of the slice in view to higher slices."""
        with errors_shown(self.say):
            self._segment(self._chosen().slice_index, Direction.UP)

    def propagate_down(self) -> None:
        """Propagate the masks of the slice in view to lower slices."""
        with errors_shown(self.say):
            self._segment(self._chosen().slice_index, Direction.DOWN)

    def cancel(self) -> None:
        """Stop now; what is done stays."""
        self.waiting.clear()
        self.runner.cancel()

    def undo(self) -> None:
        """Take the last change of masks or boxes back."""
        self._travel(Workspace.undo)

    def redo(self) -> None:
        """Make the last undone change again."""
        self._travel(Workspace.redo)

    def load_model(self) -> None:
        """Load the chosen model now, with its download if it takes one."""
        if not self.runner.is_busy:
            self.runner.load_model(self.controls.models.choice())

    def save_labels(self, path: str | Path | None = None) -> None:
        """Write the labels on the grid of the image file; without path, ask."""
        with errors_shown(self.say):
            workspace = self._chosen()
            workspace.labels_layer.check()
            workspace.labels_layer.share()
            path = path or self._ask_where_to_save(workspace)
            if path and not self.runner.is_busy:
                self.remembered.folder = str(Path(path).parent)
                self.runner.save(workspace, path, partial(self._saved, workspace))

    def show_help(self) -> None:
        """List the keys and how the work goes."""
        HelpDialog(self).show()

    def choose_image(self, layer: "napari.layers.Image") -> None:
        """Work on another image layer; each keeps its own session."""
        self.images.choose(layer)

    def _segment(
        self, slice_index: int | None, direction: Direction | None = None
    ) -> None:
        workspace = self._chosen()
        ids = self.controls.table.selected_ids() or workspace.session.objects
        request = self._request(
            workspace, tuple(ids), slice_index, axis=workspace.axis, direction=direction
        )
        if self.runner.is_busy:
            self.waiting.postpone(request)  # by a key, while the buttons are off
            return
        self.runner.segment(request)

    def _request(
        self,
        workspace: Workspace,
        ids: tuple[int, ...],
        slice_index: int | None,
        **more,
    ) -> Request:
        controls = self.controls
        return Request(
            workspace,
            controls.models.choice(),
            ids,
            slice_index,
            controls.chosen_propagation(),
            controls.protect.isChecked(),
            **more,
        )

    def _set_points(self, is_positive: bool) -> None:
        with errors_shown(self.say):
            self._chosen().set_points(self._target(), is_positive)
            if str(self.controls.models.choice().model).startswith("demo"):
                self.say(
                    "The demo model was not trained with points and hardly heeds them."
                )

    def _travel(self, step: Callable[[Workspace], None]) -> None:
        with errors_shown(self.say):
            if not self.runner.is_busy:
                step(self._chosen())
        self.view.enable()
        self.housekeeper.stir()

    def _target(self) -> int:
        selected = self.controls.table.selected_ids()
        return target_of(self._chosen().session, selected)

    def _ask_where_to_save(self, workspace: Workspace) -> str:
        source = Path(workspace.session.volume.source.path or workspace.image.name)
        name = source.name.removesuffix(".gz")
        stem = Path(name).stem if source.suffix else name
        folder = source.parent
        if not workspace.session.volume.source.path and self.remembered.folder:
            folder = Path(self.remembered.folder)
        start = str(folder / f"{stem}_labels.nii.gz")
        path, _ = QFileDialog.getSaveFileName(self, "Save labels", start, SAVE_FILTERS)
        return path if not path or Path(path).suffix else f"{path}.nii.gz"

    def _saved(self, workspace: Workspace) -> None:
        workspace.mark_saved()
        self.housekeeper.saved(workspace)

    # Boxes that change ----------------------------------------------------

    def _boxes_edited(self, workspace: Workspace, edits: list[Edit]) -> None:
        """Segment the slices of boxes that changed, if that is wanted."""
        if not self.controls.automatic.isChecked():
            return
        if self.controls.models.needs_download():
            self.say(
                "Press Load to download the model; then slices are segmented as their "
                "boxes change."
            )
            return
        self.waiting.add(workspace, edits)

    # What the forms do ----------------------------------------------------

    def _window_chosen(self, window: Window) -> None:
        if self.workspace is not None:
            self.workspace.image.contrast_limits = (window.lower, window.upper)
            self.view.show_window()

    def _looked_along(self, index: int) -> None:
        if self.workspace is not None:
            self.workspace.look_along(index)

    def _chosen(self) -> Workspace:
        if self.workspace is None:
            raise InvalidSettings(
                "There is no image to segment. Open one, or File > Open Sample > "
                "QMedSAM."
            )
        return self.workspace

    # Between starts -------------------------------------------------------

    def _restore(self) -> None:
        known, controls = self.remembered, self.controls
        restore(known, controls)
        controls.models.folder = known.folder
        controls.models.choose_again(known.model, known.backend, known.precision)

    def _remember(self) -> None:
        known, controls = self.remembered, self.controls
        take(known, controls)
        choice = controls.models.choice()
        known.model, known.backend = choice.model, choice.backend
        known.precision = choice.precision
        known.folder = controls.models.folder or known.folder
        remember(known)

    def _recovery_found(self, workspace: Workspace, recovery: Recovery) -> None:
        workspace.recovery = recovery
        self._offer_recovery()

    def _offer_recovery(self) -> None:
        """Offer what there is for the image that is worked on, or nothing."""
        workspace = self.workspace
        self.recovery.offer(None if workspace is None else workspace.recovery)

    def _recovery_answered(self) -> None:
        if self.workspace is not None:
            self.workspace.recovery = None

    def _recover(self, recovery: Recovery) -> None:
        with errors_shown(self.say):
            self._chosen().recover(recovery)
        self.view.show_objects()

    # Closing --------------------------------------------------------------

    def close_down(self) -> None:
        """Stop the work, within a second, and let go of viewer and layers."""
        self._watch.close()

    def _let_go(self) -> list[Thread]:
        self._remember()
        running = self.runner.worker.close()
        running += self.controls.preview.let_go()
        running += self.housekeeper.let_go(list(self.images.workspaces()))
        self.view.disconnect_viewer()
        self.images.close_down()
        return running

    # Making ---------------------------------------------------------------

    def _arrange(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.recovery)
        layout.addWidget(Scrolled(self.controls))
        self.setMinimumWidth(MINIMUM_WIDTH)

    def _connect(self) -> None:
        controls, runner, images = self.controls, self.runner, self.images
        controls.window_form.window_chosen.connect(self._window_chosen)
        controls.view.activated.connect(self._looked_along)
        for button, action in (
            (controls.draw, self.draw_boxes),
            (controls.key_box, self.add_key_box),
            (controls.positive, self.set_positive),
            (controls.negative, self.set_negative),
            (controls.from_here, self.edits.start_here),
            (controls.to_here, self.edits.end_here),
            (controls.remove, self.edits.remove),
            (controls.up, self.propagate_up),
            (controls.down, self.propagate_down),
            (controls.on_slice, self.segment_slice),
            (controls.on_range, self.segment_range),
            (controls.cancel, self.cancel),
            (controls.undo, self.undo),
            (controls.redo, self.redo),
            (controls.save, self.save_labels),
            (controls.help, self.show_help),
            (controls.models.load, self.load_model),
        ):
            # clicked carries a bool that none of them wants.
            button.clicked.connect(partial(_call, action))
        controls.models.changed.connect(self._remember)
        controls.automatic.toggled.connect(lambda _: self._remember())
        controls.protect.toggled.connect(lambda _: self._remember())
        controls.propagation.activated.connect(lambda _: self._remember())
        images.edited.connect(self._boxes_edited)
        images.entered.connect(self.housekeeper.look_for_recovery)
        images.turned.connect(self._offer_recovery)
        images.lost.connect(self.housekeeper.keep)
        images.losing.connect(self.cancel)
        self.housekeeper.found.connect(self._recovery_found)
        self.recovery.accepted.connect(self._recover)
        self.recovery.answered.connect(self._recovery_answered)
        runner.work.changed.connect(self._watch.look)
        runner.work.changed.connect(self.waiting.go_on)
        self.view.connect()


def _call(action: Callable[[], None], *_: object) -> None:
    action()
