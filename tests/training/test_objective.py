"""The objective: what is compiled, and what a teacher says."""

from types import SimpleNamespace

import torch

from napari_qmedsam.models import build_model
from napari_qmedsam.models.tiny_vit import WindowAttention
from napari_qmedsam.training.objective import MaskObjective
from napari_qmedsam.training.samples import Batch


def new_batch(config, **others) -> Batch:
    size = config.input_size
    masks = torch.zeros(2, 1, 4 * config.embedding_size, 4 * config.embedding_size)
    masks[..., 3:9, 3:9] = 1
    boxes = torch.tensor([[10.0, 10.0, 40.0, 40.0]] * 2)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, size, size, generator=generator)
    return Batch(images, boxes, masks, boxes, **others)


def test_blocks_and_decoder_are_compiled_apart(tiny_config, monkeypatch):
    torch.manual_seed(0)
    model, log = build_model(tiny_config), []
    plain = MaskObjective(model)

    def compile_(part, *, dynamic):
        assert not dynamic

        def run(*arguments):  # a block's own call has no name but this one
            log.append(part.__name__)
            return part(*arguments)

        return run

    batch = new_batch(tiny_config)
    points = torch.rand(2, 1, 2) * 40, torch.ones(2, 1)
    pointed = new_batch(tiny_config, points=points)
    expected, with_points = plain(batch), plain(pointed)
    monkeypatch.setattr(torch, "compile", compile_)
    compiled = MaskObjective(model, compiled=True)
    losses = compiled(batch)
    blocks = sum(tiny_config.encoder.depths)
    assert sorted(log) == ["_call_impl"] * blocks + ["decode"]
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    names = [name for name, _ in compiled.named_parameters(remove_duplicate=False)]
    assert names == [f"model.{name}" for name, _ in model.named_parameters()]
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.image_encoder.parameters())

    log.clear()  # with points, whose number changes, the decoder runs as it is
    losses = compiled(pointed)
    assert set(log) == {"_call_impl"}
    assert all(torch.equal(losses[name], with_points[name]) for name in losses)


def test_attention_spelt_out_is_the_same(monkeypatch):
    torch.manual_seed(0)
    attention = WindowAttention(32, 2, 7)
    torch.nn.init.normal_(attention.attention_biases)
    x = torch.randn(3, 49, 32)
    expected = attention(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(attention(x), expected)


def test_a_teacher_that_disagrees_leaves_the_label_alone(tiny_config):
    model = build_model(tiny_config)
    objective = MaskObjective(model, mask_distillation=1.0, teacher=model)
    truth = torch.zeros(1, 64, 64)
    truth[:, 10:30, 10:30] = 1

    batch = SimpleNamespace(
        embeddings=torch.zeros(1), images=torch.zeros(1), tight=torch.zeros(1, 4)
    )
    shifted = torch.roll(truth, 1, 2)
    for logits, expected in (
        ((1 - truth) * 20 - 10, truth),
        (shifted * 20 - 10, shifted),
    ):
        answer = logits[:, None], None
        objective._teacher_parts = (None, lambda embedding, boxes, a=answer: a)
        found = objective._with_teacher(truth, batch)
        assert torch.allclose(found, expected, atol=1e-3)
