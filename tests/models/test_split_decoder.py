"""The decoder in two halves gives what the whole one gives."""

import pytest
import torch

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.models.split_decoder import PromptHalf, SliceHalf

RELATIVE = 1e-5
"""Of the largest logit: the same sums in another order."""


def prompts(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    corner = size * torch.rand(count, 2, generator=generator) / 2
    extent = size * (0.1 + torch.rand(count, 2, generator=generator) / 3)
    boxes = torch.cat([corner, corner + extent], dim=1)
    positions = size * torch.rand(count, 3, 2, generator=generator)
    return boxes, positions, torch.tensor([[1.0, 0, 1]]).expand(count, 3)


@pytest.fixture(scope="module", params=["demo", "lite_medsam"])
def model_and_embedding(request):
    """A model that draws boxes, and one that does not; embeddings of a slice."""
    if request.param == "lite_medsam":
        model = request.getfixturevalue("lite_medsam")
        return model, request.getfixturevalue("lite_medsam_embeddings")("b")
    model = resolve_model("demo").build()
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        enlarged = torch.nn.functional.interpolate(image, 256, mode="bilinear")
        return model, model.image_encoder(enlarged)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("with_points", [False, True])
def test_halves_give_the_logits_of_the_whole(model_and_embedding, count, with_points):
    model, embedding = model_and_embedding
    boxes, *points = prompts(model.config.input_size, count)
    refining = tuple(points) if with_points else None
    with torch.inference_mode():
        whole = model.decode(embedding, boxes, refining)[0][:, 0]
        halves = PromptHalf(model)(SliceHalf(model)(embedding), boxes, refining)
    assert halves.shape == whole.shape
    assert (halves - whole).abs().max() <= RELATIVE * whole.abs().max()
    assert torch.equal(halves > 0, whole > 0)


def test_what_is_prepared_serves_any_prompt(model_and_embedding):
    model, embedding = model_and_embedding
    boxes = prompts(model.config.input_size, 2)[0]
    first, second = SliceHalf(model), PromptHalf(model)
    with torch.inference_mode():
        prepared = first(embedding)
        kept = [part.clone() for part in prepared]
        together = second(prepared, boxes)
        alone = torch.cat([second(prepared, box[None]) for box in boxes])
    assert all(map(torch.equal, prepared, kept))
    assert (together - alone).abs().max() <= RELATIVE * alone.abs().max()
