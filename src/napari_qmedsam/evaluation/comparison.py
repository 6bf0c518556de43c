"""Variants of a model side by side: same boxes, one reference, every figure.

The volume is segmented by one variant after the other; what each of them
painted is kept, so that figures, differences and the worst slice all speak of
the same masks.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.matching import ComparedObject
from napari_qmedsam.evaluation.metrics import dice, signed_surface_distance
from napari_qmedsam.evaluation.noninferiority import Verdict
from napari_qmedsam.evaluation.object_verdicts import judge_objects
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.variant_result import ComparisonStep, VariantResult
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.segmentation.painting import paint
from napari_qmedsam.segmentation.propagation import Follow, SliceUpdate, segment_volume
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.reslicing import axis_order, stacked_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

Load = Callable[[Variant], Backend]
"""Loads a variant on its runtime."""


class Comparison:
    """Runs variants on the same boxes against one reference.

    Parameters
    ----------
    volume : Volume
    reference : Volume, or ndarray, (Z, Y, X) integer
        Brought to the volume's grid by
        :func:`~napari_qmedsam.volumes.labels.labels_on_grid`.
    objects : sequence of ComparedObject
        Matched with the reference on that grid.
    tolerance_mm : float
        Of the NSD.
    window : Window, optional
        Default: the volume's own.
    follow : Follow

    Raises
    ------
    GridMismatch
        If the reference cannot be brought there.
    InvalidSettings
        If there is no object, or the tolerance is below 0.
    """

    def __init__(
        self,
        volume: Volume,
        reference: Volume | NDArray[np.integer],
        objects: Sequence[ComparedObject],
        *,
        tolerance_mm: float = TOLERANCE_MM,
        window: Window | None = None,
        follow: Follow = Follow.BOX,
    ) -> None:
        placed = labels_on_grid(reference, volume)
        if not objects:
            raise InvalidSettings("There is no box to compare on. Draw one first.")
        if not tolerance_mm >= 0:
            raise InvalidSettings(
                f"The tolerance must be 0 mm or more, but it is {tolerance_mm}."
            )
        self.volume, self.objects = volume, tuple(objects)
        # A copy: the layer it came from may be painted on while this runs.
        self.reference = np.array(placed.array)
        self.notices = placed.notices
        """What was done to bring the reference to the volume's grid."""
        self.tolerance_mm, self.follow = float(tolerance_mm), follow
        self.window = volume.window_or_default(window)
        self.results: dict[str, VariantResult] = {}
        self.verdicts: dict[str, Verdict] = {}
        """Whether a variant is enough, by object; of those with a float baseline."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size, order (z, y, x)."""
        return self.volume.spacing_mm

    @property
    def slices(self) -> list[Slice]:
        """Slices that an object covers, ascending."""
        return sorted({(o.prompt.axis, z) for o in self.objects for z in o.slices})

    @property
    def is_flat(self) -> bool:
        """Whether it is about one slice, scored by 2D contours."""
        return len(self.slices) == 1

    def run(
        self, variants: Sequence[Variant], load: Load
    ) -> Generator[ComparisonStep, None, None]:
        """Segment and score with each variant in turn.

        A generator: stop asking and the work stops. Variants that are done
        have their results then, the others none.

        Parameters
        ----------
        variants : sequence of Variant
        load : callable

        Raises
        ------
        InvalidSettings
            If there is no variant.
        """
        if not variants:
            raise InvalidSettings("Choose at least one variant to compare.")
        each = 0
        for number, variant in enumerate(variants):
            before = number * each
            yield ComparisonStep(variant.name, before, len(variants) * each)
            segmenter = SliceSegmenter(load(variant))
            _warm_up(segmenter)
            labels = np.zeros(self.volume.shape, np.uint16)
            seconds: list[float] = []
            for update in self._segment(segmenter, labels, seconds):
                each = update.total
                done, total = before + update.done, len(variants) * each
                here = update.slice_index, update.axis
                yield ComparisonStep(variant.name, done, total, *here)
            scores = {}
            for compared in self.objects:
                yield ComparisonStep(variant.name, done, total)
                scores[compared.object_id] = self._score(labels, compared)
            milliseconds = 1000 * float(np.median(seconds))
            self.results[variant.name] = VariantResult(
                replace(variant, milliseconds_per_slice=milliseconds),
                labels,
                scores,
                self._slice_dsc(labels),
            )
            self.verdicts = self.judged()

    def truth(self) -> NDArray[np.uint16]:
        """Return the reference as the variants' labels are: by the objects' ids.

        Returns
        -------
        ndarray, (Z, Y, X) uint16
            0 where none of the compared objects is.
        """
        labels = np.zeros(self.volume.shape, np.uint16)
        for compared in self.objects:
            labels[self.reference == compared.reference_id] = compared.object_id
        return labels

    def baseline(self, name: str) -> VariantResult | None:
        """Return the float result that a variant is measured by, if there is one.

        It is the first float variant of the same architecture.
        """
        architecture = self.results[name].variant.architecture
        for result in self.results.values():
            variant = result.variant
            if variant.is_float and variant.architecture == architecture:
                return result
        return None

    def judged(self, margins: Margins = STANDARD) -> dict[str, Verdict]:
        """Say of each variant with a float baseline whether it is enough, by object."""
        found = {name: self.baseline(name) for name in self.results}
        baselines = {
            name: baseline.variant.name
            for name, baseline in found.items()
            if baseline is not None and baseline.variant.name != name
        }
        return judge_objects(self.results, baselines, margins)

    def change(self, name: str, object_id: int | None = None) -> float | None:
        """DSC of a variant minus that of its float baseline, -1 to 1.

        Parameters
        ----------
        name : str
        object_id : int, optional
            Default: the mean over objects.

        Returns
        -------
        float or None
            None without a baseline.
        """
        baseline = self.baseline(name)
        if baseline is None:
            return None
        own = self.results[name].scores_of(object_id)
        return own.dsc - baseline.scores_of(object_id).dsc

    def disagreement(self) -> NDArray[np.uint8]:
        """Voxels on which the variants differ.

        Returns
        -------
        ndarray, (Z, Y, X) uint8
            1 where two variants gave different labels, 0 elsewhere.
        """
        differs = np.zeros(self.volume.shape, np.uint8)
        results = list(self.results.values())
        for other in results[1:]:
            differs |= results[0].labels != other.labels
        return differs

    def signed_distance(self, name: str) -> NDArray[np.float32]:
        """Signed distance in mm from a variant's surfaces to the reference's.

        Each object is measured against its own reference; see
        :func:`~napari_qmedsam.evaluation.metrics.signed_surface_distance`.

        Returns
        -------
        ndarray, (Z, Y, X) float32
            NaN off the surfaces.
        """
        labels = self.results[name].labels
        distance = np.full(self.volume.shape, np.nan, np.float32)
        for compared in self.objects:
            mask, truth, spacing = self._cut(labels, compared)
            own = signed_surface_distance(mask, truth, spacing)
            slab = stacked_along(distance, compared.prompt.axis)[_span(compared)]
            own = own.reshape(slab.shape)
            np.copyto(slab, own, where=np.isfinite(own))
        return distance

    # Helpers --------------------------------------------------------------

    def _segment(
        self, segmenter: SliceSegmenter, labels: NDArray, seconds: list[float]
    ) -> Generator[SliceUpdate, None, None]:
        """Paint into `labels`; pass each update on, keep the seconds it took."""
        ids = [compared.object_id for compared in self.objects]
        updates = segment_volume(
            segmenter,
            self.volume,
            [compared.prompt for compared in self.objects],
            self.window,
            self.follow,
        )
        painted: dict[Slice, set[int]] = {}
        with closing(updates):
            while True:
                start = time.perf_counter()
                update = next(updates, None)
                if update is None:
                    return
                seconds.append(time.perf_counter() - start)
                before = painted.setdefault((update.axis, update.slice_index), set())
                plane = stacked_along(labels, update.axis)[update.slice_index]
                paint(plane, update.masks, ids, painted=before)
                before.update(index for index, _ in update.masks)
                yield update

    def _cut(
        self, labels: NDArray, compared: ComparedObject
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
        """Mask, reference and spacing on the slices of an object."""
        axis, slab = compared.prompt.axis, _span(compared)
        mask = stacked_along(labels, axis)[slab] == compared.object_id
        truth = stacked_along(self.reference, axis)[slab] == compared.reference_id
        spacing = tuple(self.spacing_mm[i] for i in axis_order(axis))
        if len(mask) == 1:
            return mask[0], truth[0], spacing[1:]
        return mask, truth, spacing

    def _score(self, labels: NDArray, compared: ComparedObject) -> Scores:
        return Scores.of(*self._cut(labels, compared), self.tolerance_mm)

    def _slice_dsc(self, labels: NDArray) -> dict[Slice, float]:
        means = {}
        for axis, z in self.slices:
            plane = stacked_along(labels, axis)[z]
            truth = stacked_along(self.reference, axis)[z]
            scores = [
                dice(plane == o.object_id, truth == o.reference_id)
                for o in self.objects
                if o.prompt.axis == axis and z in o.slices
            ]
            known = [score for score in scores if not np.isnan(score)]
            if known:
                means[axis, z] = fmean(known)
        return means


# Helpers ------------------------------------------------------------------


def _span(compared: ComparedObject) -> slice:
    return slice(compared.slices.start, compared.slices.stop)


def _warm_up(segmenter: SliceSegmenter) -> None:
    """Run once untimed: runtimes allocate and choose kernels the first time."""
    config = segmenter.backend.config
    size = config.input_size
    embedding = segmenter.backend.encode(np.zeros((3, size, size), np.float32))
    box = np.array([[0.25 * size, 0.25 * size, 0.5 * size, 0.5 * size]], np.float32)
    segmenter.backend.decode(embedding, box)
