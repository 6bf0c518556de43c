"""Time left of steps that are of two unlike kinds, on a clock of the test's own."""

from types import SimpleNamespace

import pytest

pytest.importorskip("napari")

from napari_qmedsam.evaluation.variants import QAT, Variant
from napari_qmedsam.gui.quantize.time_left import TimeLeft, spoken

pytestmark = pytest.mark.gui


def step(done, total, layer="", layers=0):
    report = object() if layers else None
    return SimpleNamespace(
        done=done, total=total, layer=layer, report=report, layers=layers
    )


def test_slices_and_layers_are_timed_by_themselves():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    # Two slices of 1 s, two layers of 10 s, and then the same once more.
    now[0] = 1.0
    assert left.seconds(step(1, 8, "calibration")) is None
    now[0] = 2.0
    assert left.seconds(step(2, 8, "calibration")) is None
    now[0] = 12.0
    assert left.seconds(step(3, 8, "one", 4)) == pytest.approx(3 * 10 + 2 * 1)
    now[0] = 22.0
    assert left.seconds(step(4, 8, "two", 4)) == pytest.approx(2 * 10 + 2 * 1)
    now[0] = 23.0
    assert left.seconds(step(5, 8, "calibration", 0)) == pytest.approx(2 * 10 + 1)


def test_another_total_begins_anew():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    now[0] = 100.0
    left.seconds(step(1, 2, "measuring one"))
    now[0] = 101.0
    assert left.seconds(step(1, 3, "measuring one")) == pytest.approx(2)
    now[0] = 104.0
    assert left.seconds(step(2, 3, "measuring two")) == pytest.approx(2)


def test_times_are_said_in_words():
    assert spoken(None) == ""
    assert spoken(12.2) == "about 13 s left"
    assert spoken(61.0) == "about 2 min left"


def test_floats_on_disk_are_explained():
    trained = Variant(
        "qat", "q", method=QAT, bit_widths=(8,), effective_bits=29.9, parameters=1
    )
    assert trained.stored_bits == (
        "Runs in 8 bits; the file stores floats, 29.9 bits for each weight."
    )
    packed = Variant("r", "r", method="rtn", bit_widths=(4,), effective_bits=4.3)
    assert packed.stored_bits == ""
    assert Variant("f", "f").stored_bits == ""
