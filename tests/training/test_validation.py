"""Validation scores like the evaluation: two empty masks have no score."""

import numpy as np
import torch

from napari_qmedsam.training import validation
from napari_qmedsam.training.samples import Prompts, Sample


def test_two_empty_masks_have_no_dice_and_one_has_zero():
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[0, 2:6, 2:6] = 255
    masks[1, :2, :4] = 255
    boxes = np.array([[2, 2, 6, 6], [0, 0, 4, 2], [0, 0, 1, 1]], np.float32)
    sample = Sample(np.zeros((3, 32, 32), np.float32), Prompts(boxes, masks))

    def model(images, boxes):
        logits = torch.full((3, 1, 8, 8), -4.0)
        logits[0, 0, 2:6, 2:4] = 4.0  # half of the first object, nothing else
        return logits

    scores = validation._dice(model, sample, torch.device("cpu"))
    assert scores[0] == 2 * 8 / (8 + 16)
    assert scores[1] == 0
    assert scores[2].isnan()
