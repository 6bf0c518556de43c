"""The layer of labels, which shares its array with a session."""

from collections.abc import Callable, Iterable

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.events import Event, EventEmitter

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.gui.segment.brush_strokes import slices_around
from napari_qmedsam.gui.shared.colours import label_colours, with_hidden
from napari_qmedsam.gui.shared.layer_placement import lie_alike
from napari_qmedsam.gui.shared.layers import RESULT, is_of, is_result
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.gui.shared.session_layer import Objects, SessionLayer
from napari_qmedsam.segmentation.measuring import Tally
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.segments import Colour


class LabelsLayer(SessionLayer[Labels]):
    """Labels of a session in the viewer, and the strokes of napari's brush.

    The layer shares its array with the session.

    Parameters
    ----------
    image, session, say
        As for :class:`SessionLayer`.
    on_brush, on_colours : callable
        Called after a stroke, and after the layer has other colours.
    on_select : callable
        Called with the label that the user chose for napari's brush.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        say: Say,
        on_brush: Callable[[], None] = lambda: None,
        on_colours: Callable[[], None] = lambda: None,
        on_select: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__(image, session, say)
        self.tally = Tally(session.volume)
        self._on_brush, self._on_colours = on_brush, on_colours
        self._on_select = on_select

    def make(self) -> Labels:
        """Return a layer that lies on the image and shows the session's array."""
        array = self.session.labels
        common = self._common("labels")
        common["metadata"][RESULT] = True
        return Labels(
            array if self.image.ndim == 3 else array[0],
            colormap=label_colours(),
            opacity=0.5,
            **common,
        )

    def fits(self, layer: Layer) -> bool:
        """Tell whether these are labels that a panel painted for this volume."""
        return is_result(layer) and is_of(layer, self.session.volume)

    def take(self, layer: Labels) -> None:
        """Listen to a layer, and let the session paint into it."""
        super().take(layer)
        with errors_shown(self._say):
            self.share()
        self._on_colours()

    def remove(self) -> None:
        """Let the session start again without a voxel; undo brings them back."""
        self.session.clear_labels()
        self.tally.mark()

    def follow(self, before: Objects) -> None:
        """Show objects in their colours, hidden ones not at all, if that changed."""
        now = self.session.objects
        if _hidden(before) != _hidden(now) or _coloured(before) != _coloured(now):
            self.show_visibility()

    def _callbacks(
        self, layer: Labels
    ) -> Iterable[tuple[EventEmitter, Callable[..., None]]]:
        events = layer.events
        return [
            (events.colormap, self._recoloured),
            (events.paint, self._painted),
            (events.selected_label, self._label_chosen),
        ]

    def aim(self, object_id: int) -> None:
        """Let napari's brush paint this object."""
        if self.layer is not None:
            self.layer.selected_label = object_id

    def _label_chosen(self) -> None:
        self._on_select(int(self.taken.selected_label))

    def _recoloured(self) -> None:
        self._on_colours()

    def share(self) -> None:
        """Let the session paint into what the layer shows.

        Strokes of napari's brush are in the shared array already. Only if
        the layer was given another array is the session's exchanged, and its
        history, which belongs to the old one, forgotten.

        Raises
        ------
        GridMismatch
            If the layer's array does not fit the volume, or the layer was moved away
            from its image.
        """
        if self.layer is None:
            return
        if not lie_alike(self.layer, self.image):
            raise GridMismatch(
                f"'{self.layer.name}' does not lie on '{self.image.name}' any more. "
                "Move it back to go on with its masks."
            )
        array = self.layer.data
        shown = array if self.image.ndim == 3 else array[np.newaxis]
        if not np.may_share_memory(shown, self.session.labels):
            self.session.share_labels(shown)
            self.tally.mark()

    def _painted(self, event: Event) -> None:
        """Make a stroke of napari's brush a step of undo."""
        with errors_shown(self._say):
            self.share()
        labels = self.session.labels
        before, after = slices_around(labels, event.value)
        self.session.history.record(labels, before, after=after)
        self._on_brush()

    def check(self) -> None:
        """Raise InvalidSettings if there is nothing to save."""
        if self.layer is None or not self.session.labels.any():
            raise InvalidSettings("There are no labels to save. Segment a box first.")

    def redraw(self, is_whole: bool = True) -> None:
        """Draw the layer anew; only what is in view of it if it is not whole."""
        if self.layer is not None:
            self.layer.refresh(thumbnail=is_whole, extent=False)

    def show_visibility(self) -> None:
        """Let the labels of hidden objects be transparent."""
        if self.layer is not None:
            objects = self.session.objects
            largest = max([0, int(self.session.labels.max()), *objects])
            own = _coloured(objects)
            self.layer.colormap = with_hidden(_hidden(objects), largest, own)


def _hidden(objects: Objects) -> set[int]:
    return {i for i, o in objects.items() if not o.is_visible}


def _coloured(objects: Objects) -> dict[int, Colour]:
    return {i: o.colour for i, o in objects.items() if o.colour is not None}
