"""The objective: what is compiled, and what a teacher says."""

from types import SimpleNamespace

import torch

from napari_qmedsam.models import build_model
from napari_qmedsam.training.objective import MaskObjective
from napari_qmedsam.training.samples import Batch


class Compiled(torch.nn.Module):
    """What torch.compile returns, without the compiling: a module, even of functions.

    Counts its calls in `log`.
    """

    def __init__(self, part, log):
        super().__init__()
        self.part, self.log = part, log

    def forward(self, *arguments):
        self.log.append(getattr(self.part, "__name__", "encoder"))
        return self.part(*arguments)


def new_batch(config, **others) -> Batch:
    size = config.input_size
    masks = torch.zeros(2, 1, 4 * config.embedding_size, 4 * config.embedding_size)
    masks[..., 3:9, 3:9] = 1
    boxes = torch.tensor([[10.0, 10.0, 40.0, 40.0]] * 2)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, size, size, generator=generator)
    return Batch(images, boxes, masks, boxes, **others)


def test_encoder_and_decoder_are_compiled_apart(tiny_config, monkeypatch):
    torch.manual_seed(0)
    model, log = build_model(tiny_config), []
    plain = MaskObjective(model)

    def compile_(part, *, dynamic):
        assert not dynamic
        return Compiled(part, log)

    monkeypatch.setattr(torch, "compile", compile_)
    compiled = MaskObjective(model, compiled=True)
    batch = new_batch(tiny_config)
    losses, expected = compiled(batch), plain(batch)
    assert log == ["encoder", "decode"]
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    names = [name for name, _ in compiled.named_parameters(remove_duplicate=False)]
    assert names == [f"model.{name}" for name, _ in model.named_parameters()]
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.image_encoder.parameters())

    log.clear()
    with torch.no_grad():
        embeddings = model.image_encoder(batch.images)
    compiled(new_batch(tiny_config, embeddings=embeddings))
    assert log == ["decode"]


def test_a_teacher_that_disagrees_leaves_the_label_alone(tiny_config):
    model = build_model(tiny_config)
    objective = MaskObjective(model, mask_distillation=1.0, teacher=model)
    truth = torch.zeros(1, 64, 64)
    truth[:, 10:30, 10:30] = 1

    class Knows(torch.nn.Module):
        """Answers every box with the same logits."""

        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def decode(self, embedding, boxes):
            return self.logits[:, None], None

    batch = SimpleNamespace(
        embeddings=torch.zeros(1), images=torch.zeros(1), tight=torch.zeros(1, 4)
    )
    shifted = torch.roll(truth, 1, 2)
    for logits, expected in (
        ((1 - truth) * 20 - 10, truth),
        (shifted * 20 - 10, shifted),
    ):
        objective._teacher = (Knows(logits),)
        found = objective._with_teacher(truth, batch)
        assert torch.allclose(found, expected, atol=1e-3)
