"""The demonstration: two phantoms segmented from boxes, scored and drawn."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.contact_sheet import SheetRow, write_contact_sheet
from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.evaluation.prompted_slices import prompted_slices
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.phantoms.abdomen import PhantomCase, abdomen_case
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Modality, Volume
from napari_qmedsam.volumes.windows import Window
from napari_qmedsam.volumes.writing import write_labels, write_volume

SEED = 2
"""Of the sample volumes; the training phantoms come from other seeds."""

ORGANS = ("liver", "spleen", "right kidney", "left kidney", "pancreas", "aorta")
"""Shown in the demonstration where the phantom has them."""

LEAST_PIXELS = 20
"""Organs with fewer pixels on a slice get no box there."""


@dataclass(frozen=True)
class ObjectResult:
    """Scores of one organ over all its slices."""

    name: str
    slices: int
    scores: Scores


@dataclass(frozen=True)
class DemoResult:
    """One sample volume: scores, time and the files written."""

    name: str
    objects: tuple[ObjectResult, ...]
    milliseconds_per_slice: float
    labels: Path
    reference: Path
    sheet: Path


def run_demo(
    segmenter: SliceSegmenter,
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Iterator[DemoResult]:
    """Segment the CT and the MR sample, one box per organ and slice.

    Parameters
    ----------
    segmenter : SliceSegmenter
    folder : Path
        Made if missing. Gets image, labels, reference labels and contact sheet
        of each case.
    progress : callable
        Called with case, slices done and in all.

    Yields
    ------
    DemoResult
    """
    folder.mkdir(parents=True, exist_ok=True)
    for modality in (Modality.CT, Modality.MR):
        yield _run_case(segmenter, abdomen_case(modality, SEED), folder, progress)


def _run_case(
    segmenter: SliceSegmenter,
    case: PhantomCase,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> DemoResult:
    volume, reference = case.volume, case.labels.array
    name = f"{volume.modality.value.lower()}_phantom"
    ids = {organ: label for label, organ in case.names.items() if organ in ORGANS}
    window = volume.default_window()
    found = np.zeros(volume.shape, np.uint8)
    seconds, encoded = 0.0, 0
    for item in prompted_slices(
        volume,
        reference,
        classes=list(ids.values()),
        window=window,
        minimum=LEAST_PIXELS,
    ):
        if item.class_ids:
            start = time.perf_counter()
            masks = segmenter.segment_slice(
                volume, item.slice_index, item.boxes, window
            )
            seconds += time.perf_counter() - start
            encoded += 1
            for label, mask in zip(item.class_ids, masks, strict=True):
                found[item.slice_index][mask] = label
        progress(name, item.slice_index + 1, len(reference))
    objects = []
    for organ in sorted(ids, key=ORGANS.index):
        truth = reference == ids[organ]
        scores = Scores.of(found == ids[organ], truth, volume.spacing_mm)
        count = int(truth.any(axis=(1, 2)).sum())
        objects.append(ObjectResult(organ, count, scores))
    rows = [_row(organ, ids[organ], volume, window, found, reference) for organ in ids]
    shown = np.where(np.isin(reference, list(ids.values())), reference, 0)
    model = segmenter.backend.info.model
    title = f"{volume.modality.value} phantom, {model}, one box per slice"
    write_volume(volume, folder / f"{name}.nii.gz")
    return DemoResult(
        name,
        tuple(objects),
        1000 * seconds / max(1, encoded),
        write_labels(found, volume, folder / f"{name}_labels.nii.gz"),
        write_labels(shown, volume, folder / f"{name}_reference.nii.gz"),
        write_contact_sheet(rows, folder / f"{name}.png", title),
    )


def _row(
    organ: str,
    label: int,
    volume: Volume,
    window: Window,
    found: NDArray,
    reference: NDArray,
) -> SheetRow:
    slice_index = int((reference == label).sum(axis=(1, 2)).argmax())
    truth = reference[slice_index] == label
    mask = found[slice_index] == label
    return SheetRow(
        f"{organ}, slice {slice_index}: DSC {100 * dice(mask, truth):.1f}",
        slice_image(volume.array, slice_index, window),
        Box2D.enclosing(truth),
        mask,
        truth,
        volume.spacing_mm[1] / volume.spacing_mm[2],
    )
