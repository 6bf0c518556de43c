"""Images of a folder in their order, and what is kept of each."""

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box3D, Point
from napari_qmedsam.segmentation.case_folder import KEPT, CaseFolder
from napari_qmedsam.session import Session
from napari_qmedsam.volumes import Volume, read_volume, write_volume


@pytest.fixture
def images(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (3, 8, 9)).astype(np.int16)
    for name in ("b.nii.gz", "a.nrrd", "c.nii.gz", "b_labels.nii.gz"):
        write_volume(Volume(array), tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_in_the_order_of_their_names_without_labels(images):
    folder = CaseFolder(images / "b.nii.gz")
    assert [p.name for p in folder.images] == ["a.nrrd", "b.nii.gz", "c.nii.gz"]
    assert folder.beside(images / "a.nrrd", 1) == images / "b.nii.gz"
    assert folder.beside(images / "c.nii.gz", -2) == images / "a.nrrd"
    assert folder.place_of(images / "b.nii.gz") == "2 of 3"


@pytest.mark.parametrize(
    ("name", "step", "which"), [("a.nrrd", -1, "first"), ("c.nii.gz", 1, "last")]
)
def test_at_the_end_it_says_so(images, name, step, which):
    with pytest.raises(InvalidSettings, match=f"'{name}' is the {which} image"):
        CaseFolder(images / name).beside(images / name, step)


def test_boxes_points_and_labels_come_back(images):
    path = images / "b.nii.gz"
    volume = read_volume(path)
    session = Session(volume)
    session.add_object(
        Box3D(1, 1, 0, 6, 6, 2), "liver", points=(Point(1, 2.5, 3.5, True),)
    )
    session.labels[1, 2:4, 3:5] = 1
    folder = CaseFolder(path)
    objects = list(session.objects.values())
    folder.keep(path, volume, objects, session.labels, session.segments)
    kept = CaseFolder(path).kept(path, volume)
    assert kept is not None
    assert kept.objects == tuple(objects)
    np.testing.assert_array_equal(kept.labels, session.labels)
    # What is kept is no image of the folder.
    assert len(CaseFolder(path).images) == 3
    assert folder.kept(images / "a.nrrd", volume) is None


def test_nothing_is_written_where_nothing_was_made(images):
    path = images / "b.nii.gz"
    session = Session(read_volume(path))
    CaseFolder(path).keep(path, session.volume, [], session.labels)
    assert not (images / KEPT).exists()


def test_damage_is_told_and_left_alone(images):
    path = images / "b.nii.gz"
    volume = read_volume(path)
    session = Session(volume)
    session.add_object(Box3D(1, 1, 0, 6, 6, 2))
    folder = CaseFolder(path)
    folder.keep(path, volume, list(session.objects.values()), session.labels)
    (boxes,) = (images / KEPT).glob("*.json")
    boxes.write_text('{"format": "qmed')
    with pytest.raises(InvalidSettings, match="Cannot read what was kept of 'b.nii"):
        folder.kept(path, volume)
    assert boxes.read_text() == '{"format": "qmed'
