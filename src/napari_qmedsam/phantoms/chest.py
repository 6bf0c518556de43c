"""Heart, lungs and diaphragm."""

import numpy as np

from napari_qmedsam.phantoms.parts import Part, Span
from napari_qmedsam.phantoms.shapes import EllipseStack, Tube, stack
from napari_qmedsam.phantoms.tissues import Tissue as T


def domes(rng: np.random.Generator) -> tuple[EllipseStack, ...]:
    """Return what lies below the diaphragm, while lungs show beside it."""
    top = 112 + rng.uniform(-14, 14)
    right = [
        (-400, -60, -8, 100, 100, 0),
        (30, -62, -10, 78, 82, 0),
        (75, -62, -16, 64, 66, 0),
        (top, -56, -18, 0, 0, 0),
    ]
    left = [
        (-400, 60, -8, 100, 100, 0),
        (30, 60, -8, 80, 82, 0),
        (70, 62, -6, 62, 66, 0),
        (top - 12, 62, -10, 0, 0, 0),
    ]
    front = [
        (-400, 0, -40, 90, 70, 0),
        (40, 0, -40, 80, 56, 0),
        (top - 8, 0, -45, 10, 0, 0),
    ]
    return stack(rng, right, 0.3), stack(rng, left, 0.3), stack(rng, front, 0.3)


def mediastinum(rng: np.random.Generator) -> EllipseStack:
    """Fat between the lungs, around spine, heart and great vessels."""
    rows = [
        (0, 0, 40, 34, 34, 0),
        (70, 2, 25, 34, 46, 0),
        (95, 14, -8, 58, 76, 15),
        (160, 12, -8, 48, 74, 10),
        (260, 0, 0, 34, 70, 0),
    ]
    return stack(rng, rows, 0.4)


def chest(rng: np.random.Generator, span: Span) -> list[Part]:
    """Heart with chambers, and vessels of the lungs."""
    if span[1] < 25:
        return []
    rows = [
        (88, 40, -44, 0, 0, 30),
        (105, 30, -38, 44, 32, 32),
        (140, 20, -32, 52, 40, 35),
        (185, 8, -25, 36, 32, 20),
        (210, 4, -20, 0, 0, 0),
    ]
    heart = stack(rng, rows, 0.6)
    chambers = [
        (
            T.LEFT_CHAMBER,
            "heart left ventricle",
            [
                (96, 46, -38, 0, 0, 40),
                (125, 44, -30, 25, 15, 40),
                (160, 30, -30, 0, 0, 40),
            ],
        ),
        (
            T.RIGHT_CHAMBER,
            "heart right ventricle",
            [
                (98, 22, -55, 0, 0, 25),
                (130, 12, -52, 26, 12, 30),
                (170, 6, -50, 0, 0, 20),
            ],
        ),
        (
            T.RIGHT_CHAMBER,
            "heart right atrium",
            [
                (100, -18, -24, 0, 0, 0),
                (130, -22, -26, 16, 22, 0),
                (175, -20, -28, 0, 0, 0),
            ],
        ),
        (
            T.LEFT_CHAMBER,
            "heart left atrium",
            [(125, 14, 0, 0, 0, 0), (155, 10, 2, 30, 15, 0), (185, 8, 0, 0, 0, 0)],
        ),
    ]
    parts = [Part(heart, T.MYOCARDIUM, "heart muscle", "cavity")]
    for tissue, name, knots in chambers:
        parts.append(Part(stack(rng, knots, 0.7), tissue, name, "cavity"))
    for _ in range(int(rng.integers(10, 26))):
        side = rng.choice([-1, 1])
        start = np.array([side * 30, 5, 130]) + rng.normal(0, 8, 3)
        end = np.array(
            [side * rng.uniform(55, 120), rng.uniform(-60, 60), rng.uniform(20, 200)]
        )
        middle = (start + end) / 2 + rng.normal(0, 12, 3)
        solid = Tube(
            np.array([start, middle, end]), np.array([5.0, 3.0, 1.0]), np.zeros(2), 0.8
        )
        parts.append(Part(solid, T.LUNG_VESSEL, "=", "lung", T.LUNG))
    return parts
