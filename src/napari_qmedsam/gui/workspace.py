"""What belongs to one image layer: its session, its boxes, its labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.gui.boxes import (
    ID,
    NO_ID,
    BoxRow,
    box_on_slice,
    box_style,
    rectangle,
    rows_of,
    write_rows,
)
from napari_qmedsam.gui.colours import colour_of, label_colours
from napari_qmedsam.gui.layers import (
    RESULT,
    VOLUME,
    placement_of,
    window_of,
)
from napari_qmedsam.gui.notices import errors_shown
from napari_qmedsam.gui.sharing import shared_by
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.session import SegmentObject
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    import napari

SETTLED = ("added", "changed", "removed")
"""Actions of a shapes layer after which its data are whole."""


class Workspace:
    """An image layer with its session, and the layers that show the session.

    The rectangles are the truth about the objects, the labels layer shares
    its array with the session. Layers made earlier, by a closed panel or as
    sample data, are found by the volume in their metadata.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
    on_change : callable
        Called after the objects, their colours or the labels layer changed.

    Raises
    ------
    InvalidVolume
        If the layer is not one 2D or 3D image.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        image: Image,
        on_change: Callable[[], None],
    ) -> None:
        self.viewer, self.image, self.on_change = viewer, image, on_change
        self.boxes: Shapes | None = None
        self.labels: Labels | None = None
        self._syncing = False
        self.session = shared_by(viewer).session_of(image)
        volume = self.session.volume
        for layer in viewer.layers:
            if layer.metadata.get(VOLUME) is volume:
                if isinstance(layer, Shapes) and ID in layer.features:
                    self._take_boxes(layer)
                elif isinstance(layer, Labels) and layer.metadata.get(RESULT):
                    self._take_labels(layer)

    # Where the user is ----------------------------------------------------

    @property
    def slice_index(self) -> int:
        """The slice of the volume that is shown."""
        if self.image.ndim == 2:
            return 0
        position = self.image.world_to_data(self.viewer.dims.point)
        depth = self.session.volume.shape[0]
        return int(np.clip(np.rint(position[0]), 0, depth - 1))

    def go_to(self, slice_index: int) -> None:
        """Show a slice of the volume."""
        if self.image.ndim == 3:
            middle = [slice_index, *(n / 2 for n in self.session.volume.shape[1:])]
            world = self.image.data_to_world(middle)
            first = self.viewer.dims.ndim - 3
            self.viewer.dims.set_point(range(first, first + 3), world)

    def window(self) -> Window:
        """Return the window the image is shown in, which the model sees too."""
        return window_of(self.image)

    # Boxes ----------------------------------------------------------------

    def draw_boxes(self) -> Shapes:
        """Make the box layer if there is none, and turn its rectangle tool on.

        The labels layer is made here too: to build its controls takes napari
        longer than the interface may stand still while slices are encoded.
        """
        self.show_labels()
        self._make_boxes()
        self.viewer.dims.ndisplay = 2
        self.viewer.layers.selection.active = self.boxes
        self.boxes.mode = "add_rectangle"
        return self.boxes

    def _make_boxes(self) -> None:
        if self.boxes is None:
            style = box_style(self.session.volume)
            style["text"]["translation"] = np.zeros(self.image.ndim)
            layer = Shapes(
                ndim=self.image.ndim,
                name=f"{self.image.name} boxes",
                metadata={VOLUME: self.session.volume},
                **style,
                **placement_of(self.image),
            )
            write_rows(layer, [])
            self.viewer.add_layer(layer)
            self._take_boxes(layer)

    def sync_boxes(self) -> None:
        """Make the session's objects what the rectangles say.

        New rectangles, and copies, get the next id. A new rectangle that is
        no box is taken away again; an old one that was moved to where it is
        none has no object until it is moved back.

        Raises
        ------
        InvalidBox
            If a rectangle is no box; the others have been taken over.
        """
        layer = self.boxes
        if layer is None:
            self._set_objects([])
            return
        objects, rows, unusable = [], [], []
        fault: InvalidBox | None = None
        for index, row in enumerate(rows_of(layer)):
            is_new = row.object_id in [NO_ID, *(r.object_id for r in rows)]
            if is_new:
                row = self._new_row(rows_of(layer) + rows)
            rows.append(row)
            try:
                objects.append(self._object(row, layer.data[index]))
            except InvalidBox as error:
                fault = error
                if is_new:
                    unusable.append(index)
        self._syncing = True
        try:
            if unusable:
                layer.selected_data = set(unusable)
                layer.remove_selected()
                rows = [row for i, row in enumerate(rows) if i not in unusable]
            ranges = {o.object_id: (o.box.z_min, o.box.z_max) for o in objects}
            rows = [_with_range(row, ranges.get(row.object_id)) for row in rows]
            write_rows(layer, rows)
            self._colour(layer, rows)
        finally:
            self._syncing = False
        self._set_objects(objects)
        if fault is not None:
            raise fault

    def rename(self, object_id: int, name: str) -> None:
        """Give an object another name, in its rectangle too."""
        self.session.change_object(object_id, name=name)
        self._rewrite(object_id, name=name)

    def set_range(self, object_id: int, z_min: int, z_max: int) -> None:
        """Let an object reach over slices z_min to z_max, maximum excluded.

        Raises
        ------
        InvalidBox
            If the range is empty or outside the volume.
        """
        box = replace(self.session.objects[object_id].box, z_min=z_min, z_max=z_max)
        changed = self.session.change_object(object_id, box=box)
        self._rewrite(object_id, z_min=changed.box.z_min, z_max=changed.box.z_max)

    def undo(self) -> None:
        """Take the last change of labels or boxes back."""
        self._travel(self.session.undo)

    def redo(self) -> None:
        """Make the last undone change again."""
        self._travel(self.session.redo)

    # Labels ---------------------------------------------------------------

    def show_labels(self) -> Labels:
        """Make the labels layer if there is none; it shares the session's array."""
        if self.labels is None:
            array = self.session.labels
            layer = Labels(
                array if self.image.ndim == 3 else array[0],
                name=f"{self.image.name} labels",
                metadata={VOLUME: self.session.volume, RESULT: True},
                colormap=label_colours(),
                opacity=0.5,
                **placement_of(self.image),
            )
            active = self.viewer.layers.selection.active
            self.viewer.layers.insert(self.viewer.layers.index(self.image) + 1, layer)
            # The rectangle tool would be lost otherwise.
            self.viewer.layers.selection.active = active or layer
            self._take_labels(layer)
        return self.labels

    def share_labels(self) -> None:
        """Let the session paint into what the labels layer shows.

        Strokes of napari's brush are in the shared array already. Only if
        the layer was given another array is the session's exchanged, and its
        history, which belongs to the old one, forgotten.

        Raises
        ------
        GridMismatch
            If the layer's array does not fit the volume.
        """
        if self.labels is None:
            return
        array = self.labels.data
        shown = array if self.image.ndim == 3 else array[np.newaxis]
        if not np.may_share_memory(shown, self.session.labels):
            self.session.share_labels(shown)

    def refresh(self, slice_index: int | None = None) -> None:
        """Draw the labels anew; with a slice, only if that slice is in view.

        Views along other axes and in 3D show every slice at once; they are
        drawn at the end of the work, not for each slice of it.
        """
        if self.labels is None:
            return
        if slice_index is not None:
            axis = self.viewer.dims.ndim - 3
            in_view = self.image.ndim == 2 or (
                axis in self.viewer.dims.not_displayed
                and slice_index == self.slice_index
            )
            if not in_view:
                return
        self.labels.refresh(thumbnail=slice_index is None, extent=False)

    def check_labels(self) -> None:
        """Raise InvalidSettings if there is nothing to save."""
        if self.labels is None:
            raise InvalidSettings("There are no labels to save. Segment a box first.")

    # Layers that go -------------------------------------------------------

    def layer_removed(self, layer: Layer) -> None:
        """Forget a layer: without boxes no objects, without labels a clean start."""
        if layer is self.boxes:
            self._drop_boxes()
            self._set_objects([])
        elif layer is self.labels:
            self._drop_labels()
            self.session.share_labels(np.zeros(self.session.volume.shape, np.uint16))
            self.on_change()

    def close(self) -> None:
        """Stop listening to the layers; they stay as they are."""
        self._drop_boxes()
        self._drop_labels()

    # Helpers --------------------------------------------------------------

    def _take_boxes(self, layer: Shapes) -> None:
        self.boxes = layer
        layer.events.data.connect(self._boxes_changed)
        with errors_shown():
            self.sync_boxes()

    def _drop_boxes(self) -> None:
        if self.boxes is not None:
            self.boxes.events.data.disconnect(self._boxes_changed)
            self.boxes = None

    def _take_labels(self, layer: Labels) -> None:
        self.labels = layer
        layer.events.colormap.connect(self._colours_changed)
        with errors_shown():
            self.share_labels()
        self._colours_changed()

    def _drop_labels(self) -> None:
        if self.labels is not None:
            self.labels.events.colormap.disconnect(self._colours_changed)
            self.labels = None

    def _boxes_changed(self, event: "napari.utils.events.Event") -> None:
        # While a rectangle is drawn or dragged its data are not final.
        if self._syncing or str(getattr(event, "action", "changed")) not in SETTLED:
            return
        with errors_shown():
            self.sync_boxes()

    def _colours_changed(self) -> None:
        if self.boxes is not None:
            self._colour(self.boxes, rows_of(self.boxes))
        self.on_change()

    def _colour(self, layer: Shapes, rows: list[BoxRow]) -> None:
        if rows:
            layer.edge_color = np.array(
                [colour_of(row.object_id, self.labels) for row in rows]
            )
        following = colour_of(self._next_id(rows), self.labels)
        with layer.block_update_properties():
            layer.current_edge_color = following

    def _new_row(self, rows: list[BoxRow]) -> BoxRow:
        object_id = self._next_id(rows)
        return BoxRow(object_id, f"object {object_id}")

    def _next_id(self, rows: list[BoxRow]) -> int:
        # Voxels outlive their rectangle, so their ids are not given again.
        painted = int(self.session.labels.max())
        return max([painted, *(row.object_id for row in rows)], default=0) + 1

    def _object(self, row: BoxRow, vertices: NDArray) -> SegmentObject:
        slice_index, box = box_on_slice(vertices, self.boxes, self.image)
        z_min, z_max = row.z_min, row.z_max
        if not 0 <= z_min < z_max:
            z_min, z_max = slice_index, slice_index + 1
        whole = Box3D(box.x_min, box.y_min, z_min, box.x_max, box.y_max, z_max)
        return SegmentObject(
            row.object_id, whole.clip(*self.session.volume.shape), row.name
        )

    def _travel(self, step: Callable[[], object]) -> None:
        self.share_labels()
        before = dict(self.session.objects)
        step()
        if self.session.objects != before:
            self._show_boxes()
        self.refresh()

    def _show_boxes(self) -> None:
        """Draw the rectangles anew, as the session's objects say."""
        objects = list(self.session.objects.values())
        if self.boxes is None:
            self._make_boxes()
        places = {
            row.object_id: int(np.rint(vertices[0][0]))
            for row, vertices in zip(rows_of(self.boxes), self.boxes.data, strict=True)
            if self.image.ndim == 3
        }
        rows, rectangles = [], []
        for o in objects:
            middle = (o.box.z_min + o.box.z_max - 1) // 2
            place = places.get(o.object_id, middle)
            rectangles.append(rectangle(place, o.box.in_plane, self.image.ndim))
            rows.append(BoxRow(o.object_id, o.name, o.box.z_min, o.box.z_max))
        self._syncing = True
        try:
            self.boxes.selected_data = set(range(self.boxes.nshapes))
            self.boxes.remove_selected()
            if rectangles:
                self.boxes.add_rectangles(rectangles)
            write_rows(self.boxes, rows)
            self._colour(self.boxes, rows)
        finally:
            self._syncing = False
        self.on_change()

    def _set_objects(self, objects: list[SegmentObject]) -> None:
        session = self.session
        for object_id in set(session.objects) - {o.object_id for o in objects}:
            session.remove_object(object_id)
        for o in objects:
            if o.object_id in session.objects:
                session.change_object(o.object_id, box=o.box, name=o.name)
            else:
                session.add_object(o.box, o.name, o.object_id)
        self.on_change()

    def _rewrite(self, object_id: int, **changes: int | str) -> None:
        if self.boxes is None:
            return
        rows = [
            replace(row, **changes) if row.object_id == object_id else row
            for row in rows_of(self.boxes)
        ]
        write_rows(self.boxes, rows)


def _with_range(row: BoxRow, z_range: tuple[int, int] | None) -> BoxRow:
    return row if z_range is None else replace(row, z_min=z_range[0], z_max=z_range[1])
