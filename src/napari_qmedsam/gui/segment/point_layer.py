"""The layer of points that refine boxes, kept equal to a session's objects."""

import numpy as np
from napari.layers import Layer, Points

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.actions import RefinementLayer, RefinementTool
from napari_qmedsam.gui.shared.layers import is_of
from napari_qmedsam.gui.shared.rectangles import ID
from napari_qmedsam.gui.shared.session_layer import Objects
from napari_qmedsam.prompts import Point
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.reslicing import axis_order

POSITIVE = "is_positive"
"""Column of the features: whether the object is at the point."""

COLOURS = {True: "#3ddc84", False: "#ff4d4d"}
"""Green where the object is, red where it is not."""


class PointLayer(RefinementLayer[Points]):
    """Points to objects when the user sets some, objects to points otherwise."""

    tools = (
        RefinementTool(
            "set_positive",
            "O",
            "Point (+)",
            "Click where the object is.",
            text="Point",
            icon="positive",
            aim=True,
        ),
        RefinementTool(
            "set_negative",
            "Shift-O",
            "Point (−)",
            "Click where the object is not.",
            text="Point",
            icon="negative",
            aim=False,
        ),
    )

    def make(self) -> Points:
        """Return an empty layer that lies on the image."""
        return Points(
            np.empty((0, self.image.ndim)),
            ndim=self.image.ndim,
            features={ID: np.empty(0, int), POSITIVE: np.empty(0, bool)},
            size=max(self.session.volume.shape[1:]) / 60,
            border_color="black",
            **self._common("points"),
        )

    def fits(self, layer: Layer) -> bool:
        """Tell whether these are points of this volume."""
        is_ours = isinstance(layer, Points) and is_of(layer, self.session.volume)
        return is_ours and ID in layer.features

    def remove(self) -> None:
        """Take the points of every object away that is not locked."""
        for object_id, o in list(self.session.objects.items()):
            if o.points and not o.is_locked:
                self.session.change_object(object_id, points=())

    def follow(self, before: Objects) -> None:
        """Set the points anew if other ones are to be seen."""
        if _seen(before) != _seen(self.session.objects):
            self.show()

    def aim(self, object_id: int, how: bool) -> None:
        """Let the points that are set from now on be inside this object, or outside."""
        layer = self.taken
        layer.feature_defaults = {ID: object_id, POSITIVE: how}
        layer.selected_data = set()
        layer.current_face_color = COLOURS[how]
        layer.mode = "add"

    def retarget(self, object_id: int) -> None:
        """Let the points that are set from now on be of another object."""
        if self.layer is not None:
            colour = self.layer.current_face_color
            self.layer.feature_defaults = {
                ID: object_id,
                POSITIVE: colour != COLOURS[False],
            }

    def read(self) -> None:
        """Make the points of the session's objects what the layer says.

        Raises
        ------
        InvalidSettings
            If an object is locked; its points have been put back.
        """
        if self.layer is None:
            return
        found: dict[int, list[Point]] = {
            i: [] for i, o in self.session.objects.items() if o.is_visible
        }
        for index, place in enumerate(self.layer.data):
            features = self.layer.features.iloc[index]
            object_id = int(features[ID])
            if object_id in found:
                is_positive = bool(features[POSITIVE])
                axis = self.session.objects[object_id].axis
                found[object_id].append(self._point(place, axis, is_positive))
        for object_id, points in found.items():
            old = self.session.objects[object_id]
            if tuple(points) == old.points:
                continue
            try:
                self.session.change_object(object_id, points=tuple(points))
            except InvalidSettings:
                self.show()
                raise

    def show(self) -> None:
        """Set the points anew, as the session's objects say."""
        if self.layer is None:
            return
        places, ids, kinds = [], [], []
        for o in self.session.objects.values():
            for point in o.points if o.is_visible else ():
                places.append(self._place(point, o.axis))
                ids.append(o.object_id)
                kinds.append(point.is_positive)
        with self._showing():
            self.layer.data = np.array(places).reshape(-1, self.image.ndim)
            if places:
                self.layer.features = {ID: ids, POSITIVE: kinds}
                self.layer.face_color = [COLOURS[kind] for kind in kinds]

    def _edits(self, old: SegmentObject | None, new: SegmentObject) -> set[int]:
        """Return the slices on which points came or went."""
        known = set() if old is None else set(old.points)
        return {point.slice_index for point in known ^ set(new.points)}

    def _point(self, place: np.ndarray, axis: int, is_positive: bool) -> Point:
        world = self.taken.data_to_world(place)
        index = np.asarray(self.image.world_to_data(world), float)
        if self.image.ndim == 2:
            index = np.insert(index, 0, 0)
        depth, row, column = (float(index[i]) for i in axis_order(axis))
        return Point(round(depth), column, row, is_positive)

    def _place(self, point: Point, axis: int) -> np.ndarray:
        place = np.empty(3)
        place[list(axis_order(axis))] = point.slice_index, point.y, point.x
        return place if self.image.ndim == 3 else place[1:]


def _seen(objects: Objects) -> dict[int, tuple]:
    """Return what of the objects is to be seen in the layer."""
    return {i: (o.axis, o.points) for i, o in objects.items() if o.is_visible}
