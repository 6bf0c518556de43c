"""One call each: load, quantize, compare; and the same from a session."""

import re

import numpy as np
import pytest
import torch

from napari_qmedsam import Box3D, Volume, compare, load_model, open_session, quantize
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import InvalidSettings, UnsupportedBackend
from napari_qmedsam.models import build_model
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime.registry import Device
from napari_qmedsam.session import Session
from napari_qmedsam.volumes import Window, write_volume


@pytest.fixture
def weights(tiny_config, tmp_path):
    torch.manual_seed(0)
    return save_model(build_model("tiny"), tmp_path / "tiny.safetensors")


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    return Volume(rng.integers(0, 250, (4, 64, 64)).astype(np.uint8))


@pytest.fixture
def reference(volume):
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:3, 10:30, 10:30] = 1
    labels[1:3, 40:50, 40:55] = 7
    return labels


@pytest.fixture
def session(volume, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = write_volume(volume, tmp_path / "image.nii.gz")
    made = open_session(
        image, "tiny", weights=weights, backend="torch", device="cpu", window="0,200"
    )
    made.add_object(Box3D(10, 10, 1, 30, 30, 3), "<b>liver</b>")
    return made


def test_a_model_segments_a_slice_without_a_session(weights, volume):
    model = load_model(str(weights), backend="torch")
    masks = model.segment_slice(volume, 1, [Box2D(10, 10, 30, 30)])
    assert masks.shape == (1, 64, 64)
    assert model.backend.info.backend == "torch"
    with pytest.raises(UnsupportedBackend, match="cuda"):
        load_model(str(weights), backend="openvino", device="cuda")


def test_a_session_opens_with_window_model_and_runtime(session):
    assert session.window == Window(0, 200)
    (variant,) = session.variants
    assert variant.name == "tiny FP32"
    assert variant.runtime.device is Device.CPU
    assert variant.backend == session.segmenter.backend.info.backend == "torch"
    assert len(session.segment()) == 2


def test_a_session_quantizes_and_compares(session, reference, tmp_path):
    made = session.quantize(4, method="rtn", slices=1)
    assert made.bits == "4"
    assert made.runtime == next(iter(session.variants)).runtime
    assert (tmp_path / "tiny-rtn-4bit.qmedsam.safetensors").exists()
    session.quantize(2, tmp_path / "two.qmedsam.safetensors", slices=1, method="rtn")
    labels, steps = session.labels.copy(), []
    table = session.compare(reference, progress=lambda *step: steps.append(step))
    np.testing.assert_array_equal(session.labels, labels)
    assert steps[-1] == ("tiny 2-bit RTN", 6, 6)
    rows = str(table).splitlines()
    assert [row.split("  ")[0] for row in rows[1:4]] == session.variants.names
    assert rows[-1] == table.note
    # The table is what the comparison says of the masks.
    masks = table.comparison.results["tiny FP32"].labels
    inside = (masks == 1) & (reference == 1)
    sizes = (masks == 1).sum() + (reference == 1).sum()
    assert table.scores("tiny FP32").dsc == pytest.approx(2 * inside.sum() / sizes)
    assert table.save(tmp_path / "table.md").exists()


def test_names_are_shown_in_notebooks_as_they_are(session, reference):
    session.add_object(Box3D(40, 40, 1, 55, 50, 3), "a & b")
    page = session.compare(reference)._repr_html_()
    assert "&lt;b&gt;liver&lt;/b&gt;" in page
    assert "a &amp; b" in page
    assert "<b>" not in page
    assert len(re.findall("<tr>", page)) == 4  # headings, the mean, two objects


def test_a_session_without_a_float_model_cannot_be_quantized(volume):
    session = Session(volume)
    with pytest.raises(InvalidSettings, match="no float model to quantize"):
        session.quantize(4)
    session.add_object(Box3D(0, 0, 0, 9, 9, 1))
    with pytest.raises(InvalidSettings, match="at least one variant"):
        session.compare(np.ones(volume.shape, np.uint8))


def test_models_are_compared_on_every_label_of_the_reference(
    weights, volume, reference, tmp_path
):
    target = tmp_path / "small.qmedsam.safetensors"
    small = quantize(
        str(weights), target, bits=3, method="rtn", calibration=volume, slices=2
    )
    assert small.file_bytes == target.stat().st_size
    image = write_volume(volume, tmp_path / "image.nii.gz")
    table = compare(image, reference, [str(weights), small], backend="torch")
    assert list(table.comparison.results) == ["tiny FP32", "tiny 3-bit RTN"]
    assert [o.reference_id for o in table.comparison.objects] == [1, 7]
    as_volume = compare(volume, Volume(reference), [str(weights)], backend="torch")
    assert as_volume.scores("tiny FP32") == table.scores("tiny FP32")
