"""The layer in which boxes are drawn, kept equal to the objects of a session."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from napari.layers import Image, Layer, Shapes
from napari.utils.events import EventEmitter
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.gui.shared.box_reading import (
    BoxReading,
    are_same,
    box_of,
    clashes,
    drawn_of,
    object_of_boxes,
    row_of,
)
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.layers import is_of
from napari_qmedsam.gui.shared.notices import Say
from napari_qmedsam.gui.shared.rectangles import (
    NO_ID,
    BoxRow,
    PlacedBox,
    are_boxes,
    box_on_slice,
    box_rows,
    box_style,
    features_of,
    rectangle,
    write_rows,
)
from napari_qmedsam.gui.shared.session_layer import Edit, Objects, PromptLayer
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.session import Session


class BoxLayer(PromptLayer[Shapes]):
    """Rectangles to objects when the user draws, objects to rectangles otherwise.

    Parameters
    ----------
    image, session, say, on_edit
        As for :class:`PromptLayer`.
    axis : callable
        Tells the axis that the slices in view lie across.
    colour : callable
        Returns the RGBA of an object by its id.
    on_select : callable
        Called with the ids of the objects whose rectangles the user selected.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        say: Say,
        on_edit: Callable[[list[Edit]], None] = lambda _: None,
        axis: Callable[[], int] = lambda: 0,
        colour: Callable[[int], NDArray[np.floating]] = colour_of,
        on_select: Callable[[tuple[int, ...]], None] = lambda _: None,
    ) -> None:
        super().__init__(image, session, say, on_edit)
        self._axis, self._colour, self._on_select = axis, colour, on_select
        self._seen: frozenset[int] = frozenset()
        """Rectangles that were selected when somebody last looked."""
        self.on_click: Callable[[], None] | None = None
        """Called, where it is set, for a new rectangle as small as a click makes."""

    def make(self) -> Shapes:
        """Return an empty layer that lies on the image."""
        style = box_style(self.session.volume)
        style["text"]["translation"] = np.zeros(self.image.ndim)
        layer = Shapes(ndim=self.image.ndim, **style, **self._common("boxes"))
        write_rows(layer, [])
        return layer

    def fits(self, layer: Layer) -> bool:
        """Tell whether these are boxes of this volume."""
        return are_boxes(layer) and is_of(layer, self.session.volume)

    def remove(self) -> None:
        """Remove every object, locked or not: its rectangles are gone."""
        for object_id in list(self.session.objects):
            self.session.change_object(object_id, is_locked=False)
            self.session.remove_object(object_id)

    def follow(self, before: Objects) -> None:
        """Draw the rectangles anew, or only what stands beside them."""
        if drawn_of(before) == drawn_of(self.session.objects):
            self.update()
        else:
            self.show()

    # Rectangles to objects ------------------------------------------------

    def read(self) -> None:
        """Make the session's objects what the rectangles say.

        New rectangles, and copies on the same slice, are new objects; a copy
        on another slice is a key box. A new rectangle that is no box is taken
        away again; an old one that was moved to where it is none counts as
        soon as it is moved back.

        Raises
        ------
        InvalidBox
            If a rectangle is no box; the others have been taken over.
        InvalidSettings
            If a locked object was changed; it has been put back.
        """
        if self.layer is None:
            return
        reading = self._reading()
        try:
            self._apply(reading)
        except InvalidSettings:
            self.show()
            raise
        self._write(reading)
        if reading.is_click and self.on_click is not None:
            self.on_click()
        if reading.fault is not None:
            raise reading.fault

    def stop_drawing(self, leave: Callable[[], None]) -> None:
        """Take the rectangle away that is being drawn; `leave` ends its drawing."""
        with self._showing():
            leave()
            self.taken.selected_data = {self.taken.nshapes - 1}
            self.taken.remove_selected()
        self.update()

    def _reading(self) -> BoxReading:
        layer, reading = self.taken, BoxReading()
        rows = box_rows(layer)
        indices: dict[tuple[int, int], int] = {}
        for index, row in enumerate(rows):
            place = None
            if row.object_id == NO_ID and self._is_click(layer.data[index]):
                reading.is_click = True
            else:
                try:
                    place = self._place(layer.data[index])
                except InvalidBox as error:
                    reading.fault = error
            known = reading.places.get(row.object_id, [])
            is_new = row.object_id == NO_ID or clashes(place, known)
            if is_new:
                object_id = self._next_id([*rows, *reading.rows])
                row = BoxRow(object_id, f"object {object_id}")
            if place is not None:
                there = reading.places.setdefault(row.object_id, [])
                # Drawn anew on the slice of a key box: that one goes.
                for old in [p for p in there if p.slice_index == place.slice_index]:
                    there.remove(old)
                    reading.unusable.append(indices[row.object_id, old.slice_index])
                there.append(place)
                indices[row.object_id, place.slice_index] = index
            elif is_new:
                reading.unusable.append(index)
            reading.rows.append(row)
        return reading

    def _is_click(self, vertices: NDArray) -> bool:
        """Tell whether the mouse that drew this was hardly moved."""
        return self.on_click is not None and np.ptp(vertices, axis=0).max() < 1

    def _place(self, vertices: NDArray) -> PlacedBox:
        place = box_on_slice(vertices, self.taken, self.image, self._axis())
        box = Box3D.on_slice(place.slice_index, place.box)
        box = box.clip(*self.session.shape_along(place.axis))
        return replace(place, box=box.in_plane)

    def _next_id(self, rows: list[BoxRow]) -> int:
        # Voxels outlive their rectangle, so their ids are not given again.
        painted = int(self.session.labels.max())
        return max([painted, *(row.object_id for row in rows)]) + 1

    def _apply(self, reading: BoxReading) -> None:
        session = self.session
        first_rows = {row.object_id: row for row in reversed(reading.rows)}
        for object_id in set(session.objects) - set(reading.places):
            session.remove_object(object_id)
        for object_id, places in reading.places.items():
            old = session.objects.get(object_id)
            made = object_of_boxes(first_rows[object_id], places, old)
            if old is None:
                made = replace(made, box=box_of(made, first_rows[object_id]))
                session.add_object(
                    made.box, made.name, object_id, made.axis, keys=made.keys
                )
            elif made != old:
                session.change_object(
                    object_id, axis=made.axis, box=made.box, keys=made.keys
                )

    def _write(self, reading: BoxReading) -> None:
        with self._showing():
            if reading.unusable:
                self.taken.selected_data = set(reading.unusable)
                self.taken.remove_selected()
        self._write_rows(
            [
                row.object_id
                for index, row in enumerate(reading.rows)
                if index not in reading.unusable
            ]
        )

    def _edits(self, old: SegmentObject | None, new: SegmentObject) -> set[int]:
        """Return the slices whose key box is new or was changed."""
        known = set(old.keys) if old is not None and old.axis == new.axis else set()
        return {key.slice_index for key in new.keys if key not in known}

    # Objects to rectangles ------------------------------------------------

    def show(self) -> None:
        """Draw the rectangles as the session's objects say; those that are right stay.

        To take all away and to add them again would hold the interface up.
        """
        if self.layer is None:
            return
        missing = self._wanted()
        kept, wrong = [], set()
        for index, row in enumerate(box_rows(self.layer)):
            shown = row.object_id, np.asarray(self.layer.data[index])
            same = [i for i, want in enumerate(missing) if are_same(shown, want)]
            if same:
                kept.append(missing.pop(same[0])[0])
            else:
                wrong.add(index)
        with self._showing():
            if wrong:
                self.layer.selected_data = wrong
                self.layer.remove_selected()
            if missing:
                self.layer.add_rectangles([vertices for _, vertices in missing])
        self._write_rows([*kept, *(object_id for object_id, _ in missing)])

    def _wanted(self) -> list[tuple[int, NDArray]]:
        """Return the object and the vertices of every rectangle there is to be."""
        wanted = []
        for o in self.session.objects.values():
            places = [(key.slice_index, key.box) for key in o.keys]
            for slice_index, box in places or [(o.box.middle_slice, o.box.in_plane)]:
                vertices = rectangle(slice_index, box, self.image.ndim, o.axis)
                wanted.append((o.object_id, np.asarray(vertices)))
        return wanted

    def name_at(self, corner: str) -> None:
        """Put names at another corner of the rectangles, as napari calls it."""
        if self.layer is not None and str(self.layer.text.anchor) != corner:
            self.layer.text.anchor = corner

    def update(self) -> None:
        """Show names, slices and colours anew; the rectangles stay."""
        if self.layer is not None:
            self._write_rows([row.object_id for row in box_rows(self.layer)])

    def select(self, object_id: int, slice_index: int) -> None:
        """Select an object's rectangle on a slice, to be moved or resized."""
        layer = self.taken
        place = self.session.objects[object_id].axis, slice_index
        for index, row in enumerate(box_rows(layer)):
            if row.object_id == object_id and self._slice_of(index) == place:
                layer.mode = "select"
                layer.selected_data = {index}

    # Selection ------------------------------------------------------------

    def mark(self, object_ids: Sequence[int], place: Slice) -> None:
        """Select the rectangles of these objects on a slice, as clicks would.

        Those on other slices are left: napari moves all that is selected at once.
        """
        if self.layer is None or self._selected_ids() == set(object_ids):
            return
        found = {
            index
            for index, row in enumerate(box_rows(self.layer))
            if row.object_id in object_ids and self._slice_of(index) == place
        }
        with self._showing():
            self.layer.selected_data = found
        self._seen = frozenset(found)
        self.forget_selected()

    def let_go(self) -> None:
        """Select nothing, because the user says so."""
        with self._showing():
            self.taken.selected_data = set()
        self._seen = frozenset()
        self._on_select(())

    def _slice_of(self, index: int) -> Slice:
        """Return axis and slice of a rectangle that an object has."""
        row = box_rows(self.taken)[index]
        axis = self.session.objects[row.object_id].axis
        if self.image.ndim == 2:
            return 0, 0
        return axis, round(float(self.taken.data[index][0][axis]))

    def _callbacks(
        self, layer: Shapes
    ) -> Iterable[tuple[EventEmitter, Callable[..., None]]]:
        # Emitted whenever other shapes are selected, in every version of napari.
        highlight = layer.events.highlight, self._highlighted
        return [*super()._callbacks(layer), highlight]

    def _highlighted(self) -> None:
        # Hovering highlights, too.
        chosen = frozenset(self.taken.selected_data)
        if self._is_showing or chosen == self._seen:
            return
        self._seen, ids = chosen, self._selected_ids()
        # A rectangle that is being drawn has no id yet, and a drawing tool starts
        # with nothing selected; neither is a choice of the user's.
        is_choice = bool(ids) or self.taken.mode in ("select", "direct")
        if NO_ID not in ids and is_choice:
            self._on_select(tuple(sorted(ids)))
            self.forget_selected()

    def _selected_ids(self) -> set[int]:
        rows = box_rows(self.taken)
        chosen = (i for i in self.taken.selected_data if i < len(rows))
        return {rows[index].object_id for index in chosen}

    def forget_selected(self) -> None:
        """Let the next rectangle be a new object's, in its own colour.

        napari gives it what the selected one has.
        """
        layer = self.taken
        if layer.nshapes:
            layer.feature_defaults = features_of([BoxRow()])
        with layer.block_update_properties():
            layer.current_edge_color = self._colour(self._next_id(box_rows(layer)))

    # Helpers --------------------------------------------------------------

    def _write_rows(self, ids: list[int]) -> None:
        objects, layer = self.session.objects, self.taken
        old = {row.object_id: row for row in box_rows(layer)}
        rows = [
            row_of(objects[i]) if i in objects else old.get(i, BoxRow(i)) for i in ids
        ]
        write_rows(layer, rows)
        if rows:
            colours = np.array([self._colour(row.object_id) for row in rows])
            colours[[not row.is_visible for row in rows], 3] = 0
            layer.edge_color = colours
        with layer.block_update_properties():
            layer.current_edge_color = self._colour(self._next_id(rows))
