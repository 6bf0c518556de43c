import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.evaluation import dice, normalized_surface_distance
from napari_qmedsam.evaluation.metrics import (
    hausdorff_distance,
    relative_volume_difference,
)

REFERENCE = Path(__file__).parents[1] / "data" / "metrics_reference.npz"


def voxel(*index: int, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[index] = True
    return mask


def test_dice_is_twice_the_overlap_over_the_sizes():
    prediction = np.array([[1, 1, 0, 0]])
    reference = np.array([[0, 1, 1, 1]])
    assert dice(prediction, reference) == pytest.approx(2 * 1 / (2 + 3))


def test_any_value_but_zero_is_inside():
    assert dice(np.array([[7, 0]]), np.array([[True, False]])) == 1.0


def test_equal_masks_score_one():
    mask = voxel(1, 1, 1, shape=(3, 3, 3))
    assert dice(mask, mask) == 1.0
    assert normalized_surface_distance(mask, mask, (1, 1, 1), 0) == 1.0


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_both_empty_is_undefined_and_one_empty_is_zero(shape):
    empty, full = np.zeros(shape), np.ones(shape)
    spacing = (1.0,) * len(shape)
    assert math.isnan(dice(empty, empty))
    assert math.isnan(normalized_surface_distance(empty, empty, spacing, 1))
    for prediction, reference in [(empty, full), (full, empty)]:
        assert dice(prediction, reference) == 0.0
        assert normalized_surface_distance(prediction, reference, spacing, 99) == 0.0


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 0), (1, 0.5), (2, 1)])
def test_two_voxels_with_one_between_them(tolerance, expected):
    # Corners at x = 0, 1 and at x = 2, 3: half of each lies 1 mm away, half 2.
    a = voxel(0, 0, 0, shape=(1, 1, 3))
    b = voxel(0, 0, 2, shape=(1, 1, 3))
    assert normalized_surface_distance(a, b, (1, 1, 1), tolerance) == expected


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 0.5), (2.9, 0.5), (3, 1)])
def test_spacing_belongs_to_its_axis(tolerance, expected):
    # Neighbours along z share four corners; the other four are 3 mm apart.
    a = voxel(0, 0, 0, shape=(2, 1, 1))
    b = voxel(1, 0, 0, shape=(2, 1, 1))
    result = normalized_surface_distance(a, b, (3, 0.5, 0.5), tolerance)
    assert result == expected


def test_contour_of_a_2d_mask_is_weighted_by_length():
    # Squares of 2 x 2 pixels, one column apart, pixels 1 mm high, 2 mm wide.
    # Shared corners: two on horizontal edges (2 mm each) and two at the turns
    # (half a diagonal, sqrt(5) / 2 mm). A whole contour has two horizontal
    # elements, two vertical ones (1 mm) and four turns.
    a, b = np.zeros((4, 5), dtype=bool), np.zeros((4, 5), dtype=bool)
    a[1:3, 1:3] = True
    b[1:3, 2:4] = True
    expected = (4 + math.sqrt(5)) / (6 + 2 * math.sqrt(5))
    assert normalized_surface_distance(a, b, (1, 2), 0) == pytest.approx(expected)


def test_a_plate_is_not_a_contour():
    a, b = np.zeros((5, 6), dtype=bool), np.zeros((5, 6), dtype=bool)
    a[1:4, 1:4] = True
    b[1:4, 1:5] = True
    contour = normalized_surface_distance(a, b, (1, 1), 0)
    plate = normalized_surface_distance(a[..., None], b[..., None], (1, 1, 1), 0)
    assert plate > contour


def test_the_edge_of_the_array_closes_the_surface():
    a, b = np.ones((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    b[2] = False
    inner = normalized_surface_distance(a, b, (1, 1, 1), 0.5)
    padded = [np.pad(mask, 2) for mask in (a, b)]
    assert inner == normalized_surface_distance(*padded, (1, 1, 1), 0.5)
    assert 0 < inner < 1


@settings(max_examples=40, deadline=None)
@given(
    masks=arrays(bool, (2, 3, 4, 3)),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    tolerance=st.floats(0, 5),
)
def test_scores_are_symmetric_and_bounded_and_blind_to_empty_space(
    masks, spacing, tolerance
):
    a, b = masks
    score = normalized_surface_distance(a, b, spacing, tolerance)
    swapped = normalized_surface_distance(b, a, spacing, tolerance)
    wider = [np.pad(mask, ((1, 3), (0, 2), (4, 0))) for mask in (a, b)]
    outside = normalized_surface_distance(*wider, spacing, tolerance)
    assert math.isnan(score) == (not masks.any())
    if masks.any():
        assert 0 <= score <= 1
        assert score == pytest.approx(swapped, abs=1e-12)
        assert score == pytest.approx(outside, abs=1e-12)


@pytest.mark.parametrize("pair", range(6))
def test_against_surface_distance_reference(pair):
    """Values recorded from the original package on an older NumPy, to 1e-9."""
    with np.load(REFERENCE, allow_pickle=False) as stored:
        shape = tuple(stored["shapes"][pair])
        truth, prediction = (
            np.unpackbits(stored[f"{kind}{pair}"], count=math.prod(shape))
            .reshape(shape)
            .astype(bool)
            for kind in ("gt", "pred")
        )
        spacing, expected = stored["spacings_mm"][pair], stored["nsd"][pair]
        score = dice(prediction, truth)
        assert score == pytest.approx(stored["dsc"][pair], abs=1e-9, nan_ok=True)
        for tolerance, value in zip(stored["tolerances_mm"], expected, strict=True):
            result = normalized_surface_distance(prediction, truth, spacing, tolerance)
            assert result == pytest.approx(value, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(("percent", "expected"), [(50, 3), (95, 6), (100, 6)])
def test_distance_of_two_voxels_with_one_between_them(percent, expected):
    # Corners at z = 0, 1 and 2, 3, slices 3 mm apart: half lie 3 mm away, half 6.
    a, b = voxel(0, 0, 0, shape=(3, 1, 1)), voxel(2, 0, 0, shape=(3, 1, 1))
    assert hausdorff_distance(a, b, (3, 0.5, 0.5), percent) == expected
    # Along y the same voxels would be half a millimetre high.
    turned = a.transpose(1, 0, 2), b.transpose(1, 0, 2)
    distance = hausdorff_distance(*turned, (3, 0.5, 0.5), percent)
    assert distance == expected / 6


def test_distance_is_the_larger_of_both_directions():
    # The block's contour is 36 mm and four turns of sqrt(2) / 2 mm long; the pixel
    # that was added has four turns, 9, 9, 10 and 10 mm away. They are 6.8 % of the
    # prediction's contour, but only 3.5 % of both contours together.
    reference = np.zeros((12, 22), bool)
    reference[1:11, 1:11] = True
    prediction = reference.copy()
    prediction[5, 20] = True
    assert hausdorff_distance(prediction, reference, (1, 1)) == 9
    assert hausdorff_distance(reference, prediction, (1, 1)) == 9
    assert hausdorff_distance(prediction, reference, (1, 1), 100) == 10
    assert hausdorff_distance(prediction, reference, (1, 1), 90) == 0


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_distance_is_infinite_to_nothing_and_undefined_between_nothings(shape):
    empty, full = np.zeros(shape), np.ones(shape)
    spacing = (1.0,) * len(shape)
    assert math.isnan(hausdorff_distance(empty, empty, spacing))
    assert hausdorff_distance(empty, full, spacing) == math.inf
    assert hausdorff_distance(full, empty, spacing) == math.inf
    assert hausdorff_distance(full, full, spacing) == 0


@pytest.mark.parametrize("percent", [0, -1, 101, math.nan])
def test_bad_percentile_is_refused(percent):
    mask = np.ones((2, 2, 2))
    with pytest.raises(InvalidSettings, match="percentile"):
        hausdorff_distance(mask, mask, (1, 1, 1), percent)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")
@pytest.mark.parametrize("seed", range(8))
def test_distance_against_surface_distance_itself(seed, monkeypatch):
    """Its functions, with the name put back that NumPy 2 took away."""
    import surface_distance

    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    rng = np.random.default_rng(seed)
    axes = 2 + seed % 2
    a, b = rng.random((2, *(7, 9, 8)[:axes])) < 0.2
    spacing = tuple(rng.uniform(0.3, 6, axes))
    theirs = surface_distance.compute_surface_distances(b, a, spacing)
    for percent in (50, 95, 100):
        expected = surface_distance.compute_robust_hausdorff(theirs, percent)
        ours = hausdorff_distance(a, b, spacing, percent)
        assert ours == pytest.approx(expected, abs=1e-9)


def test_volume_difference_is_relative_to_the_reference():
    reference = np.array([[1, 1, 1, 1, 0, 0]])
    assert relative_volume_difference(reference, reference) == 0
    assert relative_volume_difference([[1, 1, 1, 0, 0, 0]], reference) == -0.25
    assert relative_volume_difference([[0, 1, 1, 1, 1, 1]], reference) == 0.25
    assert relative_volume_difference(0 * reference, reference) == -1
    assert relative_volume_difference(reference, 0 * reference) == math.inf
    assert math.isnan(relative_volume_difference(0 * reference, 0 * reference))


def test_masks_on_different_grids_are_refused():
    with pytest.raises(GridMismatch, match=r"\(2, 3\).*\(3, 2\)"):
        dice(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(GridMismatch, match="2D or 3D"):
        normalized_surface_distance(np.ones(3), np.ones(3), (1,), 1)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan)])
def test_bad_spacing_is_refused(spacing):
    mask = np.ones((2, 2, 2))
    with pytest.raises(InvalidSettings, match="pacing"):
        normalized_surface_distance(mask, mask, spacing, 1)


@pytest.mark.parametrize("tolerance", [-1, math.inf, math.nan])
def test_bad_tolerance_is_refused(tolerance):
    mask = np.ones((2, 2, 2))
    with pytest.raises(InvalidSettings, match="tolerance"):
        normalized_surface_distance(mask, mask, (1, 1, 1), tolerance)
