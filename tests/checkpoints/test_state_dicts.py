"""Names, shapes and order of the tensors in the published checkpoints."""

import zlib

import numpy as np
import pytest
import torch

from napari_qmedsam.errors import UnknownModel
from napari_qmedsam.models import CONFIGS, build_model

OFFICIAL = ["lite_medsam", "medsam_vit_b"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_state_dict_has_the_published_names_shapes_and_types_in_order(parity, name):
    with torch.device("meta"):  # no memory, no random numbers
        model = build_model(name)
    ours = [
        (key, list(value.shape), str(value.dtype).removeprefix("torch."))
        for key, value in model.state_dict().items()
    ]
    listed = [(t["name"], t["shape"], t["dtype"]) for t in parity.tensors(name)]
    assert ours == listed


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_buffers_are_the_published_ones(parity, name):
    with torch.device("meta"):
        model = build_model(name)
    kinds = {t["name"]: t["kind"] for t in parity.tensors(name)}
    parameters = {key for key, _ in model.named_parameters()}
    assert parameters == {key for key, kind in kinds.items() if kind == "parameter"}


@pytest.mark.parametrize("name", OFFICIAL)
def test_synthetic_weights_have_the_listed_checksums(parity, name):
    tensors = [t for t in parity.tensors(name) if t["dtype"] == "float32"]
    if name != "lite_medsam":  # 94 million values take too long
        tensors = [t for t in tensors if np.prod(t["shape"]) < 100_000]
    for t in tensors:
        filled = parity.recipe.fill(t["name"], tuple(t["shape"]))
        assert zlib.crc32(filled.tobytes()) == t["fill_crc32"], t["name"]


@pytest.mark.parametrize("name", CONFIGS)
def test_models_are_built_in_eval_mode(name):
    with torch.device("meta"):
        model = build_model(name)
    assert not any(module.training for module in model.modules())


def test_demo_model_is_small():
    with torch.device("meta"):
        model = build_model("demo")
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 3e6


def test_demo_embedding_and_logits_have_the_sizes_its_configuration_says():
    model, config = build_model("demo"), CONFIGS["demo"]
    boxes = torch.tensor([[10.0, 20.0, 60.0, 80.0], [0.0, 0.0, 255.0, 255.0]])
    with torch.inference_mode():
        embedding = model.image_encoder(torch.rand(1, 3, 256, 256))
        logits, iou = model.decode(embedding, boxes)
    side = config.embedding_size
    assert embedding.shape == (1, config.embedding_channels, side, side)
    assert logits.shape == (2, 1, config.logits_size, config.logits_size)
    assert iou.shape == (2, 1)


def test_unknown_model_is_named_with_those_there_are():
    with pytest.raises(UnknownModel, match=r"'sam3'.*demo, lite_medsam, medsam_vit_b"):
        build_model("sam3")
