"""Solid organs, and the abdomen they make with the bowel."""

import numpy as np

from napari_qmedsam.phantoms.bowel import colon, small_bowel, stomach
from napari_qmedsam.phantoms.parts import Part, Position, Span
from napari_qmedsam.phantoms.shapes import EllipseStack, Tube, stack, tube
from napari_qmedsam.phantoms.tissues import Tissue as T
from napari_qmedsam.phantoms.vessels import vessels


def abdomen(rng: np.random.Generator, span: Span) -> list[Part]:
    """Everything below the diaphragm, bowel first, so that it gives way."""
    parts = [*(small_bowel(rng, span) if span[0] < 25 else []), *colon(rng)]
    if span[0] < -150:
        parts += pelvic(rng)
    parts += [*stomach(rng), *pancreas(rng), *spleen(rng), *liver(rng)]
    for side, name in ((-1, "right"), (1, "left")):
        parts += kidney(rng, side, name)
    return [*parts, *vessels(rng, span)]


def pelvic(rng: np.random.Generator) -> list[Part]:
    """Bladder, uterus or prostate, ovaries."""
    fill = rng.uniform(0.6, 1.3)
    bladder = [
        (-275, 0, -25, 0, 0, 0),
        (-240, 0, -28, 38 * fill, 28 * fill, 0),
        (-215, 0, -34, 36 * fill, 26 * fill, 0),
        (-190 + 15 * fill, 0, -36, 0, 0, 0),
    ]
    organ = [
        (-260, 0, 15, 0, 0, 0),
        (-232, 0, 14, 25, 18, 0),
        (-205, 0, 8, 30, 18, 0),
        (-185, 0, 0, 0, 0, 0),
    ]
    parts = [
        Part(stack(rng, organ), T.PELVIC_ORGAN, "uterus or prostate"),
        Part(stack(rng, bladder, 1.0, 2.4), T.BLADDER, "bladder", wall_mm=2.5),
    ]
    for side in (-1, 1):
        ovary = [
            (-215, 52, 0, 0, 0, 0),
            (-200, 50, 2, 14, 10, 0),
            (-186, 50, 2, 0, 0, 0),
        ]
        if rng.random() < 0.4:
            parts.append(
                Part(stack(rng, ovary, 1.0, 2.0, side), T.CYST, f"ovary {side}")
            )
    return parts


def pancreas(rng: np.random.Generator) -> list[Part]:
    """Pancreas and adrenal glands."""
    size = float(rng.uniform(0.75, 1.15))
    solid = tube(
        rng,
        [
            (-36, -8, -30),
            (-36, -10, -6),
            (-12, -20, 8),
            (18, -20, 16),
            (52, -2, 26),
            (84, 12, 42),
        ],
        [9 * size, 14 * size, 10 * size, 9 * size, 10 * size, 8 * size],
        4,
        0.16,
    )
    parts = [Part(solid, T.PANCREAS, "pancreas")]
    for side, name in ((-1, "right"), (1, "left")):
        for degrees, x in ((28, 40), (-22, 46)):
            limb = [
                (28 + 8 * side, x, 26, 0, 0, degrees),
                (46, x, 24, 3, 14, degrees),
                (68, x - 4, 22, 0, 0, degrees),
            ]
            if side > 0:
                limb = [(row[0] - 10, *row[1:]) for row in limb]
            parts.append(
                Part(stack(rng, limb, 0.6, 2.0, side), T.ADRENAL, f"adrenal {name}")
            )
    return parts


def kidney(rng: np.random.Generator, side: int, name: str) -> list[Part]:
    """Return a kidney of cortex, medulla and sinus, in its own fat; cysts."""
    size = float(np.exp(rng.normal(0, 0.09)))
    x, y, z = (
        68 + rng.normal(0, 4),
        32 + rng.normal(0, 4),
        (-14 if side < 0 else -2) + rng.normal(0, 10),
    )
    half = 54 * size
    a, b = 25 * size, 30 * size
    angle = float(rng.uniform(15, 45))
    rows = [
        (z - half, x + 8, y - 8, 0, 0, angle),
        (z - 0.6 * half, x + 5, y - 5, 0.8 * a, 0.8 * b, angle),
        (z, x, y, a, b, angle),
        (z + 0.6 * half, x - 6, y + 4, 0.8 * a, 0.82 * b, angle),
        (z + half, x - 9, y + 6, 0, 0, angle),
    ]
    label = f"kidney {name}"
    whole = stack(rng, rows, 0.35, 2.1, side)
    assert whole.waves is not None
    medulla = EllipseStack(
        whole.knots * [1, 1, 1, 0.72, 0.74, 1], 2.0, whole.waves * 3, whole.phases
    )
    sinus_label = "" if rng.random() < 0.7 else "="
    depth = float(rng.uniform(0.35, 0.55))
    centre = whole.knots[2]
    sinus_rows = [
        (z - 0.55 * half, 0.0, 0.0),
        (z, depth, 0.62),
        (z + 0.5 * half, 0.0, 0.0),
    ]
    knots = np.array(
        [
            (
                height,
                centre[1] - side * 0.7 * a,
                centre[2] - 0.35 * b,
                0.85 * a * (m > 0),
                m * 0.8 * b,
                centre[5],
            )
            for height, _, m in sinus_rows
        ]
    )
    sinus = EllipseStack(knots, 2.0, rng.normal(0, 0.1, 5), rng.uniform(0, 6, 5))
    pelvis = EllipseStack(knots * [1, 1, 1, 0.6, 0.4, 1], 2.0)
    fascia_knots = whole.knots * [1, 1, 1, 1.3, 1.3, 1]
    parts = [
        Part(EllipseStack(fascia_knots), T.VISCERAL_FAT, ""),
        Part(whole, T.KIDNEY_CORTEX, label),
        Part(medulla, T.KIDNEY_MEDULLA, "=", over=T.KIDNEY_CORTEX),
        Part(sinus, T.VISCERAL_FAT, sinus_label),
        Part(pelvis, T.URINE, "="),
    ]
    for i in range(int(rng.integers(0, 3)) if rng.random() < 0.35 else 0):
        turn = rng.uniform(0, 6.3)
        r = float(np.exp(rng.uniform(1.3, 3.0)))
        cx, cy = centre[1] + a * np.cos(turn), centre[2] + b * np.sin(turn)
        cz = z + rng.uniform(-0.7, 0.7) * half
        cyst = EllipseStack(
            np.array(
                [
                    (cz - r, cx, cy, 0, 0, 0),
                    (cz, cx, cy, r, r, 0),
                    (cz + r, cx, cy, 0, 0, 0),
                ]
            )
        )
        own = f"kidney cyst {name} {i}" if rng.random() < 0.6 else label
        parts.append(Part(cyst, T.CYST if rng.random() < 0.7 else T.LESION, own))
    return parts


def spleen(rng: np.random.Generator) -> list[Part]:
    """Spleen, sometimes with lesions."""
    size = float(np.exp(rng.normal(0, 0.15)))
    rows = [
        (2 - 12 * size, 100, 18, 0, 0, -20),
        (25, 102, 22, 17 * size, 34 * size, -22),
        (60, 94, 30, 23 * size, 44 * size, -32),
        (85, 84, 34, 20 * size, 34 * size, -40),
        (106, 74, 34, 0, 0, -45),
    ]
    parts = [Part(stack(rng, rows, 0.9), T.SPLEEN, "spleen")]
    if rng.random() < 0.15:
        parts += _lesions(rng, (92, 26, 50), 14, T.SPLEEN, "spleen lesion", 2)
    return parts


def _lesions(
    rng: np.random.Generator,
    centre: Position,
    spread: float,
    over: T,
    name: str,
    most: int,
) -> list[Part]:
    parts = []
    for i in range(int(rng.integers(1, most + 1))):
        x, y, z = np.array(centre) + rng.normal(0, spread, 3)
        r = float(np.exp(rng.uniform(1.3, 3.1)))
        rows = [
            (z - r, x, y, 0, 0, 0),
            (z, x, y, r, r * rng.uniform(0.7, 1.2), rng.uniform(0, 180)),
            (z + r, x, y, 0, 0, 0),
        ]
        solid = stack(rng, rows, 0.8)
        label = f"{name} {i}" if rng.random() < 0.65 else "="
        kind = rng.random()
        if kind < 0.35:
            parts.append(Part(solid, T.CYST, label, over=over))
        elif kind < 0.7:
            parts.append(Part(solid, T.LESION, label, over=over))
        else:
            parts.append(
                Part(
                    solid,
                    T.LESION_CORE,
                    label,
                    over=over,
                    wall_mm=r * 0.35,
                    wall=T.LESION,
                )
            )
    return parts


def liver(rng: np.random.Generator) -> list[Part]:
    """Liver with vessels and lesions; gallbladder."""
    size = float(np.exp(rng.normal(0, 0.08)))
    low = -70 + rng.normal(0, 22)
    right = [
        (low, -100, 0, 0, 0, 0),
        (low + 35, -98, 0, 30 * size, 52 * size, 6),
        (0, -90, -10, 46 * size, 60 * size, 8),
        (45, -74, -8, 64 * size, 74 * size, 8),
        (90, -60, -8, 66 * size, 72 * size, 0),
        (124, -54, -12, 0, 0, 0),
    ]
    reach = rng.uniform(0.75, 1.3)
    left = [
        (-5 + rng.normal(0, 8), -12, -58, 0, 0, 0),
        (20, -2, -58, 42 * reach, 20, -4),
        (55, 8, -54, 60 * reach, 25, -6),
        (90, 10, -46, 56 * reach, 27, -8),
        (108, 6, -40, 0, 0, 0),
    ]
    caudate = [(14, -22, 6, 0, 0, 0), (34, -22, 8, 17, 16, 10), (60, -22, 6, 0, 0, 0)]
    parts = [
        Part(stack(rng, rows, v), T.LIVER, "liver")
        for rows, v in ((right, 0.5), (left, 0.7), (caudate, 0.6))
    ]
    if rng.random() < 0.7:
        fissure = [
            (-10, -22, -66, 3, 8, 0),
            (30, -20, -48, 2.5, 16, 15),
            (62, -18, -40, 1, 4, 20),
        ]
        parts.append(Part(stack(rng, fissure, 0.8), T.VISCERAL_FAT, "", over=T.LIVER))
    for _ in range(int(rng.integers(5, 12))):
        hilum = np.array([-40, -12, 32])
        end = np.array(
            [rng.uniform(-130, 30), rng.uniform(-70, 50), rng.uniform(-20, 90)]
        )
        middle = 0.55 * hilum + 0.45 * end + rng.normal(0, 9, 3)
        solid = Tube(
            np.array([hilum, middle, end]), np.array([5.5, 3.5, 1.2]), np.zeros(2), 0.8
        )
        parts.append(Part(solid, T.PORTAL_VEIN, "=", over=T.LIVER))
    for x, y in ((-110, 0), (-70, -50), (-10, -55), (-85, 30)):
        end = np.array([x, y, rng.uniform(25, 60)]) + rng.normal(0, 8, 3)
        solid = Tube(
            np.array([(-24, 12, 92), 0.5 * (end + [-24, 12, 86]), end]),
            np.array([6.0, 4.5, 1.5]),
            np.zeros(2),
            0.8,
        )
        parts.append(Part(solid, T.HEPATIC_VEIN, "=", over=T.LIVER))
    if rng.random() < 0.35:
        parts += _lesions(rng, (-75, -10, 35), 32, T.LIVER, "liver lesion", 4)
    if rng.random() < 0.85:
        f = float(np.exp(rng.normal(0, 0.18)))
        rows = [
            (-44, -68, -54, 0, 0, 20),
            (-22, -64, -48, 17 * f, 21 * f, 25),
            (4, -54, -38, 12 * f, 16 * f, 30),
            (22, -48, -30, 0, 0, 30),
        ]
        parts.append(
            Part(
                stack(rng, rows),
                T.BILE,
                "gallbladder",
                wall_mm=float(rng.uniform(0, 2.2)),
            )
        )
    return parts
