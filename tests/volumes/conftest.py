"""Seeded phantoms and orientations that the volume tests share."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def rotation(degrees: float, axis: int) -> np.ndarray:
    """3 by 3 rotation about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def make_affine(direction: np.ndarray) -> np.ndarray:
    """RAS affine with spacing 0.7, 0.9, 2.5 mm (x, y, z) and an odd origin."""
    affine = np.eye(4)
    affine[:3, :3] = direction * (0.7, 0.9, 2.5)
    affine[:3, 3] = (-31.5, 12.25, -104.0)
    return affine


DIRECTIONS = {
    "ras": np.diag([1, 1, 1]),
    "lps": np.diag([-1, -1, 1]),
    "flipped z": np.diag([-1, -1, -1]),
    "left handed": np.diag([-1, 1, 1]),
    "sagittal": np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": rotation(17, 0) @ rotation(-8, 2),
    "oblique sagittal": rotation(11, 1)
    @ np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]]),
}


@pytest.fixture(params=DIRECTIONS.values(), ids=DIRECTIONS.keys())
def affine(request) -> np.ndarray:
    """RAS affines: plain, flipped, permuted and oblique."""
    return make_affine(request.param.astype(float))


@pytest.fixture
def oblique() -> np.ndarray:
    return make_affine(DIRECTIONS["oblique"])


@pytest.fixture
def ct() -> np.ndarray:
    """(Z, Y, X) = (4, 6, 5) int16 with CT-like values, all different."""
    rng = np.random.default_rng(7)
    return (
        rng.permutation(np.arange(-1000, -1000 + 120 * 15, 15))
        .astype(np.int16)
        .reshape(4, 6, 5)
    )


@pytest.fixture
def labels() -> np.ndarray:
    """(4, 6, 5) labels 0 to 2 in the form of two blocks."""
    array = np.zeros((4, 6, 5), np.int64)
    array[1:3, 1:4, 1:3] = 1
    array[2:4, 4:6, 3:5] = 2
    return array


@pytest.fixture
def shared_data() -> Path:
    """Real volumes; absent outside the project's own machines."""
    if not SHARED.is_dir():
        pytest.skip(f"no real volumes at {SHARED}")
    return SHARED
