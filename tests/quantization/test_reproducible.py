"""The same seed gives the same file; threads hardly change a mask."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from napari_qmedsam import quantize
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.models import build_model

MASKS = """
import sys
import numpy as np
import torch
torch.set_num_threads(int(sys.argv[1]))
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window
from napari_qmedsam.workflows import load_model
from napari_qmedsam.phantoms.random_slices import random_slice
segmenter = load_model("demo", backend=sys.argv[2], threads=int(sys.argv[1]))
masks = []
for seed in range(3):
    phantom = random_slice(np.random.default_rng(seed))
    values = np.unique(phantom.labels)[1:]
    boxes = [Box2D.enclosing(phantom.labels == value) for value in values]
    volume = Volume(phantom.image[None])
    masks += list(segmenter.segment_slice(volume, 0, boxes, Window(0, 255)))
np.save(sys.argv[3], np.concatenate([m.ravel() for m in masks]))
"""


@pytest.mark.parametrize("method", ["comq", "rtn"])
def test_the_same_seed_gives_the_same_file(tiny_config, tmp_path, method):
    import torch

    torch.manual_seed(0)
    source = save_model(build_model("tiny"), tmp_path / "tiny.safetensors")

    def made(name: str, seed: int) -> str:
        target = tmp_path / f"{name}.qmedsam.safetensors"
        settings = {"bits": 4, "slices": 2, "seed": seed, "method": method}
        quantize(str(source), target, backend="torch", **settings)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    first = made("first", 3)
    assert made("second", 3) == first
    if method == "comq":
        assert made("third", 4) != first


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_threads_hardly_change_a_mask(tmp_path, backend):
    masks = []
    for threads in ("1", "2"):
        path = tmp_path / f"{threads}.npy"
        arguments = [sys.executable, "-c", MASKS, threads, backend, str(path)]
        subprocess.run(arguments, check=True)
        masks.append(np.load(path))
    assert masks[0].any()
    assert np.mean(masks[0] != masks[1]) < 1e-4
