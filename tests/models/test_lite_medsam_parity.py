"""LiteMedSAM, stage by stage, against values of the official implementation.

Tolerances are those of the README beside the values.
"""

import numpy as np
import pytest
import torch

EMBEDDING_ATOL, EMBEDDING_RELATIVE = 1e-4, 1e-5
LOGITS_ATOL, HALF_ATOL, IOU_ATOL = 2e-4, 4e-3, 1e-4
ENCODING_ATOL = 1e-5
"""Sines of large angles in float32; the README states no figure for these."""


def close(ours: torch.Tensor | np.ndarray, reference: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(np.asarray(ours), reference, rtol=0, atol=atol)


def sums_close(ours: torch.Tensor, total: np.ndarray, squares: np.ndarray) -> None:
    values = ours.double().numpy().reshape(len(total), -1)
    size = np.sqrt(squares * values.shape[1])  # bounds the sum of magnitudes
    np.testing.assert_array_less(np.abs(values.sum(1) - total), 1e-5 * size)
    np.testing.assert_allclose((values**2).sum(1), squares, rtol=2e-5)


@pytest.mark.parametrize("case", ["a", "b"])
def test_encoder_gives_the_reference_embedding(parity, lite_medsam_embeddings, case):
    embedding = lite_medsam_embeddings(case)[0]
    reference = parity.arrays[f"{case}_embedding"]
    step = 64 // reference.shape[-1]
    ours = embedding[:, ::step, ::step].numpy()
    close(ours, reference, EMBEDDING_ATOL)
    error = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    assert error <= EMBEDDING_RELATIVE
    sums_close(
        embedding,
        parity.arrays[f"{case}_embedding_sum"],
        parity.arrays[f"{case}_embedding_sumsq"],
    )


@pytest.fixture(scope="module")
def embedding_of(parity, lite_medsam_embeddings):
    """The stored embedding where it is whole, else our own."""

    def embedding(case: str) -> torch.Tensor:
        if case == "a":
            return torch.from_numpy(parity.arrays["a_embedding"])[None]
        return lite_medsam_embeddings(case)

    return embedding


@pytest.mark.parametrize("case", ["a", "b"])
def test_decoder_gives_the_reference_logits(parity, lite_medsam, embedding_of, case):
    boxes = torch.from_numpy(parity.arrays[f"{case}_boxes_256"]).float()
    with torch.inference_mode():
        logits, iou = lite_medsam.decode(embedding_of(case), boxes)
    logits = logits[:, 0]
    close(logits[:, ::4, ::4], parity.arrays[f"{case}_logits_s4"], LOGITS_ATOL)
    half = parity.arrays[f"{case}_logits_f16"].astype(np.float32)
    close(logits, half, HALF_ATOL)
    close(iou[:, 0], parity.arrays[f"{case}_iou"], IOU_ATOL)
    sums_close(
        logits,
        parity.arrays[f"{case}_logits_sum"],
        parity.arrays[f"{case}_logits_sumsq"],
    )


def test_a_box_gives_the_same_logits_alone_and_among_others(
    parity, lite_medsam, embedding_of
):
    boxes = torch.from_numpy(parity.arrays["a_boxes_256"]).float()
    with torch.inference_mode():
        together, _ = lite_medsam.decode(embedding_of("a"), boxes)
        alone, _ = lite_medsam.decode(embedding_of("a"), boxes[1:])
    close(together[1:], alone.numpy(), LOGITS_ATOL)


def test_objects_of_several_images_find_their_own_embedding(
    parity, lite_medsam, embedding_of
):
    both = torch.cat([embedding_of("a"), embedding_of("b")])
    boxes = torch.from_numpy(
        np.concatenate([parity.arrays["a_boxes_256"], parity.arrays["b_boxes_256"][:2]])
    ).float()
    with torch.inference_mode():
        logits, _ = lite_medsam.decode(both, boxes)
    reference = np.concatenate(
        [parity.arrays["a_logits_s4"], parity.arrays["b_logits_s4"][:2]]
    )
    close(logits[:, 0, ::4, ::4], reference, LOGITS_ATOL)


def test_multimask_gives_the_three_alternatives(parity, lite_medsam, embedding_of):
    boxes = torch.from_numpy(parity.arrays["b_boxes_256"][:1]).float()
    with torch.inference_mode():
        logits, iou = lite_medsam.decode(embedding_of("b"), boxes, multimask=True)
    close(logits[0, :, ::4, ::4], parity.arrays["b_multimask_logits_s4"], LOGITS_ATOL)
    close(iou[0], parity.arrays["b_multimask_iou"], IOU_ATOL)


def test_box_becomes_the_reference_embeddings(parity, lite_medsam):
    boxes = torch.from_numpy(parity.arrays["b_boxes_256"][:1]).float()
    with torch.inference_mode():
        sparse, dense = lite_medsam.prompt_encoder(boxes=boxes)
    close(sparse[0], parity.arrays["pe_box_sparse"], ENCODING_ATOL)
    no_mask = np.broadcast_to(
        parity.arrays["pe_no_mask_dense"][:, None, None], (256, 64, 64)
    )
    close(dense[0].detach(), no_mask, 0)


def test_points_become_the_reference_embeddings(parity, lite_medsam):
    points = torch.from_numpy(parity.arrays["pe_points_xy"])[None]
    labels = torch.from_numpy(parity.arrays["pe_points_label"])[None]
    with torch.inference_mode():
        sparse, _ = lite_medsam.prompt_encoder(points=(points, labels))
    close(sparse[0], parity.arrays["pe_points_sparse"], ENCODING_ATOL)


def test_points_beside_a_box_need_no_padding_point(parity, lite_medsam):
    points = torch.from_numpy(parity.arrays["pe_points_xy"])[None]
    labels = torch.from_numpy(parity.arrays["pe_points_label"])[None]
    boxes = torch.from_numpy(parity.arrays["b_boxes_256"][:1]).float()
    with torch.inference_mode():
        sparse, _ = lite_medsam.prompt_encoder(points=(points, labels), boxes=boxes)
    expected = [parity.arrays["pe_points_sparse"][:3], parity.arrays["pe_box_sparse"]]
    close(sparse[0], np.concatenate(expected), ENCODING_ATOL)


def test_mask_prompt_becomes_the_reference_embedding(parity, lite_medsam):
    mask = torch.from_numpy(parity.arrays["b_logits_f16"][0].astype(np.float32))
    with torch.inference_mode():
        sparse, dense = lite_medsam.prompt_encoder(masks=mask[None, None])
    assert sparse.shape == (1, 0, 256)
    close(dense[0, :, ::8, ::8], parity.arrays["pe_mask_dense_s8"], EMBEDDING_ATOL)


def test_dense_positions_are_the_reference_ones(parity, lite_medsam):
    with torch.inference_mode():
        positions = lite_medsam.prompt_encoder.get_dense_pe()[0]
    close(positions[:, ::8, ::8], parity.arrays["pe_dense_pe_s8"], ENCODING_ATOL)
