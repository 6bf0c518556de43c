"""ViT-B against another implementation, with the same weights and input."""

import re

import pytest
import torch

from napari_qmedsam.models import build_model

pytestmark = pytest.mark.slow


def _renamed(name: str) -> str:
    """Return the name that Hugging Face's SamModel gives to a tensor."""
    if name.startswith("image_encoder."):
        rules = [
            ("image_encoder.", "vision_encoder."),
            (".blocks.", ".layers."),
            (".norm", ".layer_norm"),
            ("patch_embed.proj", "patch_embed.projection"),
            ("neck.0", "neck.conv1"),
            ("neck.1", "neck.layer_norm1"),
            ("neck.2", "neck.conv2"),
            ("neck.3", "neck.layer_norm2"),
        ]
    elif name.startswith("prompt_encoder."):
        rules = [
            ("mask_downscaling.0", "mask_embed.conv1"),
            ("mask_downscaling.1", "mask_embed.layer_norm1"),
            ("mask_downscaling.3", "mask_embed.conv2"),
            ("mask_downscaling.4", "mask_embed.layer_norm2"),
            ("mask_downscaling.6", "mask_embed.conv3"),
            ("point_embeddings", "point_embed"),
            ("pe_layer.positional_encoding_gaussian_matrix",
             "shared_embedding.positional_embedding"),
        ]  # fmt: skip
    else:
        name = re.sub(r"\.norm(\d)\.", r".layer_norm\1.", name)
        rules = [
            ("norm_final_attn", "layer_norm_final_attn"),
            ("output_upscaling.0", "upscale_conv1"),
            ("output_upscaling.1", "upscale_layer_norm"),
            ("output_upscaling.3", "upscale_conv2"),
        ]
        if "hypernetworks" in name or "iou_prediction" in name:
            rules = [
                ("layers.0.", "proj_in."),
                ("layers.1.", "layers.0."),
                ("layers.2.", "proj_out."),
            ]
    for ours, theirs in rules:
        name = name.replace(ours, theirs)
    return name


def test_medsam_vit_b_computes_what_transformers_computes():
    transformers = pytest.importorskip(
        "transformers", reason="compares with transformers' SamModel: install it"
    )
    torch.manual_seed(0)
    ours = build_model("medsam_vit_b")
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    theirs = transformers.SamModel(transformers.SamConfig()).eval()
    state = {_renamed(name): value for name, value in ours.state_dict().items()}
    shared = state["prompt_encoder.shared_embedding.positional_embedding"]
    state["shared_image_embedding.positional_embedding"] = shared
    theirs.load_state_dict(state)
    image = torch.rand(1, 3, 1024, 1024)
    boxes = torch.tensor([[100.0, 200.0, 500.0, 700.0], [300.0, 300.0, 900.0, 800.0]])
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
