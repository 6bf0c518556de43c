"""The phantoms: same seed, same bytes; fair objects; plausible organs."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.phantoms.canvas import Canvas
from napari_qmedsam.phantoms.head import draw_head
from napari_qmedsam.phantoms.mosaic import draw_mosaic
from napari_qmedsam.phantoms.random_slices import (
    LARGEST_AREA,
    SMALLEST_AREA,
    draw_trunk,
    phantom_test_set,
    random_slice,
)
from napari_qmedsam.phantoms.shapes import EllipseStack, Tube
from napari_qmedsam.phantoms.shells import paint_shell
from napari_qmedsam.volumes.volume import Modality

COARSE = {"shape": (24, 96, 96), "spacing_mm": (10.0, 3.6, 3.6)}
"""A grid on which a case takes half a second."""


@pytest.fixture(scope="module")
def slices():
    rng = np.random.default_rng(11)
    return [random_slice(rng) for _ in range(40)]


@pytest.fixture(scope="module")
def ct_case():
    return abdomen_case(Modality.CT, 0, **COARSE)


def test_same_seed_gives_same_slices():
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(6):
        first, second = random_slice(one), random_slice(two)
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.labels, second.labels)


def test_slices_have_shape_type_and_full_range(slices):
    for item in slices:
        assert item.image.shape == item.labels.shape == (256, 256)
        assert item.image.dtype == item.labels.dtype == np.uint8
        assert item.image.min() == 0
        assert item.image.max() == 255


def test_every_slice_has_objects_numbered_from_one(slices):
    for item in slices:
        values = np.unique(item.labels)
        assert values.size >= 2
        assert np.array_equal(values, np.arange(values.size))


def test_objects_keep_to_the_area_limits(slices):
    for item in slices:
        areas = np.bincount(item.labels.ravel())[1:]
        assert areas.min() >= SMALLEST_AREA
        assert areas.max() <= LARGEST_AREA * 256 * 256


def test_some_slices_are_padded_with_zeros_below_or_right(slices):
    padded = [s for s in slices if not s.image[-8:].any() or not s.image[:, -8:].any()]
    assert 5 <= len(padded) < len(slices)
    for item in padded:
        below, right = ~item.image.any(axis=1), ~item.image.any(axis=0)
        assert (
            not item.labels[below][-1:].any() or not item.labels[:, right][:, -1:].any()
        )


def test_size_scales_the_frame():
    item = random_slice(np.random.default_rng(2), size=128)
    assert item.image.shape == item.labels.shape == (128, 128)


@pytest.mark.parametrize("draw", [draw_mosaic, draw_trunk, draw_head])
def test_each_kind_draws_tissues_and_objects(draw):
    canvas, palette = draw(np.random.default_rng(3), (220, 320))
    assert canvas.tissue.shape == canvas.objects.shape == (220, 320)
    assert np.unique(canvas.tissue).size > 3
    assert canvas.objects.max() > 0
    assert np.isfinite(palette.mean).all()


def test_test_set_is_seeded_and_apart_from_training():
    first, again = phantom_test_set(3, 7), phantom_test_set(3, 7)
    assert all(
        np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True)
    )
    trained = random_slice(np.random.default_rng(7)).image
    assert not any(np.array_equal(item.image, trained) for item in first)


def _with_shells(slices):
    """Slices that got a shell, as (before, image, labels)."""
    rng = np.random.default_rng(0)
    for drawn in slices:
        image, labels = paint_shell(rng, drawn.image, drawn.labels)
        if labels.max() > drawn.labels.max():
            yield drawn, image, labels


def test_a_shell_is_one_more_object_and_changes_nothing_else(slices):
    painted = list(_with_shells(slices))
    assert len(painted) > 20
    for drawn, image, labels in painted:
        shell = labels == drawn.labels.max() + 1
        np.testing.assert_array_equal(labels[~shell], drawn.labels[~shell])
        away = cv2.dilate(shell.astype(np.uint8), np.ones((11, 11))) == 0
        np.testing.assert_array_equal(image[away], drawn.image[away])
        assert np.abs(image[shell].astype(float) - drawn.image[shell]).mean() > 1


def test_shells_leave_most_of_their_box(slices):
    def fill(mask):
        rows, columns = np.nonzero(mask)
        return mask.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1)

    fills = [fill(labels == labels.max()) for _, _, labels in _with_shells(slices)]
    assert np.median(fills) < 0.4
    assert np.mean(np.array(fills) < 0.6) > 0.8


def test_no_shell_without_an_object_or_a_number():
    rng = np.random.default_rng(0)
    image, labels = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
    labels[:2, :2] = 1  # too small
    assert paint_shell(rng, image, labels) == (image, labels)
    labels[20:50, 20:50] = 255  # no number above it
    assert paint_shell(rng, image, labels) == (image, labels)


def test_ball_is_cut_to_a_disc():
    """A ball of radius 10 cut 6 above its centre: a disc of radius 8, area 201."""
    canvas = Canvas((64, 64), 1.0, (32.0, 32.0))
    ball = EllipseStack(
        np.array([(-10, 0, 0, 0, 0, 0), (0, 0, 0, 10, 10, 0), (10, 0, 0, 0, 0, 0)])
    )
    tube = Tube(np.array([(0, 0, 0), (0, 0, 0.01)]), np.array([10.0, 10.0]))
    cut = tube.mask(canvas, 6.0)
    assert cut is not None
    assert int(cut.sum()) == pytest.approx(201, rel=0.1)
    assert ball.mask(canvas, 11.0) is None
    assert tube.mask(canvas, 11.0) is None


def test_same_seed_gives_same_case(ct_case):
    again = abdomen_case(Modality.CT, 0, **COARSE)
    assert np.array_equal(again.volume.array, ct_case.volume.array)
    assert np.array_equal(again.labels.array, ct_case.labels.array)


def test_case_has_the_organs_and_their_hounsfield_units(ct_case):
    plausible = {
        "liver": (50, 140),
        "right kidney": (60, 230),
        "left kidney": (60, 230),
        "spleen": (60, 160),
        "pancreas": (30, 130),
        "aorta": (90, 350),
        "vertebrae": (80, 600),
        "right lung": (-950, -600),
        "left back muscle": (0, 80),
    }
    numbers = {name: number for number, name in ct_case.names.items()}
    for name, (low, high) in plausible.items():
        values = ct_case.volume.array[ct_case.labels.array == numbers[name]]
        assert values.size > 30, name
        assert low <= np.median(values) <= high, name
    assert {"stomach", "gallbladder", "colon", "vena cava"} <= set(numbers)


def test_case_lies_as_radiologists_look_at_it(ct_case):
    """X to the patient's left, y to the back, z to the head."""
    numbers = {name: number for number, name in ct_case.names.items()}

    def centre(name):
        return np.argwhere(ct_case.labels.array == numbers[name]).mean(axis=0)

    assert centre("liver")[2] < centre("aorta")[2] < centre("spleen")[2]
    assert centre("right kidney")[2] < centre("left kidney")[2]
    assert centre("stomach")[1] < centre("vertebrae")[1]
    assert centre("colon")[0] < centre("right lung")[0]
    assert np.allclose(ct_case.volume.affine, np.diag([-3.6, -3.6, 10.0, 1.0]))


def test_mr_case_shares_geometry_but_not_values(ct_case):
    case = abdomen_case(Modality.MR, 0, **COARSE)
    assert np.array_equal(case.labels.array, ct_case.labels.array)
    assert case.volume.array.min() >= 0
    assert case.volume.modality is Modality.MR


def test_case_refuses_other_modalities():
    with pytest.raises(InvalidSettings, match="CT or MR"):
        abdomen_case(Modality.PET)


def test_phantom_package_does_not_load_opencv():
    code = "import sys, napari_qmedsam.phantoms;assert 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
