"""Boxes on one slice to masks, each slice encoded once."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidOutput, InvalidSettings
from napari_qmedsam.preprocessing import SliceGeometry, is_blank, slice_image
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.tiles import Tile
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

InputBox = tuple[float, float, float, float]
"""Corner pixels of a box in the model input."""

InputPoint = tuple[float, float, float]
"""(x, y) of a point in the model input, and 1 where the object is, else 0."""


TIMED = 25
"""Latest encodings and decodings that tell how fast a model is."""


class SliceSegmenter:
    """A loaded model with its store of embeddings.

    Threads take turns: a backend and a store serve one at a time.

    Parameters
    ----------
    backend : Backend
    store : EmbeddingStore, optional
    max_boxes : int
        Boxes decoded at once (QMedSAM's block partition): memory grows with
        it, time hardly falls beyond a few dozen.
    model_key : str, optional
        What keys of embeddings say of the model. Models with one encoder share
        embeddings where they have one key and one store. Default: everything
        about the model.
    """

    def __init__(
        self,
        backend: Backend,
        store: EmbeddingStore | None = None,
        max_boxes: int = 32,
        model_key: str | None = None,
    ) -> None:
        if max_boxes < 1:
            raise InvalidSettings(f"max_boxes must be at least 1, not {max_boxes}.")
        self.backend, self.max_boxes = backend, max_boxes
        self.model_key = backend.info.key if model_key is None else model_key
        self.store = EmbeddingStore() if store is None else store
        self._turn = threading.RLock()
        self._encoded: deque[float] = deque(maxlen=TIMED)
        self._decoded: deque[float] = deque(maxlen=TIMED)

    @property
    def milliseconds(self) -> tuple[float | None, float | None]:
        """Median time of the latest encodings and of the latest decodings.

        None where there was none yet. Slices that were found in the store
        took no encoding.
        """
        encoded, decoded = (
            1000 * median(seconds) if seconds else None
            for seconds in (self._encoded, self._decoded)
        )
        return encoded, decoded

    def geometry(self, volume: Volume) -> SliceGeometry:
        """Return how this volume's slices lie in the model input."""
        return SliceGeometry.of(
            self.backend.config, *volume.shape[1:], volume.pixel_aspect
        )

    def _geometry(self, image: NDArray[np.uint8], pixel_aspect: float) -> SliceGeometry:
        height, width = image.shape[:2]
        return SliceGeometry.of(self.backend.config, height, width, pixel_aspect)

    def key(self, image: NDArray[np.uint8], pixel_aspect: float = 1.0) -> str:
        """Key of a windowed slice: its content and everything about the model."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.model_key.encode())
        digest.update(f"/{image.shape}/{pixel_aspect}".encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def embed(
        self, volume: Volume, slice_index: int, window: Window
    ) -> tuple[str, NDArray[np.float32]]:
        """Return key and embedding of a slice, encoding it if it is new."""
        image = slice_image(volume.array, slice_index, window)
        return self._embed(image, volume.pixel_aspect)

    def _embed(
        self, image: NDArray[np.uint8], pixel_aspect: float
    ) -> tuple[str, NDArray[np.float32]]:
        key = self.key(image, pixel_aspect)
        with self._turn:
            embedding = self.store.get(key)
            if embedding is None:
                model_input = self._geometry(image, pixel_aspect).prepare(image)
                start = time.perf_counter()
                encoded = self.backend.encode(model_input)
                embedding = self._finite(encoded, "an embedding")
                self._encoded.append(time.perf_counter() - start)
                self.store.put(key, embedding)
        return key, embedding

    def is_encoded(self, volume: Volume, slice_index: int, window: Window) -> bool:
        """Tell whether the embedding of a slice is at hand, waiting for no turn."""
        image = slice_image(volume.array, slice_index, window)
        return self.key(image, volume.pixel_aspect) in self.store

    def make_ready(self, volume: Volume, slice_index: int, window: Window) -> None:
        """Encode a slice if it is new, and decode a box that nobody asked for.

        Decoders compute part of their work once per slice, with its first box; the
        user's first is then as fast as the next ones.
        """
        if is_blank(volume.array, slice_index):
            return
        _, embedding = self.embed(volume, slice_index, window)
        size = self.backend.config.input_size
        with self._turn:
            self.backend.decode(embedding, np.array([[0, 0, size, size]], np.float32))

    def decode(
        self,
        embedding: NDArray[np.float32],
        boxes: Sequence[InputBox],
        points: Sequence[Sequence[InputPoint]] = (),
    ) -> NDArray[np.float32]:
        """Low-res logits of boxes of the model input, decoded in blocks.

        Parameters
        ----------
        embedding : ndarray
        boxes : sequence of InputBox
        points : sequence of sequences of InputPoint
            Those of each box; none at all by default.

        Returns
        -------
        ndarray, (n, L, L) float32
        """
        prompts = np.asarray(boxes, np.float32).reshape(-1, 4)
        size = self.backend.config.logits_size
        logits = np.empty((len(prompts), size, size), np.float32)
        counts = np.array([len(p) for p in points] or [0] * len(prompts), int)
        with self._turn:
            started = time.perf_counter()
            # A padded point is not the same to a model as none.
            for count in np.unique(counts):
                alike = np.flatnonzero(counts == count)
                for start in range(0, len(alike), self.max_boxes):
                    block = alike[start : start + self.max_boxes]
                    if count == 0:
                        logits[block] = self.backend.decode(embedding, prompts[block])
                        continue
                    given = np.array([points[i] for i in block], np.float32)
                    refined = given[..., :2], given[..., 2]
                    logits[block] = self.backend.decode(
                        embedding, prompts[block], refined
                    )
            self._decoded.append(time.perf_counter() - started)
        return self._finite(logits, "masks")

    def _finite(self, values: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        """Return what a model gave; NaN would pass for an empty mask."""
        if np.isfinite(values).all():
            return values
        info = self.backend.info
        raise InvalidOutput(
            f"The model '{info.model}' ({info.backend}, {info.precision}, "
            f"{info.device}) gave {what} with "
            f"{np.count_nonzero(~np.isfinite(values))} values that are not finite. "
            "Choose another backend, precision or device, or get the weights again."
        )

    def masks(
        self,
        volume: Volume,
        slice_index: int,
        boxes: Sequence[InputBox],
        window: Window,
        points: Sequence[Sequence[InputPoint]] = (),
    ) -> NDArray[np.bool_]:
        """Masks of boxes that are already in model-input coordinates.

        A slice of one value has no object: its masks are empty.
        """
        if is_blank(volume.array, slice_index):
            return np.zeros((len(boxes), *volume.shape[1:]), bool)
        _, embedding = self.embed(volume, slice_index, window)
        logits = self.decode(embedding, boxes, points)
        return self.geometry(volume).logits_to_masks(logits)

    def tiled_masks(
        self,
        volume: Volume,
        slice_index: int,
        boxes: Sequence[Box2D],
        window: Window,
    ) -> dict[int, NDArray[np.bool_]]:
        """Masks of the boxes that are segmented in a tile of the slice.

        Returns
        -------
        dict of int to ndarray
            Index into `boxes`, and the (Y, X) mask; see
            :mod:`napari_qmedsam.segmentation.tiles`.
        """
        shape, aspect = volume.shape[1:], volume.pixel_aspect
        if is_blank(volume.array, slice_index):
            return {}
        found = [Tile.of(box, shape, self.backend.config, aspect) for box in boxes]
        tiles = sorted({tile for tile in found if tile is not None})
        if not tiles:
            return {}
        image = slice_image(volume.array, slice_index, window)
        masks: dict[int, NDArray[np.bool_]] = {}
        for tile in tiles:
            part = tile.cut(image)
            inside = [i for i, each in enumerate(found) if each == tile]
            if is_blank(part[None], 0):
                masks |= {i: np.zeros(shape, bool) for i in inside}
                continue
            geometry = self._geometry(part, aspect)
            _, embedding = self._embed(part, aspect)
            prompts = [geometry.box_to_input(tile.box(boxes[i])) for i in inside]
            logits = self.decode(embedding, prompts)
            given = geometry.logits_to_masks(logits)
            masks |= {
                i: tile.paste(m, shape) for i, m in zip(inside, given, strict=True)
            }
        return masks

    def segment_slice(
        self,
        volume: Volume,
        slice_index: int,
        boxes: Sequence[Box2D],
        window: Window | None = None,
    ) -> NDArray[np.bool_]:
        """Segment boxes on one slice.

        Parameters
        ----------
        volume : Volume
        slice_index : int
        boxes : sequence of Box2D
        window : Window, optional
            Default: the volume's own.

        Returns
        -------
        ndarray, (n, Y, X) bool
            One mask per box, in order.

        Raises
        ------
        InvalidBox
            If a box or the slice lies outside the volume.
        """
        depth, height, width = volume.shape
        geometry = self.geometry(volume)
        clipped = [
            Box3D.on_slice(slice_index, box).clip(depth, height, width).in_plane
            for box in boxes
        ]
        chosen = volume.window_or_default(window)
        masks = np.empty((len(boxes), height, width), bool)
        tiled = self.tiled_masks(volume, slice_index, clipped, chosen)
        for i, mask in tiled.items():
            masks[i] = mask
        rest = [i for i in range(len(boxes)) if i not in tiled]
        if rest:
            prompts = [geometry.box_to_input(clipped[i]) for i in rest]
            masks[rest] = self.masks(volume, slice_index, prompts, chosen)
        return masks
