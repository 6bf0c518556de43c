"""What speaks for an object on a slice besides the model: motion, shape and greys.

Everything here works on slices of at most `LONGEST` pixels a side: models see no finer
detail, and distances in pixels mean the same on every scan.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

LONGEST = 256
"""Pixels of the longer side that a slice is shrunk to."""

RING = 8
"""Pixels around an object whose greys it is told from."""

GREY_BLUR = 6.0
"""Standard deviation, in grey levels, by which counts of greys are smoothed."""

RAREST = 2e-4
"""Added to the share of every grey, so that one never seen rules nothing out."""

LARGEST_RATIO = 2.0
"""Log-ratio of two shares from which on a grey speaks fully for one side."""

SOFT_EDGE = 0.15
"""Of an object's diameter: how far from its edge a shape speaks fully."""

LEAST_EDGE = 1.5
"""Pixels; `SOFT_EDGE` is never less."""

SIDE = 5
"""Pixels of the square in which both sides of an outline are compared."""


@dataclass(frozen=True)
class WorkingFrame:
    """Slices of one size, shrunk to at most `LONGEST` pixels.

    Parameters
    ----------
    height, width : int
        Of a slice of the volume.
    """

    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns here."""
        share = min(1.0, LONGEST / max(self.height, self.width))
        return max(1, round(self.height * share)), max(1, round(self.width * share))

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Shrink a windowed (Y, X) or (Y, X, 3) slice to greys."""
        if image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return np.asarray(self._resize(image, self.shape), np.uint8)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Shrink a (Y, X) mask."""
        return self._resize(mask.astype(np.float32), self.shape) >= 0.5

    def whole_mask(self, score: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return the mask of a slice of the volume, where a score here is above 0."""
        size = self.width, self.height
        if score.shape == size[::-1]:
            return score > 0
        return np.asarray(cv2.resize(score.astype(np.float32), size)) > 0

    def whole_box(self, mask: NDArray[np.bool_]) -> Box2D | None:
        """Return the tight box of a mask here in pixels of the volume's slices."""
        box = Box2D.around(mask)
        if box is None:
            return None
        rows, columns = self.shape
        across, down = self.width / columns, self.height / rows
        return Box2D(
            box.x_min * across, box.y_min * down, box.x_max * across, box.y_max * down
        )

    @staticmethod
    def _resize(image: NDArray, shape: tuple[int, int]) -> NDArray:
        if image.shape == shape:
            return image
        size = shape[::-1]
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


class WorkingSlices:
    """Slices of a volume in their working frame, and how each moves to the next.

    What was asked for last is kept: many objects ask for the same.
    """

    def __init__(self, volume: Volume, window: Window) -> None:
        self.volume, self.window = volume, window
        self.frame = WorkingFrame(*volume.shape[1:])
        self.image = lru_cache(maxsize=4)(self._image)
        self.motion = lru_cache(maxsize=4)(self._motion)

    def _image(self, slice_index: int) -> NDArray[np.uint8]:
        """Return a windowed slice."""
        return self.frame.image(
            slice_image(self.volume.array, slice_index, self.window)
        )

    def _motion(self, before: int, now: int) -> NDArray[np.float32]:
        """Return where the pixels of a slice lay on another, as `motion_between`."""
        return motion_between(self.image(before), self.image(now))


def motion_between(
    before: NDArray[np.uint8], now: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return where the pixels of a slice lay on the slice before.

    Dense inverse search (Kroeger 2016), of OpenCV.

    Parameters
    ----------
    before, now : ndarray, (Y, X) uint8

    Returns
    -------
    ndarray, (Y, X, 2) float32
        To be added to (x, y) of each pixel of `now`.
    """
    height, width = now.shape
    # The search looks at patches of 8 pixels: small slices have too few of them.
    times = max(1, round(LONGEST / max(height, width)))
    size = width * times, height * times
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    larger = [cv2.resize(image, size) for image in (now, before)]
    # Slices need a few pixels for the coarsest of its steps.
    if min(size) < 32:
        return np.zeros((height, width, 2), np.float32)
    found = search.calc(larger[0], larger[1], np.zeros((*size[::-1], 2), np.float32))
    back = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(back / times, np.float32)


def moved(mask: NDArray[np.bool_], motion: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Move a (Y, X) mask along with its slice.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
        On the slice before.
    motion : ndarray, (Y, X, 2) float32
        Of :func:`motion_between`.
    """
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    found = cv2.remap(
        mask.astype(np.float32),
        x + motion[..., 0],
        y + motion[..., 1],
        cv2.INTER_LINEAR,
    )
    return np.asarray(found) > 0.5


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance of each pixel from the edge, in pixels, positive inside.

    Half a pixel on each side of the edge; a mask that is empty or full has the same
    large distance everywhere.
    """
    if not mask.any() or mask.all():
        return np.full(mask.shape, sum(mask.shape) * (1 if mask.any() else -1), "f4")

    def distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        found = cv2.distanceTransform(
            inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        return np.asarray(found, np.float32)

    signed = distance(mask) - distance(~mask) + np.where(mask, -0.5, 0.5)
    return np.asarray(signed, np.float32)


def shape_evidence(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what an expected shape says of each pixel: 1 inside, -1 outside.

    Parameters
    ----------
    distance : ndarray, (Y, X) float32
        Signed distance from the shape's edge, near which it says little.
    """
    diameter = 2 * np.sqrt(np.count_nonzero(distance > 0) / np.pi)
    edge = max(LEAST_EDGE, SOFT_EDGE * diameter)
    return np.clip(distance / edge, -1, 1)


def grey_table(
    image: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return what each grey says: 1 for the object, -1 for what lies around it.

    The log-ratio of the grey's share inside the mask and in a ring around it.

    Parameters
    ----------
    image : ndarray, (Y, X) uint8
    mask : ndarray, (Y, X) bool

    Returns
    -------
    ndarray, (256,) float32
        All 0 for an empty mask, and for one that leaves no ring.
    """

    def grown(pixels: int) -> NDArray[np.bool_]:
        kernel = cv2.getStructuringElement(
            cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)
        )
        return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0

    around = grown(RING) & ~grown(1)
    if not mask.any() or not around.any():
        return np.zeros(256, np.float32)

    def shares(where: NDArray[np.bool_]) -> NDArray[np.floating]:
        counts = np.bincount(image[where], minlength=256).astype(float)
        smooth = gaussian_filter1d(counts, GREY_BLUR, mode="nearest")
        return smooth / smooth.sum() + RAREST

    ratio = np.log(shares(mask) / shares(around)) / LARGEST_RATIO
    return np.clip(ratio, -1, 1).astype(np.float32)


def edge_contrast(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Return how much greys change across the outline of a mask, in grey levels.

    The difference of the mean grey on both sides, averaged along the outline. An
    outline that cuts through an object, or lies in what is around it, changes little.

    Parameters
    ----------
    image : ndarray, (Y, X) uint8
    mask : ndarray, (Y, X) bool
        0 is returned for an empty or a full one.
    """
    if not mask.any() or mask.all():
        return 0.0
    inside, grey = mask.astype(np.float32), image.astype(np.float32)

    def mean_grey(where: NDArray[np.float32]) -> NDArray[np.float32]:
        size = (SIDE, SIDE)
        count = np.maximum(cv2.blur(where, size), 1e-6)
        return np.asarray(cv2.blur(grey * where, size) / count, np.float32)

    outline = mask & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0)
    if not outline.any():  # only the slice's own border
        return 0.0
    return float(np.abs(mean_grey(inside) - mean_grey(1 - inside))[outline].mean())
