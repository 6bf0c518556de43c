"""NNCF's graphs of the demo model draw what the float model draws."""

import numpy as np
import pytest

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.runtime.nncf_subprocess import quantize_graphs_in_subprocess

AGREEMENT = 0.98
"""Mean DSC between masks of the float model and of NNCF's."""

CALIBRATION, SLICES = 3, 4


@pytest.fixture(scope="module")
def int8_folder(tmp_path_factory):
    pytest.importorskip("nncf", reason="extra nncf")
    folder, steps = tmp_path_factory.mktemp("nncf"), []
    plan = CalibrationPlan(slices=CALIBRATION)
    source = resolve_model("demo")
    quantize_graphs_in_subprocess(
        source, plan, folder, lambda *step: steps.append(step[0])
    )
    done = steps
    assert done == sorted(done)
    assert {*done} == {*range(4 * CALIBRATION + 1)}
    return folder


def test_masks_stay_close_to_those_of_the_float_model(int8_folder):
    model, quantized = load_backend("demo"), load_backend(str(int8_folder))
    assert quantized.info.precision == "int8"
    scores = []
    for sample in from_phantoms(model.config, SLICES, seed=1).samples:
        expected, found = (
            backend.decode(backend.encode(sample.image), sample.boxes) > 0
            for backend in (model, quantized)
        )
        large = [i for i, mask in enumerate(expected) if mask.sum() >= 25]
        scores += [dice(found[i], expected[i]) for i in large]
    assert len(scores) >= 20
    assert np.mean(scores) >= AGREEMENT, scores


def test_the_prompt_encoder_stays_float(int8_folder):
    from napari_qmedsam.checkpoints.exported import read_graph

    graph = read_graph(int8_folder / "decoder.xml")
    rounded = [
        op.get_friendly_name()
        for op in graph.get_ops()
        if op.get_type_name() == "FakeQuantize"
    ]
    assert len(rounded) > 30
    # What it gives to the mask decoder is rounded there.
    assert not any("pe_layer" in name or "downscaling" in name for name in rounded)
