"""Boxes that were drawn on an image, for who has no panel that reads them."""

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_qmedsam.gui.shared.box_layer import BoxLayer
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.layers import is_of, is_result
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.session import Session

if TYPE_CHECKING:
    import napari


def read_drawn_boxes(
    viewer: "napari.viewer.Viewer", image: Image, session: Session
) -> None:
    """Make the session's objects what the boxes drawn on its image say.

    Nobody else has read them where the panel Segment is not open.

    Raises
    ------
    InvalidBox, InvalidSettings
        As :meth:`BoxLayer.read`.
    """
    view, layers = SliceView(viewer, image), list(viewer.layers)
    painted = [x for x in layers if is_result(x) and is_of(x, session.volume)]
    reader = BoxLayer(
        image,
        session,
        lambda _: None,
        axis=lambda: view.axis,
        colour=lambda i: colour_of(i, painted[0] if painted else None),
    )
    for layer in layers:
        if reader.fits(layer):
            reader.layer = layer
            reader.read()
            return
