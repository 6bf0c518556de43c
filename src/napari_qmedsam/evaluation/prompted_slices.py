"""The labelled slices of a volume, each object with the box of its label.

Everything that scores a model by slices walks over these: evaluation, demonstration,
and the benchmarks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.rules import MINIMUM_VOXELS, TOLERANCE_MM
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@dataclass(frozen=True, eq=False)
class PromptedSlice:
    """One slice, its objects, and what a model is asked for each of them.

    Parameters
    ----------
    volume : Volume
    slice_index : int
    window : Window
    class_ids : tuple of int
        Values of the objects in the labels; none on an empty slice.
    boxes : tuple of Box2D
    truths : ndarray, (n, Y, X) bool
    """

    volume: Volume
    slice_index: int
    window: Window
    class_ids: tuple[int, ...]
    boxes: tuple[Box2D, ...]
    truths: NDArray[np.bool_]

    @property
    def image(self) -> NDArray[np.uint8]:
        """The windowed slice, (Y, X) or (Y, X, 3)."""
        return slice_image(self.volume.array, self.slice_index, self.window)

    def scores(
        self, masks: NDArray[np.bool_], tolerance_mm: float = TOLERANCE_MM
    ) -> list[Scores]:
        """Score a mask of each object, in their order, by 2D contours.

        Parameters
        ----------
        masks : ndarray, (n, Y, X) bool
        tolerance_mm : float
        """
        spacing = self.volume.spacing_mm[1:]
        return [
            Scores.of(mask, truth, spacing, tolerance_mm)
            for mask, truth in zip(masks, self.truths, strict=True)
        ]


def prompted_slices(
    volume: Volume,
    labels: NDArray[np.integer],
    *,
    classes: Sequence[int] | None = None,
    window: Window | None = None,
    minimum: int = MINIMUM_VOXELS,
    box_jitter: int = 0,
    rng: np.random.Generator | None = None,
) -> Iterator[PromptedSlice]:
    """Go through every slice of a volume, empty ones too.

    Parameters
    ----------
    volume : Volume
    labels : ndarray, (Z, Y, X) integer
        On the volume's grid.
    classes : sequence of int, optional
        Default: every value but 0.
    window : Window, optional
        Default: the volume's own.
    minimum : int
        Objects with fewer pixels on a slice are left out there.
    box_jitter : int
        Each side of a tight box moves by up to this many pixels.
    rng : Generator, optional
        Of the jitter; default: seed 0.
    """
    window = volume.window_or_default(window)
    rng = np.random.default_rng(0) if rng is None else rng
    wanted = np.unique(labels) if classes is None else classes
    chosen = [int(value) for value in wanted if value]
    _, height, width = volume.shape
    for slice_index, plane in enumerate(labels):
        here = large_enough(plane, chosen, minimum)
        truths = np.array([plane == value for value in here], bool)
        truths = truths.reshape(-1, height, width)
        boxes = tuple(
            Box2D.enclosing(truth).jitter(box_jitter, height, width, rng)
            for truth in truths
        )
        yield PromptedSlice(volume, slice_index, window, tuple(here), boxes, truths)


def large_enough(
    labels: NDArray[np.integer], classes: Sequence[int], minimum: int = MINIMUM_VOXELS
) -> list[int]:
    """Return those of the classes that have at least `minimum` voxels."""
    counts = np.bincount(labels.ravel(), minlength=max(classes, default=0) + 1)
    return [c for c in classes if counts[c] >= minimum]
