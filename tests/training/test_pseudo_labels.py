"""What a teacher knows on unlabelled slices, and how these slices are varied."""

import numpy as np
import pytest

from napari_qmedsam.datasets.dataset import open_data
from napari_qmedsam.datasets.modality import LabelledSlice
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.models.configuration import LITE_MEDSAM
from napari_qmedsam.training.augmentation import augmented, regreyed, warped
from napari_qmedsam.training.pseudo_labels import (
    asking_boxes,
    body_of,
    pseudo_label,
)
from napari_qmedsam.training.settings import TrainingSettings
from napari_qmedsam.training.stream import Feed, SampleStream
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_volume

ROWS, COLUMNS = np.mgrid[:256, :256]
BODY = (COLUMNS - 128) ** 2 + (ROWS - 128) ** 2 < 100**2
DISC = (COLUMNS - 100) ** 2 + (ROWS - 110) ** 2 < 30**2
BAR = (abs(COLUMNS - 180) < 12) & (abs(ROWS - 140) < 40)


class Knows:
    """Marks the disc where a box holds most of it; anything else as the box's half."""

    config = LITE_MEDSAM

    def encode(self, model_input):
        return np.zeros((1, 1, 1, 1), np.float32)

    def decode(self, embedding, boxes, points=None):
        answers = []
        for left, top, right, bottom in boxes:
            inside = np.zeros(DISC.shape, bool)
            inside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
            near = 30 < right - left < 90
            found = DISC if near and (DISC & inside).sum() > 0.7 * DISC.sum() else None
            if found is None:
                found = inside.copy()
                found[:, int(left + right) // 2 :] = False
            answers.append(np.where(found, 5.0, -5.0))
        return np.array(answers, np.float32).reshape(-1, 256, 256)


@pytest.fixture
def folder(tmp_path):
    """One volume of a body with a disc and a bar in it."""
    image = np.zeros((2, 256, 256), np.uint8)
    image[:, BODY], image[:, DISC], image[:, BAR] = 90, 170, 220
    path = tmp_path / "scans" / "ct_a.nii.gz"
    path.parent.mkdir()
    write_volume(Volume(image), path)
    return path.parent


def test_only_what_the_teacher_marks_again_is_labelled(folder, tmp_path):
    data = pseudo_label(sorted(folder.iterdir()), Knows(), tmp_path / "out")
    assert sum(data.counts) == 2
    labels = data.modalities[0].read(0).labels
    assert set(np.unique(labels)) == {0, 1}
    np.testing.assert_array_equal(labels == 1, DISC)


def test_only_scans_that_were_added_are_labelled_again(folder, tmp_path):
    (old,) = folder.iterdir()
    pseudo_label([old], Knows(), tmp_path / "out")
    assert sum(pseudo_label([old], None, tmp_path / "out").counts) == 2
    added = old.with_name("a_before_it.nii.gz")
    write_volume(Volume(np.full((1, 256, 256), np.uint8(9))), added)
    with pytest.raises(UnusableData, match=r"a_before_it.*has one value"):
        pseudo_label([added, old], Knows(), tmp_path / "out")
    write_volume(read_volume(old), added)
    assert sum(pseudo_label([added, old], Knows(), tmp_path / "out").counts) == 4


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UnusableData, match="no image to label"):
        pseudo_label([], Knows(), tmp_path)


def test_boxes_ask_all_over_the_body_and_nowhere_else():
    image = np.where(BODY & ~DISC, 0.5, 0).astype(np.float32)
    body = body_of(image)
    np.testing.assert_array_equal(body, BODY)  # what it encloses belongs to it
    asked = np.zeros(body.shape, bool)
    for left, top, right, bottom in asking_boxes(body).astype(int):
        box = slice(top, bottom + 1), slice(left, right + 1)
        assert body[box].mean() > 0.59
        asked[box] = True
    assert asked[BODY].mean() > 0.99
    assert asking_boxes(np.zeros_like(body)).shape == (0, 4)


def test_labels_move_with_their_image():
    item = LabelledSlice((DISC * 200).astype(np.uint8), DISC.astype(np.uint16))
    for seed in range(8):
        moved = warped(item, np.random.default_rng(seed))
        found, truth = moved.image > 100, moved.labels > 0
        assert (found ^ truth).sum() <= 0.05 * max(truth.sum(), 400)
        assert moved.labels.dtype == np.uint16


def test_other_greys_keep_their_order():
    image = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, 0)
    rng = np.random.default_rng(1)
    means = [regreyed(image, rng).mean(0) for _ in range(6)]
    assert all((np.diff(m[::32]) > -5).all() for m in means)
    assert np.ptp([m[128] for m in means]) > 10


def test_a_share_of_the_stream_is_pseudo_labelled(folder, tmp_path):
    data = pseudo_label(sorted(folder.iterdir()), Knows(), tmp_path / "out")
    settings = TrainingSettings(prompts=1, samples=40, pseudo_labelled_share=0.5)
    phantoms, feed = open_data("mixture", 0, 64), Feed(LITE_MEDSAM, 1)
    plain = SampleStream(phantoms, feed, settings)
    mixed = SampleStream(phantoms, feed, settings, pseudo_labelled=data)
    same = [np.array_equal(plain[i].image, mixed[i].image) for i in range(16)]
    assert 3 <= sum(same) <= 13
    assert augmented(data.modalities[0].read(0), np.random.default_rng(0)).labels.any()
