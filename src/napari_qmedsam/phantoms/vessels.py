"""Arteries and veins."""

import numpy as np

from napari_qmedsam.phantoms.parts import Part, Position, Span
from napari_qmedsam.phantoms.shapes import Tube, tube
from napari_qmedsam.phantoms.tissues import Tissue as T


def vessels(rng: np.random.Generator, span: Span) -> list[Part]:
    """Great vessels, and small ones in the mesentery."""
    wide = float(np.exp(rng.normal(0, 0.12)))
    trunk_x = rng.normal(8, 4)
    lines: list[tuple[str, T, list[Position], list[float], str]] = [
        (
            "iliac right",
            T.ARTERY,
            [(trunk_x, 22, -88), (-35, 28, -130), (-62, 0, -200), (-72, -50, -250)],
            [8, 6, 5, 5],
            "cavity",
        ),
        (
            "iliac left",
            T.ARTERY,
            [(trunk_x, 22, -88), (38, 28, -130), (62, 0, -200), (72, -50, -250)],
            [8, 6, 5, 5],
            "cavity",
        ),
        (
            "iliac vein right",
            T.VEIN,
            [(-18, 26, -98), (-40, 36, -135), (-58, 10, -200), (-62, -45, -250)],
            [9, 7, 6, 6],
            "cavity",
        ),
        (
            "iliac vein left",
            T.VEIN,
            [(-18, 26, -98), (32, 38, -135), (54, 10, -200), (60, -45, -250)],
            [9, 7, 6, 6],
            "cavity",
        ),
        (
            "superior mesenteric",
            T.ARTERY,
            [(trunk_x, 14, 8), (2, -6, -10), (0, -14, -70)],
            [4, 4, 3],
            "cavity",
        ),
        (
            "mesenteric vein",
            T.VEIN,
            [(-14, -12, 12), (-12, -16, -20), (-12, -20, -80)],
            [6, 6, 4],
            "cavity",
        ),
        (
            "portal vein",
            T.PORTAL_VEIN,
            [(-12, -10, 12), (-26, -8, 24), (-42, -12, 36)],
            [7, 7.5, 7],
            "abdomen",
        ),
        (
            "splenic vein",
            T.PORTAL_VEIN,
            [(-12, -8, 14), (20, -8, 20), (55, 8, 32), (86, 22, 48)],
            [5, 5, 4, 4],
            "abdomen",
        ),
        (
            "renal vein left",
            T.VEIN,
            [(-16, 10, -6), (8, 4, -6), (52, 24, -8)],
            [5, 5, 4],
            "abdomen",
        ),
        (
            "renal vein right",
            T.VEIN,
            [(-24, 14, -12), (-54, 26, -16)],
            [5, 4],
            "abdomen",
        ),
        (
            "renal artery",
            T.ARTERY,
            [(54, 28, -4), (trunk_x, 18, 0), (-56, 30, -12)],
            [3, 3.5, 3],
            "abdomen",
        ),
        (
            "celiac",
            T.ARTERY,
            [(trunk_x, 14, 24), (4, -4, 26), (-24, -8, 28)],
            [4, 3.5, 2.5],
            "abdomen",
        ),
        (
            "vena cava",
            T.VEIN,
            [
                (-18, 26, -98),
                (-22, 18, -40),
                (-24, 12, 20),
                (-26, 6, 80),
                (-22, -8, 110),
                (-22, -20, 200),
            ],
            [10 * wide, 11 * wide, 11, 12, 12, 10],
            "cavity",
        ),
        (
            "aorta",
            T.ARTERY,
            [
                (trunk_x, 22, -92),
                (trunk_x, 18, -20),
                (trunk_x - 2, 20, 50),
                (18, 28, 110),
                (26, 30, 220),
            ],
            [8.5 * wide, 9.5 * wide, 11 * wide, 12 * wide, 13 * wide],
            "cavity",
        ),
    ]
    parts = [
        Part(tube(rng, points, radii, 2.0), tissue, name, within)
        for name, tissue, points, radii, within in lines
    ]
    if rng.random() < 0.3:  # calcified plaque
        plaque = tube(
            rng, [(trunk_x + 8, 22, -60), (trunk_x + 9, 20, 10)], [1.5, 1.5], 3
        )
        parts.append(Part(plaque, T.CORTICAL_BONE, "=", "cavity"))
    low, high = max(-150.0, span[0] - 25), min(20.0, span[1] + 25)
    for _ in range(int(rng.uniform(0.1, 0.35) * max(high - low, 0))):
        start = np.array(
            [rng.uniform(-50, 60), rng.uniform(-30, 12), rng.uniform(low, high)]
        )
        end = start + rng.normal(0, 38, 3) * [1, 0.8, 0.8]
        middle = (start + end) / 2 + rng.normal(0, 8, 3)
        twig = Tube(
            np.array([start, middle, end]), np.array([2.2, 1.6, 0.8]), np.zeros(2), 0.9
        )
        parts.append(Part(twig, T.STRAND, "=", over=T.VISCERAL_FAT))
    return parts
