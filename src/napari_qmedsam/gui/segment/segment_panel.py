"""The panel "Segment": boxes in, masks out.

It passes on what the user does to the session of the chosen image layer and
shows what comes back.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_qmedsam.checkpoints.card import is_trained_on_boxes_alone
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.actions import RefinementTool
from napari_qmedsam.gui.segment.autosaver import Autosaver
from napari_qmedsam.gui.segment.background_encoding import BackgroundEncoding
from napari_qmedsam.gui.segment.canvas_marks import CanvasMarks
from napari_qmedsam.gui.segment.case_steps import CaseSteps
from napari_qmedsam.gui.segment.keys import HelpDialog, KeyBindings
from napari_qmedsam.gui.segment.labels_export import ask_where_to_save, save_labels
from napari_qmedsam.gui.segment.object_edits import ObjectEdits
from napari_qmedsam.gui.segment.object_menu import ObjectMenu
from napari_qmedsam.gui.segment.object_shapes import ObjectShapes
from napari_qmedsam.gui.segment.object_table import SliderSpan
from napari_qmedsam.gui.segment.planes import Planes
from napari_qmedsam.gui.segment.recovery_bar import RecoveryBar
from napari_qmedsam.gui.segment.refinement_layers import TOOLS
from napari_qmedsam.gui.segment.runner import Request, Runner
from napari_qmedsam.gui.segment.segment_again import SegmentAgain
from napari_qmedsam.gui.segment.segment_controls import SegmentChoices, SegmentControls
from napari_qmedsam.gui.segment.slice_display import SliceDisplay
from napari_qmedsam.gui.segment.voxel_counter import VoxelCounter
from napari_qmedsam.gui.segment.window_drag import WindowDrag
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.icons import theme_ink
from napari_qmedsam.gui.shared.loading import LoadModel, load_choice
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.panel import Panel, connect_buttons
from napari_qmedsam.gui.shared.panel_choices import preference, restore
from napari_qmedsam.segmentation.embedding_archive import DEFAULT_GB
from napari_qmedsam.segmentation.propagation import Direction
from napari_qmedsam.segmentation.segmenter import SliceSegmenter

if TYPE_CHECKING:
    import napari

MINIMUM_WIDTH = 332
"""Pixels at which nothing of the panel is cut off: a third of a small screen."""


class SegmentPanel(Panel[SegmentControls, SegmentChoices]):
    """Segment boxes of an image layer with a MedSAM-family model.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    load : callable
        How a chosen model is loaded; exchanged by tests.
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", load: LoadModel = load_choice
    ) -> None:
        super().__init__(viewer, SegmentControls, SegmentChoices)
        controls = self.controls
        self._restore()
        self.runner = Runner(
            load,
            self.work,
            controls.options,
            preference("embeddings_gb", DEFAULT_GB),
        )
        self.workspaces = Workspaces(viewer, controls.image, self.say, self)
        self.edits = ObjectEdits(
            controls.table, self.chosen, self.say, self.show_objects
        )
        self.cases = CaseSteps(viewer, self.workspaces, self.work, self._case_kept)
        shapes = ObjectShapes(self.chosen, self.edits, self.runner.segment, self.say)
        go = self.cases.go
        self.menu = ObjectMenu(viewer, self.chosen, self.work, self, go, shapes)
        self.controls.more.setMenu(self.menu)
        self.keys = KeyBindings(self.workspaces, self._actions())
        self.display = SliceDisplay(
            self.workspaces, controls, preference("preview", True)
        )
        self.marks = CanvasMarks(self.workspaces)
        self.window_drag = WindowDrag(self.workspaces)
        self.planes = Planes(self.workspaces)
        self.again = SegmentAgain(
            self.workspaces,
            controls.window_form.segment_again.isChecked,
            self.runner,
            self.say,
        )
        self.counter = VoxelCounter(self.workspaces)
        self.autosaver = Autosaver(
            self.workspaces, lambda: self.work.is_busy, preference("autosave", True)
        )
        self.encoding = BackgroundEncoding(
            self.workspaces,
            self.work,
            self._loaded_segmenter,
            preference("encode_ahead", True),
        )
        self.recovery = RecoveryBar(self.workspaces, self.autosaver, self.say, self)
        controls.put_above_objects(self.recovery)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.start()
        self._connect()
        self.workspaces.images.start()
        self.show_theme()
        self.show_model()

    @property
    def workspace(self) -> Workspace | None:
        """What belongs to the chosen image layer; None if there is none."""
        return self.workspaces.current

    def chosen(self) -> Workspace:
        """Return the workspace.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        if self.workspace is None:
            raise InvalidSettings(
                "There is no image to segment. Open one, or File > Open Sample > "
                "QMedSAM."
            )
        return self.workspace

    # What the buttons and keys do -----------------------------------------

    def draw_boxes(self) -> None:
        """Turn the rectangle tool of the box layer on."""
        with errors_shown(self.say):
            self.chosen().draw_boxes()
        self.enable()

    def refine(self, tool: RefinementTool) -> None:
        """Turn a tool on that refines the boxes of the selected object."""
        with errors_shown(self.say):
            self.chosen().refine(self.edits.target(), tool)
            model = self.controls.models.choice().model
            if is_trained_on_boxes_alone(model):
                self.say(
                    f"'{Path(model).name}' was trained on boxes alone: points often "
                    "make its masks worse. Adjust the box, or use a key box or brush."
                )

    def segment_slice(self) -> None:
        """Segment the boxes on the slice in view."""
        self._segment(is_slice=True)

    def segment_range(self) -> None:
        """Segment the objects over all their slices."""
        self._segment(is_slice=False)

    def propagate(self, direction: Direction) -> None:
        """Take the masks of the slice in view to the next ones that way."""
        self._segment(is_slice=True, direction=direction)

    def cancel(self) -> None:
        """Stop now; what is done stays."""
        self.runner.cancel()

    def undo(self) -> None:
        """Take the last change of masks or boxes back."""
        if not self.work.is_busy:
            self.edits.undo()

    def redo(self) -> None:
        """Make the last undone change again."""
        if not self.work.is_busy:
            self.edits.redo()

    def load_model(self) -> None:
        """Load the chosen model now, with its download if it takes one."""
        if not self.work.is_busy:
            self.runner.models.start(self.controls.models.choice())

    def show_planes(self) -> None:
        """Show all planes and a 3D view, or the picture alone again."""
        with errors_shown(self.say):
            if self.planes.are_shown:
                self.planes.hide()
            else:
                self.planes.show()
        self._show_planes_shown()

    def save_labels(self, path: str | Path | None = None) -> None:
        """Write the labels on the grid of the image file; without path, ask."""
        with errors_shown(self.say):
            workspace = self.chosen()
            workspace.labels_layer.check()
            workspace.labels_layer.share()
            path = path or ask_where_to_save(self, workspace, self.choices.folder)
            if path and not self.work.is_busy:
                self.choices.folder = str(Path(path).parent)
                on_success = partial(self.autosaver.saved, workspace)
                save_labels(workspace, Path(path), self.work, on_success)

    def show_help(self) -> None:
        """List the keys and how the work goes."""
        HelpDialog(self).show()

    def _actions(self) -> dict[str, Callable[[], None]]:
        return {
            "draw_boxes": self.draw_boxes,
            "add_key_box": self.edits.add_key_box,
            **{tool.name: partial(self.refine, tool) for tool in TOOLS},
            "segment_slice": self.segment_slice,
            "segment_range": self.segment_range,
            "propagate_up": partial(self.propagate, Direction.UP),
            "propagate_down": partial(self.propagate, Direction.DOWN),
            "cancel": self.cancel,
            "undo": self.undo,
            "redo": self.redo,
            "save_labels": self.save_labels,
            "show_help": self.show_help,
        }

    def _segment(self, is_slice: bool, direction: Direction | None = None) -> None:
        with errors_shown(self.say):
            workspace = self.chosen()
            ids = self.controls.table.selected_ids() or workspace.session.objects
            axis, slice_index = workspace.view.place
            if is_slice:
                axis, slice_index = workspace.view.here()
            if direction is not None and workspace.view.is_flipped(axis):
                # Up is where the slider goes, whichever way the array runs.
                direction = Direction(-direction.value)
            self.runner.segment(
                Request(
                    workspace,
                    tuple(ids),
                    slice_index if is_slice else None,
                    axis,
                    direction,
                )
            )

    def _case_kept(self, workspace: Workspace) -> None:
        self.autosaver.saved(workspace)

    def _window_changed(self) -> None:
        self.encoding.start()
        self.again.window_changed()

    def _loaded_segmenter(self) -> SliceSegmenter | None:
        """Return the chosen model; None while it has not been loaded."""
        models = self.runner.models
        is_loaded = models.has_loaded(self.controls.models.choice())
        return models.segmenter if is_loaded else None

    # What is shown --------------------------------------------------------

    def show_objects(self) -> None:
        """Show the objects of the workspace, and what may be done with them."""
        table, workspace = self.controls.table, self.workspace
        if workspace is None:
            table.show_objects([], [], [])
        else:
            objects = list(workspace.session.objects.values())
            colours = [workspace.colour_of(o.object_id) for o in objects]
            spans = [SliderSpan.of(o, workspace.view) for o in objects]
            table.show_objects(objects, colours, spans, workspace.selected)
        self._show_measures(workspace)
        self.enable()
        self._look_after()

    def show_model(self) -> None:
        """Say what really runs, or that the chosen model is still to be loaded."""
        choice, models = self.controls.models.choice(), self.runner.models
        self.controls.runs.setText(models.describe(choice))
        self.display.config = models.config(choice)
        self.display.show_slice()

    def _show_planes_shown(self) -> None:
        self.controls.planes.setChecked(self.planes.are_shown)

    def show_theme(self) -> None:
        """Draw the icons so that they can be seen in napari's theme."""
        self.controls.set_ink(theme_ink(self.viewer.theme))

    def enabled(self) -> Iterable[tuple[QWidget, bool]]:
        """Return each control that is not always of use, and whether it is now."""
        controls, workspace = self.controls, self.workspace
        is_free, has_objects = not self.work.is_busy, False
        is_3d = has_window = can_undo = can_redo = has_labels = False
        if workspace is not None:
            has_objects = bool(workspace.session.objects)
            is_3d = workspace.image.ndim == 3
            has_window = not workspace.image.rgb
            history = workspace.session.history
            can_undo, can_redo = history.can_undo, history.can_redo
            has_labels = workspace.labels_layer.layer is not None
        yield from [
            (controls.image, is_free),
            (controls.models, is_free),
            (controls.view, is_3d),
            (controls.planes, self.planes.is_possible(workspace)),
            (controls.window_form, has_window),
            (controls.draw, workspace is not None),
            *((control, has_objects) for control in controls.of_objects),
            *((control, is_free and has_objects) for control in controls.of_masks),
            (controls.more, is_free and workspace is not None),
            (controls.cancel, not is_free),
            (controls.undo, is_free and can_undo),
            (controls.redo, is_free and can_redo),
            (controls.save, is_free and has_labels),
        ]

    def _show_measures(self, workspace: Workspace | None) -> None:
        if workspace is not None and workspace is self.workspace:
            table = self.controls.table
            table.show_measures(workspace.tally.measure)
            table.show_doubts(workspace.doubt_texts())

    # What happens ---------------------------------------------------------

    def _select(self, object_ids: tuple[int, ...]) -> None:
        if self.workspace is not None:
            self.workspace.select(object_ids)

    def _show_selection(self) -> None:
        if self.workspace is not None:
            self.controls.table.select_ids(self.workspace.selected)

    def _workspace_made(self, workspace: Workspace) -> None:
        workspace.changed.connect(self.show_objects)
        workspace.selection_changed.connect(self._show_selection)
        workspace.edited.connect(self.runner.segment_edited)

    def _look_after(self) -> None:
        """Count and keep what may have changed."""
        self.counter.start()
        self.autosaver.start()

    def _connect(self) -> None:
        controls, actions = self.controls, self._actions()
        connect_buttons((controls.buttons[name], do) for name, do in actions.items())
        connect_buttons(
            [
                (controls.from_here, self.edits.start_here),
                (controls.to_here, self.edits.end_here),
                (controls.remove, self.edits.remove),
                (controls.models.load, self.load_model),
                (controls.planes, self.show_planes),
            ]
        )
        controls.models.changed.connect(self.remember)
        controls.models.changed.connect(self.show_model)
        controls.automatic.toggled.connect(lambda _: self.remember())
        controls.protect.toggled.connect(lambda _: self.remember())
        controls.follow.activated.connect(lambda _: self.remember())
        self.planes.changed.connect(self._show_planes_shown)
        controls.window_form.refused.connect(controls.status.setText)
        self.display.on_window = self._window_changed
        self.work.changed.connect(self.show_model)
        self.work.changed.connect(self._look_after)
        self.workspaces.made.connect(self._workspace_made)
        self.workspaces.turned.connect(self.show_objects)
        self.workspaces.losing.connect(self.cancel)
        self.counter.counted.connect(self._show_measures)
        controls.table.selection_changed.connect(self._select)
        self.viewer.events.theme.connect(self.show_theme)
        # Another layer may move where the slider begins to count.
        self.viewer.dims.events.range.connect(self.show_objects)

    # Between starts -------------------------------------------------------

    def _restore(self) -> None:
        known, controls = self.choices, self.controls
        restore(known, controls)
        controls.models.folder = known.folder
        controls.models.choose_again(known.model, known.backend, known.precision)

    def remember(self) -> None:
        """Keep what was chosen for the next start."""
        known, models = self.choices, self.controls.models
        choice = models.choice()
        known.model, known.backend = models.chosen, choice.backend
        known.precision = choice.precision
        known.folder = models.folder or known.folder
        super().remember()

    def close_layers(self) -> Iterable[Thread]:
        """Let go of viewer and layers; return threads of the panel's own."""
        running = self.controls.preview.stop()
        running += self.autosaver.close()
        running += self.encoding.close()
        self.counter.stop()
        self.viewer.events.theme.disconnect(self.show_theme)
        self.viewer.dims.events.range.disconnect(self.show_objects)
        self.display.close()
        self.again.close()
        self.marks.close()
        self.window_drag.close()
        self.planes.close()
        self.keys.close()
        self.workspaces.close()
        return running
