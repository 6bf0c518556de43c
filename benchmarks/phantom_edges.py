"""Where the visible edge of a phantom lies against its label, in pixels of 256.

python benchmarks/phantom_edges.py --slices 60

Grey profiles are taken across the outlines of objects where both sides are even;
the edge is where the profile passes half height. Positive: the label is too large.
"""

import argparse

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms.random_slices import PhantomKind, random_slice

REACH, STEP = 5.0, 0.25
"""Half length and step of a profile in pixels."""

SMALLEST = 300
"""Pixels of the smallest object that is looked at."""

PER_OBJECT = 40
"""Profiles of each object."""

CONTRAST, UNEVEN = 25.0, 6.0
"""Least difference of both sides, and largest deviation within one, in greys."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=1000)
    wanted = parser.parse_args()
    print("| kind | profiles | all | left | right | top | bottom | bright | dark |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in PhantomKind:
        rows = np.concatenate(
            [
                profiles(kind, np.random.default_rng(wanted.seed + n))
                for n in range(wanted.slices)
            ]
        )
        offset, nx, ny, brighter = rows.T
        groups = (
            offset == offset,
            nx > 0.8,
            nx < -0.8,
            ny > 0.8,
            ny < -0.8,
            brighter > 0,
            brighter < 0,
        )
        means = " | ".join(f"{offset[group].mean():.2f}" for group in groups)
        print(f"| {kind.value} | {len(rows)} | {means} |")


def profiles(kind: PhantomKind, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return offset, inward normal (x, y) and sign of contrast of each profile."""
    drawn = random_slice(rng, 256, kind)
    image = drawn.image.astype(np.float32)
    found = []
    for value in range(1, int(drawn.labels.max()) + 1):
        mask = (drawn.labels == value).astype(np.uint8)
        if mask.sum() < SMALLEST:
            continue
        depth = signed_distance(mask)
        normal_y, normal_x = np.gradient(cv2.GaussianBlur(depth, (0, 0), 1.5))
        ys, xs = np.nonzero(np.abs(depth) < 0.8)
        if len(ys) < PER_OBJECT:
            continue
        for i in rng.choice(len(ys), PER_OBJECT, replace=False):
            y, x = int(ys[i]), int(xs[i])
            normal = np.array([normal_x[y, x], normal_y[y, x]])
            length = float(np.hypot(*normal))
            if length < 0.5:
                continue
            normal /= length
            measured = offset_along(image, depth, (x, y), normal)
            if measured is not None:
                found.append((measured[0], *normal, measured[1]))
    return np.array(found, np.float64).reshape(-1, 4)


def signed_distance(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance to the outline, positive inside."""
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, 5) - 0.5 * (mask > 0)
    outer = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) - 0.5 * (mask == 0)
    return (inner - outer).astype(np.float32)


def offset_along(
    image: NDArray[np.float32],
    depth: NDArray[np.float32],
    place: tuple[int, int],
    normal: NDArray[np.float64],
) -> tuple[float, float] | None:
    """Return how far inside its label an edge is seen, and the sign of contrast."""
    along = np.arange(-REACH, REACH + STEP / 2, STEP)
    xs = (place[0] + along * normal[0]).astype(np.float32)[None]
    ys = (place[1] + along * normal[1]).astype(np.float32)[None]
    grey = cv2.remap(image, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)[0]
    label = cv2.remap(depth, xs, ys, cv2.INTER_LINEAR)[0]
    outside, within = grey[:8], grey[-8:]
    contrast = float(within.mean() - outside.mean())
    if (
        not label[0] < -2.5 < 2.5 < label[-1]
        or abs(contrast) < CONTRAST
        or max(outside.std(), within.std()) > UNEVEN
    ):
        return None
    middle = (outside.mean() + within.mean()) / 2
    seen = crossing(along, (grey - middle) * np.sign(contrast))
    wanted = crossing(along, label)
    if seen is None or wanted is None or abs(seen - wanted) >= 3:
        return None
    return seen - wanted, float(np.sign(contrast))


def crossing(along: NDArray, values: NDArray) -> float | None:
    """Return where values rise through zero; None unless they do so once."""
    at = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if len(at) != 1:
        return None
    i = int(at[0])
    return float(along[i] - STEP * values[i] / (values[i + 1] - values[i]))


if __name__ == "__main__":
    main()
