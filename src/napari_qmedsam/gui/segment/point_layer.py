"""The layer of points that refine boxes, kept equal to a session's objects."""

from collections.abc import Callable

import numpy as np
from napari.layers import Image, Points
from napari.utils.events import Event

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.box_layer import SETTLED, Edit
from napari_qmedsam.gui.segment.rectangles import ID, NO_ID
from napari_qmedsam.gui.shared.layers import VOLUME, placement_of
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.prompts import Point
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.reslicing import axis_order

POSITIVE = "is_positive"
"""Column of the features: whether the object is at the point."""

COLOURS = {True: "#3ddc84", False: "#ff4d4d"}
"""Green where the object is, red where it is not."""


class PointLayer:
    """Points to objects when the user sets some, objects to points otherwise.

    Parameters
    ----------
    image : Image
    session : Session
    on_edit : callable
        Called with the edits of the user, after the session has them.
    say : callable
        Called with what is wrong with a point.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        on_edit: Callable[[list[Edit]], None],
        say: Say,
    ) -> None:
        self.image, self.session = image, session
        self.layer: Points | None = None
        self._on_edit, self._say = on_edit, say
        self._syncing = False

    def make(self) -> Points:
        """Return an empty layer that lies on the image."""
        return Points(
            np.empty((0, self.image.ndim)),
            ndim=self.image.ndim,
            name=f"{self.image.name} points",
            metadata={VOLUME: self.session.volume},
            features={ID: np.empty(0, int), POSITIVE: np.empty(0, bool)},
            size=max(self.session.volume.shape[1:]) / 60,
            border_color="black",
            **placement_of(self.image),
        )

    def take(self, layer: Points) -> None:
        """Listen to a layer."""
        self.layer = layer
        layer.events.data.connect(self._changed)
        if len(layer.data):
            with errors_shown(self._say):
                self.sync()

    def drop(self) -> None:
        """Let go of the layer; the objects keep their points."""
        if self.layer is not None:
            self.layer.events.data.disconnect(self._changed)
            self.layer = None

    def aim(self, object_id: int, is_positive: bool) -> None:
        """Let the points that are set from now on be of this object and kind."""
        self.layer.feature_defaults = {ID: object_id, POSITIVE: is_positive}
        self.layer.selected_data = set()
        self.layer.current_face_color = COLOURS[is_positive]
        self.layer.mode = "add"

    def sync(self) -> None:
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
        edits = []
        for object_id, points in found.items():
            old = self.session.objects[object_id]
            if tuple(points) == old.points:
                continue
            try:
                self.session.change_object(object_id, points=tuple(points))
            except InvalidSettings:
                self.show()
                raise
            changed = {p.slice_index for p in set(points) ^ set(old.points)}
            edits += [Edit(object_id, old.axis, z) for z in sorted(changed)]
        self._on_edit(edits)

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
        self._syncing = True
        try:
            self.layer.data = np.array(places).reshape(-1, self.image.ndim)
            if places:
                self.layer.features = {ID: ids, POSITIVE: kinds}
                self.layer.face_color = [COLOURS[kind] for kind in kinds]
        finally:
            self._syncing = False

    def _changed(self, event: Event) -> None:
        if self._syncing or str(getattr(event, "action", "changed")) not in SETTLED:
            return
        with errors_shown(self._say):
            self.sync()

    def _point(self, place: np.ndarray, axis: int, is_positive: bool) -> Point:
        world = self.layer.data_to_world(place)
        index = np.asarray(self.image.world_to_data(world), float)
        if self.image.ndim == 2:
            index = np.insert(index, 0, 0)
        depth, row, column = (float(index[i]) for i in axis_order(axis))
        return Point(round(depth), column, row, is_positive)

    def _place(self, point: Point, axis: int) -> np.ndarray:
        place = np.empty(3)
        place[list(axis_order(axis))] = point.slice_index, point.y, point.x
        return place if self.image.ndim == 3 else place[1:]


def target_of(session: Session, selected: list[int]) -> int:
    """Return the object that points and key boxes are for.

    The selected one, or else the newest.

    Raises
    ------
    InvalidSettings
        If there is none, or several are selected.
    """
    if len(selected) > 1:
        raise InvalidSettings("Select one object alone; key boxes and points are its.")
    if selected:
        return selected[0]
    if not session.objects:
        raise InvalidSettings("There is no object yet. Draw a box first.")
    return max(session.objects, default=NO_ID)
