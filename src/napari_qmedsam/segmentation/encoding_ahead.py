"""Encoding slices before anybody asks for them."""

from collections.abc import Iterator

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.preprocessing import is_blank
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.reslicing import seen_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


def encode_ahead(
    segmenter: SliceSegmenter,
    volume: Volume,
    window: Window,
    start: int,
    axis: int = 0,
) -> Iterator[int]:
    """Encode the slices of a volume, from one of them outward.

    What is known already is left out, and slices of one value are. Ends at the last
    slice, or where another embedding would push one out of memory that lies nearer.

    Parameters
    ----------
    segmenter : SliceSegmenter
        Keeps the embeddings.
    volume : Volume
    window : Window
    start : int
        Slice to begin with.
    axis : int
        Array axis that slices are counted along.

    Yields
    ------
    int
        A slice that has been encoded.

    Raises
    ------
    Cancelled
        If it is not wanted any more, in the middle of a slice where the backend can.
    """
    seen, store = seen_along(volume, axis), segmenter.store
    for slice_index in outward(start, seen.shape[0]):
        check_cancelled()
        if is_blank(seen.array, slice_index):
            continue
        if segmenter.is_encoded(seen, slice_index, window):
            continue
        _, embedding = segmenter.embed(seen, slice_index, window)
        yield slice_index
        if store.bytes_in_memory + embedding.nbytes > store.memory_limit:
            return


def outward(start: int, count: int) -> list[int]:
    """Return all of 0 to `count` - 1 by their distance from `start`, higher first."""
    return sorted(range(count), key=lambda i: (abs(i - start), i < start))
