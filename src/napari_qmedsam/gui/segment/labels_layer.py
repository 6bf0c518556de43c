"""The layer of labels, which shares its array with a session."""

from collections.abc import Callable

import numpy as np
from napari.layers import Image, Labels
from napari.utils.events import Event

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.brush_strokes import slices_around
from napari_qmedsam.gui.shared.colours import label_colours, with_hidden
from napari_qmedsam.gui.shared.layers import RESULT, VOLUME, placement_of
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.segmentation.measuring import Tally
from napari_qmedsam.session import Session


class LabelsLayer:
    """Labels of a session in the viewer, and the strokes of napari's brush.

    Parameters
    ----------
    image : Image
    session : Session
    on_brush, on_colours : callable
        Called after a stroke, and after the layer has other colours.
    say : callable
        Called with what is wrong with the layer's array.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        on_brush: Callable[[], None],
        on_colours: Callable[[], None],
        say: Say,
    ) -> None:
        self.image, self.session = image, session
        self.tally = Tally(session.volume)
        self.layer: Labels | None = None
        self._on_brush, self._on_colours = on_brush, on_colours
        self._say = say

    def make(self) -> Labels:
        """Return a layer that lies on the image and shows the session's array."""
        array = self.session.labels
        return Labels(
            array if self.image.ndim == 3 else array[0],
            name=f"{self.image.name} labels",
            metadata={VOLUME: self.session.volume, RESULT: True},
            colormap=label_colours(),
            opacity=0.5,
            **placement_of(self.image),
        )

    def take(self, layer: Labels) -> None:
        """Listen to a layer, and let the session paint into it."""
        self.layer = layer
        layer.events.colormap.connect(self._on_colours)
        layer.events.paint.connect(self._painted)
        with errors_shown(self._say):
            self.share()
        self._on_colours()

    def drop(self) -> None:
        """Let go of the layer; the session keeps its array."""
        if self.layer is not None:
            self.layer.events.colormap.disconnect(self._on_colours)
            self.layer.events.paint.disconnect(self._painted)
            self.layer = None

    def share(self) -> None:
        """Let the session paint into what the layer shows.

        Strokes of napari's brush are in the shared array already. Only if
        the layer was given another array is the session's exchanged, and its
        history, which belongs to the old one, forgotten.

        Raises
        ------
        GridMismatch
            If the layer's array does not fit the volume.
        """
        if self.layer is None:
            return
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

    def put(self, labels: np.ndarray) -> None:
        """Exchange the array of layer and session, (z, y, x)."""
        self.session.share_labels(labels)
        if self.layer is not None:
            self.layer.data = labels if self.image.ndim == 3 else labels[0]
        self.tally.mark()

    def check(self) -> None:
        """Raise InvalidSettings if there is nothing to save."""
        if self.layer is None:
            raise InvalidSettings("There are no labels to save. Segment a box first.")

    def redraw(self, is_whole: bool = True) -> None:
        """Draw the layer anew; only what is in view of it if it is not whole."""
        if self.layer is not None:
            self.layer.refresh(thumbnail=is_whole, extent=False)

    def show_visibility(self) -> None:
        """Let the labels of hidden objects be transparent."""
        if self.layer is not None:
            objects = self.session.objects.values()
            hidden = [o.object_id for o in objects if not o.is_visible]
            largest = max([0, int(self.session.labels.max()), *self.session.objects])
            self.layer.colormap = with_hidden(hidden, largest)
