import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, UnreadableVolume
from napari_qmedsam.volumes import (
    Modality,
    read_labels,
    read_npz_case,
    read_volume,
    write_labels,
    write_volume,
)

RNG = np.random.default_rng(3)
STACK = RNG.integers(0, 256, (4, 6, 5), np.uint8)
GREY = STACK[0]
COLOUR = RNG.integers(0, 256, (6, 5, 3), np.uint8)


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_stack_with_everything(tmp_path, labels):
    boxes = np.array([[1, 1, 1, 3, 4, 3], [3, 4, 2, 5, 6, 4]])
    path = save(
        tmp_path / "3DBox_CT_1.npz",
        imgs=STACK,
        gts=labels.astype(np.uint8),
        boxes=boxes,
        spacing=(0.7, 0.9, 2.5),
    )
    case = read_npz_case(path)
    np.testing.assert_array_equal(case.volume.array, STACK)
    # The file gives x, y, z, as SimpleITK's GetSpacing does.
    assert case.volume.spacing_mm == (2.5, 0.9, 0.7)
    np.testing.assert_array_equal(np.diag(case.volume.affine), (-0.7, -0.9, 2.5, 1))
    # Its greys are windowed already: no HU window may be put over them.
    assert case.volume.modality is Modality.OTHER
    assert case.volume.notices == ()
    np.testing.assert_array_equal(case.labels.array, labels)
    assert case.labels.spacing_mm == (2.5, 0.9, 0.7)
    np.testing.assert_array_equal(case.boxes, boxes)
    np.testing.assert_array_equal(read_labels(path).array, labels)


def test_grey_picture(tmp_path):
    case = read_npz_case(
        save(tmp_path / "a.npz", imgs=GREY, boxes=np.array([[1, 1, 4, 4]]))
    )
    np.testing.assert_array_equal(case.volume.array, GREY[None])
    assert case.boxes.shape == (1, 4)
    assert case.labels is None


def test_colour_picture(tmp_path):
    gts = (COLOUR[..., 0] > 99).astype(np.uint16)
    case = read_npz_case(save(tmp_path / "a.npz", imgs=COLOUR, gts=gts))
    np.testing.assert_array_equal(case.volume.array, COLOUR[None])
    assert case.volume.modality is Modality.COLOUR
    np.testing.assert_array_equal(case.labels.array, gts[None])


@pytest.mark.parametrize(
    "hint",
    [{"gts": np.ones((6, 5, 3), int)}, {"boxes": np.array([[0, 0, 0, 1, 1, 1]])}],
)
def test_labels_or_boxes_tell_a_narrow_stack_from_colour(tmp_path, hint):
    volume = read_volume(save(tmp_path / "a.npz", imgs=COLOUR, **hint))
    assert volume.shape == (6, 5, 3)
    assert not volume.is_colour


def test_missing_spacing_is_reported(tmp_path):
    volume = read_volume(save(tmp_path / "a.npz", imgs=STACK))
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert "1 mm is assumed" in volume.notices[0]


def test_modality_can_be_given(tmp_path):
    path = save(tmp_path / "a.npz", imgs=STACK)
    assert read_volume(path, modality=Modality.MR).modality is Modality.MR


@pytest.mark.parametrize(("imgs", "shape"), [(STACK, (4, 6, 5)), (COLOUR, (6, 5))])
def test_labels_are_written_as_segs_in_the_source_shape(tmp_path, imgs, shape):
    volume = read_volume(save(tmp_path / "a.npz", imgs=imgs))
    segs = np.arange(np.prod(volume.shape)).reshape(volume.shape) % 3
    out = write_labels(segs, volume, tmp_path / "b.npz")
    with np.load(out) as file:
        assert file.files == ["segs"]
        assert file["segs"].shape == shape
        assert file["segs"].dtype == np.uint8
    np.testing.assert_array_equal(read_labels(out, volume).array, segs)


def test_labels_take_the_place_of_the_image(tmp_path, labels):
    path = save(tmp_path / "a.npz", imgs=STACK, spacing=(1, 2, 3))
    volume = read_volume(path)
    segs = save(tmp_path / "b.npz", segs=labels)
    assert read_labels(segs, volume).spacing_mm == (3.0, 2.0, 1.0)
    with pytest.raises(GridMismatch, match=r"shape \(3, 6, 5\), but the image"):
        read_labels(save(tmp_path / "c.npz", segs=labels[1:]), volume)


def test_image_round_trip(tmp_path):
    volume = read_volume(save(tmp_path / "a.npz", imgs=STACK, spacing=(1, 2, 3)))
    again = read_volume(write_volume(volume, tmp_path / "b.npz"))
    np.testing.assert_array_equal(again.array, STACK)
    assert again.spacing_mm == (3.0, 2.0, 1.0)


def test_pickled_objects_are_refused(tmp_path):
    path = save(tmp_path / "a.npz", imgs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnreadableVolume, match="pickled objects.*not loaded"):
        read_volume(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": STACK}, "no array named 'imgs'"),
        ({"imgs": STACK, "spacing": (1, 0, 1)}, r"spacing is \[1.0, 0.0, 1.0\]"),
        ({"imgs": STACK, "spacing": (1, 1)}, "three lengths"),
        ({"imgs": STACK, "gts": np.ones((1, 6, 5), int)}, "its gts are"),
        ({"imgs": STACK, "boxes": np.ones((2, 5))}, "4 values in 2D or 6 in 3D"),
        ({"imgs": np.zeros(7)}, r"shape \(7,\)"),
        ({"imgs": np.zeros((0, 6, 5))}, r"shape \(0, 6, 5\)"),
        ({"imgs": np.full((6, 5, 3), 300.0)}, "not in 0 to 255"),
        ({"imgs": np.full((6, 5), np.nan)}, "not one voxel is a finite number"),
    ],
)
def test_bad_content_is_refused(tmp_path, arrays, message):
    with pytest.raises(UnreadableVolume, match=message):
        read_npz_case(save(tmp_path / "a.npz", **arrays))


def test_file_without_labels_has_none_to_read(tmp_path):
    with pytest.raises(UnreadableVolume, match="'gts' or 'segs'"):
        read_labels(save(tmp_path / "a.npz", imgs=STACK))


@pytest.mark.parametrize("keep", [3, 40, 150])
def test_cut_short_archive_is_refused(tmp_path, keep):
    path = save(tmp_path / "a.npz", imgs=STACK)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableVolume, match=r"Cannot read 'a\.npz'"):
        read_volume(path)


def test_damaged_array_is_refused(tmp_path):
    path = save(tmp_path / "a.npz", imgs=STACK)
    content = bytearray(path.read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(UnreadableVolume, match="damaged"):
        read_volume(path)
