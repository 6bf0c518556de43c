"""A volume seen along another axis: the same voxels in the same place."""

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.configuration import PreprocessingKind
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.reslicing import seen_along, view_name
from napari_qmedsam.volumes.volume import Volume


@pytest.fixture
def oblique():
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.5, 0.8, 3.0)
    affine[:3, 3] = (5, -7, 11)
    array = rng.integers(0, 99, (4, 6, 5)).astype(np.int16)
    return Volume(array, (3.0, 0.8, 0.5), affine)


@pytest.mark.parametrize(("axis", "order"), [(1, (1, 0, 2)), (2, (2, 0, 1))])
def test_every_voxel_keeps_its_value_and_its_place(oblique, axis, order):
    seen = seen_along(oblique, axis)
    assert np.shares_memory(seen.array, oblique.array)
    assert seen.spacing_mm == tuple(oblique.spacing_mm[i] for i in order)
    index = (3, 1, 4)  # z, y, x
    moved = tuple(index[i] for i in order)
    assert seen.array[moved] == oblique.array[index]
    here = oblique.affine @ (*index[::-1], 1)
    np.testing.assert_allclose(seen.affine @ (*moved[::-1], 1), here)


def test_the_first_axis_gives_the_volume_itself(oblique):
    assert seen_along(oblique, 0) is oblique
    with pytest.raises(InvalidSettings, match="not 3"):
        seen_along(oblique, 3)


def test_models_see_thick_slices_in_proportion(oblique):
    seen = seen_along(oblique, 1)
    assert seen.pixel_aspect == pytest.approx(6)
    geometry = SliceGeometry(PreprocessingKind.PAD, 4, 5, 48, seen.pixel_aspect)
    assert geometry.content == (48, 10)  # 4 rows of 3 mm, 5 columns of 0.5 mm
    assert geometry.box_to_input(Box2D(1, 1, 4, 3)) == (2, 12, 6, 24)
    assert geometry.point_to_input(2, 3) == (4, 36)
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert geometry.mask_to_input_box(mask) == (0, 9, 10, 38)
    logits = np.full((1, 48, 48), -1, np.float32)
    logits[0, 12:36, 2:8] = 1
    np.testing.assert_array_equal(geometry.logits_to_masks(logits)[0], mask)


def test_views_have_the_names_radiologists_use():
    axial = Volume(np.zeros((2, 2, 2), np.int16))
    assert [view_name(axial, i) for i in range(3)] == ["axial", "coronal", "sagittal"]
    sagittal = Volume(
        np.zeros((2, 2, 2), np.int16),
        affine=np.array([[0, 0, 3, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]),
    )
    assert view_name(sagittal, 0) == "sagittal"
