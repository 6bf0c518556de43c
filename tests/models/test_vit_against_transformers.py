"""ViT-B against another implementation, with the same weights and input.

The weights are read as files that the other library wrote, so its tensor names are
tested too.
"""

import pytest
import torch

from napari_qmedsam.checkpoints.model_state import load_state
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.checkpoints.transformers_names import official_names
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import (
    MEDSAM_VIT_B,
    ModelConfig,
    PreprocessingKind,
    ViTConfig,
)

transformers = pytest.importorskip(
    "transformers", reason="compares with transformers' SamModel: install it"
)

SMALL = ModelConfig(
    name="small",
    input_size=80,
    preprocessing=PreprocessingKind.SQUARE,
    encoder=ViTConfig(
        dim=32, depth=3, heads=2, window=3, global_blocks=(1,), embedding_size=5
    ),
    prompt_dim=32,
    decoder_mlp=64,
    decoder_before_prompts=False,
)
"""Every kind of layer of ViT-B; windows of 3 in a map of 5 need padding."""


def sam_config(config: ModelConfig) -> "transformers.SamConfig":
    """Return the other library's description of one of our models."""
    encoder, width = config.encoder, config.prompt_dim
    return transformers.SamConfig(
        vision_config={
            "hidden_size": encoder.dim,
            "output_channels": width,
            "num_hidden_layers": encoder.depth,
            "num_attention_heads": encoder.heads,
            "image_size": config.input_size,
            "patch_size": encoder.patch,
            "window_size": encoder.window,
            "global_attn_indexes": list(encoder.global_blocks),
            "num_pos_feats": width // 2,
            "mlp_dim": encoder.mlp_ratio * encoder.dim,
        },
        prompt_encoder_config={
            "hidden_size": width,
            "image_size": config.input_size,
            "patch_size": encoder.patch,
            "mask_input_channels": config.mask_channels,
        },
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": config.decoder_mlp,
            "num_hidden_layers": config.decoder_depth,
            "num_attention_heads": config.decoder_heads,
            "iou_head_hidden_dim": width,
        },
    )


def theirs(config: ModelConfig, std: float) -> "transformers.SamModel":
    """Return the other library's model with seeded weights."""
    torch.manual_seed(0)
    model = transformers.SamModel(sam_config(config)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def compare(ours, theirs, boxes: torch.Tensor) -> None:
    """Compare embedding, logits and predicted quality."""
    side = ours.config.input_size
    image = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        embedding = ours.image_encoder(image)
        reference = theirs.vision_encoder(image)[0]
        torch.testing.assert_close(embedding, reference, atol=1e-4, rtol=0)
        logits, iou = ours.decode(embedding, boxes)
        answer = theirs(
            image_embeddings=reference, input_boxes=boxes[None], multimask_output=False
        )
    torch.testing.assert_close(logits, answer.pred_masks[0], atol=2e-4, rtol=0)
    torch.testing.assert_close(iou, answer.iou_scores[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_file_of_transformers_gives_what_transformers_computes(tmp_path, form):
    reference = theirs(SMALL, std=0.2)
    if form == "safetensors":
        reference.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        path = tmp_path / "pytorch_model.bin"
        torch.save(reference.state_dict(), path)
    ours = build_model(SMALL).eval()
    load_state(ours, read_state(path), path.name)
    boxes = torch.tensor([[10.0, 20.0, 50.0, 70.0], [3.0, 30.0, 60.0, 79.0]])
    compare(ours, reference, boxes)


def test_every_tensor_of_vit_b_has_its_name_and_shape():
    with torch.device("meta"):
        ours = build_model(MEDSAM_VIT_B).state_dict()
        reference = transformers.SamModel(transformers.SamConfig()).state_dict()
    renamed = official_names(reference)
    assert len(renamed) == len(reference) - 1  # the positions, which are there twice
    assert {name: value.shape for name, value in renamed.items()} == {
        name: value.shape for name, value in ours.items()
    }


def test_official_names_stay_as_they_are():
    names = build_model(SMALL).state_dict()
    assert list(official_names(names)) == list(names)


@pytest.mark.slow
def test_medsam_vit_b_computes_what_transformers_computes(tmp_path):
    reference = theirs(MEDSAM_VIT_B, std=0.05)
    reference.save_pretrained(tmp_path)
    source = resolve_model(str(tmp_path / "model.safetensors"))
    assert source.config == MEDSAM_VIT_B  # recognised
    boxes = torch.tensor([[100.0, 200.0, 500.0, 700.0], [300.0, 300.0, 900.0, 800.0]])
    compare(source.build(), reference, boxes)
