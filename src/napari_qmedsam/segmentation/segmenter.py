"""Boxes on one slice to masks, each slice encoded once."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidOutput, InvalidSettings
from napari_qmedsam.preprocessing import SliceGeometry, is_blank, slice_image
from napari_qmedsam.prompts import Box2D, Box3D, Point
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.field_of_view import (
    NOT_SHOWN,
    FieldOfView,
    InputBox,
    InputPoint,
    ModelPrompt,
)
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

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

    def view(
        self, volume: Volume, box: Box2D | None = None, points: Sequence[Point] = ()
    ) -> FieldOfView:
        """Return what the model is shown of a slice for a box; all without one."""
        shape, aspect = volume.shape[1:], volume.pixel_aspect
        return FieldOfView.of(self.backend.config, shape, aspect, box, points)

    def key(self, image: NDArray[np.uint8], pixel_aspect: float = 1.0) -> str:
        """Key of a windowed slice: its content and everything about the model."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.model_key.encode())
        digest.update(f"/{image.shape}/{pixel_aspect}".encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def embed(
        self,
        volume: Volume,
        slice_index: int,
        window: Window,
        view: FieldOfView | None = None,
    ) -> tuple[str, NDArray[np.float32]]:
        """Return key and embedding of what is shown of a slice, encoded if it is new.

        Without a view that is the whole slice.
        """
        shown = self.view(volume) if view is None else view
        image = shown.cut(slice_image(volume.array, slice_index, window))
        key = self.key(image, volume.pixel_aspect)
        with self._turn:
            embedding = self.store.get(key)
            if embedding is None:
                model_input = shown.geometry.prepare(image)
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

    def answers(
        self,
        prompts: Sequence[ModelPrompt],
        embedding_of: Callable[[FieldOfView], NDArray[np.float32] | None],
    ) -> NDArray[np.float32]:
        """Low-res logits of what is asked of one slice.

        Parameters
        ----------
        prompts : sequence of ModelPrompt
        embedding_of : callable
            Returns the embedding of what is shown; None where that is of one value.

        Returns
        -------
        ndarray, (n, L, L) float32
            For each of the prompts, within what it is shown.
        """
        size = self.backend.config.logits_size
        logits = np.full((len(prompts), size, size), NOT_SHOWN, np.float32)
        for view in dict.fromkeys(prompt.view for prompt in prompts):
            own = [i for i, prompt in enumerate(prompts) if prompt.view == view]
            embedding = embedding_of(view)
            if embedding is not None:
                boxes = [prompts[i].box for i in own]
                points = [prompts[i].points for i in own]
                logits[own] = self.decode(embedding, boxes, points)
        return logits

    def shows_nothing(
        self, volume: Volume, slice_index: int, view: FieldOfView
    ) -> bool:
        """Tell whether what is shown of a slice has one value: no object is there."""
        return is_blank(view.cut(volume.array[slice_index])[None], 0)

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
        clipped = [
            Box3D.on_slice(slice_index, box).clip(depth, height, width).in_plane
            for box in boxes
        ]
        chosen = volume.window_or_default(window)
        views = [self.view(volume, box) for box in clipped]
        prompts = [
            ModelPrompt(view, view.box_to_input(box))
            for view, box in zip(views, clipped, strict=True)
        ]

        def embedding_of(view: FieldOfView) -> NDArray[np.float32] | None:
            if self.shows_nothing(volume, slice_index, view):
                return None
            return self.embed(volume, slice_index, chosen, view)[1]

        masks = np.empty((len(boxes), height, width), bool)
        answers = self.answers(prompts, embedding_of)
        for i, (view, answer) in enumerate(zip(views, answers, strict=True)):
            (masks[i],) = view.logits_to_masks(answer[None])
        return masks
