"""What belongs to one image layer: its session, its boxes, points and labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.box_layer import BoxLayer, Edit
from napari_qmedsam.gui.segment.labels_layer import LabelsLayer
from napari_qmedsam.gui.segment.point_layer import PointLayer
from napari_qmedsam.gui.segment.rectangles import ID
from napari_qmedsam.gui.shared.layers import (
    RESULT,
    VOLUME,
    window_of,
)
from napari_qmedsam.gui.shared.navigation import (
    axis_in_view,
    look_along,
    show_slice,
    slice_in_view,
)
from napari_qmedsam.gui.shared.notices import Say
from napari_qmedsam.gui.shared.viewer_state import state_of
from napari_qmedsam.segmentation.autosave import Recovery
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    import napari


class Workspace:
    """An image layer with its session, and the layers that show the session.

    The labels layer shares its array with the session. Layers made earlier,
    by a closed panel or as sample data, are found by the volume in their
    metadata.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
    say : callable
        Called with what is wrong with what was drawn.
    on_change : callable, optional
        Called after the objects, their colours or the labels layer changed.
    on_edit : callable, optional
        Called with the boxes and points that the user changed.
    on_layer : callable, optional
        Called with each layer that becomes one of this workspace's own.

    Raises
    ------
    InvalidVolume
        If the layer is not one 2D or 3D image.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        image: Image,
        say: Say,
        on_change: Callable[[], None] = lambda: None,
        on_edit: Callable[["Workspace", list[Edit]], None] = lambda *_: None,
        on_layer: Callable[[Layer], None] = lambda _: None,
    ) -> None:
        self.viewer, self.image, self.on_change = viewer, image, on_change
        self._on_edit, self._on_layer = on_edit, on_layer
        state = state_of(viewer)
        self.session = state.session_of(image)
        self.autosave = state.autosave_of(self.session)
        self.recovery: Recovery | None = None
        """What an earlier session left, until it is restored or discarded."""
        self.revision = self._saved = 0
        self._is_ready = False
        self.box_layer = BoxLayer(
            image, self.session, lambda: self.axis, self._edited, say
        )
        self.point_layer = PointLayer(image, self.session, self._edited, say)
        self.labels_layer = LabelsLayer(
            image, self.session, self._brushed, self._colours_changed, say
        )
        self.tally = self.labels_layer.tally
        self._is_adding = False
        for layer in list(viewer.layers):
            self._adopt(layer)
        self._is_ready = True

    @property
    def is_unsaved(self) -> bool:
        """Whether boxes or labels have changed since they were saved."""
        return self.revision != self._saved

    def mark_saved(self) -> None:
        """Say that the labels have been saved as they are."""
        self._saved = self.revision

    @property
    def boxes(self) -> Shapes | None:
        """The layer in which boxes are drawn, if there is one yet."""
        return self.box_layer.layer

    @property
    def points(self) -> Points | None:
        """The layer in which points are set, if there is one yet."""
        return self.point_layer.layer

    @property
    def labels(self) -> Labels | None:
        """The layer of labels, if there is one yet."""
        return self.labels_layer.layer

    def adopt(self, layer: Layer) -> None:
        """Take over a layer of this volume that came after it, as samples do."""
        if self._is_adding or layer.metadata.get(VOLUME) is not self.session.volume:
            return
        self._is_ready = False
        self._adopt(layer)
        self._is_ready = True
        self.on_change()

    # Where the user is ----------------------------------------------------

    @property
    def axis(self) -> int:
        """The array axis that the slices in view lie across; 0 in a 3D view."""
        return axis_in_view(self.viewer, self.image)

    @property
    def slice_index(self) -> int:
        """The slice of the volume that is shown, along `axis`."""
        return slice_in_view(self.viewer, self.image)[1]

    def go_to(self, slice_index: int, axis: int = 0) -> None:
        """Show a slice of the volume, across the axis if that is not in view."""
        show_slice(self.viewer, self.image, (axis, slice_index))

    def look_along(self, axis: int) -> None:
        """Show slices across an axis; what else is displayed stays."""
        look_along(self.viewer, self.image, axis)

    @property
    def is_3d(self) -> bool:
        """Whether the viewer shows volumes as a whole."""
        return self.viewer.dims.ndisplay == 3

    def window(self) -> Window:
        """Return the window the image is shown in, which the model sees too."""
        return window_of(self.image)

    # Boxes and points -----------------------------------------------------

    def draw_boxes(self) -> Shapes:
        """Make the box layer if there is none, and turn its rectangle tool on."""
        self.box_layer.target = 0
        return self._rectangle_tool()

    def draw_key_box(self, object_id: int) -> None:
        """Let the next rectangle be a key box of an object."""
        self._rectangle_tool()
        self.box_layer.target = object_id

    def add_key_box(self, object_id: int) -> None:
        """Put an object's interpolated box on the slice in view, to be adjusted.

        Raises
        ------
        InvalidSettings
            If the object is locked, or its boxes lie across another axis.
        """
        old = self.session.objects[object_id]
        if self.image.ndim == 3 and old.axis != self.axis:
            raise InvalidSettings(
                f"The boxes of '{old.name}' were drawn in another view. Go back to "
                "that view to add one."
            )
        here = self.slice_index
        self.session.set_box(object_id, here, old.prompt.box_on(here))
        self._rectangle_tool()
        self.box_layer.show()
        self.box_layer.select(object_id, here)
        self._edited([Edit(object_id, old.axis, here)])

    def set_points(self, object_id: int, is_positive: bool) -> None:
        """Turn the point tool on: each point is one where an object is, or not."""
        self.show_labels()
        if self.points is None:
            layer = self.point_layer.make()
            self._add(layer)
            self._take_points(layer)
        self.viewer.layers.selection.active = self.points
        self.point_layer.aim(object_id, is_positive)

    def sync_boxes(self) -> None:
        """Make the session's objects what the rectangles say; see `BoxLayer`."""
        self.box_layer.sync()

    def rename(self, object_id: int, name: str) -> None:
        """Give an object another name, beside its rectangles too."""
        self.change(object_id, name=name)

    def set_range(self, object_id: int, z_min: int, z_max: int) -> None:
        """Let an object reach over slices z_min to z_max, maximum excluded.

        Raises
        ------
        InvalidBox
            If the range is empty or outside the volume.
        """
        old = self.session.objects[object_id].box
        self.change(object_id, box=replace(old, z_min=z_min, z_max=z_max))

    def change(self, object_id: int, **attributes: object) -> None:
        """Change an object and what shows it: `is_visible=False`, say."""
        self.session.change_object(object_id, **attributes)
        self.revision += 1
        if "is_visible" in attributes:
            self.point_layer.show()
            self.labels_layer.show_visibility()
        self.box_layer.update()
        self.on_change()

    def remove(self, object_id: int) -> None:
        """Remove an object with its voxels; undo brings both back.

        Raises
        ------
        InvalidSettings
            If it is locked.
        """
        self.labels_layer.share()
        self.session.remove_object(object_id, erase=True)
        self.show_objects()
        self.labels_changed()

    def undo(self) -> None:
        """Take the last change of labels or boxes back."""
        self._travel(self.session.undo)

    def redo(self) -> None:
        """Make the last undone change again."""
        self._travel(self.session.redo)

    def show_objects(self) -> None:
        """Draw boxes and points anew, as the session's objects say."""
        if self.boxes is None and self.session.objects:
            self._add_boxes()
        self.box_layer.show()
        self.point_layer.show()
        self.on_change()

    def recover(self, found: Recovery) -> None:
        """Take over what an earlier session left, in place of what is here."""
        self.show_labels()
        self.labels_layer.share()
        self.session.restore(found.objects, found.labels)
        self.show_objects()
        self.labels_layer.show_visibility()
        self.labels_changed()

    # Labels ---------------------------------------------------------------

    def show_labels(self) -> Labels:
        """Make the labels layer if there is none; it shares the session's array.

        Best before slices are encoded: to build its controls takes napari
        longer than the interface may stand still.
        """
        if self.labels is None:
            layer = self.labels_layer.make()
            active = self.viewer.layers.selection.active
            self._add(layer, self.viewer.layers.index(self.image) + 1)
            # The rectangle tool would be lost otherwise.
            self.viewer.layers.selection.active = active or layer
            self._take_labels(layer)
        return self.labels

    def labels_changed(self, slice_index: int | None = None, axis: int = 0) -> None:
        """Count and draw the labels anew; of one slice, or all."""
        self.revision += 1
        self.tally.mark([slice_index] if slice_index is not None and not axis else None)
        self.refresh(slice_index, axis)

    def refresh(self, slice_index: int | None = None, axis: int = 0) -> None:
        """Draw the labels anew; with a slice, only if that slice is in view.

        Views along other axes and in 3D show every slice at once; they are
        drawn at the end of the work, not for each slice of it.
        """
        if self.labels is None:
            return
        is_elsewhere = (
            slice_index is not None
            and self.image.ndim == 3
            and (self.is_3d or (axis, slice_index) != (self.axis, self.slice_index))
        )
        if is_elsewhere:
            return
        self.labels_layer.redraw(is_whole=slice_index is None)

    # Layers that go -------------------------------------------------------

    def layer_removed(self, layer: Layer) -> None:
        """Forget a layer: without boxes no objects, without labels a clean start."""
        if layer is self.boxes:
            self.box_layer.drop()
            self.box_layer.forget()
            self.point_layer.show()
            self.on_change()
        elif layer is self.points:
            self.point_layer.drop()
            for object_id, o in list(self.session.objects.items()):
                if o.points and not o.is_locked:
                    self.session.change_object(object_id, points=())
        elif layer is self.labels:
            self._drop_labels()
            self.labels_layer.put(np.zeros(self.session.volume.shape, np.uint16))
            self.on_change()

    def close(self) -> None:
        """Stop listening to the layers; they stay as they are."""
        self.box_layer.drop()
        self.point_layer.drop()
        self._drop_labels()

    # Helpers --------------------------------------------------------------

    def _adopt(self, layer: Layer) -> None:
        """Take a layer over that was made for this volume, the first of its kind."""
        if layer.metadata.get(VOLUME) is not self.session.volume:
            return
        has_ids = ID in getattr(layer, "features", ())
        if isinstance(layer, Shapes) and has_ids and self.boxes is None:
            self._take_boxes(layer)
        elif isinstance(layer, Points) and has_ids and self.points is None:
            self._take_points(layer)
        elif (
            isinstance(layer, Labels)
            and layer.metadata.get(RESULT)
            and self.labels is None
        ):
            self._take_labels(layer)

    def _add(self, layer: Layer, index: int | None = None) -> None:
        """Put a layer of our own into the viewer; who made it takes it."""
        layers = self.viewer.layers
        self._is_adding = True
        try:
            layers.insert(len(layers) if index is None else index, layer)
        finally:
            self._is_adding = False

    def _rectangle_tool(self) -> Shapes:
        self.show_labels()
        self._add_boxes()
        self.viewer.dims.ndisplay = 2
        self.viewer.layers.selection.active = self.boxes
        self.boxes.mode = "add_rectangle"
        return self.boxes

    def _add_boxes(self) -> None:
        if self.boxes is None:
            layer = self.box_layer.make()
            self._add(layer)
            self._take_boxes(layer)
            # The session may have objects from before, or from a script.
            self.box_layer.show()

    def _take_boxes(self, layer: Shapes) -> None:
        self.box_layer.take(layer)
        self._on_layer(layer)

    def _take_points(self, layer: Points) -> None:
        self.point_layer.take(layer)
        self._on_layer(layer)

    def _take_labels(self, layer: Labels) -> None:
        self.box_layer.labels = layer
        self.labels_layer.take(layer)
        self._on_layer(layer)

    def _drop_labels(self) -> None:
        self.labels_layer.drop()
        self.box_layer.labels = None

    def _edited(self, edits: list[Edit]) -> None:
        if self._is_ready:
            self.revision += 1
            self.on_change()
            if edits:
                self._on_edit(self, edits)

    def _brushed(self) -> None:
        # napari does not say cheaply which slices a stroke went over.
        self.revision += 1
        self.tally.mark([self.slice_index] if self.axis == 0 else None)
        self.on_change()

    def _colours_changed(self) -> None:
        self.box_layer.update()
        self.on_change()

    def _travel(self, step: Callable[[], object]) -> None:
        self.labels_layer.share()
        before = dict(self.session.objects)
        step()
        if self.session.objects != before:
            self.show_objects()
            self.labels_layer.show_visibility()
        self.labels_changed()
