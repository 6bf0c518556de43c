"""A working session: volume, model, objects, labels, history, variants. No Qt."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings, NothingThere
from napari_qmedsam.evaluation.rules import TOLERANCE_MM, Matching
from napari_qmedsam.evaluation.variants import Variant, Variants
from napari_qmedsam.segmentation.annotation import Annotation, are_locked
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagation import (
    Direction,
    Follow,
    SliceUpdate,
    count_beyond,
    segment_volume,
)
from napari_qmedsam.segmentation.result import Segmentation, run_to_end
from napari_qmedsam.segmentation.runs import paint_updates, propagate_objects
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

if TYPE_CHECKING:
    from napari_qmedsam.evaluation.label_scores import LabelScores
    from napari_qmedsam.evaluation.object_report import ObjectReport
    from napari_qmedsam.evaluation.results_table import ComparisonTable
    from napari_qmedsam.quantization.whole_model import QuantizationProgress


class Session(Annotation):
    """Everything one volume's segmentation needs; widgets and scripts drive it.

    Parameters
    ----------
    volume : Volume
    segmenter : SliceSegmenter, optional
        Needed by :meth:`segment` only; may be set or exchanged at any time.
    window : Window, optional
        Default: the volume's own.
    labels : ndarray, (Z, Y, X) integer, optional
        Painted in place, so that a viewer can share it. Default: zeros, uint16.
    variants : Variants, optional
        Models to be compared; sessions may share them. Default: none yet.
    tighten : bool
        Look again at drawn boxes, which may be too large or shifted; may be changed at
        any time.
    """

    def __init__(
        self,
        volume: Volume,
        segmenter: SliceSegmenter | None = None,
        window: Window | None = None,
        labels: NDArray | None = None,
        variants: Variants | None = None,
        tighten: bool = False,
    ) -> None:
        super().__init__(volume, labels)
        self.segmenter, self.tighten = segmenter, tighten
        self.variants = Variants() if variants is None else variants
        self.window = volume.window_or_default(window)

    # Segmenting -----------------------------------------------------------

    def prompts(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        axis: int = 0,
    ) -> list[ObjectPrompt]:
        """Return what :meth:`segment` would segment.

        Parameters
        ----------
        object_ids, slice_index, axis
            As for :meth:`segment`.

        Raises
        ------
        InvalidSettings, InvalidBox
            As :meth:`segment`.
        """
        ids = list(self.objects if object_ids is None else dict.fromkeys(object_ids))
        chosen = [self._object(object_id) for object_id in ids]
        if slice_index is not None:
            chosen = [
                o for o in chosen if o.axis == axis and o.prompt.reaches(slice_index)
            ]
        free = [o.prompt for o in chosen if not o.is_locked]
        if chosen and not free:
            raise are_locked(chosen, "segmented")
        if not free:
            if slice_index is None:
                raise InvalidSettings("There is no box to segment. Draw one first.")
            after = " to segment. Draw one first."
            raise NothingThere("There is no box on", [slice_index], after, axis)
        return free if slice_index is None else [p.on_slice(slice_index) for p in free]

    def segment(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        follow: Follow = Follow.BOX,
        protect_existing: bool = False,
        axis: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Segmentation:
        """Segment objects into the labels; all of it is one step of undo.

        The work is done when this returns. :meth:`iter_segment` does it slice by
        slice. Locked objects are left out, and their voxels stay.

        Parameters
        ----------
        object_ids : sequence of int, optional
            Default: all; those that do not reach `slice_index` are left out.
        slice_index : int, optional
            Only this slice. Default: each object's whole range.
        follow : Follow
        protect_existing : bool
            Keep the labels of other objects.
        axis : int
            Array axis that `slice_index` counts along; objects drawn across
            another one are left out.
        progress : callable, optional
            Called after each slice with the slices done and planned.

        Raises
        ------
        InvalidSettings
            If there is nothing to segment, or no model.
        InvalidBox
            If there is no object of an id.
        """
        updates = self.iter_segment(
            object_ids, slice_index, follow, protect_existing, axis
        )
        return run_to_end(updates, progress)

    def iter_segment(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        follow: Follow = Follow.BOX,
        protect_existing: bool = False,
        axis: int = 0,
        join: bool = False,
    ) -> Generator[SliceUpdate, None, None]:
        """Segment as :meth:`segment` does, one slice each time it is asked.

        A generator. Whether it runs to its end or is closed half way, the
        slices given so far are in the labels, and all of them are one step of
        undo.

        Parameters
        ----------
        object_ids, slice_index, follow, protect_existing, axis
            As for :meth:`segment`.
        join : bool
            Go on with the last step of undo if that changed a box: for masks that
            answer it later, from another thread. Where both are done in one go,
            ``with session.history.step():`` says it.

        Raises
        ------
        InvalidSettings, InvalidBox
            As :meth:`segment`, before the first slice is asked for.
        """
        prompts = self.prompts(object_ids, slice_index, axis)
        updates = segment_volume(
            self.model(), self.volume, prompts, self.window, follow, self.tighten
        )
        ids = [p.object_id for p in prompts]
        last = self.history.last
        changed_box = last if join and last and last.is_of_objects else None
        return paint_updates(self, updates, ids, protect_existing, changed_box)

    def propagate(
        self,
        slice_index: int | None = None,
        direction: Direction = Direction.BOTH,
        object_ids: Sequence[int] | None = None,
        axis: int = 0,
        protect_existing: bool = False,
        stop: EarlyStop | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Segmentation:
        """Propagate masks up or down: those of one slice, or from boxes on.

        Of one slice they are taken as they are in the labels now, so a slice that was
        corrected, by hand or by a box, is where the slices beyond it start from.
        Objects without a voxel on it are segmented there first. Those that go further
        than their box have it extended. Without a slice, objects are segmented in
        their boxes, and propagated beyond the outermost ones: from one box, or a few
        key boxes, to the whole object. One step of undo, and done when this returns,
        like :meth:`segment`.

        Parameters
        ----------
        slice_index : int, optional
            Where the masks are. Default: segment, and go on from each object's ends.
        direction : Direction
        object_ids : sequence of int, optional
            Default: all, or all that reach the slice.
        axis : int
            Array axis that `slice_index` counts along.
        protect_existing : bool
            Keep the labels of other objects.
        stop : EarlyStop, optional
            When an object counts as ended; see
            :func:`~napari_qmedsam.segmentation.propagation.propagate_masks`.
        progress : callable, optional
            Called after each slice with the slices done and planned at most.

        Raises
        ------
        InvalidSettings, InvalidBox
            As :meth:`segment`.
        """
        if slice_index is not None:
            updates = self.iter_propagate(
                slice_index, direction, object_ids, axis, protect_existing, stop
            )
            return run_to_end(updates, progress)
        ids = [prompt.object_id for prompt in self.prompts(object_ids)]
        ways: dict[tuple[int, int, int], list[int]] = {}
        for step in direction.steps:
            for o in (self.objects[i] for i in ids):
                end = o.box.z_max - 1 if step > 0 else o.box.z_min
                ways.setdefault((end, step, o.axis), []).append(o.object_id)
        counts = {
            (end, step, across): count_beyond(
                [self.objects[i].prompt for i in together],
                end,
                Direction(step),
                self.volume.shape[across],
            )
            for (end, step, across), together in ways.items()
        }
        after = sum(counts.values())
        with self.history.step():
            updates = self.iter_segment(ids, protect_existing=protect_existing)
            runs = [run_to_end(updates, progress, after=after)]
            before = runs[0].slices
            for way, together in ways.items():
                end, step, across = way
                updates = self.iter_propagate(
                    end, Direction(step), together, across, protect_existing, stop
                )
                after -= counts[way]
                runs.append(run_to_end(updates, progress, before, after))
                before += counts[way]
        return Segmentation(
            tuple(update for run in runs for update in run),
            sum(run.seconds for run in runs),
        )

    def iter_propagate(
        self,
        slice_index: int,
        direction: Direction = Direction.BOTH,
        object_ids: Sequence[int] | None = None,
        axis: int = 0,
        protect_existing: bool = False,
        stop: EarlyStop | None = None,
    ) -> Generator[SliceUpdate, None, None]:
        """Propagate as :meth:`propagate` does, one slice each time it is asked.

        A generator like :meth:`iter_segment`.

        Parameters
        ----------
        slice_index, direction, object_ids, axis, protect_existing, stop
            As for :meth:`propagate`.

        Raises
        ------
        InvalidSettings, InvalidBox
            As :meth:`segment`, before the first slice is asked for.
        """
        here = self.prompts(object_ids, slice_index, axis)
        return propagate_objects(
            self,
            self.model(),
            here,
            slice_index,
            direction,
            self.window,
            protect_existing,
            stop,
            self.tighten,
        )

    # Quantizing and comparing ---------------------------------------------

    def quantize(
        self,
        bits: int = 4,
        target: str | os.PathLike | None = None,
        *,
        calibration: str | os.PathLike | Volume | None = None,
        slices: int = 32,
        seed: int = 0,
        progress: "Callable[[QuantizationProgress], None]" = lambda step: None,
        **settings: Any,
    ) -> Variant:
        """Quantize the session's float model; the result is a further variant.

        :meth:`segment` goes on with the model it had; :meth:`compare` shows what
        the bits cost.

        Parameters
        ----------
        bits : int
            Bits per code, 1 to 8.
        target : path, optional
            Where the model's file is written, ending in ``.qmedsam.safetensors``; a
            file of that name is replaced. Default: named by model, method and bits,
            in the current folder.
        calibration : path or Volume, optional
            Images to calibrate on, this session's ``volume`` for example. Default:
            phantoms.
        slices : int
            How many slices of them.
        seed : int
            Which of them, or which phantoms.
        progress : callable
            Called after every calibration slice and every layer.
        **settings
            Further fields of
            :class:`~napari_qmedsam.quantization.settings.QuantizationSettings`.

        Raises
        ------
        InvalidSettings
            If the session has no float model among its variants.
        QMedSAMError
            As :func:`~napari_qmedsam.quantize`.
        """
        from napari_qmedsam.workflows import quantize

        source = next((v for v in self.variants if v.is_float), None)
        if source is None:
            raise InvalidSettings(
                "The session has no float model to quantize. Open it with "
                "open_session(image, model), or add one to its variants."
            )
        made = quantize(
            source.model,
            target,
            bits=bits,
            calibration=calibration,
            slices=slices,
            seed=seed,
            progress=progress,
            **settings,
        )
        return self.variants.add(replace(made, runtime=source.runtime))

    def compare(
        self,
        reference: str | os.PathLike | Volume | NDArray[np.integer],
        *,
        tolerance_mm: float = TOLERANCE_MM,
        follow: Follow = Follow.BOX,
        progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    ) -> "ComparisonTable":
        """Segment the session's boxes with each of its variants, and score them.

        The session's own labels stay as they are.

        Parameters
        ----------
        reference : path, Volume or (Z, Y, X) integer array
            True labels. Each object is scored by the label that fits its box best.
        tolerance_mm : float
            Of the normalised surface distance.
        follow : Follow
            How a 3D box prompts the slices it covers.
        progress : callable
            Called after each slice with the model's name, and slices done and
            planned.

        Raises
        ------
        InvalidSettings
            If there is no object or no variant, or nothing of the reference lies in
            a box.
        """
        from napari_qmedsam.workflows import compare

        return compare(
            self.volume,
            reference,
            list(self.variants),
            objects=list(self.objects.values()),
            window=self.window,
            tolerance_mm=tolerance_mm,
            follow=follow,
            progress=progress,
        )

    # Measuring ------------------------------------------------------------

    def report(self) -> "ObjectReport":
        """Measure every object: slices, ml, greys, longest axial diameter.

        Returns
        -------
        ObjectReport
            Prints itself; ``save("report.csv")`` writes it.
        """
        from napari_qmedsam.evaluation.object_report import report_objects

        return report_objects(self.volume, self.labels, self.segments)

    def score(
        self,
        reference: str | os.PathLike | Volume | NDArray[np.integer],
        *,
        matching: Matching = Matching.OVERLAP,
        tolerance_mm: float = TOLERANCE_MM,
    ) -> "LabelScores":
        """Score the labels as they are now; nothing is segmented.

        Parameters
        ----------
        reference : path, Volume or (Z, Y, X) integer array
            True labels, on any grid that lies in the same place.
        matching : Matching
            Which of them each object is scored against.
        tolerance_mm : float
            Of the normalised surface distance.

        Raises
        ------
        UnreadableVolume, GridMismatch, InvalidSettings
            If the reference cannot be read or placed, or there is nothing to score.
        """
        from napari_qmedsam.evaluation.label_scores import score_labels
        from napari_qmedsam.volumes.labels import labels_on_grid, read_labels

        if isinstance(reference, (str, os.PathLike)):
            reference = read_labels(Path(reference))
        elif not isinstance(reference, Volume):
            reference = labels_on_grid(reference, self.volume)
        own = self.volume.with_labels(self.labels, self.segments)
        return score_labels(
            own, reference, matching=matching, tolerance_mm=tolerance_mm
        )

    def model(self) -> SliceSegmenter:
        """Return the segmenter.

        Raises
        ------
        InvalidSettings
            If there is none yet.
        """
        if self.segmenter is None:
            raise InvalidSettings("The session has no model. Set its segmenter first.")
        return self.segmenter
