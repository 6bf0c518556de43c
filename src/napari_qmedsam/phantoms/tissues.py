"""Tissues of the anatomical phantoms, and their values in CT and MR."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from napari_qmedsam.phantoms.appearance import Palette


class Tissue(IntEnum):
    """What a pixel of an anatomical phantom is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    VISCERAL_FAT = 3
    MUSCLE = 4
    BACK_MUSCLE = 5
    PSOAS = 6
    CORTICAL_BONE = 7
    MARROW = 8
    DISC = 9
    CSF = 10
    CORD = 11
    CARTILAGE = 12
    LIVER = 13
    HEPATIC_VEIN = 14
    PORTAL_VEIN = 15
    SPLEEN = 16
    KIDNEY_CORTEX = 17
    KIDNEY_MEDULLA = 18
    URINE = 19
    ADRENAL = 20
    PANCREAS = 21
    BILE = 22
    GUT_WALL = 23
    GUT_CONTENT = 24
    STOMACH_CONTENT = 25
    GAS = 26
    STOOL = 27
    ARTERY = 28
    VEIN = 29
    LUNG = 30
    LUNG_VESSEL = 31
    MYOCARDIUM = 32
    LEFT_CHAMBER = 33
    RIGHT_CHAMBER = 34
    BLADDER = 35
    PELVIC_ORGAN = 36
    CYST = 37
    LESION = 38
    LESION_CORE = 39
    COUCH = 40
    STRAND = 41
    ORAL_CONTRAST = 42
    GREY_MATTER = 43
    WHITE_MATTER = 44
    OEDEMA = 45
    TUMOUR_RIM = 46
    NECROSIS = 47
    EYE = 48
    DEEP_GREY = 49


class Look(NamedTuple):
    """What a tissue looks like."""

    ct: tuple[float, float, float, float]
    """HU without contrast, its spread from patient to patient, texture, and the
    enhancement of a full portal venous phase."""

    mr: tuple[int, int, int] = (8, 8, 8)
    """Grey levels in T1, T2 and enhanced T1 images; nearly black unless given."""


T = Tissue

LOOKS = {
    T.AIR: Look((-1000, 4, 0, 0)),
    T.SKIN: Look((-10, 25, 8, 8), (90, 60, 110)),
    T.FAT: Look((-106, 7, 7, 0), (215, 175, 45)),
    T.VISCERAL_FAT: Look((-100, 9, 10, 2), (185, 160, 40)),
    T.MUSCLE: Look((48, 8, 9, 8), (70, 38, 85)),
    T.BACK_MUSCLE: Look((42, 10, 14, 8), (72, 42, 88)),
    T.PSOAS: Look((48, 7, 6, 8), (70, 38, 85)),
    T.CORTICAL_BONE: Look((520, 200, 80, 0), (12, 8, 12)),
    T.MARROW: Look((160, 60, 40, 8), (125, 90, 60)),
    T.DISC: Look((85, 18, 8, 4), (75, 110, 60)),
    T.CSF: Look((22, 8, 4, 3), (35, 235, 25)),
    T.CORD: Look((36, 5, 3, 3), (85, 90, 70)),
    T.CARTILAGE: Look((95, 20, 15, 4), (60, 70, 60)),
    T.LIVER: Look((54, 9, 3, 52), (105, 65, 150)),
    T.HEPATIC_VEIN: Look((40, 6, 2, 105), (65, 30, 195)),
    T.PORTAL_VEIN: Look((40, 6, 2, 115), (60, 35, 200)),
    T.SPLEEN: Look((47, 5, 3, 72), (70, 125, 165)),
    T.KIDNEY_CORTEX: Look((33, 4, 4, 140), (85, 140, 205)),
    T.KIDNEY_MEDULLA: Look((30, 4, 4, 95), (65, 175, 180)),
    T.URINE: Look((8, 8, 4, 20), (35, 235, 60)),
    T.ADRENAL: Look((25, 12, 3, 45), (75, 80, 150)),
    T.PANCREAS: Look((38, 8, 12, 58), (110, 95, 150)),
    T.BILE: Look((8, 8, 3, 2), (45, 235, 40)),
    T.GUT_WALL: Look((36, 8, 8, 45), (70, 80, 150)),
    T.GUT_CONTENT: Look((20, 16, 10, 4), (50, 200, 45)),
    T.STOMACH_CONTENT: Look((22, 18, 16, 4), (50, 210, 45)),
    T.GAS: Look((-950, 40, 10, 0)),
    T.STOOL: Look((-10, 60, 110, 0), (90, 60, 80)),
    T.ARTERY: Look((40, 5, 2, 135), (35, 12, 215)),
    T.VEIN: Look((40, 5, 3, 105), (45, 30, 200)),
    T.LUNG: Look((-830, 40, 35, 10)),
    T.LUNG_VESSEL: Look((20, 30, 20, 80)),
    T.MYOCARDIUM: Look((42, 6, 5, 60), (75, 60, 130)),
    T.LEFT_CHAMBER: Look((40, 5, 4, 130), (40, 40, 205)),
    T.RIGHT_CHAMBER: Look((40, 5, 6, 125), (45, 50, 200)),
    T.BLADDER: Look((6, 6, 3, 6), (30, 245, 35)),
    T.PELVIC_ORGAN: Look((42, 7, 8, 45), (70, 110, 140)),
    T.CYST: Look((5, 8, 2, 1), (30, 245, 30)),
    T.LESION: Look((38, 16, 8, 30), (70, 130, 110)),
    T.LESION_CORE: Look((20, 12, 8, 8), (45, 190, 60)),
    T.COUCH: Look((-250, 200, 60, 0)),
    T.STRAND: Look((25, 25, 10, 30)),
    T.ORAL_CONTRAST: Look((260, 90, 20, 0)),
    T.GREY_MATTER: Look((38, 2, 2, 5), (90, 135, 90)),
    T.WHITE_MATTER: Look((29, 2, 2, 3), (115, 90, 105)),
    T.OEDEMA: Look((20, 4, 3, 0), (75, 195, 75)),
    T.TUMOUR_RIM: Look((38, 6, 4, 40), (180, 150, 205)),
    T.NECROSIS: Look((15, 5, 3, 0), (55, 215, 50)),
    T.EYE: Look((10, 5, 2, 0), (40, 235, 40)),
    T.DEEP_GREY: Look((36, 2, 2, 4), (96, 105, 94)),
}

SEQUENCES = ("T1", "T2", "enhanced")
"""Of the grey levels in MR."""


def ct_values(
    rng: np.random.Generator, enhancement: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the HU mean and texture of each tissue, two (256,) arrays.

    `enhancement` is 0 without contrast, 1 in a full portal venous phase.
    """
    mean, texture = np.zeros(256, np.float32), np.zeros(256, np.float32)
    for tissue, look in LOOKS.items():
        value, spread, grain, gain = look.ct
        mean[tissue] = (
            value
            + rng.normal(0, spread)
            + enhancement * gain * np.exp(rng.normal(0, 0.1))
        )
        texture[tissue] = grain * np.exp(rng.normal(0, 0.3))
    if enhancement > 0.3 and rng.random() < 0.3:  # arterial phase
        mean[T.ARTERY] += 110 * enhancement
        mean[T.LEFT_CHAMBER] += 110 * enhancement
        mean[[T.HEPATIC_VEIN, T.VEIN]] -= 60 * enhancement
        mean[T.LIVER] -= 25 * enhancement
        mean[T.KIDNEY_MEDULLA] -= 50 * enhancement
    return mean, texture


def ct_palette(
    rng: np.random.Generator, window: tuple[float, float] | None = None
) -> Palette:
    """Return grey levels of a CT seen through a window, mostly soft tissue."""
    enhancement = float(rng.uniform(0.4, 1.1)) if rng.random() < 0.55 else 0.0
    mean, texture = ct_values(rng, enhancement)
    chance = rng.random()
    if window is not None:
        lower, upper = window
    elif chance < 0.72:
        lower, upper = -160.0, 240.0
    elif chance < 0.86:
        centre, half = rng.uniform(20, 70), rng.uniform(90, 260)
        lower, upper = centre - half, centre + half
    elif chance < 0.93:
        lower, upper = -450.0, 1050.0
    else:
        lower, upper = -1350.0, 150.0
    gain = 255.0 / (upper - lower)
    palette = Palette(is_mr=False)
    # Beyond the window, but not far, so that texture and blur clip as HU do.
    palette.mean = np.clip((mean - lower) * gain, -160.0, 420.0).astype(np.float32)
    palette.texture = np.clip(texture * gain, 0.0, 90.0).astype(np.float32)
    return palette


def mr_palette(rng: np.random.Generator, sequence: str | None = None) -> Palette:
    """Return grey levels of an MR sequence, or of no sequence there is."""
    palette = Palette(is_mr=True)
    if sequence is None:
        sequence = str(
            rng.choice(["T1", "T2", "enhanced", "any"], p=[0.34, 0.2, 0.22, 0.24])
        )
    grain = float(np.exp(rng.uniform(np.log(1.0), np.log(6.0))))
    spread = rng.uniform(4, 22)
    contrast = float(np.exp(rng.normal(0, 0.2)))
    column = SEQUENCES.index(sequence) if sequence in SEQUENCES else None
    for tissue in T:
        if column is not None:
            mean = float(LOOKS[tissue].mr[column])
            mean = mean + rng.normal(0, spread) if mean > 15 else mean
        else:
            mean = rng.uniform(8, 235)
        palette.set(
            tissue, max(2.0, mean * contrast), grain * float(np.exp(rng.normal(0, 0.4)))
        )
    for tissue in (T.AIR, T.GAS, T.COUCH):
        palette.set(tissue, float(rng.uniform(0, 6)), 0.0)
    for tissue in (T.LUNG, T.CORTICAL_BONE):
        palette.set(tissue, float(rng.uniform(3, 22)), 2.0)
    palette.texture[T.STOOL] += 25
    palette.texture[T.STOMACH_CONTENT] += rng.uniform(0, 20)
    palette.texture[T.BACK_MUSCLE] += 5
    palette.mean[T.LUNG_VESSEL] = palette.mean[T.VEIN]
    palette.mean[T.ORAL_CONTRAST] = palette.mean[T.GUT_CONTENT]
    palette.mean[T.STRAND] = palette.mean[T.MUSCLE]
    if rng.random() < 0.3:  # flow voids, or slow bright blood
        palette.mean[[T.ARTERY, T.LEFT_CHAMBER]] = rng.uniform(3, 25)
    return palette
