"""Frozen descriptions of the models: one family, three members.

No torch here, so that the command line and the panel can list models without
loading it.
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol

from napari_qmedsam.errors import UnknownModel


class PreprocessingKind(str, Enum):
    """How a slice becomes model input; see :mod:`napari_qmedsam.preprocessing`."""

    PAD = "pad"
    """LiteMedSAM: longest side to the input size, padded below and right."""

    SQUARE = "square"
    """MedSAM: both sides stretched to the input size."""


class EncoderConfig(Protocol):
    """What every image encoder's configuration says."""

    network: ClassVar[str]
    """The network: module of this package and class."""

    @property
    def embedding_size(self) -> int:
        """Side of the image embedding."""
        ...

    @property
    def lateral_channels(self) -> tuple[int, ...]:
        """Channels of the fine features that travel with the embedding."""
        ...

    @property
    def mark(self) -> tuple[str, int]:
        """Name and last axis of a tensor by which a file without a card is known."""
        ...


@dataclass(frozen=True)
class TinyViTConfig:
    """A TinyViT image encoder (LiteMedSAM's is the default).

    Parameters
    ----------
    dims, depths, heads, windows : tuple of int
        Per stage. Stage 0 is convolutional: its head and window go unused.
    stem_kernel, stem_stride : int
        Of each of the two stem convolutions.
    strides : tuple of int
        Of the downsampling after every stage but the last.
    neck_stages : tuple of int
        Stages whose outputs, brought to the embedding's grid, feed the neck.
    embedding_size : int
        Side of the image embedding.
    lateral_channels : tuple of int
        Channels of the fine features at 2 and 4 times the embedding's
        resolution that travel with it; empty in the official models.
    """

    dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    stem_kernel: int = 1
    stem_stride: int = 1
    strides: tuple[int, ...] = (2, 2, 1)
    mlp_ratio: int = 4
    neck_stages: tuple[int, ...] = (3,)
    embedding_size: int = 64
    lateral_channels: tuple[int, ...] = ()

    network: ClassVar[str] = "tiny_vit.TinyViT"

    @property
    def mark(self) -> tuple[str, int]:
        """The first convolution of the stem, and the side of its kernel."""
        return "image_encoder.patch_embed.seq.0.c.weight", self.stem_kernel


@dataclass(frozen=True)
class ViTConfig:
    """A plain vision transformer with relative positions (SAM's ViT-B)."""

    network: ClassVar[str] = "vit.ViT"

    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    mlp_ratio: int = 4
    embedding_size: int = 64
    lateral_channels: tuple[int, ...] = ()

    @property
    def mark(self) -> tuple[str, int]:
        """The relative positions of the first block, and the width of a head."""
        return "image_encoder.blocks.0.attn.rel_pos_h", self.dim // self.heads


@dataclass(frozen=True)
class ModelConfig:
    """One model of the family, enough to build it and to feed it.

    Parameters
    ----------
    name : str
    input_size : int
        Side of the square model input.
    preprocessing : PreprocessingKind
    encoder : EncoderConfig
    prompt_dim, decoder_mlp, decoder_heads, decoder_depth : int
        Widths of prompt encoder and two-way decoder.
    mask_channels : int
        Hidden channels of the prompt encoder's mask path.
    rasterize_boxes : bool
        Also feed the box, drawn as a mask, through the prompt encoder's mask
        path. The official models do not.
    decoder_before_prompts : bool
        Order of the two in the state dict, as in the official files.
    tiled_share : float
        Boxes whose longer side is at most this share of the slice's are segmented in
        a tile of a large slice (:mod:`napari_qmedsam.segmentation.tiles`). 0: none
        are, as in the official code. ``benchmarks/tiles.py`` tells where they gain.
    """

    name: str
    input_size: int
    preprocessing: PreprocessingKind
    encoder: EncoderConfig
    prompt_dim: int = 256
    decoder_mlp: int = 2048
    decoder_heads: int = 8
    decoder_depth: int = 2
    mask_channels: int = 16
    rasterize_boxes: bool = False
    decoder_before_prompts: bool = True
    tiled_share: float = 0.0

    @property
    def embedding_size(self) -> int:
        """Side of the image embedding."""
        return self.encoder.embedding_size

    @property
    def embedding_channels(self) -> int:
        """Channels of the image embedding, fine features included."""
        fine = sum(
            channels * 4 ** (level + 1)
            for level, channels in enumerate(self.encoder.lateral_channels)
        )
        return self.prompt_dim + fine

    @property
    def logits_size(self) -> int:
        """Side of the low-res logits."""
        return 4 * self.encoder.embedding_size


LITE_MEDSAM = ModelConfig(
    name="lite_medsam",
    input_size=256,
    preprocessing=PreprocessingKind.PAD,
    encoder=TinyViTConfig(),
    tiled_share=1 / 16,
)
"""LiteMedSAM: TinyViT at 256 px, embedding 256 x 64 x 64."""

MEDSAM_VIT_B = ModelConfig(
    name="medsam_vit_b",
    input_size=1024,
    preprocessing=PreprocessingKind.SQUARE,
    encoder=ViTConfig(),
    decoder_before_prompts=False,
)
"""MedSAM: ViT-B at 1024 px, embedding 256 x 64 x 64."""

DEMO = ModelConfig(
    name="demo",
    input_size=256,
    preprocessing=PreprocessingKind.PAD,
    encoder=TinyViTConfig(
        dims=(48, 96, 160),
        depths=(2, 2, 4),
        heads=(2, 3, 5),
        windows=(8, 8, 16),
        stem_kernel=3,
        stem_stride=2,
        strides=(2, 2),
        neck_stages=(1, 2),
        embedding_size=32,
        lateral_channels=(32, 16),
    ),
    prompt_dim=128,
    decoder_mlp=512,
    decoder_heads=4,
    rasterize_boxes=True,
    tiled_share=1 / 8,
)
"""The embedded model: small, trained on phantoms, research only."""

CONFIGS: dict[str, ModelConfig] = {
    config.name: config for config in (DEMO, LITE_MEDSAM, MEDSAM_VIT_B)
}
"""Every architecture by name."""


def config_of(name: str) -> ModelConfig:
    """Return the configuration called `name`.

    Raises
    ------
    UnknownModel
        If there is none; the message lists those there are.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        known = ", ".join(CONFIGS)
        raise UnknownModel(f"No model is called '{name}'. Known: {known}.") from None
