"""Every kind of layer the demo model has, in a hundredth of its size."""

from napari_qmedsam.models.configuration import (
    ModelConfig,
    PreprocessingKind,
    TinyViTConfig,
)

TINY = ModelConfig(
    name="tiny",
    input_size=64,
    preprocessing=PreprocessingKind.PAD,
    encoder=TinyViTConfig(
        dims=(8, 16),
        depths=(1, 1),
        heads=(1, 1),
        windows=(4, 4),
        stem_kernel=3,
        stem_stride=2,
        strides=(2,),
        neck_stages=(1,),
        embedding_size=8,
        lateral_channels=(4, 2),
    ),
    prompt_dim=16,
    decoder_mlp=16,
    decoder_heads=2,
    rasterize_boxes=True,
)
"""For tests and for trials that must spend no time in a model."""
