"""Steps that take long stop in the middle, and leave nothing broken behind."""

import numpy as np
import pytest
import torch

from napari_qmedsam.cancelling import cancellable, check_cancelled, stopping_says
from napari_qmedsam.errors import Cancelled
from napari_qmedsam.quantization import quantize_weight
from napari_qmedsam.runtime import load_backend, openvino_backend


def after(calls):
    """Want the work no more from the given call on."""
    asked = []

    def should_cancel():
        asked.append(True)
        return len(asked) >= calls

    return should_cancel


def test_only_the_work_in_the_block_stops():
    check_cancelled()
    with cancellable(lambda: False):
        with cancellable(lambda: True), pytest.raises(Cancelled):
            check_cancelled()
        check_cancelled()
    check_cancelled()


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_slice_stops_half_way_and_the_next_one_is_right(runtime, monkeypatch):
    monkeypatch.setattr(openvino_backend, "POLL_MILLISECONDS", 0)
    backend = load_backend("demo", runtime)
    size = backend.config.input_size
    image = np.random.default_rng(0).random((3, size, size), np.float32)
    whole = backend.encode(image)
    with cancellable(after(3)), pytest.raises(Cancelled):
        backend.encode(image)
    with cancellable(lambda: False):
        np.testing.assert_array_equal(backend.encode(image), whole)


@pytest.mark.parametrize("order", ["natural", "greedy"])
def test_a_layer_stops_half_way(order):
    torch.manual_seed(0)
    weight, inputs = torch.randn(8, 256), torch.randn(300, 256)
    with cancellable(after(2)), pytest.raises(Cancelled):
        quantize_weight(weight, inputs.T @ inputs, order=order)


def test_what_stops_deep_inside_names_the_work_around_it():
    with cancellable(lambda: True):
        with pytest.raises(Cancelled, match=r"^Cancelled\.$"):
            check_cancelled()
        with stopping_says("Stopped in layer a."), stopping_says("Stopped in layer b."):
            with pytest.raises(Cancelled, match=r"^Stopped in layer b\.$"):
                check_cancelled()
            with pytest.raises(Cancelled, match=r"^My own\.$"):
                check_cancelled("My own.")
        with pytest.raises(Cancelled, match=r"^Cancelled\.$"):
            check_cancelled()
