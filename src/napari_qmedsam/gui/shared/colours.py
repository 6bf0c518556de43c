"""Colours of objects: the same in the labels, the boxes and the table."""

from collections.abc import Collection, Mapping

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import Colormap, CyclicLabelColormap, DirectLabelColormap
from numpy.typing import NDArray

from napari_qmedsam.volumes.segments import PALETTE, Colour


def label_colours() -> CyclicLabelColormap:
    """Return the colormap that new labels layers get."""
    return CyclicLabelColormap(
        colors=["#00000000", *PALETTE], display_name="QMedSAM objects"
    )


def with_hidden(
    hidden: Collection[int], largest: int, own: Mapping[int, Colour] | None = None
) -> Colormap:
    """Return the colormap in which these of the ids 1 to `largest` are transparent.

    Parameters
    ----------
    hidden : collection of int
    largest : int
    own : mapping of int to colour, optional
        Of objects that were given one; all others have the palette's.
    """
    if not hidden and not own:
        return label_colours()
    colours = label_colours()
    table: dict[int | None, NDArray] = {
        i: colours.map(np.uint16(i)) for i in range(largest + 1)
    }
    for i, colour in (own or {}).items():
        table[i] = np.array([*colour, 255]) / 255
    table |= {i: np.zeros(4) for i in (0, *hidden)}
    # An id beyond the table; napari asks for a colour of the rest.
    table[None] = np.array([1.0, 1.0, 1.0, 1.0])
    return DirectLabelColormap(color_dict=table)


def colour_of(object_id: int, labels: Labels | None = None) -> NDArray[np.floating]:
    """Return an object's colour as (4,) RGBA from 0 to 1.

    Parameters
    ----------
    object_id : int
    labels : Labels or None
        The layer that shows the object; without one the palette decides.
    """
    colours = label_colours() if labels is None else labels.colormap
    rgba = np.array(colours.map(np.uint16(object_id)), dtype=float).reshape(4)
    if rgba[3] == 0:  # hidden in the labels, and still to be told in the table
        rgba = np.array(label_colours().map(np.uint16(object_id)), float).reshape(4)
    rgba[3] = 1.0
    return rgba
