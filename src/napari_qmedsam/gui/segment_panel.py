"""The panel "Segment": boxes in, masks out.

It passes on what the user does to the session of the chosen image layer and
shows what comes back.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.colours import colour_of
from napari_qmedsam.gui.loading import LoadModel, load_model
from napari_qmedsam.gui.notices import errors_shown
from napari_qmedsam.gui.runner import Request, Runner
from napari_qmedsam.gui.segment_controls import SegmentControls
from napari_qmedsam.gui.window_form import presets_of
from napari_qmedsam.gui.workspace import Workspace
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    import napari

SAVE_FILTERS = (
    "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha);;MedSAM case (*.npz)"
)


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
        self.workspace: Workspace | None = None
        self.runner = Runner(load, self)
        self.controls = SegmentControls(self)
        self._workspaces: dict[Image, Workspace] = {}
        self._images: list[Image] = []
        self._is_closed = False
        self._watch = CloseWatch(self.close_down, self)
        layout = QVBoxLayout(self)
        layout.addWidget(self.controls)
        self._connect()
        self.controls.show_progress(0, 1)
        self.controls.status.setText(self.runner.describe())
        self._list_images()

    # What the buttons do --------------------------------------------------

    def draw_boxes(self) -> None:
        """Turn the rectangle tool of the box layer on."""
        with errors_shown():
            self._chosen().draw_boxes()
        self._enable()

    def segment_slice(self) -> None:
        """Segment the boxes on the slice in view."""
        with errors_shown():
            self._segment(self._chosen().slice_index)

    def segment_range(self) -> None:
        """Segment the objects over all their slices."""
        with errors_shown():
            self._segment(None)

    def undo(self) -> None:
        """Take the last segmentation back."""
        with errors_shown():
            self._chosen().undo()
        self._enable()

    def redo(self) -> None:
        """Make the last undone segmentation again."""
        with errors_shown():
            self._chosen().redo()
        self._enable()

    def save_labels(self, path: str | Path | None = None) -> None:
        """Write the labels on the grid of the image file; without path, ask."""
        with errors_shown():
            workspace = self._chosen()
            workspace.check_labels()
            workspace.share_labels()
            path = path or self._ask_where_to_save(workspace)
            if path:
                self.runner.save(workspace, path)

    def choose_image(self, layer: Image) -> None:
        """Work on another image layer; each keeps its own session."""
        index = self._images.index(layer)
        self.controls.image.setCurrentIndex(index)
        self._image_chosen(index)

    def _segment(self, slice_index: int | None) -> None:
        workspace = self._chosen()
        ids = self.controls.table.selected_ids() or workspace.session.objects
        self._watch_window()
        self.runner.segment(
            Request(
                workspace,
                self.controls.models.choice(),
                tuple(ids),
                slice_index,
                self.controls.chosen_propagation(),
                self.controls.protect.isChecked(),
            )
        )

    def _ask_where_to_save(self, workspace: Workspace) -> str:
        source = Path(workspace.session.volume.source.path or workspace.image.name)
        name = source.name.removesuffix(".gz")
        stem = Path(name).stem if source.suffix else name
        start = str(source.parent / f"{stem}_labels.nii.gz")
        path, _ = QFileDialog.getSaveFileName(self, "Save labels", start, SAVE_FILTERS)
        return path if not path or Path(path).suffix else f"{path}.nii.gz"

    # What the table and the forms do --------------------------------------

    def _window_chosen(self, window: Window) -> None:
        if self.workspace is not None:
            self.workspace.image.contrast_limits = (window.lower, window.upper)
            self._show_window()

    def _renamed(self, object_id: int, name: str) -> None:
        self._chosen().rename(object_id, name)
        self._show_objects()

    def _range_changed(self, object_id: int, z_min: int, z_max: int) -> None:
        with errors_shown():
            self._chosen().set_range(object_id, z_min, z_max)
        self._show_objects()

    def _start_here(self) -> None:
        with errors_shown():
            here = self._chosen().slice_index
            for object_id, box in self._selected_boxes():
                self._chosen().set_range(object_id, here, max(box.z_max, here + 1))
        self._show_objects()

    def _end_here(self) -> None:
        with errors_shown():
            here = self._chosen().slice_index
            for object_id, box in self._selected_boxes():
                self._chosen().set_range(object_id, min(box.z_min, here), here + 1)
        self._show_objects()

    def _selected_boxes(self) -> list[tuple[int, Any]]:
        objects = self._chosen().session.objects
        ids = self.controls.table.selected_ids() or list(objects)
        return [(object_id, objects[object_id].box) for object_id in ids]

    def _visited(self, object_id: int) -> None:
        box = self._chosen().session.objects[object_id].box
        self._chosen().go_to((box.z_min + box.z_max - 1) // 2)

    # What is shown --------------------------------------------------------

    def _show_objects(self) -> None:
        workspace, table = self.workspace, self.controls.table
        if workspace is None:
            table.show_objects([], [], 1)
        else:
            objects = list(workspace.session.objects.values())
            colours = [colour_of(o.object_id, workspace.labels) for o in objects]
            table.show_objects(objects, colours, workspace.session.volume.shape[0])
        self._enable()

    def _show_window(self) -> None:
        if self.workspace is not None:
            self.controls.window_form.show_window(self.workspace.window())

    def _enable(self) -> None:
        """Let only those controls be used that make sense now."""
        controls, workspace = self.controls, self.workspace
        is_free, is_chosen = not self.runner.is_busy, workspace is not None
        history = workspace.session.history if is_chosen else None
        for control, makes_sense in (
            (controls.image, is_free),
            (controls.models, is_free),
            (controls.window_form, is_chosen and not workspace.image.rgb),
            (controls.draw, is_chosen),
            (controls.from_here, is_chosen),
            (controls.to_here, is_chosen),
            (controls.on_slice, is_free and is_chosen),
            (controls.on_range, is_free and is_chosen),
            (controls.cancel, not is_free),
            (controls.undo, is_free and is_chosen and history.can_undo),
            (controls.redo, is_free and is_chosen and history.can_redo),
            (controls.save, is_free and is_chosen and workspace.labels is not None),
        ):
            control.setEnabled(makes_sense)

    # Layers ---------------------------------------------------------------

    def _chosen(self) -> Workspace:
        if self.workspace is None:
            raise InvalidSettings(
                "There is no image to segment. Open one, or File > Open Sample > "
                "QMedSAM."
            )
        return self.workspace

    def _list_images(self) -> None:
        """Offer the image layers there are, by their present names."""
        kept = None if self.workspace is None else self.workspace.image
        self._images = [x for x in self.viewer.layers if isinstance(x, Image)]
        combo = self.controls.image
        combo.clear()
        combo.addItems([layer.name for layer in self._images])
        if kept in self._images:
            combo.setCurrentIndex(self._images.index(kept))
        else:
            self._image_chosen(combo.currentIndex())

    def _image_chosen(self, index: int) -> None:
        self._leave_image()
        if 0 <= index < len(self._images):
            layer = self._images[index]
            with errors_shown():
                if layer not in self._workspaces:
                    self._workspaces[layer] = Workspace(
                        self.viewer, layer, self._show_objects
                    )
                self._enter_image(self._workspaces[layer])
        self._show_window()
        self._show_objects()

    def _enter_image(self, workspace: Workspace) -> None:
        self.workspace = workspace
        volume = workspace.session.volume
        decimals = 0 if volume.array.dtype.kind in "iu" else 3
        self.controls.window_form.offer(presets_of(volume), decimals)
        workspace.image.events.contrast_limits.connect(self._show_window)

    def _leave_image(self) -> None:
        if self.workspace is not None:
            events = self.workspace.image.events
            events.contrast_limits.disconnect(self._show_window)
            self.workspace = None

    def _layer_added(self, event: Any) -> None:
        event.value.events.name.connect(self._list_images)
        self._list_images()

    def _layer_removed(self, event: Any) -> None:
        layer = event.value
        layer.events.name.disconnect(self._list_images)
        if self.workspace is not None and layer in (
            self.workspace.image,
            self.workspace.labels,
        ):
            self.runner.cancel()
        workspace = self._workspaces.pop(layer, None)
        if workspace is not None:
            workspace.close()
        for other in self._workspaces.values():
            other.layer_removed(layer)
        self._list_images()

    # Closing --------------------------------------------------------------

    def close_down(self) -> None:
        """Stop the work, within a second, and let go of viewer and layers."""
        if self._is_closed:
            return
        self._is_closed = True
        self.runner.worker.close()
        layers = self.viewer.layers
        layers.events.inserted.disconnect(self._layer_added)
        layers.events.removed.disconnect(self._layer_removed)
        for layer in layers:
            layer.events.name.disconnect(self._list_images)
        self._leave_image()
        for workspace in self._workspaces.values():
            workspace.close()
        self._workspaces.clear()

    def closeEvent(self, event: QEvent) -> None:
        """Close down with the panel, where it is a window of its own."""
        self.close_down()
        super().closeEvent(event)

    def showEvent(self, event: QEvent) -> None:
        """Watch the window that the panel has come into."""
        self._watch_window()
        super().showEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Close down when napari takes the panel out of its dock."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.close_down()
        super().changeEvent(event)

    def _watch_window(self) -> None:
        # napari tells nobody that a window closes (its issue 8023). A filter
        # that is installed twice counts once.
        if self.window() is not self:
            self.window().installEventFilter(self._watch)

    def _connect(self) -> None:
        controls, runner = self.controls, self.runner
        controls.image.activated.connect(self._image_chosen)
        controls.window_form.window_chosen.connect(self._window_chosen)
        controls.table.renamed.connect(self._renamed)
        controls.table.range_changed.connect(self._range_changed)
        controls.table.visited.connect(self._visited)
        for button, action in (
            (controls.draw, self.draw_boxes),
            (controls.from_here, self._start_here),
            (controls.to_here, self._end_here),
            (controls.on_slice, self.segment_slice),
            (controls.on_range, self.segment_range),
            (controls.cancel, runner.cancel),
            (controls.undo, self.undo),
            (controls.redo, self.redo),
            (controls.save, self.save_labels),
        ):
            # clicked carries a bool that none of them wants.
            button.clicked.connect(partial(_call, action))
        runner.said.connect(controls.status.setText)
        runner.progressed.connect(controls.show_progress)
        runner.changed.connect(self._enable)
        self.viewer.layers.events.inserted.connect(self._layer_added)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        for layer in self.viewer.layers:
            layer.events.name.connect(self._list_images)


class CloseWatch(QObject):
    """Calls back when the window it is installed on closes."""

    def __init__(self, callback: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._callback = callback

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every event, hold up none."""
        if event.type() == QEvent.Type.Close:
            self._callback()
        return False


def _call(action: Callable[[], None], *_: object) -> None:
    action()
