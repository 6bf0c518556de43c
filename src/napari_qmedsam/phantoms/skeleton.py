"""Bones and the muscles around them."""

import math

import numpy as np

from napari_qmedsam.phantoms.parts import Part, Span, bone
from napari_qmedsam.phantoms.shapes import Tube, stack
from napari_qmedsam.phantoms.tissues import Tissue as T

VERTEBRA_MM = 33.0
"""Height of a vertebra with its disc."""


def muscles(rng: np.random.Generator) -> list[Part]:
    """Back, psoas, abdominal wall and gluteal muscles."""
    parts = []
    for side, name in ((-1, "right"), (1, "left")):
        rectus = stack(
            rng,
            [
                (-220, 20, -78, 14, 5, 0),
                (-60, 36, -91, 30, 5, 6),
                (70, 40, -88, 28, 4, 10),
            ],
            0.5,
            2.6,
            side,
        )
        back = [
            (-200, 16, 95, 10, 12, 0),
            (-100, 32, 92, 28, 20, 0),
            (0, 36, 90, 34, 21, 5),
            (90, 30, 88, 30, 16, 8),
            (260, 22, 84, 24, 12, 0),
        ]
        square = [
            (-95, 78, 58, 8, 14, -20),
            (-30, 66, 64, 8, 16, -30),
            (20, 52, 66, 4, 8, -30),
        ]
        psoas = [
            (25, 26, 52, 3, 8, 0),
            (-20, 36, 50, 13, 17, 15),
            (-90, 48, 42, 21, 24, 20),
            (-160, 64, 14, 19, 20, 0),
            (-240, 80, -40, 22, 16, 0),
        ]
        crus = [
            (-30, 8, 26, 3, 6, 0),
            (20, 14, 28, 4, 12, 20),
            (75, 12, 22, 3, 14, 30),
            (95, 8, 10, 2, 8, 30),
        ]
        parts += [
            Part(rectus, T.MUSCLE, f"rectus {name}", "body"),
            Part(
                stack(rng, back, 0.5, 2.6, side),
                T.BACK_MUSCLE,
                f"autochthonous {name}",
                "body",
            ),
            Part(
                stack(rng, square, 0.5, 2.4, side),
                T.MUSCLE,
                f"quadratus {name}",
                "body",
            ),
            Part(
                stack(rng, psoas[::-1], 0.5, 2.2, side),
                T.PSOAS,
                f"iliopsoas {name}",
                "body",
            ),
            Part(stack(rng, crus, 0.5, 2.0, side), T.MUSCLE, "", "cavity"),
        ]
    return parts


def spine(rng: np.random.Generator, span: Span) -> list[Part]:
    """Vertebrae with canal and processes, discs between them."""
    parts = []
    bottom = -112.0 + rng.uniform(-12, 12)
    bright_rim = rng.uniform(1.3, 2.6)
    tilt = rng.normal(0, 4)
    whole = rng.random() < 0.7
    for i in range(11):
        low = bottom + i * VERTEBRA_MM
        if low + VERTEBRA_MM + 20 < span[0] or low - 30 > span[1]:
            continue
        y = 42.0 + 6 * math.sin((low + 40) / 70) + (8 if low > 60 else 0)
        x = tilt * math.sin(low / 90)
        size = 1.12 - 0.022 * i
        a, b = 23 * size, 17 * size
        disc = [
            (low - 9, x, y, a * 0.98, b * 0.98, 0),
            (low + 1, x, y, a * 0.98, b * 0.98, 0),
        ]
        body = [
            (low, x, y, a * 1.03, b * 1.03, 0),
            (low + 12, x, y, a * 0.92, b * 0.94, 0),
            (low + 24, x, y, a * 1.03, b * 1.03, 0),
        ]
        name = f"vertebra {i}"
        parts.append(Part(stack(rng, disc, 0.15, 2.5), T.DISC, f"disc {i}", "body"))
        arch = name if whole else ""
        y_back = y + b
        for side in (-1, 1):
            pedicle = [
                (low + 6, 13, y_back + 4, 4, 9, 0),
                (low + 20, 13, y_back + 4, 4, 9, 0),
            ]
            lamina = [
                (low - 6, 11, y_back + 19, 11, 4, 32),
                (low + 16, 11, y_back + 19, 11, 4, 32),
            ]
            facet = [
                (low - 12, 16, y_back + 12, 7, 6, 0),
                (low + 4, 16, y_back + 12, 6, 6, 0),
            ]
            wing = [
                (low + 8, 30, y_back + 10, 0.5, 0.5, 0),
                (low + 12, 30, y_back + 10, 18, 4, 12),
                (low + 19, 30, y_back + 10, 0.5, 0.5, 0),
            ]
            for rows in (pedicle, lamina, facet, wing):
                solid = stack(
                    rng,
                    [(r[0], r[1] * side + x, *r[2:5], -side * r[5]) for r in rows],
                    0.2,
                )
                parts.append(bone(solid, arch, 1.4))
        spinous = [
            (low - 14, x, y_back + 32, 2, 4, 0),
            (low - 2, x, y_back + 29, 3.5, 12, 0),
            (low + 14, x, y_back + 24, 2.5, 5, 0),
        ]
        parts.append(bone(stack(rng, spinous, 0.2), arch, 1.2))
        parts.append(bone(stack(rng, body, 0.15, 2.5), name, bright_rim))
        canal = [
            (low - 9, x, y_back + 8, 11, 8, 0),
            (low + VERTEBRA_MM - 9, x, y_back + 8, 11, 8, 0),
        ]
        sac = [(r[0], *r[1:3], 8, 6.5, 0) for r in canal]
        parts.append(Part(stack(rng, canal, 0.1), T.FAT, "", "body"))
        parts.append(Part(stack(rng, sac, 0.1), T.CSF, "spinal canal", "body"))
        cord = [(r[0], *r[1:3], 5, 4, 0) for r in canal]
        parts.append(Part(stack(rng, cord, 0.1), T.CORD, "=", "body"))
    return parts


def ribs(
    rng: np.random.Generator, span: Span, half_width: float, half_depth: float
) -> list[Part]:
    """Ribs on each side, sloping down from the spine to the front."""
    parts = []
    shift = rng.uniform(-14, 14)
    for i in range(9):
        top = 32 + 27 * i + shift
        if top + 8 < span[0] or top - 84 > span[1]:
            continue
        reach = [0.35, 0.5, 0.8][i] if i < 3 else 1.0
        angle = np.linspace(72, 72 - reach * 135, 14)
        for side, name in ((-1, "right"), (1, "left")):
            a, b = half_width + rng.uniform(3, 6), half_depth + rng.uniform(3, 7)
            theta = np.radians(angle)
            x = side * a * np.sign(np.cos(theta)) * np.abs(np.cos(theta)) ** 0.85
            y = b * np.sign(np.sin(theta)) * np.abs(np.sin(theta)) ** 0.85 - 8
            y = np.where(angle > 40, y + (angle - 40) * 0.25, y)
            z = top - 75 * reach * np.linspace(0, 1, angle.size) ** 0.9
            tube = Tube(
                np.column_stack([x, y, z]),
                np.full(angle.size, rng.uniform(4.5, 6.5)),
                np.zeros(2),
                0.7,
            )
            parts.append(bone(tube, f"rib {name} {i}", 1.6))
    breast = stack(
        rng,
        [(95, 0, -84, 8, 4, 0), (120, 0, -88, 18, 6, 0), (230, 0, -82, 18, 6, 0)],
        0.3,
    )
    parts.append(bone(breast, "sternum", 1.4))
    return parts


def pelvis(rng: np.random.Generator, span: Span) -> list[Part]:
    """Hip bones, sacrum, femoral heads and the muscles on them."""
    if span[0] > -50:
        return []
    parts = []
    sacrum = [
        (-225, 0, 62, 6, 5, 0),
        (-190, 0, 82, 24, 9, 0),
        (-150, 0, 76, 44, 15, 0),
        (-112, 0, 62, 50, 18, 0),
        (-100, 0, 56, 30, 12, 0),
    ]
    for side, name in ((-1, "right"), (1, "left")):
        maximus = [
            (-290, 78, 92, 40, 26, 20),
            (-200, 78, 98, 52, 22, 28),
            (-130, 66, 100, 34, 10, 20),
            (-100, 60, 96, 10, 4, 0),
        ]
        medius = [
            (-240, 138, 30, 8, 28, 0),
            (-180, 132, 38, 18, 44, -18),
            (-110, 124, 34, 12, 40, -20),
            (-85, 118, 30, 4, 14, -20),
        ]
        ilium = [
            (-232, 82, 20, 20, 26, -10),
            (-200, 88, 26, 18, 26, -25),
            (-160, 94, 38, 8, 44, -35),
            (-110, 104, 30, 6, 42, -28),
            (-82, 106, 22, 4, 20, -20),
        ]
        head = [
            (-262, 95, 2, 24, 24, 0),
            (-232, 98, 4, 24, 24, 0),
            (-206, 98, 6, 3, 3, 0),
        ]
        parts += [
            Part(
                stack(rng, maximus, 0.6, 2.3, side),
                T.MUSCLE,
                f"gluteus maximus {name}",
                "body",
            ),
            Part(
                stack(rng, medius, 0.6, 2.0, side),
                T.MUSCLE,
                f"gluteus medius {name}",
                "body",
            ),
            bone(stack(rng, ilium, 0.5, 2.0, side), f"hip {name}", 2.0),
            bone(stack(rng, head, 0.3, 2.0, side), f"femur {name}", 1.8),
        ]
    parts.append(bone(stack(rng, sacrum, 0.4, 2.4), "sacrum", 1.8))
    return parts
