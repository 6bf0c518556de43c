"""Variants: what is known of a model file, and the list of a session."""

import pytest
import torch

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings, UnknownModel
from napari_qmedsam.evaluation.variants import FLOAT, Variant, Variants, variant_of
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.model import collect_statistics, fake_quantize
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.quantization.job import Budget, QuantizationJob
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.runtime.exporting import ExportFormat, export_model


@pytest.fixture
def weights(tiny_config, tmp_path):
    torch.manual_seed(0)
    return save_model(build_model("tiny"), tmp_path / "tiny.safetensors")


def test_float_model_is_described_from_its_file(weights):
    variant = variant_of(str(weights))
    assert variant.name == "tiny FP32"
    assert (variant.method, variant.bits, variant.effective_bits) == (FLOAT, "32", 32)
    assert variant.is_float
    assert variant.file_bytes == weights.stat().st_size
    count = sum(p.numel() for p in build_model("tiny").parameters())
    assert variant.parameters == count


def test_quantized_file_says_its_bits_and_method(weights, tmp_path):
    target = tmp_path / "small.qmedsam.safetensors"
    settings = QuantizationSettings.of(method="rtn", bit_width=3)
    job = QuantizationJob(
        resolve_model(str(weights)), settings, CalibrationPlan(slices=1)
    )
    result = job.run(target)
    variant = variant_of(str(target), backend="torch")
    assert variant.name == "tiny 3-bit RTN"
    assert variant.effective_bits == pytest.approx(result.effective_bits)
    assert variant.effective_bits > 3
    assert not variant.is_float
    assert variant.backend == "torch"


def test_int8_files_say_what_they_really_store(tiny_config, tmp_path):
    model = fake_quantize(build_model("tiny"), FakeQuantSettings(7))
    image, boxes = torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 6.0, 40.0, 50.0]])
    collect_statistics(model, [(image, boxes)])
    path = save_model(model, tmp_path / "trained.safetensors")
    trained = variant_of(str(path))
    # Seven bits of each code are used, and each is kept as a float.
    assert trained.bits == "7"
    assert trained.effective_bits == 8 * path.stat().st_size / trained.parameters
    assert trained.effective_bits > 32
    export_model(resolve_model(str(path)), ExportFormat.OPENVINO, tmp_path / "graphs")
    graphs = variant_of(str(tmp_path / "graphs"))
    assert graphs.effective_bits == 8 * graphs.file_bytes / graphs.parameters


@pytest.mark.slow
def test_budget_gives_several_bit_widths(weights, tmp_path):
    target = tmp_path / "mixed.qmedsam.safetensors"
    settings = QuantizationSettings.of(method="comq")
    job = QuantizationJob(
        resolve_model(str(weights)),
        settings,
        CalibrationPlan(slices=2),
        Budget(average_bits=7.0),
    )
    steps = []
    result = job.run(target, steps.append)
    assert result.effective_bits <= 7.0
    variant = variant_of(str(target))
    assert len(variant.bit_widths) > 1
    assert variant.bits == f"{variant.bit_widths[0]}-{variant.bit_widths[-1]}"
    assert any(step.layer.startswith("measuring ") for step in steps)
    assert steps[-1].done == steps[-1].total


def test_missing_or_damaged_files_are_no_variants(tmp_path):
    with pytest.raises(UnknownModel, match="nowhere"):
        variant_of("nowhere")
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(b"no model")
    with pytest.raises(BadCheckpoint, match="not a readable safetensors file"):
        variant_of(str(damaged))


def test_names_in_the_list_are_unique_and_keep_their_order():
    variants = Variants()
    first = variants.add(Variant("demo 4-bit", "a"))
    second = variants.add(Variant("demo 4-bit", "b"))
    assert (first.name, second.name) == ("demo 4-bit", "demo 4-bit (2)")
    variants.change("demo 4-bit", milliseconds_per_slice=12.0)
    assert variants.names == ["demo 4-bit", "demo 4-bit (2)"]
    assert variants["demo 4-bit"].milliseconds_per_slice == 12.0
    variants.remove("demo 4-bit")
    assert [v.model for v in variants] == ["b"]
    with pytest.raises(InvalidSettings, match="no variant 'demo 4-bit'"):
        variants.remove("demo 4-bit")
