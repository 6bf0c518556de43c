"""A model as the torch graphs that are converted: encoder, decoder and its halves."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.models.split_decoder import PromptHalf


class Decoder(nn.Module):
    """Prompt encoder and mask decoder as one graph: low-res logits of boxes."""

    def __init__(self, model: MedSAM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_embedding: Tensor,
        boxes: Tensor,
        positions: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """(1, C, E, E) and (n, 4), perhaps points as well, to (n, L, L)."""
        points = None
        if positions is not None and labels is not None:
            points = positions, labels
        return self.model.decode(image_embedding, boxes, points)[0][:, 0]


class PromptsFirst(nn.Module):
    """The second half of the decoder as a graph: prompts, then what is prepared."""

    def __init__(self, model: MedSAM, prompts: int) -> None:
        super().__init__()
        self.model, self.prompts = model, prompts
        self.second = PromptHalf(model)

    def forward(self, *given: Tensor) -> Tensor:
        """(n, 4), perhaps points as well, and results of SliceHalf: (n, L, L)."""
        boxes, *points = given[: self.prompts]
        both = (points[0], points[1]) if points else None
        return self.second(given[self.prompts :], boxes, both)


def traceable(model: MedSAM) -> MedSAM:
    """Return a model in a form that exporters understand.

    Raises
    ------
    UnsupportedQuantization
        If a fake-quantized model lacks scales.
    """
    from napari_qmedsam.models.fake_quantized.fixed import fixed

    return model if model.fake_quant is None else fixed(model)


def example_image(config: ModelConfig) -> Tensor:
    """Return an encoder input, (1, 3, S, S)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, config.input_size, config.input_size, generator=generator)


def example_prompts(
    config: ModelConfig, with_points: bool = False
) -> tuple[Tensor, ...]:
    """Return decoder inputs: an embedding and two boxes, perhaps three points each."""
    size, side = config.input_size, config.embedding_size
    embedding = torch.zeros(1, config.embedding_channels, side, side)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]]) * size
    if not with_points:
        return embedding, boxes
    positions = torch.tensor([0.3, 0.4]).expand(2, 3, 2) * size
    return embedding, boxes, positions, torch.tensor([[1.0, 0.0, 1.0]]).expand(2, 3)


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Trace without gradients and without the warnings that are expected.

    The branches the tracer warns of depend on the configuration alone. torch
    would rather have torch.export, but traces are what the converters take.
    """
    with torch.inference_mode(), warnings.catch_warnings():
        # torch's wish is a FutureWarning from 2.14 on.
        for kind in (torch.jit.TracerWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield


def trace(module: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Trace a module once.

    Converters' own calls check the trace by running the model several times,
    which takes longer than everything else together.
    """
    return torch.jit.trace(module.eval(), example, check_trace=False)
