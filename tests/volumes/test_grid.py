import numpy as np
import pytest

from napari_qmedsam.volumes import Volume, display_affine, resample_like, same_grid
from napari_qmedsam.volumes.grid import affine_from_geometry, geometry_from_affine
from napari_qmedsam.volumes.resampling import grids_overlap


def make(affine, shape=(4, 6, 5)):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    return Volume(np.zeros(shape, np.int16), tuple(spacing), affine)


def test_geometry_round_trip(affine):
    geometry = geometry_from_affine(affine)
    np.testing.assert_allclose(affine_from_geometry(*geometry), affine, atol=1e-12)


def test_same_grid_measures_the_worst_corner(oblique):
    volume = make(oblique)
    turned = oblique.copy()
    turned[:3, 0] *= 1 + 0.02 / (0.7 * 4)  # 0.02 mm at the last of 5 voxels
    assert not same_grid(volume, make(turned))
    assert same_grid(volume, make(turned), tolerance_mm=0.021)
    assert not same_grid(volume, make(oblique, (4, 6, 6)))


def test_axial_display_by_hand():
    # RAS storage: x to Right, y to Anterior, z to Superior.
    affine = np.diag([0.5, 0.75, 3.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    np.testing.assert_array_equal(
        display_affine(make(affine)),
        [[3, 0, 0, 30], [0, -0.75, 0, -20], [0, 0, -0.5, -10], [0, 0, 0, 1]],
    )


def test_default_volume_is_displayed_with_its_spacing():
    volume = Volume(np.zeros((2, 3, 4)), (3.0, 2.0, 1.0))
    np.testing.assert_array_equal(display_affine(volume), np.diag([3, 2, 1, 1]))


def test_sagittal_slices_grow_to_left():
    # x to Posterior, y to Inferior, z to Right.
    affine = np.array([[0, 0, 2.0, 5], [-1, 0, 0, 6], [0, -1, 0, 7], [0, 0, 0, 1]])
    np.testing.assert_array_equal(
        display_affine(make(affine)),
        [[-2, 0, 0, -5], [0, -1, 0, 7], [0, 0, 1, -6], [0, 0, 0, 1]],
    )


def test_display_has_one_entry_per_axis(affine):
    volume = make(affine)
    display = display_affine(volume)
    np.testing.assert_allclose(np.abs(np.diag(display)[:3]), volume.spacing_mm)
    assert np.count_nonzero(display[:3, :3]) == 3


def test_display_of_neighbours_fits_together(affine):
    volume = make(affine)
    part = np.eye(4)
    part[:3, 3] = (1, 2, 3)  # x, y, z
    crop = make(affine @ part)
    expected = display_affine(volume) @ (3, 2, 1, 1)
    np.testing.assert_allclose(display_affine(crop)[:, 3], expected, atol=1e-9)


def test_display_does_not_depend_on_storage_flips(affine):
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[:3, 3] = (4, 0, 3)
    a, b = display_affine(make(affine)), display_affine(make(affine @ flip))
    np.testing.assert_allclose(a @ (1, 2, 3, 1), b @ (3 - 1, 2, 4 - 3, 1), atol=1e-9)


def test_resampling_linear_is_exact_on_a_ramp(oblique):
    ramp = np.broadcast_to(np.arange(6.0, dtype=np.float32)[:, None], (4, 6, 5))
    volume = Volume(np.ascontiguousarray(ramp), (2.5, 0.9, 0.7), oblique)
    half = np.eye(4)
    half[1, 3] = 0.5
    moved = resample_like(volume, make(oblique @ half, (4, 5, 5)), nearest=False)
    np.testing.assert_allclose(moved.array, ramp[:, :5] + 0.5, atol=1e-4)
    assert moved.shape == (4, 5, 5)


def test_outside_is_background_or_air(ct, oblique):
    volume = Volume(ct, (2.5, 0.9, 0.7), oblique)
    away = oblique.copy()
    away[:3, 3] += 500
    assert (resample_like(volume, make(away)).array == 0).all()
    linear = resample_like(volume, make(away), nearest=False)
    assert (linear.array == ct.min()).all()
    assert linear.array.dtype == ct.dtype


def test_colours_are_resampled(oblique):
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
    volume = Volume(colours, (2.5, 0.9, 0.7), oblique)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = 4
    moved = resample_like(volume, make(oblique @ flip))
    np.testing.assert_array_equal(moved.array, colours[:, :, ::-1])


@pytest.mark.parametrize(("step", "expected"), [(4.9, True), (5.1, False)])
def test_overlap_ends_at_the_voxel_border(oblique, step, expected):
    move = np.eye(4)
    move[0, 3] = step  # in voxels; the grid is 5 wide
    a, b = make(oblique), make(oblique @ move)
    assert grids_overlap(a, b) is expected
    assert grids_overlap(b, a) is expected
