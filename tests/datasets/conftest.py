import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def write_npz():
    """Write a challenge file: a stack of slices with a square on some of them."""

    def write(path, depth=4, labelled=(1,), side=32, labels_shape=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        gts = np.zeros((depth, side, side), np.uint8)
        for z in labelled:
            gts[z, 8 : 8 + side // 3, 6 : 6 + side // 2] = 1 + z
        imgs = np.where(gts > 0, 200, 20).astype(np.uint8)
        imgs[:, 0] = np.arange(depth)[:, None]  # tells the slices apart
        if labels_shape is not None:
            gts = np.zeros(labels_shape, np.uint8)
        np.savez_compressed(path, imgs=imgs, gts=gts, spacing=(1.0, 1.0, 3.0))
        return path

    return write


@pytest.fixture
def write_nifti():
    """Write a NIfTI file of an array (Z, Y, X)."""

    def write(path, array):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([1, 1, 3, 1.0]))
        nib.save(image, path)
        return path

    return write
