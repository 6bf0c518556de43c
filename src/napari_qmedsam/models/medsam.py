"""The segmentation model: image encoder, prompt encoder, mask decoder."""

from importlib import import_module
from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.mask_decoder import MaskDecoder
from napari_qmedsam.models.prompt_encoder import PromptEncoder

if TYPE_CHECKING:
    from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings


class MedSAM(nn.Module):
    """One model of the family, built from its configuration.

    The state dict has the official names and shapes: `image_encoder.*`,
    `prompt_encoder.*`, `mask_decoder.*`.
    """

    image_encoder: nn.Module
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder
    fake_quant: "FakeQuantSettings | None" = None
    """How it is fake-quantized; None in a float model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        module, name = config.encoder.network.split(".")
        network = getattr(import_module(f"napari_qmedsam.models.{module}"), name)
        self.image_encoder = network(config)
        if config.decoder_before_prompts:
            self.mask_decoder = MaskDecoder(config)
            self.prompt_encoder = PromptEncoder(config)
        else:
            self.prompt_encoder = PromptEncoder(config)
            self.mask_decoder = MaskDecoder(config)

    def decode(
        self,
        image_embedding: Tensor,
        boxes: Tensor | None = None,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode the prompts of B objects.

        Parameters
        ----------
        image_embedding : Tensor, (N, embedding_channels, E, E)
            N is 1, or divides B: the objects of each image follow each other.
        boxes : Tensor (B, 4), optional
            Corner pixels of the model input.
        points : (Tensor (B, N, 2), Tensor (B, N)), optional
        masks : Tensor (B, 1, 4E, 4E), optional
        multimask : bool

        Returns
        -------
        low_res_logits : Tensor, (B, 1 or 3, 4E, 4E)
        iou : Tensor, (B, 1 or 3)
        """
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        return self.mask_decoder(
            image_embedding,
            self.prompt_encoder.get_dense_pe(),
            sparse,
            dense,
            multimask,
        )

    def forward(self, image: Tensor, boxes: Tensor) -> Tensor:
        """(N, 3, S, S) images and (B, 4) boxes to (B, 1, 4E, 4E) logits."""
        return self.decode(self.image_encoder(image), boxes)[0]
