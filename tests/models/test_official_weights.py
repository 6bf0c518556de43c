"""The published LiteMedSAM weights, against what the official code makes of them.

Tolerances are those of the README beside the values. Needs the weights
(`qmedsam fetch lite_medsam`) and the reference values; skips where either is missing.
"""

import numpy as np
import pytest
import torch

from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.models.configuration import LITE_MEDSAM
from napari_qmedsam.preprocessing import SliceGeometry, _bilinear, slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.volumes import read_volume
from napari_qmedsam.volumes.windows import parse_window

EMBEDDING_ATOL, EMBEDDING_RELATIVE = 1e-4, 1e-5
LOGITS_ATOL, IOU_ATOL = 2e-4, 1e-4
SLICES = (8, 15, 22)


@pytest.fixture(scope="module")
def reference(parity):
    path = parity.folder / "lite_medsam_official_reference.npz"
    if not path.exists():
        pytest.skip(f"reference values with the official weights are not in {path}")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", params=["torch", "openvino", "onnxruntime"])
def backend(request, reference, official_lite_medsam):
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="runs ONNX Runtime: install it")
    return load_backend(str(official_lite_medsam), request.param)


@pytest.mark.parametrize("z", SLICES)
def test_slice_and_boxes_become_the_official_masks(backend, reference, z):
    def known(name):
        return reference[f"z{z}_{name}"]

    image, side = known("image"), 64
    geometry = SliceGeometry.of(LITE_MEDSAM, *image.shape)

    embedding = backend.encode(geometry.prepare(image))
    shown = embedding[0, :, ::4, ::4]
    np.testing.assert_allclose(
        shown, known("embedding_s4"), rtol=0, atol=EMBEDDING_ATOL
    )
    error = np.linalg.norm(shown - known("embedding_s4"))
    assert error <= EMBEDDING_RELATIVE * np.linalg.norm(known("embedding_s4"))
    values = embedding[0].astype(np.float64).reshape(256, -1)
    squares = known("embedding_sumsq")
    bound = 1e-5 * np.sqrt(squares * side * side)  # of the sum of magnitudes
    np.testing.assert_array_less(np.abs(values.sum(1) - known("embedding_sum")), bound)
    np.testing.assert_allclose((values**2).sum(1), squares, rtol=2e-5)

    # The official boxes hold their maxima, ours leave them out.
    boxes = [
        geometry.box_to_input(Box2D(x0, y0, x1 + 1, y1 + 1))
        for x0, y0, x1, y1 in known("boxes").tolist()
    ]
    np.testing.assert_array_equal(boxes, known("boxes_256"))
    logits = backend.decode(embedding, np.array(boxes, np.float32))
    np.testing.assert_allclose(
        logits[:, ::4, ::4], known("logits_s4"), rtol=0, atol=LOGITS_ATOL
    )

    rows, columns = geometry.content
    truth = np.unpackbits(known("masks_packed"), axis=1, count=image.size)
    masks = geometry.logits_to_masks(logits)
    for mask, low_res, official in zip(masks, logits, truth, strict=True):
        enlarged = _bilinear(low_res[:rows, :columns], *image.shape)
        differs = mask != official.reshape(image.shape).astype(bool)
        assert not np.any(differs & (np.abs(enlarged) > LOGITS_ATOL))


@pytest.mark.parametrize("z", SLICES)
def test_predicted_quality_is_the_official_one(reference, official_lite_medsam, z):
    model = ModelSource(LITE_MEDSAM, official_lite_medsam).build()
    geometry = SliceGeometry.of(LITE_MEDSAM, *reference[f"z{z}_image"].shape)
    prepared = geometry.prepare(reference[f"z{z}_image"])
    boxes = torch.from_numpy(reference[f"z{z}_boxes_256"]).float()
    with torch.inference_mode():
        embedding = model.image_encoder(torch.from_numpy(prepared)[None])
        _, iou = model.decode(embedding, boxes)
    np.testing.assert_allclose(iou[:, 0], reference[f"z{z}_iou"], rtol=0, atol=IOU_ATOL)


@pytest.mark.parametrize("z", SLICES)
def test_our_reader_and_window_give_the_slice_that_was_used(parity, reference, z):
    path = parity.folder.parent / "data" / "ct_abdomen_3mm.nii.gz"
    if not path.exists():
        pytest.skip(f"the CT of the reference values is not in {path}")
    window = parse_window("soft-tissue")
    ours = slice_image(read_volume(path).array, z, window).astype(int)
    # The official preparation cuts grey levels off where ours rounds them.
    assert set(np.unique(ours - reference[f"z{z}_image"])) <= {0, 1}
