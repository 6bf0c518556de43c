"""Stomach and bowel: walls around fluid, gas, stool or contrast."""

import math

import numpy as np

from napari_qmedsam.phantoms.parts import Part, Position, Span
from napari_qmedsam.phantoms.shapes import Tube, tube
from napari_qmedsam.phantoms.tissues import Tissue as T


def stomach(rng: np.random.Generator) -> list[Part]:
    """Oesophagus, stomach and duodenum."""
    points: list[Position] = [
        (12, 8, 80),
        (45, 8, 92),
        (66, -4, 72),
        (66, -28, 40),
        (48, -54, 10),
        (5, -56, -8),
        (-32, -36, 2),
    ]
    size = float(rng.uniform(0.65, 1.15))
    solid = tube(
        rng, points, [10, 30 * size, 36 * size, 33 * size, 27 * size, 19 * size, 9], 6
    )
    gas = rng.uniform(-70, -10) if rng.random() < 0.75 else None
    content = T.STOMACH_CONTENT if rng.random() < 0.8 else T.ORAL_CONTRAST
    stomach = Part(
        solid, content, "stomach", wall_mm=float(rng.uniform(2.5, 6)), gas_above=gas
    )
    duodenum = tube(
        rng,
        [(-32, -36, 2), (-50, -14, -5), (-50, 2, -42), (-8, 12, -56), (28, 4, -26)],
        [10, 12, 12, 11, 10],
        4,
        0.1,
    )
    swallow = tube(rng, [(4, 8, 230), (4, 10, 140), (12, 8, 80)], [8, 8, 8], 2)
    content = T.GUT_CONTENT if rng.random() < 0.6 else T.GUT_WALL
    return [
        Part(swallow, content, "oesophagus", "cavity", None, 3.0, T.GUT_WALL),
        stomach,
        Part(duodenum, content, "duodenum", wall_mm=float(rng.uniform(2, 4))),
    ]


def small_bowel(rng: np.random.Generator, span: Span) -> list[Part]:
    """Loops of small bowel, as many as the span needs."""
    parts = []
    contrast = rng.random() < 0.2
    usual = rng.uniform(8, 14)
    low, high = max(-215.0, span[0] - 30), min(0.0, span[1] + 30)
    per_mm = rng.uniform(0.1, 0.4)
    count = int(per_mm * (high - low) + 2)
    for i, z in enumerate(rng.uniform(low, high, count).tolist()):
        reach = 92 if z < -50 else 70
        start = np.array([rng.uniform(-reach, reach), rng.uniform(-74, 20), z])
        path = start + np.cumsum(rng.normal(0, 24, (5, 3)) * [1.0, 0.7, 0.4], axis=0)
        path[:, 0] = np.clip(path[:, 0], -reach, reach)
        path[:, 1] = np.clip(path[:, 1], -74, 22)
        radius = usual * math.exp(rng.normal(0, 0.15))
        solid = Tube(path, np.full(5, radius), 0.1 * rng.standard_normal(16))
        gas = (
            float(path[:, 1].mean() - rng.uniform(0, 8))
            if rng.random() < 0.15
            else None
        )
        content = T.ORAL_CONTRAST if contrast and rng.random() < 0.7 else T.GUT_CONTENT
        if rng.random() < 0.35:
            content = T.GUT_WALL
        name = f"small bowel {i}" if rng.random() < 0.85 else ""
        wall = float(rng.uniform(1.5, 3.5))
        parts.append(Part(solid, content, name, wall_mm=wall, gas_above=gas))
    return parts


def colon(rng: np.random.Generator) -> list[Part]:
    """Colon and rectum in segments, with stool, gas or fluid."""
    segments: dict[str, tuple[list[Position], list[float]]] = {
        "ascending": (
            [(-100, 5, -180), (-108, 10, -110), (-104, 12, -55), (-92, 0, -15)],
            [24, 25, 23, 20],
        ),
        "transverse": (
            [
                (-92, 0, -15),
                (-70, -52, -40),
                (0, -68, -55),
                (62, -60, -25),
                (98, -20, 32),
            ],
            [20, 21, 21, 20, 18],
        ),
        "descending": (
            [(98, -20, 32), (112, 22, -5), (112, 22, -120), (95, 8, -165)],
            [18, 16, 15, 15],
        ),
        "sigmoid": (
            [(95, 8, -165), (60, -5, -200), (15, 0, -170), (5, 45, -195)],
            [15, 15, 15, 16],
        ),
        "rectum": ([(5, 45, -195), (0, 52, -225), (0, 40, -290)], [18, 21, 16]),
    }
    parts = []
    kinds = (T.STOOL, T.GAS, T.GUT_CONTENT)
    favourite = rng.dirichlet([3, 2, 1.5])
    gas_only = rng.random() < 0.2
    for name, (points, radii) in segments.items():
        size = float(np.exp(rng.normal(-0.05, 0.22)))
        solid = tube(rng, points, [r * size for r in radii], 6, 0.13)
        content = kinds[rng.choice(3, p=favourite)]
        gas = None
        if content != T.GAS and rng.random() < 0.55:
            gas = float(np.mean([p[1] for p in points]) + rng.uniform(-12, 10))
        parts.append(
            Part(
                solid,
                content,
                f"colon {name}" if not gas_only else "colon",
                wall_mm=float(rng.uniform(1.2, 3.0)),
                gas_above=gas,
            )
        )
    return parts
