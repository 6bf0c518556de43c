"""Objects and labels of a volume, without a model."""

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D, KeyBox
from napari_qmedsam.segmentation.annotation import Annotation
from napari_qmedsam.volumes import Volume, read_labels
from napari_qmedsam.volumes.segments import Segment


@pytest.fixture
def annotation():
    return Annotation(Volume(np.zeros((4, 6, 5), np.int16), (3.0, 1.0, 1.0)))


def test_saved_labels_hold_names_and_colours(tmp_path, annotation):
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "liver", colour=(1, 2, 3))
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "spleen")
    annotation.labels[0, 0, 0] = 1
    out = annotation.save_labels(tmp_path / "a.nii.gz")
    liver, spleen = read_labels(out).segments
    assert (liver.number, liver.name, liver.colour) == (1, "liver", (1, 2, 3))
    # Nobody gave it a colour, so it has the one it is shown in.
    assert (spleen.number, spleen.name, spleen.colour) == (2, "spleen", (46, 196, 182))


@pytest.fixture
def made():
    labels = np.zeros((4, 6, 5), np.uint8)
    labels[1, 1:4, 1:3] = 7
    labels[3, 2:4, 1:5] = 7
    labels[0, 0, 0] = 2
    return Volume(
        labels, (3.0, 1.0, 1.0), segments=(Segment(7, "tumour", colour=(9, 8, 7)),)
    )


def test_labels_become_locked_objects_with_a_box_on_every_slice(annotation, made):
    dot, tumour = annotation.add_objects_from_labels(made)
    assert (dot.object_id, dot.name) == (2, "label 2")
    assert (tumour.object_id, tumour.name, tumour.colour) == (7, "tumour", (9, 8, 7))
    assert dot.is_locked
    assert tumour.keys == (
        KeyBox(1, Box2D(1, 1, 3, 4)),
        KeyBox(3, Box2D(1, 2, 5, 4)),
    )
    assert tumour.box == Box3D(1, 1, 1, 5, 4, 4)
    np.testing.assert_array_equal(annotation.labels, made.array)


def test_taking_labels_over_is_one_step_of_undo(annotation, made):
    annotation.labels[3, 3, 3] = 1
    annotation.add_objects_from_labels(made)
    assert len(annotation.history) == 1
    annotation.undo()
    assert not annotation.objects
    assert np.flatnonzero(annotation.labels).tolist() == [3 * 30 + 3 * 5 + 3]
    annotation.redo()
    assert set(annotation.objects) == {2, 7}
    assert annotation.objects[7].is_locked


def test_a_locked_object_is_still_not_taken_back_by_undo(annotation):
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "liver")
    annotation.change_object(1, is_locked=True)
    with pytest.raises(InvalidSettings, match="Locked: 'liver'"):
        annotation.undo()


def test_what_is_there_keeps_its_voxels_and_its_number(annotation, made):
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "mine", 7)
    annotation.labels[1, 1, 1] = 7
    _, tumour = annotation.add_objects_from_labels(made)
    assert tumour.object_id == 8
    assert annotation.objects[7].name == "mine"
    assert annotation.labels[1, 1, 1] == 7
    assert annotation.labels[1, 1, 2] == 8


def test_labels_seen_along_another_axis_have_boxes_there(annotation, made):
    _, tumour = annotation.add_objects_from_labels(made, axis=2)
    assert tumour.axis == 2
    assert [key.slice_index for key in tumour.keys] == [1, 2, 3, 4]
    assert tumour.keys[0].box == Box2D(1, 1, 4, 4)  # rows are z, columns y


def test_numbers_beyond_the_type_become_free_ones(annotation):
    labels = np.zeros((4, 6, 5), np.uint32)
    labels[1, 1:4, 1:3] = 70000
    (only,) = annotation.add_objects_from_labels(Volume(labels, (3.0, 1.0, 1.0)))
    assert only.object_id == 1
    assert np.count_nonzero(annotation.labels == 1) == 6


def test_empty_labels_are_refused(annotation):
    with pytest.raises(InvalidSettings, match="no labels to make objects from"):
        annotation.add_objects_from_labels(np.zeros((4, 6, 5), np.uint8))
