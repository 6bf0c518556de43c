"""What `qmedsam bench` measures, and how it shows it."""

import json
import sys

import pytest

from napari_qmedsam.benchmark.cases import TABLE_8, CaseFigures, boxes_of, visits_of
from napari_qmedsam.benchmark.machine import Machine, this_machine
from napari_qmedsam.benchmark.setups import (
    Setup,
    SetupFigures,
    encoder_gflop,
    setups_of,
)
from napari_qmedsam.benchmark.tables import (
    CASE_HEADINGS,
    SETUP_HEADINGS,
    case_rows,
    markdown_of,
    setup_rows,
    write_figures,
)
from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.cli import main
from napari_qmedsam.models.configuration import LITE_MEDSAM
from napari_qmedsam.runtime import BackendName, Device, Runtime

TORCH, ONNX = BackendName.TORCH, BackendName.ONNXRUNTIME


def figures(encode_ms: float, precision: str = "fp32") -> SetupFigures:
    decoded = {1: 5.0, 6: 12.0, 32: 60.0}
    return SetupFigures(
        precision, "cpu", 3.0, 1.0, encode_ms, encode_ms, 4.0, decoded, 500.0, 10.0
    )


def test_every_combination_that_there_is_and_why_not_the_others():
    found, left_out = setups_of(
        ["demo"], [TORCH, ONNX], [Precision.FP32, Precision.BF16], [Device.CPU], [1, 2]
    )
    assert [(s.runtime.backend, s.runtime.precision) for s in found] == [
        (TORCH, "fp32"),
        (TORCH, "fp32"),
        (TORCH, "bf16"),
        (TORCH, "bf16"),
        (ONNX, "fp32"),
        (ONNX, "fp32"),
    ]
    assert len(left_out) == 1
    assert "'onnxruntime' does not compute in 'bf16'" in left_out[0]
    assert not any(setup.random for setup in found)


def test_ratios_are_to_torch_in_float32_and_shares_to_the_peak():
    one = Runtime(threads=1)
    torch = Setup("demo", Runtime(TORCH, threads=1))
    measured = [(torch, figures(400)), (Setup("demo", one), figures(100, "bf16"))]
    rows = setup_rows(measured, {(1, "fp32"): 100.0, (1, "bf16"): 200.0})
    named = [dict(zip(SETUP_HEADINGS, row, strict=True)) for row in rows]
    assert [row["torch fp32 / it"] for row in named] == ["1.00", "4.00"]
    # 10 GFLOP in 0.4 s are 25 of 100 a second; in 0.1 s 100 of 200.
    assert [row["of peak %"] for row in named] == ["25", "50"]
    assert named[0]["first box ms"] == "9"
    alone = setup_rows(measured[1:], {})[0]
    assert alone[4] == alone[7] == ""


def test_an_encoding_of_litemedsam_has_the_operations_it_has():
    # Its stem alone: 3 x 32 and 32 x 64 at 256 x 256, two operations each.
    assert 0.28 < 2 * (3 * 32 + 32 * 64) * 256**2 / 1e9 < 0.29
    assert 60 < encoder_gflop(LITE_MEDSAM) < 120


@pytest.mark.parametrize("case", TABLE_8, ids=lambda case: case.name)
def test_cases_have_boxes_inside_and_slices_of_the_published_time(case):
    boxes = boxes_of(case)
    assert len(boxes) == case.objects
    depth, height, width = (1, *case.shape[:2]) if case.is_picture else case.shape
    for box in boxes:
        assert box.clip(depth, height, width) == box
        assert box.z_max - box.z_min == case.slices_each
    ours, first = (visits_of(boxes, way) for way in (False, True))
    assert len(first) == case.objects * case.slices_each
    assert len(ours) == len({z for z, _ in first})
    assert sorted((z, i) for z, objects in ours for i in objects) == sorted(
        (z, i) for z, (i,) in first
    )


def test_what_was_reckoned_has_a_star():
    first = CaseFigures(120.0, 60, 60, True, 900.0)
    ours = CaseFigures(15.0, 60, 20, False, 800.0)
    row = dict(
        zip(CASE_HEADINGS, case_rows([(TABLE_8[0], first, ours)])[0], strict=True)
    )
    assert (row["first way s"], row["ours s"], row["ratio"]) == (
        "120.0*",
        "15.0",
        "8.0",
    )
    assert row["QMedSAM s, before and after"] == "591.1, 142.1"
    assert row["Rep-MedSAM s"] == "73.6"


def test_files_hold_all_that_was_measured(tmp_path):
    measured = [(Setup("demo", Runtime()), figures(100))]
    text = markdown_of(SETUP_HEADINGS, setup_rows(measured, {}))
    cases = [(TABLE_8[7], None, CaseFigures(1.0, 1, 1, False, 400.0))]
    peaks = {(0, "fp32"): 100.0}
    write_figures(tmp_path, this_machine(), text, measured, cases, peaks)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["setups"][0]["encode_ms"] == 100
    assert found["setups"][0]["runtime"]["backend"] == "openvino"
    assert found["cases"][0]["first_way"] is None
    assert (tmp_path / "bench.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "bench.md").read_text().count("\n") == 2


def test_the_line_of_the_machine_names_what_was_switched_off():
    machine = Machine("CPU", "Linux", ("avx2",), 2, "AVX2", {"torch": "2.9"})
    assert str(machine).startswith("CPU (avx2), ONEDNN_MAX_CPU_ISA=AVX2, 2 cores, ")


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--backends", "tpu", "--backends 'tpu' must be"),
        ("--precisions", "fp64", "--precisions 'fp64' must be"),
        ("--threads", "many", "whole numbers like 1,2"),
    ],
)
def test_wrong_lists_are_told(option, value, complaint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["qmedsam", "bench", option, value])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_the_demo_model(tmp_path, monkeypatch, capsys):
    command = ["qmedsam", "bench", "--models", "demo", "--backends", "openvino"]
    command += ["--precisions", "fp32", "--repeats", "1", "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "| demo | openvino on cpu | fp32 |" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "bench.json").read_text())["setups"]
    assert 0 < row["encode_ms"] < 1000 * row["cold_s"]
