"""A napari layer that follows a session, and leads it where the user draws."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from napari.layers import Image, Layer
from napari.utils.events import Event, EventEmitter

from napari_qmedsam.gui.shared.layers import VOLUME, placement_of
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.session import Session

Objects = Mapping[int, SegmentObject]
"""A session's objects by id."""

LayerType = TypeVar("LayerType", bound=Layer)

SETTLED = ("added", "changed", "removed")
"""Actions of a layer's data after which they are whole."""


@dataclass(frozen=True)
class Edit:
    """A slice of an object on which its box or points were changed."""

    object_id: int
    axis: int
    slice_index: int


class SessionLayer(ABC, Generic[LayerType]):
    """Keeps one layer equal to what a session says of its image.

    There is none until it is made for the first time, or one that a closed panel
    or sample data left in the viewer is taken.

    Parameters
    ----------
    image : Image
    session : Session
    say : callable
        Called with what is wrong with what the user did to the layer.
    """

    def __init__(self, image: Image, session: Session, say: Say) -> None:
        self.image, self.session = image, session
        self.layer: LayerType | None = None
        self._say = say

    @property
    def taken(self) -> LayerType:
        """The layer, where there must be one."""
        assert self.layer is not None, "no layer has been taken"
        return self.layer

    @abstractmethod
    def make(self) -> LayerType:
        """Return a new layer that lies on the image; it is not taken yet."""

    @abstractmethod
    def fits(self, layer: Layer) -> bool:
        """Tell whether a layer was made for this volume, and is of this kind."""

    @abstractmethod
    def follow(self, before: Objects) -> None:
        """Show what changed of the session's objects, which were these before."""

    @abstractmethod
    def remove(self) -> None:
        """Draw the consequences for the session of a layer that was deleted."""

    def take(self, layer: LayerType) -> None:
        """Listen to a layer."""
        self.layer = layer
        for event, callback in self._callbacks(layer):
            event.connect(callback)

    def drop(self) -> None:
        """Let go of the layer; the session stays as it is."""
        if self.layer is not None:
            for event, callback in self._callbacks(self.layer):
                event.disconnect(callback)
            self.layer = None

    @abstractmethod
    def _callbacks(
        self, layer: LayerType
    ) -> Iterable[tuple[EventEmitter, Callable[..., None]]]:
        """Return which of the layer's events are listened to."""

    def _common(self, what: str) -> dict[str, Any]:
        """Return the name, place and mark of a new layer."""
        return {
            "name": f"{self.image.name} {what}",
            "metadata": {VOLUME: self.session.volume},
            **placement_of(self.image),
        }


class PromptLayer(SessionLayer[LayerType]):
    """A layer that prompts are drawn into: what is drawn becomes objects.

    Parameters
    ----------
    image, session, say
        As for :class:`SessionLayer`.
    on_edit : callable
        Called with the slices that the user changed, none if something only went,
        after the session has them.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        say: Say,
        on_edit: Callable[[list[Edit]], None] = lambda _: None,
    ) -> None:
        super().__init__(image, session, say)
        self._on_edit = on_edit
        self._is_showing = False

    def take(self, layer: LayerType) -> None:
        """Listen to a layer; what is drawn in it becomes objects."""
        super().take(layer)
        if len(layer.data):
            with errors_shown(self._say):
                self.read()

    @abstractmethod
    def read(self) -> None:
        """Make the session's objects what the layer says."""

    @abstractmethod
    def show(self) -> None:
        """Draw the layer anew, as the session's objects say."""

    @abstractmethod
    def _edits(self, old: SegmentObject | None, new: SegmentObject) -> set[int]:
        """Return the slices on which an object was changed."""

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """Change the layer without reading it."""
        self._is_showing = True
        try:
            yield
        finally:
            self._is_showing = False

    def _callbacks(
        self, layer: LayerType
    ) -> Iterable[tuple[EventEmitter, Callable[..., None]]]:
        return [(layer.events.data, self._changed)]

    def _changed(self, event: Event) -> None:
        # While something is drawn or dragged its data are not final.
        if self._is_showing or str(getattr(event, "action", "changed")) not in SETTLED:
            return
        before = dict(self.session.objects)
        with errors_shown(self._say):
            try:
                self.read()
            finally:
                self._on_edit(
                    [
                        Edit(object_id, o.axis, slice_index)
                        for object_id, o in self.session.objects.items()
                        for slice_index in sorted(self._edits(before.get(object_id), o))
                    ]
                )
