"""Challenge files with more in them than arrays, and less than they declare."""

import io
import zipfile

import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, UnreadableVolume
from napari_qmedsam.volumes import read_labels, read_npz_case, read_volume
from napari_qmedsam.volumes.registry import opens


@pytest.fixture
def case(tmp_path, stored):
    """An image with labels, and boxes as a list of dicts: a pickle."""
    path = tmp_path / "case.npz"
    np.savez(
        path,
        imgs=(stored // 8).astype(np.uint8),
        gts=(stored > 900).astype(np.uint8),
        spacing=[0.6, 0.8, 3.0],
        boxes=np.array([{"z_mid": 3, "x_min": 5}, {"z_mid": 4}], dtype=object),
        text_prompts=np.array({"1": "liver"}, dtype=object),
    )
    return path


def test_objects_beside_the_image_do_not_keep_it_from_being_read(case, stored):
    for volume in (read_volume(case), read_npz_case(case).volume):
        np.testing.assert_array_equal(volume.array, stored // 8)
        assert volume.spacing_mm == (3.0, 0.8, 0.6)
    np.testing.assert_array_equal(read_labels(case).array, stored > 900)
    whole = read_npz_case(case)
    assert whole.boxes is None
    assert whole.volume.notices == (
        "Its boxes are stored as Python objects and were not read.",
    )


def test_an_image_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", imgs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UnreadableVolume, match="pickled objects, which could run code"):
        read_volume(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(10**5, 10**5, 10), (-1, 40, 48), (2**62, 2**62)])
def test_arrays_that_declare_more_than_they_hold(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("imgs.npy", header.getvalue() + bytes(64))
    with pytest.raises(UnreadableVolume, match="damaged"):
        read_volume(tmp_path / "a.npz")


@pytest.mark.gui
def test_labels_that_do_not_fit_do_not_keep_the_image_from_being_seen(tmp_path, stored):
    """As `read_volume` reads it, and `read_labels` refuses them."""
    from napari.utils.notifications import notification_manager

    from napari_qmedsam.gui.files import read_layers

    path = tmp_path / "a.npz"
    image, labels = (stored // 8).astype(np.uint8), (stored > 900).astype(np.uint8)
    np.savez(path, imgs=image, gts=labels[:4], boxes=np.ones((2, 5)))
    ((data, _, kind),) = read_layers(str(path))
    assert kind == "image"
    assert "have the shape" in notification_manager.records[-1].message
    np.testing.assert_array_equal(data, read_volume(path).array)
    with pytest.raises(GridMismatch, match="but the image has"):
        read_labels(path, read_volume(path))


def test_archives_of_others_are_left_to_others(tmp_path, case):
    np.savez(tmp_path / "other.npz", data=np.zeros(3))
    assert not opens(tmp_path / "other.npz")
    assert opens(case)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut")
    assert opens(tmp_path / "broken.npz")  # the reader says what is wrong


def test_numbers_in_another_byte_order_become_native(tmp_path):
    array = np.arange(24, dtype=">u2").reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", imgs=array)
    found = read_volume(tmp_path / "a.npz").array
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


def test_a_spacing_of_words_is_refused(tmp_path):
    array = np.zeros((2, 3, 4), np.uint8)
    np.savez(tmp_path / "a.npz", imgs=array, spacing=np.array(["a", "b", "c"]))
    with pytest.raises(UnreadableVolume, match="its spacing is <U1, not numbers"):
        read_volume(tmp_path / "a.npz")
