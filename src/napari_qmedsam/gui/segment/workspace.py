"""What belongs to one image layer: its session, and the layers that follow it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.actions import RefinementLayer, RefinementTool
from napari_qmedsam.gui.segment.box_tool import BoxTool
from napari_qmedsam.gui.segment.doubts import Doubts
from napari_qmedsam.gui.segment.labels_layer import LabelsLayer
from napari_qmedsam.gui.segment.piece_layer import PieceLayer
from napari_qmedsam.gui.segment.refinement_layers import REFINEMENT_LAYERS, TOOLS
from napari_qmedsam.gui.shared.box_layer import BoxLayer
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.layers import window_of
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.gui.shared.notices import Say
from napari_qmedsam.gui.shared.session_layer import Edit, Objects, SessionLayer
from napari_qmedsam.gui.shared.viewer_state import state_of
from napari_qmedsam.segmentation.autosave import Recovery
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.reslicing import axis_order
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    import napari


class Workspace(QObject):
    """An image layer with its session, and the layers that show the session.

    Layers made earlier, by a closed panel or as sample data, are found by the
    volume in their metadata.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
    say : callable
        Called with what is wrong with what was drawn.

    Raises
    ------
    InvalidVolume
        If the layer is not one 2D or 3D image.
    """

    changed = Signal()
    """Objects, their colours or the labels layer changed."""

    edited = Signal(object, object)
    """This workspace, and the list of :class:`Edit` that the user made."""

    selection_changed = Signal()
    """Other objects are selected."""

    redrawn = Signal(bool)
    """The labels were drawn anew: all of them, or one slice."""

    layer_taken = Signal(object)
    """A layer that has become one of this workspace's own."""

    def __init__(self, viewer: "napari.viewer.Viewer", image: Image, say: Say) -> None:
        super().__init__()
        self.viewer, self.image = viewer, image
        self.view = SliceView(viewer, image)
        state = state_of(viewer)
        self.session = session = state.session_of(image)
        self.autosave = state.autosave_of(session)
        self.recovery: Recovery | None = None
        """What an earlier session left, until it is restored or discarded."""
        self.doubts = Doubts(session)
        self.revision = self._saved = 0
        self.selected: tuple[int, ...] = ()
        """Ids of the objects that commands are for: the one selection of rows, boxes
        and brush."""
        self.box_layer = BoxLayer(
            image,
            session,
            say,
            self._edited,
            lambda: self.view.axis,
            self.colour_of,
            self.select,
        )
        self.box_tool = BoxTool(self.box_layer, self.view)
        self.refining: dict[str, RefinementLayer] = {
            kind: layer(image, session, say, self._edited)
            for kind, layer in REFINEMENT_LAYERS.items()
        }
        """What refines boxes, by its name in the session."""
        self.piece_layer = PieceLayer(image, session, say, self._edited, self.colour_of)
        self.labels_layer = LabelsLayer(
            image, session, say, self._brushed, self._recoloured, self._label_chosen
        )
        self.tally = self.labels_layer.tally
        self._is_adding = self._is_prepared = False
        for layer in list(viewer.layers):
            self._adopt(layer)
        self._known = set(session.objects)

    @property
    def layers(self) -> tuple[SessionLayer, ...]:
        """Boxes, what refines them, and labels, each with its layer if it has one."""
        refining = *self.refining.values(), self.piece_layer
        return self.box_layer, *refining, self.labels_layer

    @property
    def is_unsaved(self) -> bool:
        """Whether boxes or labels have changed since they were saved."""
        return self.revision != self._saved

    def mark_saved(self) -> None:
        """Say that the labels have been saved as they are."""
        self._saved = self.revision

    def window(self) -> Window:
        """Return the window the image is shown in, which the model sees too."""
        return window_of(self.image)

    def show_window(self, window: Window) -> None:
        """Show the image in another window."""
        self.image.contrast_limits = (window.lower, window.upper)

    def colour_of(self, object_id: int) -> NDArray:
        """Return an object's RGBA: its own, or that of the labels layer."""
        known = self.session.objects.get(object_id)
        if known is not None and known.colour is not None:
            return np.array([*known.colour, 255]) / 255
        return colour_of(object_id, self.labels_layer.layer)

    @contextmanager
    def edit(self, paints: bool = False) -> Iterator[Session]:
        """Change the session in a block; the layers follow at its end.

        Parameters
        ----------
        paints : bool
            Whether voxels change, and not objects alone.
        """
        if paints:
            self.labels_layer.share()
        session, is_done = self.session, False
        before = dict(session.objects)
        try:
            yield session
            is_done = True
        finally:
            # Of several changes, the last may have been refused.
            are_changed = session.objects != before
            if are_changed and session.objects:
                self._show_boxes()
            self._follow(before)
            if paints and is_done:
                if self.labels_layer.layer is None and session.labels.any():
                    # It was deleted, and its masks are back.
                    self.show_labels()
                self.labels_changed()
            elif are_changed:
                self.revision += 1
            self._reselect()
            self.changed.emit()

    def select(self, object_ids: Sequence[int]) -> None:
        """Select objects everywhere: in the table, among the boxes, for the brush."""
        objects = self.session.objects
        selected = tuple(i for i in object_ids if i in objects)
        if selected == self.selected:
            return
        self.selected = selected
        self.box_layer.mark(selected, self.view.place)
        if len(selected) == 1:
            self.labels_layer.aim(selected[0])
            for layer in self.refining.values():
                layer.retarget(selected[0])
        self.selection_changed.emit()

    # Tools ----------------------------------------------------------------

    def prepare(self) -> bool:
        """Make a layer that the first box will need; tell whether more are to come.

        napari takes half a second for the controls of each, which nobody is to
        wait for at the first click. A layer that was deleted is not made again.
        """
        if self._is_prepared:
            return False
        if self.labels_layer.layer is None:
            self.show_labels()
            return True
        self._is_prepared = True
        if self.box_layer.layer is None:
            layers = self.viewer.layers
            active = layers.selection.active
            self._show_boxes()
            layers.selection.active = active
        return False

    def draw_boxes(self) -> Shapes:
        """Make the box layer if there is none, and turn its rectangle tool on."""
        self.show_labels()
        layer = self._show_boxes()
        self.viewer.dims.ndisplay = 2
        self.viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"
        return layer

    def add_key_box(self, object_id: int) -> None:
        """Put an object's interpolated box on the slice in view, to be adjusted.

        Raises
        ------
        InvalidSettings
            If the object is locked, its boxes lie across another axis, or the slider
            stands beyond the image.
        """
        old, (_, here) = self.session.objects[object_id], self.view.here()
        if self.image.ndim == 3 and old.axis != self.view.axis:
            raise InvalidSettings(
                f"The boxes of '{old.name}' were drawn in another view. Go back to "
                "that view to add one."
            )
        self.session.set_box(object_id, here, old.prompt.box_on(here))
        self.draw_boxes()
        self.box_layer.show()
        self.box_layer.select(object_id, here)
        self._edited([Edit(object_id, old.axis, here)])

    def refine(self, object_id: int, tool: RefinementTool) -> None:
        """Turn a tool on: what it sets refines the boxes of an object."""
        self.show_labels()
        layer = self.refining[TOOLS[tool]]
        self.viewer.layers.selection.active = self._shown(layer)
        layer.aim(object_id, tool.aim)

    def look_along(self, axis: int) -> None:
        """Show slices across another axis, the middle one of what is selected.

        Without a selection that of the image.
        """
        self.view.go_to(self._middle()[axis], axis)

    def look_at_selected(self) -> None:
        """Let all planes meet in the middle of what is selected, or of the slice."""
        axis, here = self.view.place
        middle = self._middle()
        if not self.selected:
            middle[axis] = here
        self.view.meet(middle)

    # Labels ---------------------------------------------------------------

    def show_labels(self) -> Labels:
        """Make the labels layer if there is none; it shares the session's array.

        Best before slices are encoded: to build its controls takes napari
        longer than the interface may stand still.
        """
        layers = self.viewer.layers
        active = layers.selection.active
        is_new = self.labels_layer.layer is None
        layer = self._shown(self.labels_layer, layers.index(self.image) + 1)
        if is_new:
            # The rectangle tool would be lost otherwise.
            layers.selection.active = active or layer
        return layer

    def labels_changed(self, slice_index: int | None = None, axis: int = 0) -> None:
        """Count and draw the labels anew; of one slice, or all."""
        self.revision += 1
        self.tally.mark([slice_index] if slice_index is not None and not axis else None)
        self.redraw(slice_index, axis)

    def doubt_texts(self) -> dict[int, str]:
        """Return what speaks against masks, by object; slices as the slider counts."""
        number, objects = self.view.number, self.session.objects
        return {
            i: found.text(partial(number, axis=objects[i].axis))
            for i, found in self.doubts.now.items()
        }

    def redraw(self, slice_index: int | None = None, axis: int = 0) -> None:
        """Draw the labels anew; with a slice, only if that slice is in view.

        Views along other axes and in 3D show every slice at once; they are
        drawn at the end of the work, not for each slice of it.
        """
        is_elsewhere = (
            slice_index is not None
            and self.image.ndim == 3
            and (self.view.is_3d or (axis, slice_index) != self.view.place)
        )
        if not is_elsewhere:
            self.labels_layer.redraw(is_whole=slice_index is None)
        self.redrawn.emit(slice_index is None)

    # Layers that come and go ----------------------------------------------

    def adopt(self, layer: Layer) -> None:
        """Take over a layer of this volume that came after it, as samples do."""
        if not self._is_adding and self._adopt(layer):
            self._reselect()
            self.changed.emit()

    def layer_removed(self, layer: Layer) -> None:
        """Forget a layer: without boxes no objects, without labels a clean start."""
        for own in self.layers:
            if layer is own.layer:
                if own is self.box_layer:
                    self.box_tool.drop()
                before = dict(self.session.objects)
                own.drop()
                own.remove()
                self._follow(before)
                self._reselect()
                self.changed.emit()

    def close(self) -> None:
        """Stop listening to the layers; they stay as they are."""
        self.box_tool.drop()
        for own in self.layers:
            own.drop()

    # Helpers --------------------------------------------------------------

    def _middle(self) -> list[int]:
        """Return the voxel (z, y, x) in the middle of what is selected, or of all."""
        chosen = [self.session.objects[i] for i in self.selected]
        if not chosen:
            return [n // 2 for n in self.session.volume.shape]
        o, box = chosen[0], chosen[0].box
        rows, columns = box.y_min + box.y_max, box.x_min + box.x_max
        middles = box.middle_slice, int(rows // 2), int(columns // 2)
        return [middles[axis_order(o.axis).index(axis)] for axis in range(3)]

    def _adopt(self, layer: Layer) -> bool:
        """Take a layer over that was made for this volume, the first of its kind."""
        for own in self.layers:
            if own.layer is None and own.fits(layer):
                self._take(own, layer)
                return True
        return False

    def _shown(self, own: SessionLayer, index: int | None = None) -> Layer:
        """Return a layer of our own, made and put into the viewer if need be."""
        if own.layer is None:
            layer, layers = own.make(), self.viewer.layers
            self._is_adding = True
            try:
                layers.insert(len(layers) if index is None else index, layer)
            finally:
                self._is_adding = False
            self._take(own, layer)
            if own is self.labels_layer and len(self.selected) == 1:
                self.labels_layer.aim(self.selected[0])
        return own.layer

    def _take(self, own: SessionLayer, layer: Layer) -> None:
        own.take(layer)
        if own is self.box_layer:
            self.box_tool.take(layer)
        self.layer_taken.emit(layer)

    def _show_boxes(self) -> Shapes:
        is_new = self.box_layer.layer is None
        layer = self._shown(self.box_layer)
        if is_new:
            # The session may have objects from before, or from a script.
            self.box_layer.show()
            self._show_pieces()
        return layer

    def _follow(self, before: Objects) -> None:
        for own in self.layers:
            own.follow(before)
        self._show_pieces()

    def _show_pieces(self) -> None:
        if self.piece_layer.is_wanted:
            layers = self.viewer.layers
            active = layers.selection.active
            self._shown(self.piece_layer)
            self.piece_layer.show()
            layers.selection.active = active

    def _reselect(self, drawn: bool = False) -> None:
        """Select what was drawn; what has gone is not selected any more."""
        objects = set(self.session.objects)
        new, self._known = objects - self._known, objects
        self.select(sorted(new) if drawn and new else self.selected)

    def _label_chosen(self, label: int) -> None:
        # 0 is napari's eraser, and other labels belong to nothing in the table.
        if label in self.session.objects and label not in self.selected:
            self.select([label])

    def _edited(self, edits: list[Edit]) -> None:
        self.revision += 1
        self._reselect(drawn=True)
        self.changed.emit()
        if edits:
            self.edited.emit(self, edits)

    def _brushed(self) -> None:
        self.doubts.settle()
        # napari does not say cheaply which slices a stroke went over.
        self.revision += 1
        axis, slice_index = self.view.place
        self.tally.mark([slice_index] if axis == 0 else None)
        self.changed.emit()

    def _recoloured(self) -> None:
        self.box_layer.update()
        self.piece_layer.show()
        self.changed.emit()
