from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_qmedsam.datasets.dataset import open_data
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models import build_model
from napari_qmedsam.training.embedded import embed
from napari_qmedsam.training.float_training import FloatTraining
from napari_qmedsam.training.samples import collate
from napari_qmedsam.training.settings import TrainingSettings
from napari_qmedsam.training.stream import Feed, SampleStream

SETTINGS = TrainingSettings(
    part="decoder",
    steps=3,
    samples=3,
    slices_per_step=2,
    prompts=2,
    boxes="careless",
    points=0.5,
    mask_distillation=0.5,
    quality=0.1,
    warmup=1,
    workers=0,
    validation_slices=0,
)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return build_model("tiny")


@pytest.fixture
def embedded(model, tmp_path):
    """Embed three slices; count how often the encoder was asked."""
    calls = []

    def encode(model_input):
        calls.append(1)
        with torch.inference_mode():
            return model.image_encoder(torch.from_numpy(model_input)[None]).numpy()

    def make(key="a"):
        data = open_data("mixture", 0, 64)
        folder = tmp_path / "embeddings"
        return embed(data, encode, model.config, SETTINGS, folder, key)

    return SimpleNamespace(make=make, calls=calls)


def test_embeddings_are_those_of_the_encoder_in_half_precision(embedded, model):
    stream = SampleStream(embedded.make(), Feed(model.config, 2), SETTINGS)
    batch = collate([stream[0], stream[1]]).to(torch.device("cpu"))
    with torch.inference_mode():
        expected = model.image_encoder(batch.images)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(batch.embeddings, expected, atol=1e-3 * scale)


def test_what_is_embedded_is_not_embedded_again(embedded):
    first, again = embedded.make(), embedded.make()
    assert len(embedded.calls) == 3
    one, other = (data.modalities[0].read(2) for data in (first, again))
    np.testing.assert_array_equal(one.embedding, other.embedding)


def test_embeddings_of_another_model_are_refused(embedded):
    embedded.make()
    with pytest.raises(InvalidSettings, match="of another model"):
        embedded.make("b")


def test_training_the_decoder_leaves_the_encoder_as_it_is(embedded, model, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = FloatTraining(
        "tiny", tmp_path / "run", SETTINGS, embedded.make(), None, model
    )
    run.run()
    after = run.best().state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("prompt_encoder", "mask_decoder")) for name in changed)
    assert {"dice", "focal", "quality"} <= set(run.history.rows[-1])
