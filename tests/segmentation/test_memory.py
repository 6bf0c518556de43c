"""What a run over many objects keeps, beside its labels."""

import numpy as np

from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.painting import Painter
from napari_qmedsam.segmentation.track import Track
from napari_qmedsam.segmentation.tracking import SliceUpdate


def test_a_mask_that_is_kept_does_not_keep_those_beside_it():
    masks = np.ones((30, 8, 8), bool)
    track = Track(ObjectPrompt(1, Box3D(0, 0, 0, 8, 8, 4)), range(4))
    track.take(0, masks[3])
    assert track.mask is not None
    assert not np.shares_memory(track.mask, masks)
    assert track.mask.base is None


def test_slices_that_were_empty_take_no_memory_until_they_are_taken_back():
    labels = np.zeros((2, 64, 64), np.uint16)
    labels[1, 0, 0] = 7
    painter = Painter(labels)
    mask = np.ones((64, 64), bool)
    for z in range(2):
        painter.paint(SliceUpdate(z, ((0, mask),), z, 2), [1])
    assert painter.before[0, 0].strides == (0, 0)
    assert not painter.before[0, 0].any()
    assert painter.before[0, 1][0, 0] == 7
