"""The fourteen cases of QMedSAM's Table 8, generated, in our way and the first one.

Their sizes and numbers of objects are the paper's. It does not say how many slices
an object crosses; the seconds of its baseline do, which encodes a slice for every
object alone: at 1.18 s an encoding (its Table 5), so many slices each.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_qmedsam.benchmark.setups import (
    SEED,
    Setup,
    peak_megabytes,
    run_alone,
    source_of,
)
from napari_qmedsam.prompts import Box3D

SECONDS_PER_SLICE = 1.18
"""Of the paper's baseline: float LiteMedSAM in PyTorch, Core i7-8750H."""

PROGRAM = """
import json, pickle, sys
from napari_qmedsam.benchmark.cases import run_published_case
print(json.dumps(run_published_case(*pickle.load(sys.stdin.buffer))), flush=True)
"""


@dataclass(frozen=True)
class PublishedCase:
    """A row of the table.

    Parameters
    ----------
    name : str
    shape : tuple of int
        (Z, Y, X), or (Y, X, 3) of a picture.
    objects : int
    baseline_s : float or None
        Its seconds before; None where memory did not do.
    proposed_s : float
        QMedSAM's own.
    """

    name: str
    shape: tuple[int, int, int]
    objects: int
    baseline_s: float | None
    proposed_s: float

    @property
    def is_picture(self) -> bool:
        """Whether it is one colour slice."""
        return self.shape[2] == 3

    @property
    def slices_each(self) -> int:
        """Slices that an object crosses."""
        if self.is_picture or self.baseline_s is None:
            return 1
        slices = round(self.baseline_s / SECONDS_PER_SLICE / self.objects)
        return max(1, min(slices, self.shape[0]))


TABLE_8 = (
    PublishedCase("3DBox_CT_0566", (287, 512, 512), 6, 591.1, 142.1),
    PublishedCase("3DBox_CT_0888", (237, 512, 512), 6, 168.7, 51.0),
    PublishedCase("3DBox_CT_0860", (246, 512, 512), 1, 23.4, 12.4),
    PublishedCase("3DBox_MR_0621", (115, 400, 400), 6, 245.6, 51.5),
    PublishedCase("3DBox_MR_0121", (64, 290, 320), 6, 168.4, 31.4),
    PublishedCase("3DBox_MR_0179", (84, 512, 512), 1, 22.5, 11.9),
    PublishedCase("3DBox_PET_0001", (264, 200, 200), 1, 15.1, 7.3),
    PublishedCase("2DBox_US_0525", (256, 256, 3), 1, 1.6, 0.7),
    PublishedCase("2DBox_X-Ray_0053", (320, 640, 3), 34, 9.2, 1.8),
    PublishedCase("2DBox_Dermoscopy_0003", (3024, 4032, 3), 1, 6.5, 1.1),
    PublishedCase("2DBox_Endoscopy_0086", (480, 560, 3), 1, 2.3, 0.6),
    PublishedCase("2DBox_Fundus_0003", (2048, 2048, 3), 1, 3.5, 0.7),
    PublishedCase("2DBox_Microscope_0008", (1536, 2040, 3), 19, 15.6, 1.6),
    PublishedCase("2DBox_Microscope_0016", (1920, 2560, 3), 241, None, 14.0),
)
"""QMedSAM's Table 8: Core i7-8750H, official LiteMedSAM before and after."""

REP_MEDSAM = {"3DBox_CT_0566": 73.6, "3DBox_MR_0121": 16.2}
"""Seconds that Rep-MedSAM reports of these, each slice encoded once."""


@dataclass(frozen=True)
class CaseFigures:
    """What a case took.

    Parameters
    ----------
    seconds : float
        From the volume in memory to its labels.
    slices : int
        Slices that were asked for, over all objects.
    encoded : int
        Slices that had to be encoded.
    is_sampled : bool
        Whether only some slices were run, and the rest reckoned from them.
    peak_mb : float
        Largest memory of the process.
    """

    seconds: float
    slices: int
    encoded: int
    is_sampled: bool
    peak_mb: float


def boxes_of(case: PublishedCase) -> list[Box3D]:
    """Return a box for each object; those of a volume overlap by most of their slices.

    In pictures they lie on a grid.
    """
    rng = np.random.default_rng(SEED)
    depth, height, width = (1, *case.shape[:2]) if case.is_picture else case.shape
    columns = int(np.ceil(np.sqrt(case.objects)))
    y_step, x_step = height // (columns + 1), width // (columns + 1)
    found = []
    for i in range(case.objects):
        y, x = (i // columns + 1) * y_step, (i % columns + 1) * x_step
        z = int(rng.integers(0, depth - case.slices_each + 1))
        half_y, half_x = max(2, y_step // 3), max(2, x_step // 3)
        found.append(
            Box3D(
                x - half_x, y - half_y, z, x + half_x, y + half_y, z + case.slices_each
            )
        )
    return found


def visits_of(
    boxes: list[Box3D], is_first_way: bool
) -> list[tuple[int, tuple[int, ...]]]:
    """Return the slices to be encoded, each with the objects that are asked there.

    In the first way a slice is encoded again for each of them.
    """
    crossed = {
        z: tuple(i for i, box in enumerate(boxes) if box.z_min <= z < box.z_max)
        for z in sorted({z for box in boxes for z in range(box.z_min, box.z_max)})
    }
    if not is_first_way:
        return list(crossed.items())
    return [(z, (i,)) for z, objects in crossed.items() for i in objects]


def measure_case(
    case: PublishedCase, setup: Setup, sample: int, is_first_way: bool
) -> CaseFigures:
    """Segment a case in a process of its own.

    Parameters
    ----------
    case : PublishedCase
    setup : Setup
    sample : int
        Slices to be run at most; beyond them time is reckoned. 0 runs all.
    is_first_way : bool
        Whether every object is segmented alone, as the authors' loop began.

    Raises
    ------
    UnsupportedBackend
        If it fails, with what it said last.
    """
    return CaseFigures(**run_alone(PROGRAM, (case, setup, sample, is_first_way)))


def run_published_case(
    case: PublishedCase, setup: Setup, sample: int, is_first_way: bool
) -> dict[str, Any]:
    """Measure in this process; see :func:`measure_case`."""
    from napari_qmedsam.runtime import load
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter
    from napari_qmedsam.volumes.volume import Modality, Volume

    rng = np.random.default_rng(SEED)
    array = rng.integers(0, 255, case.shape, np.uint8)
    volume = Volume(array[None] if case.is_picture else array, modality=Modality.OTHER)
    boxes = boxes_of(case)
    visits = visits_of(boxes, is_first_way)
    count = min(sample or len(visits), len(visits))
    chosen = np.linspace(0, len(visits) - 1, count).round().astype(int)
    backend = load(*source_of(setup))
    SliceSegmenter(backend).segment_slice(  # the first one is slow
        volume, boxes[0].z_min, [boxes[0].in_plane]
    )
    labels = np.zeros(volume.shape, np.uint16)
    start = time.perf_counter()
    for i in chosen:
        z, asked = visits[i]
        # Each visit encodes its slice: nothing is found in a new store.
        masks = SliceSegmenter(backend).segment_slice(
            volume, z, [boxes[j].in_plane for j in asked]
        )
        for j, mask in zip(asked, masks, strict=True):
            labels[z][mask] = j + 1
    seconds = (time.perf_counter() - start) * len(visits) / count
    return {
        "seconds": seconds,
        "slices": sum(box.z_max - box.z_min for box in boxes),
        "encoded": len(visits),
        "is_sampled": count < len(visits),
        "peak_mb": peak_megabytes(),
    }
