"""From a slice to model input and from logits to a mask."""

import zlib

import numpy as np
import pytest
import torch
from skimage.transform import resize

from napari_qmedsam.errors import InvalidPrompt, InvalidVolume
from napari_qmedsam.models.configuration import DEMO, LITE_MEDSAM, MEDSAM_VIT_B
from napari_qmedsam.preprocessing import SliceGeometry, _bilinear, slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.painting import paint
from napari_qmedsam.volumes.windows import Window

CASES = ["a", "b"]


def lite(image: np.ndarray) -> SliceGeometry:
    return SliceGeometry.of(LITE_MEDSAM, *image.shape[:2])


def square(image: np.ndarray) -> SliceGeometry:
    return SliceGeometry.of(MEDSAM_VIT_B, *image.shape[:2])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def last_pixel_box(x_min: float, y_min: float, x_max: float, y_max: float) -> Box2D:
    """Box whose maximum is its last pixel, as the official files have it."""
    return Box2D(x_min, y_min, x_max + 1, y_max + 1)


def normalised(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    span = max(values.max() - values.min(), 1e-8)
    return (values - values.min()) / span


# LiteMedSAM ----------------------------------------------------------------


@pytest.mark.parametrize("case", [*CASES, "prep_up", "prep_odd", "prep_tall"])
def test_lite_medsam_resizes_as_the_reference(parity, case):
    image = parity.image(case)
    reference = parity.arrays[f"{case}_resized_u8"]
    geometry = lite(image)
    assert geometry.content == reference.shape[:2]
    # Undo the normalisation: it is exact enough to give the grey levels back.
    prepared = geometry.prepare(image)
    low, high = int(reference.min()), int(reference.max())
    rows, columns = geometry.content
    levels = prepared[:, :rows, :columns] * (high - low) + low
    stacked = np.broadcast_to(reference.T, (3, *reference.T.shape[-2:])).swapaxes(1, 2)
    np.testing.assert_allclose(levels, stacked, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_lite_medsam_input_is_the_reference(parity, case):
    image = parity.image(case)
    assert zlib.crc32(image.tobytes()) == parity.arrays[f"{case}_image_crc32"]
    assert lite(image).content == tuple(parity.arrays[f"{case}_new_size"])
    prepared = lite(image).prepare(image)
    reference = np.broadcast_to(parity.arrays[f"{case}_input"], (3, 256, 256))
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["prep_up", "prep_odd", "prep_tall"])
def test_lite_medsam_input_of_odd_sizes_has_the_reference_sums(parity, case):
    image = parity.image(case)
    sums = lite(image).prepare(image).astype(np.float64).sum(axis=(1, 2))
    reference = parity.arrays[f"{case}_input_sum"]
    np.testing.assert_allclose(sums, reference, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_lite_medsam_boxes_are_the_reference_ones(parity, case):
    geometry = lite(parity.image(case))
    ours = [
        geometry.box_to_input(last_pixel_box(*box))
        for box in parity.arrays[f"{case}_boxes"]
    ]
    np.testing.assert_array_equal(ours, parity.arrays[f"{case}_boxes_256"])


def enlarged(logits: np.ndarray, content: tuple[int, int], size: tuple[int, int]):
    """What torch makes of the cropped logits."""
    rows, columns = content
    cropped = torch.from_numpy(logits[None, None, :rows, :columns])
    return torch.nn.functional.interpolate(
        cropped, size, mode="bilinear", align_corners=False
    )[0, 0].numpy()


@pytest.mark.parametrize("case", CASES)
def test_stored_logits_become_the_reference_masks(parity, case):
    geometry = lite(parity.image(case))
    logits = parity.arrays[f"{case}_logits_f16"].astype(np.float32)
    masks = geometry.logits_to_masks(logits)
    for ours, low_res, reference in zip(masks, logits, parity.masks(case), strict=True):
        size = enlarged(low_res, geometry.content, ours.shape)
        # Half precision moves logits by up to 4e-3.
        assert not np.any((ours != reference) & (np.abs(size) > 4e-3))


@pytest.mark.parametrize("case", CASES)
def test_decoded_masks_and_their_label_map_are_the_reference_ones(
    parity, lite_medsam, lite_medsam_embeddings, case
):
    geometry = lite(parity.image(case))
    boxes = torch.from_numpy(parity.arrays[f"{case}_boxes_256"]).float()
    with torch.inference_mode():
        logits = lite_medsam.decode(lite_medsam_embeddings(case), boxes)[0][:, 0]
    masks = geometry.logits_to_masks(logits.numpy())
    reference = parity.masks(case)
    differs = masks != reference
    for ours, low_res, wrong in zip(masks, logits.numpy(), differs, strict=True):
        size = enlarged(low_res, geometry.content, ours.shape)
        assert not np.any(wrong & (np.abs(size) > 2e-4))
    labels = np.zeros(masks.shape[1:], np.uint8)
    paint(labels, list(enumerate(masks)), range(1, len(masks) + 1))
    if not differs.any():
        assert zlib.crc32(labels.tobytes()) == parity.arrays[f"{case}_segs_crc32"]


def test_masks_upsample_as_torch_does():
    logits = np.random.default_rng(2).normal(size=(256, 256)).astype(np.float32)
    for size in [(300, 400), (700, 31), (256, 256), (90, 120), (1, 511)]:
        geometry = SliceGeometry.of(LITE_MEDSAM, *size)
        expected = enlarged(logits, geometry.content, size)
        mask = geometry.logits_to_masks(logits[None])[0]
        assert not np.any((mask != (expected > 0)) & (np.abs(expected) > 1e-5))


def test_masks_at_the_edge_fall_to_the_side_torch_puts_them():
    # A steep ramp through zero: coordinates rounded otherwise shift its edge.
    ramp = np.linspace(-300, 300, 256, dtype=np.float32)
    logits = np.add.outer(ramp, -ramp).astype(np.float32)
    geometry = SliceGeometry.of(LITE_MEDSAM, 401, 401)
    expected = enlarged(logits, geometry.content, (401, 401))
    np.testing.assert_allclose(_bilinear(logits, 401, 401), expected, atol=1e-4)


# Any slice -----------------------------------------------------------------


@pytest.mark.parametrize("config", [DEMO, LITE_MEDSAM])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (300, 1), (7, 2000), (255, 257), (1024, 640), (37, 23)]
)
def test_any_size_goes_in_and_comes_back(config, shape):
    geometry = SliceGeometry.of(config, *shape)
    prepared = geometry.prepare(noise(*shape))
    assert prepared.shape == (3, 256, 256)
    assert prepared.dtype == np.float32
    assert prepared.min() >= 0
    assert prepared.max() <= 1
    side = config.logits_size
    inside = geometry.logits_to_masks(np.ones((2, side, side), np.float32))
    assert inside.shape == (2, *shape)
    assert inside.all()


@pytest.mark.parametrize("shape", [(400, 300), (100, 256), (61, 97)])
def test_a_rectangle_survives_the_way_there_and_back(shape):
    geometry = SliceGeometry.of(LITE_MEDSAM, *shape)
    truth = np.zeros(shape, bool)
    truth[shape[0] // 4 : shape[0] // 2, shape[1] // 3 : shape[1] - 5] = True
    prepared = geometry.prepare(truth.astype(np.uint8) * 255)
    mask = geometry.logits_to_masks((prepared[:1] - 0.5) * 10)[0]
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97


@pytest.mark.parametrize("geometry_of", [lite, square])
@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_slice_becomes_zeros(geometry_of, shape, value):
    image = np.full(shape, value, np.uint8)
    assert not geometry_of(image).prepare(image).any()


def test_padding_lies_below_and_right_and_is_zero():
    image = noise(64, 128) // 2 + 100  # nothing near zero
    prepared = lite(image).prepare(image)
    assert not prepared[:, 128:].any()
    assert prepared[:, :128].mean() > 0.3


def test_grey_fills_three_channels_and_colour_keeps_its_order():
    grey = noise(50, 60)
    prepared = lite(grey).prepare(grey)
    assert np.array_equal(prepared[0], prepared[1])
    assert np.array_equal(prepared[0], prepared[2])
    stacked = np.repeat(grey[..., None], 3, axis=-1)
    assert np.array_equal(prepared, lite(stacked).prepare(stacked))
    red = np.zeros((50, 60, 3), np.uint8)
    red[10:20, 10:20, 0] = 200
    assert [bool(c.any()) for c in lite(red).prepare(red)] == [True, False, False]


def test_prepare_leaves_the_image_alone():
    image = noise(256, 256)  # already of the input size: nothing is resized
    before = image.copy()
    lite(image).prepare(image)
    assert np.array_equal(image, before)


def test_prepare_refuses_other_sizes_and_types():
    geometry = SliceGeometry.of(LITE_MEDSAM, 10, 20)
    with pytest.raises(InvalidVolume, match="10 by 20 pixels but got 20 by 10"):
        geometry.prepare(np.zeros((20, 10), np.uint8))
    with pytest.raises(InvalidVolume, match="not float64"):
        geometry.prepare(np.zeros((10, 20)))


def test_logits_without_the_box_axis_are_refused():
    with pytest.raises(InvalidPrompt, match=r"\(n, L, L\)"):
        SliceGeometry.of(LITE_MEDSAM, 8, 8).logits_to_masks(np.zeros((256, 256)))


def test_no_boxes_give_no_masks():
    geometry = SliceGeometry.of(LITE_MEDSAM, 8, 9)
    empty = np.empty((0, 256, 256), np.float32)
    assert geometry.logits_to_masks(empty).shape == (0, 8, 9)


def test_lite_medsam_boxes_are_cut_to_whole_pixels():
    geometry = SliceGeometry.of(LITE_MEDSAM, 300, 400)
    # 399 * 256 / 400 = 255.36 and 299 * 256 / 400 = 191.36
    assert geometry.box_to_input(Box2D(0, 0, 400, 300)) == (0, 0, 255, 191)
    assert geometry.box_to_input(Box2D(25, 50, 26, 51)) == (16, 32, 16, 32)


def test_medsam_boxes_scale_each_axis_by_itself():
    geometry = SliceGeometry.of(MEDSAM_VIT_B, 256, 512)
    box = geometry.box_to_input(Box2D(1, 3, 101, 104))
    assert box == (2, 12, 200, 412)
    odd = SliceGeometry.of(MEDSAM_VIT_B, 300, 400).box_to_input(Box2D(1, 1, 3, 3))
    assert odd == pytest.approx((2.56, 1024 / 300, 5.12, 2048 / 300), abs=1e-12)


# Box from the neighbour's mask ---------------------------------------------


def test_box_of_a_mask_is_three_pixels_wider_in_model_pixels():
    mask = np.zeros((512, 512), bool)
    mask[100:200, 60:80] = True
    geometry = SliceGeometry.of(LITE_MEDSAM, 512, 512)
    # halved: columns 30..39, rows 50..99
    assert geometry.mask_to_input_box(mask) == (27, 47, 42, 102)


def test_box_of_a_mask_stops_at_zero_and_at_the_input_size():
    geometry = SliceGeometry.of(LITE_MEDSAM, 256, 256)
    assert geometry.mask_to_input_box(np.ones((256, 256), bool)) == (0, 0, 256, 256)


def test_box_of_a_mask_may_reach_into_the_padding():
    mask = np.zeros((128, 256), bool)
    mask[120:, :10] = True
    geometry = SliceGeometry.of(LITE_MEDSAM, 128, 256)
    assert geometry.mask_to_input_box(mask) == (0, 117, 12, 130)


@pytest.mark.parametrize("config", [DEMO, LITE_MEDSAM, MEDSAM_VIT_B])
def test_an_empty_mask_has_no_box(config):
    geometry = SliceGeometry.of(config, 50, 40)
    assert geometry.mask_to_input_box(np.zeros((50, 40), bool)) is None


# MedSAM --------------------------------------------------------------------


def blocks() -> np.ndarray:
    """Flat grey areas, whose cubic values lie on the edge of truncation."""
    image = np.zeros((90, 120), np.uint8)
    image[10:70, 20:100] = 150
    image[30:50, 40:60] = 77
    image[0, 0] = 255
    return image


@pytest.mark.parametrize(
    "image",
    [blocks(), noise(70, 50, 3), noise(1100, 40), noise(1, 30)],
    ids=["flat", "colour", "shrinking", "thin"],
)
def test_medsam_input_follows_the_published_steps(image):
    colour = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    resized = resize(
        colour, (1024, 1024), order=3, preserve_range=True, anti_aliasing=True
    ).astype(np.uint8)
    expected = normalised(resized).astype(np.float32).transpose(2, 0, 1)
    prepared = square(image).prepare(image)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, rtol=0, atol=1e-6)


def test_medsam_masks_take_the_sigmoid_before_upsampling():
    logits = np.random.default_rng(4).normal(0, 3, (2, 256, 256)).astype(np.float32)
    shape = (300, 411)
    probability = torch.nn.functional.interpolate(
        torch.sigmoid(torch.from_numpy(logits))[None],
        shape,
        mode="bilinear",
        align_corners=False,
    )[0].numpy()
    masks = SliceGeometry.of(MEDSAM_VIT_B, *shape).logits_to_masks(logits)
    wrong = masks != (probability > 0.5)
    assert not np.any(wrong & (np.abs(probability - 0.5) > 1e-6))
    late = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], shape, mode="bilinear", align_corners=False
    )[0].numpy()
    assert (masks != (late > 0)).mean() > 0.01  # the order matters


def test_extreme_logits_overflow_nothing():
    logits = np.full((1, 256, 256), -1e4, np.float32)
    logits[:, :128] = 1e4
    mask = SliceGeometry.of(MEDSAM_VIT_B, 64, 64).logits_to_masks(logits)[0]
    assert mask[:32].all()
    assert not mask[32:].any()


# Windows -------------------------------------------------------------------


def test_slices_are_windowed_to_grey_levels():
    volume = np.array([[[-200, -160, 40, 240, 999]]], np.int16)
    image = slice_image(volume, 0, Window(-160, 240))
    assert image.dtype == np.uint8
    assert image.tolist() == [[0, 0, 128, 255, 255]]  # 127.5 rounds to even


def test_bytes_under_the_full_window_pass_unchanged():
    volume = noise(2, 5, 6)
    assert np.array_equal(slice_image(volume, 1, Window(0, 255)), volume[1])
    colour = noise(1, 5, 6, 3)
    assert np.array_equal(slice_image(colour, 0, Window(0, 255)), colour[0])


def test_bytes_under_a_narrower_window_are_stretched():
    volume = np.array([[[0, 100, 150, 200]]], np.uint8)
    assert slice_image(volume, 0, Window(100, 200)).tolist() == [[0, 0, 128, 255]]
