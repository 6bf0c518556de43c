"""Validation scores like the evaluation: two empty masks have no score."""

import torch

from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.training.validation import dice_of_each


def test_two_empty_masks_have_no_dice_and_one_has_zero():
    found, truth = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    truth[0, 2:6, 2:6] = True
    found[0, 2:6, 2:4] = True  # half of it
    truth[1, :2, :4] = True
    scores = dice_of_each(found, truth)
    expected = torch.tensor([2 * 8 / (8 + 16), 0.0, torch.nan])
    torch.testing.assert_close(scores, expected, equal_nan=True)
    ours = [dice(a, b) for a, b in zip(found.numpy(), truth.numpy(), strict=True)]
    torch.testing.assert_close(
        scores, torch.tensor(ours, dtype=torch.float32), equal_nan=True
    )
