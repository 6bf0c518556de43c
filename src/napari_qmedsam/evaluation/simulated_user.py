"""A user who draws boxes on a labelled object, and redraws where masks are worst.

Boxes are used as the panel uses them: between two of them the object is followed,
beyond the outermost ones the mask is propagated until the object seems to end.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.effort_report import Effort
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.prompts import Box2D, Box3D, KeyBox, hull
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagation import (
    Direction,
    propagate_masks,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@dataclass(frozen=True)
class Drawn:
    """What a user has said about an object so far.

    Parameters
    ----------
    keys : tuple of KeyBox
        At least one, slices ascending.
    absent : frozenset of int
        Slices on which the object is not; propagation ends before them.
    ends_known : bool
        Whether the outermost boxes lie on the first and the last slice, so that
        nothing is to be looked for beyond.
    """

    keys: tuple[KeyBox, ...]
    absent: frozenset[int] = frozenset()
    ends_known: bool = False

    @property
    def count(self) -> int:
        """Boxes drawn and slices said to be empty."""
        return len(self.keys) + len(self.absent)

    @property
    def slices(self) -> frozenset[int]:
        """Slices that something was said about."""
        return self.absent | {key.slice_index for key in self.keys}

    def with_box(self, slice_index: int, box: Box2D | None) -> "Drawn":
        """Return it with one more slice; None says that the object is not there."""
        if box is None:
            return replace(self, absent=self.absent | {slice_index})
        keys = (*self.keys, KeyBox(slice_index, box))
        return replace(self, keys=tuple(sorted(keys, key=lambda k: k.slice_index)))


@dataclass
class DrawnObject:
    """One labelled object, and the user who draws boxes on it.

    Parameters
    ----------
    volume : Volume
    window : Window
    truth : ndarray, (Z, Y, X) bool
        Not empty.
    tolerance_mm : float
    box_jitter : int
        Each side of a box moves by up to this many pixels, always the same way on
        the same slice.
    seed : int
    """

    volume: Volume
    window: Window
    truth: NDArray[np.bool_]
    tolerance_mm: float = TOLERANCE_MM
    box_jitter: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self.slices = [int(z) for z in np.flatnonzero(self.truth.any(axis=(1, 2)))]

    def box_on(self, slice_index: int) -> Box2D | None:
        """Return the box a user draws on a slice; None where the object is not."""
        box = Box2D.around(self.truth[slice_index])
        if box is None:
            return None
        rng = np.random.default_rng((self.seed, slice_index))
        _, height, width = self.truth.shape
        return box.jitter(self.box_jitter, height, width, rng)

    def boxes(self, count: int | None) -> Drawn:
        """Return boxes spread over the object's slices.

        Parameters
        ----------
        count : int or None
            One lies on the middle slice, more go from the first slice to the last;
            None for a box on every slice, those between that are empty said to be so.
        """
        last = len(self.slices) - 1
        places = [last // 2] if count == 1 else _spread(last, count or last + 1)
        keys = []
        for place in places:
            box = self.box_on(self.slices[place])
            assert box is not None
            keys.append(KeyBox(self.slices[place], box))
        gaps = set(range(self.slices[0], self.slices[-1])) - set(self.slices)
        absent = frozenset(gaps if count is None else ())
        return Drawn(tuple(keys), absent, ends_known=count != 1)

    def segment(self, segmenter: SliceSegmenter, drawn: Drawn) -> NDArray[np.bool_]:
        """Return the (Z, Y, X) mask that the boxes give.

        Between boxes the object is followed from both sides. Beyond the outermost
        boxes the mask is propagated, at most to the next slice said to be empty.
        """
        first, last = drawn.keys[0].slice_index, drawn.keys[-1].slice_index
        flat = hull([key.box for key in drawn.keys])
        box = Box3D(flat.x_min, flat.y_min, first, flat.x_max, flat.y_max, last + 1)
        prompt = ObjectPrompt(1, box, keys=drawn.keys)
        found = np.zeros(self.truth.shape, bool)
        for update in segment_volume(segmenter, self.volume, [prompt], self.window):
            for _, mask in update.masks:
                found[update.slice_index] = mask
        if not drawn.ends_known:
            below = max((z for z in drawn.absent if z < first), default=None)
            above = min((z for z in drawn.absent if z > last), default=None)
            if below is None or below + 1 < first:
                z_min = first if below is None else below + 1
                wider = replace(prompt, box=replace(box, z_min=z_min))
                self._propagate(segmenter, wider, first, Direction.DOWN, found)
            if above is None or above > last + 1:
                z_max = last + 1 if above is None else above
                wider = replace(prompt, box=replace(box, z_max=z_max))
                self._propagate(segmenter, wider, last, Direction.UP, found)
        found[sorted(drawn.absent)] = False
        return found

    def worst_slice(self, found: NDArray[np.bool_], drawn: Drawn) -> int | None:
        """Return the slice with most wrong voxels that nothing was said about yet.

        None where no such slice has a wrong voxel; the first of several.
        """
        wrong = np.count_nonzero(found != self.truth, axis=(1, 2))
        wrong[sorted(drawn.slices)] = 0
        worst = int(wrong.argmax())
        return worst if wrong[worst] else None

    def effort(self, found: NDArray[np.bool_], boxes: int, seconds: float) -> Effort:
        """Score what so many boxes gave."""
        there = found.any(axis=(1, 2))
        wanted = self.truth.any(axis=(1, 2))
        return Effort(
            boxes,
            Scores.of(found, self.truth, self.volume.spacing_mm, self.tolerance_mm),
            int(np.count_nonzero(there & ~wanted)),
            int(np.count_nonzero(wanted & ~there)),
            seconds,
        )

    def spread_effort(self, segmenter: SliceSegmenter, count: int | None) -> Effort:
        """Return what boxes spread over the object give; None: one on every slice."""
        drawn = self.boxes(count)
        start = time.perf_counter()
        found = self.segment(segmenter, drawn)
        return self.effort(found, drawn.count, time.perf_counter() - start)

    def redrawing_efforts(
        self, segmenter: SliceSegmenter, enough: float, least: int, most: int
    ) -> list[Effort]:
        """Return what each further box gives a user who redraws the worst slice.

        Parameters
        ----------
        segmenter : SliceSegmenter
        enough : float
            The user goes on until this DSC is reached.
        least, most : int
            Boxes drawn in any case (unless nothing is wrong), and at most.
        """
        drawn, seconds = self.boxes(1), 0.0
        efforts: list[Effort] = []
        while True:
            start = time.perf_counter()
            found = self.segment(segmenter, drawn)
            seconds += time.perf_counter() - start
            efforts.append(self.effort(found, drawn.count, seconds))
            worst = self.worst_slice(found, drawn)
            is_enough = efforts[-1].scores.dsc >= enough and drawn.count >= least
            if worst is None or is_enough or drawn.count >= most:
                return efforts
            drawn = drawn.with_box(worst, self.box_on(worst))

    def _propagate(
        self,
        segmenter: SliceSegmenter,
        prompt: ObjectPrompt,
        slice_index: int,
        direction: Direction,
        found: NDArray[np.bool_],
    ) -> None:
        """Carry the mask of a slice into the slices beyond it."""
        for update in propagate_masks(
            segmenter,
            self.volume,
            [prompt],
            [found[slice_index]],
            slice_index,
            direction,
            self.window,
        ):
            for _, mask in update.masks:
                found[update.slice_index] = mask


def _spread(last: int, count: int) -> list[int]:
    """Return up to `count` places from 0 to `last`, as even as whole numbers allow."""
    return sorted({round(place) for place in np.linspace(0, last, count)})
