import numpy as np
import pytest
import torch

from napari_qmedsam.datasets.dataset import DataSet, open_data
from napari_qmedsam.datasets.modality import LabelledSlice
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.models.configuration import MEDSAM_VIT_B
from napari_qmedsam.training.boxes import BoxStyle
from napari_qmedsam.training.samples import (
    Prompting,
    choose_prompts,
    collate,
    make_sample,
)
from napari_qmedsam.training.settings import TrainingSettings
from napari_qmedsam.training.stream import Feed, Positions, SampleStream, flipped

SETTINGS = TrainingSettings(prompts=2, samples=4, seed=3)


@pytest.fixture
def stream(tiny_config):
    """Epochs of 12 phantoms, 3 steps of 4."""
    return SampleStream(open_data("phantoms", 3, 64), Feed(tiny_config, 4), SETTINGS)


def check_same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.prompts.boxes, other.prompts.boxes)
    np.testing.assert_array_equal(one.prompts.masks, other.prompts.masks)


def test_a_sample_depends_on_its_position_alone(stream, tiny_config):
    assert stream.steps_per_epoch == 3
    again = SampleStream(stream.data, stream.feed, SETTINGS)
    again[0]
    check_same(stream[7], again[7])
    assert not np.array_equal(stream[7].image, stream[6].image)
    assert not np.array_equal(stream[7].image, stream[7 + 12].image)
    second = SampleStream(stream.data, stream.feed, SETTINGS, first_epoch=1)
    check_same(second[7], stream[7 + 12])


def test_boxes_are_jittered_from_the_given_position_on(stream, tiny_config):
    late = SampleStream(stream.data, stream.feed, SETTINGS, jitter_from=100)
    never = SETTINGS.model_copy(update={"jitter": 0})
    tight = SampleStream(stream.data, stream.feed, never)
    for position in range(4):
        check_same(late[position], tight[position])
    moved = [np.abs(stream[p].prompts.boxes - tight[p].prompts.boxes) for p in range(8)]
    assert max(each.max() for each in moved) > 0


@pytest.mark.parametrize("what", ["shells", "fat"])
def test_phantoms_are_painted_on_in_the_share_asked_for(stream, what):
    every = SETTINGS.model_copy(update={what: 1.0})
    painted = SampleStream(stream.data, stream.feed, every)
    changed = [not np.array_equal(painted[p].image, stream[p].image) for p in range(12)]
    assert sum(changed) >= 4  # where an object is large enough
    check_same(painted[5], SampleStream(stream.data, stream.feed, every)[5])


def test_outlines_move_and_images_stay(stream):
    every = SETTINGS.model_copy(update={"outlines": 1.0})
    redrawn = SampleStream(stream.data, stream.feed, every)
    moved = 0
    for position in range(12):
        ours, theirs = redrawn[position], stream[position]
        np.testing.assert_array_equal(ours.image, theirs.image)
        moved += not np.array_equal(ours.prompts.masks, theirs.prompts.masks)
    assert moved >= 3  # where the shift is a pixel or more


def test_processes_take_what_one_would():
    whole = list(Positions(2, 5, 4))
    assert whole == list(range(8, 20))
    parts = [list(Positions(2, 5, 4, rank, 2)) for rank in (0, 1)]
    assert parts[0] == [8, 9, 12, 13, 16, 17]
    assert sorted(parts[0] + parts[1]) == whole


def test_files_are_prepared_as_for_inference(tmp_path, tiny_config):
    imgs = np.zeros((2, 100, 50), np.uint8)
    imgs[:, 20:80, 10:40] = 200
    np.savez(tmp_path / "ct.npz", imgs=imgs, gts=(imgs > 0).astype(np.uint8))
    settings = SETTINGS.model_copy(update={"samples": 2, "jitter": 0, "flips": False})
    data = open_data(str(tmp_path))
    sample = SampleStream(data, Feed(tiny_config, 2), settings)[0]
    assert sample.image.shape == (3, 64, 64)
    assert sample.image[:, :, 32:].max() == 0  # padding on the right
    assert np.abs(sample.prompts.boxes - [6, 12, 25, 51]).max() <= 3
    # 19.2 x 38.4 pixels of the input, a quarter of them in the logits.
    assert sample.prompts.masks[0].sum() / 255 == pytest.approx(185, rel=0.06)


def test_flips_move_image_and_labels_together():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        item = flipped(LabelledSlice(image, image.copy()), rng)
        np.testing.assert_array_equal(item.image, item.labels)
        seen.add(item.image.tobytes())
    assert len(seen) == 4


def test_boxes_surround_their_objects_within_the_jitter():
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 20:50] = 5
    rng = np.random.default_rng(0)
    image = np.zeros((64, 64), np.float32)
    for _ in range(50):
        prompts = choose_prompts(image, labels, 32, Prompting(2, jitter=3), rng)
        assert prompts is not None
        assert np.abs(prompts.boxes - [20, 10, 49, 29]).max() <= 3 + 2
        assert prompts.masks[0][5:15, 10:25].min() == 255
        assert prompts.masks[0].astype(int).sum() == 255 * 150


def test_a_teacher_of_another_family_gets_the_slice_in_its_own_way(tiny_config):
    image = np.full((64, 64), 9, np.uint8)
    image[10:40, 10:40] = 200
    item = LabelledSlice(image, (image > 100).astype(np.uint8))
    rng = np.random.default_rng(0)
    sample = make_sample(item, tiny_config, Prompting(2), rng, MEDSAM_VIT_B)
    assert sample.teacher_image.shape == (3, 1024, 1024)
    assert collate([sample, sample]).teacher_images.shape == (2, 3, 1024, 1024)


def test_a_slice_without_objects_gives_no_sample(tiny_config):
    blank = LabelledSlice(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8))
    rng = np.random.default_rng(0)
    assert make_sample(blank, tiny_config, Prompting(2), rng) is None


class Blank:
    name = "CT"

    def __len__(self):
        return 9

    def read(self, index):
        return LabelledSlice(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))


def test_a_modality_without_objects_is_named(tiny_config):
    stream = SampleStream(DataSet("folder", (Blank(),)), Feed(tiny_config, 2), SETTINGS)
    with pytest.raises(UnusableData, match="modality 'CT' of 'folder'"):
        stream[0]


def test_an_epoch_must_fill_a_step(tiny_config):
    with pytest.raises(UnusableData, match="has 4 slices, but a step takes 5"):
        SampleStream(DataSet("folder", (Blank(),)), Feed(tiny_config, 5), SETTINGS)


def test_collate_stacks_samples(stream):
    batch = collate([stream[i] for i in range(3)]).to(torch.device("cpu"))
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.boxes.shape == (6, 4)
    assert batch.masks.shape == (3, 2, 32, 32)
    assert batch.images.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert batch.images.amax((1, 2, 3)).tolist() == [1, 1, 1]
    assert batch.masks.amax().item() == 1


def test_all_samples_of_a_step_have_as_many_points(tiny_config):
    settings = SETTINGS.model_copy(update={"points": 0.5, "samples": 12})
    data = open_data("phantoms", 3, 64)
    stream = SampleStream(data, Feed(tiny_config, 4), settings)
    counts = set()
    for step in range(9):
        samples = [stream[4 * step + i] for i in range(4)]
        batch = collate(samples)
        counts.add(0 if batch.points is None else batch.points[1].shape[1])
    assert 0 in counts
    assert counts - {0}
    assert counts <= {0, 1, 2}


def test_a_labelled_click_lies_where_its_label_says(tiny_config):
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 20:50] = 5
    image, rng = np.zeros((64, 64), np.float32), np.random.default_rng(0)
    how = Prompting(2, BoxStyle.CARELESS, points=3)
    for _ in range(20):
        prompts = choose_prompts(image, labels, 32, how, rng)
        for points, kinds in zip(prompts.points, prompts.point_labels, strict=True):
            for (x, y), kind in zip(points.astype(int), kinds, strict=True):
                assert (labels[y, x] == 5) == bool(kind)
