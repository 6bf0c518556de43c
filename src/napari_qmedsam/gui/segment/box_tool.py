"""The tool *Box*: it draws boxes, and takes those by the hand that are there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from napari.layers import Shapes
from napari.utils.events import Event
from numpy.typing import NDArray

from napari_qmedsam.gui.shared.box_layer import BoxLayer
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.gui.shared.rectangles import box_rows
from napari_qmedsam.volumes.reslicing import axis_order

DRAW, PICK = "add_rectangle", "select"
"""The two of napari's tools that this one is made of."""

REACH = 5.0
"""Screen pixels around a handle or inside a side in which it is taken."""


class BoxTool:
    """Goes from napari's rectangle tool to its selecting tool and back by itself.

    Under the mouse, a handle of a selected box resizes it and a side of any box
    moves it. A click picks up the smallest box below it, which a drag from
    anywhere inside then moves. Every other drag draws: organs lie in one
    another's boxes, so the inside of a box must stay a place to begin one.

    It is on while the rectangle tool was chosen last, here or in napari's own
    controls.
    """

    def __init__(self, boxes: BoxLayer, view: SliceView) -> None:
        self._boxes, self._view = boxes, view
        self._layer: Shapes | None = None
        self._is_on = self._is_switching = self._is_drawing = False
        self._picked: int | None = None
        self._pressed: NDArray | None = None
        """Where a drag that draws began, in data coordinates."""

    def take(self, layer: Shapes) -> None:
        """Listen to the mouse on a layer."""
        self._layer = layer
        # First: napari's own tool has to find the mode as it is to be.
        layer.mouse_drag_callbacks.insert(0, self._press)
        layer.mouse_move_callbacks.append(self._hover)
        layer.events.mode.connect(self._mode_chosen)
        layer.bind_key("Escape", self._escape, overwrite=True)
        layer.world_to_data = partial(self._on_slice, layer)

    def drop(self) -> None:
        """Let go of the layer."""
        if self._layer is not None:
            layer, self._layer = self._layer, None
            layer.mouse_drag_callbacks.remove(self._press)
            layer.mouse_move_callbacks.remove(self._hover)
            layer.events.mode.disconnect(self._mode_chosen)
            layer.bind_key("Escape", None, overwrite=True)
            del layer.world_to_data
            self._is_on, self._boxes.on_click = False, None

    # What the user does ---------------------------------------------------

    def _mode_chosen(self) -> None:
        if not self._is_switching and self._layer is not None:
            self._is_on = str(self._layer.mode) == DRAW
            self._picked = self._pressed = None
            self._is_drawing = False

    def _hover(self, layer: Shapes, event: Event) -> None:
        if self._is_on:
            self._aim(layer, event.position)

    def _press(self, layer: Shapes, event: Event) -> Iterator[None]:
        if not self._is_on:
            return
        found = self._aim(layer, event.position)
        if found is not None:
            _raise(layer, found, event.position)
        else:
            self._picked, self._is_drawing = None, True
            self._pressed = np.asarray(layer.world_to_data(event.position))
        self._boxes.on_click = self._click if found is None else None
        yield
        while event.type == "mouse_move":
            yield
        # napari's own tool has its turn now; `_click` comes after it.
        self._is_drawing = False

    def _click(self) -> None:
        """Pick up what lies below a click, or let go of all."""
        layer, place = self._layer, self._pressed
        if layer is None or place is None:
            return
        inside = [i for i in self._in_view(layer) if self._contains(layer, i, place)]
        if inside:
            self._picked = min(inside, key=lambda i: self._area(layer, i))
            self._switch(layer, PICK)
            layer.selected_data = {self._picked}
        else:
            self._boxes.let_go()

    def _escape(self, layer: Shapes) -> None:
        """Give up the box that is being drawn, or else let go of the selected ones."""
        if self._is_drawing:
            self._is_drawing = False
            self._boxes.stop_drawing(lambda: self._switch(layer, PICK))
        self._boxes.let_go()
        self._picked = None
        if self._is_on:
            self._switch(layer, DRAW)

    # What lies where ------------------------------------------------------

    def _on_slice(
        self, layer: Shapes, position: tuple[float, ...]
    ) -> tuple[float, ...]:
        """Return what napari's ``world_to_data`` does, on the slice in view.

        With two scans open the slider's steps are those of one of them, and lie
        between slices of the other. There napari would begin a box on no slice, and
        fail at the first move of the mouse.
        """
        place = [float(i) for i in type(layer).world_to_data(layer, position)]
        is_flat = len(place) == 3 and not self._view.is_3d
        if is_flat and not self._view.is_outside:
            axis, here = self._view.place
            place[axis] = float(here)
        return tuple(place)

    def _aim(self, layer: Shapes, position: tuple[float, ...]) -> int | None:
        """Turn the tool on that is of use here; return the box it would take."""
        found = self._below(layer, np.asarray(layer.world_to_data(position)))
        self._switch(layer, DRAW if found is None else PICK)
        return found

    def _below(self, layer: Shapes, place: NDArray) -> int | None:
        """Return the box whose handle or side is at a place, or that is picked up."""
        in_view, axes = self._in_view(layer), self._axes()
        # napari measures its handles by the last axis; never reach beyond them.
        steps = [max(abs(layer.scale[a]), abs(layer.scale[-1])) for a in axes]
        reach = REACH * layer.scale_factor / np.array(steps)
        point = place[axes]
        for index in in_view:
            if index in layer.selected_data:
                low, high = self._sides(layer, index)
                handles = [
                    (low + (high - low) * (i, j))
                    for i in (0, 0.5, 1)
                    for j in (0, 0.5, 1)
                    if (i, j) != (0.5, 0.5)
                ]
                if np.any(np.all(np.abs(handles - point) <= reach, axis=1)):
                    return index
        sides = [i for i in in_view if self._is_on_side(layer, i, point, reach)]
        if sides:
            return min(sides, key=lambda i: self._area(layer, i))
        picked = self._picked
        is_inside = picked in in_view and self._contains(layer, picked, place)
        return picked if is_inside else None

    def _is_on_side(
        self, layer: Shapes, index: int, point: NDArray, reach: NDArray
    ) -> bool:
        low, high = self._sides(layer, index)
        half = layer.edge_width[index] / 2
        is_within = np.all((point >= low - half) & (point <= high + half))
        # A box so small that it is all side has an inside to be clicked in.
        reach = np.minimum(reach, (high - low) / 4)
        is_deep = np.all((point > low + reach) & (point < high - reach))
        return bool(is_within and not is_deep)

    def _contains(self, layer: Shapes, index: int, place: NDArray) -> bool:
        low, high = self._sides(layer, index)
        point = place[self._axes()]
        return bool(np.all((low <= point) & (point <= high)))

    def _area(self, layer: Shapes, index: int) -> float:
        low, high = self._sides(layer, index)
        return float(np.prod(high - low))

    def _sides(self, layer: Shapes, index: int) -> tuple[NDArray, NDArray]:
        corners = np.asarray(layer.data[index])[:, self._axes()]
        return corners.min(axis=0), corners.max(axis=0)

    def _axes(self) -> list[int]:
        """Return the axes of the layer that are rows and columns on the screen."""
        if self._view.image.ndim == 2:
            return [0, 1]
        return list(axis_order(self._view.axis)[1:])

    def _in_view(self, layer: Shapes) -> list[int]:
        """Return the boxes on the slice in view, those of hidden objects apart."""
        objects, (axis, here) = self._boxes.session.objects, self._view.place
        is_flat = self._view.image.ndim == 2
        found = []
        for index, row in enumerate(box_rows(layer)):
            o = objects.get(row.object_id)
            if o is None or not o.is_visible or o.axis != axis:
                continue
            if is_flat or round(float(layer.data[index][0][axis])) == here:
                found.append(index)
        return found

    # napari's tools -------------------------------------------------------

    def _switch(self, layer: Shapes, mode: str) -> None:
        """Turn one of napari's tools on; what is selected stays so."""
        if layer.mode == mode:
            return
        with self._switching():
            selected = set(layer.selected_data)
            # napari lets go of the selection where a drawing tool is turned on.
            with layer.selected_data.events.items_changed.blocked():
                layer.mode = mode
                layer.selected_data = selected
            # And 0.6 gives what was selected anew on to the next box, its object too.
            self._boxes.forget_selected()
            layer.events.highlight()

    @contextmanager
    def _switching(self) -> Iterator[None]:
        self._is_switching = True
        try:
            yield
        finally:
            self._is_switching = False


def _raise(layer: Shapes, index: int, position: tuple[float, ...]) -> None:
    """Put a box above those that cover it there, so that napari takes that one."""
    shape, _ = layer.get_value(position, world=True)
    if shape is not None and shape != index:
        z_index = list(layer.z_index)
        z_index[index] = max(z_index) + 1
        layer.z_index = z_index
