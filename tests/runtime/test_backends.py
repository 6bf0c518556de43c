"""Two runtimes, one answer; and graphs that are converted only once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_qmedsam.checkpoints.checksum import sha256_of
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import BadCheckpoint, UnknownModel, UnsupportedBackend
from napari_qmedsam.evaluation import dice
from napari_qmedsam.models import build_model
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import conversion, load_backend
from napari_qmedsam.runtime.cache import CHECKSUMS
from napari_qmedsam.runtime.conversion import cache_folder, converted
from napari_qmedsam.runtime.torch_backend import TorchBackend

LOGITS_ATOL, MINIMUM_DICE = 1e-2, 0.999
SHAPE = (300, 400)


@pytest.fixture(scope="module", params=["demo", "lite_medsam"])
def both(request):
    """The same weights in torch and in OpenVINO."""
    if request.param == "demo":
        model = "demo"
    else:
        model = str(request.getfixturevalue("lite_medsam_file"))
    return load_backend(model, "torch"), load_backend(model, "openvino")


@pytest.fixture(scope="module")
def cache(user_folders):
    """The tests' own cache with the demo model in it, converted and compiled."""
    load_backend("demo")
    return user_folders / "cache"


@pytest.fixture(scope="module")
def image():
    """Three bright discs on a noisy ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    picture = rng.normal(60, 8, SHAPE)
    for cy, cx, radius in [(90, 100, 50), (200, 150, 30), (150, 300, 70)]:
        picture[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += 90
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def embeddings(both, image, request):
    in_torch, in_openvino = both
    geometry = SliceGeometry.of(in_torch.config, *SHAPE)
    if in_torch.config.name == "lite_medsam":  # one slow encoding saved
        image = request.getfixturevalue("parity").image("b")
        known = request.getfixturevalue("lite_medsam_embeddings")("b").numpy()
    else:
        known = in_torch.encode(geometry.prepare(image))
    return known, in_openvino.encode(geometry.prepare(image))


def some_boxes(geometry: SliceGeometry, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    boxes = [(50, 40, 151, 141), (120, 170, 181, 231), (230, 80, 371, 221)]
    while len(boxes) < count:
        x, y = rng.integers(0, 300), rng.integers(0, 200)
        boxes.append((x, y, x + rng.integers(20, 100), y + rng.integers(20, 100)))
    prompts = [geometry.box_to_input(Box2D(*box)) for box in boxes[:count]]
    return np.array(prompts, np.float32)


def test_embeddings_agree(embeddings, both):
    ours, theirs = embeddings
    config = both[0].config
    side = config.embedding_size
    assert ours.shape == theirs.shape == (1, config.embedding_channels, side, side)
    assert ours.dtype == theirs.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1e-3


@pytest.mark.parametrize("count", [1, 2, 33])
def test_any_number_of_boxes_gives_logits_and_masks_that_agree(both, embeddings, count):
    if both[0].config.name == "lite_medsam":
        count = min(count, 3)  # 33 take half a minute in torch
    geometry = SliceGeometry.of(both[0].config, *SHAPE)
    boxes = some_boxes(geometry, count)
    logits = [b.decode(e, boxes) for b, e in zip(both, embeddings, strict=True)]
    side = both[0].config.logits_size
    for ours in logits:
        assert ours.shape == (count, side, side)
        assert ours.dtype == np.float32
    assert np.abs(logits[0] - logits[1]).max() <= LOGITS_ATOL
    masks = [geometry.logits_to_masks(values) for values in logits]
    for a, b in zip(*masks, strict=True):
        assert not (a.any() or b.any()) or dice(a, b) >= MINIMUM_DICE


@pytest.mark.parametrize("count", [1, 3])
def test_points_refine_boxes_alike(both, embeddings, count):
    geometry = SliceGeometry.of(both[0].config, *SHAPE)
    boxes = some_boxes(geometry, 2)
    rng = np.random.default_rng(count)
    size = both[0].config.input_size
    positions = rng.uniform(0, size, (2, count, 2)).astype(np.float32)
    labels = rng.integers(0, 2, (2, count)).astype(np.float32)
    plain = both[0].decode(embeddings[0], boxes)
    refined = [
        backend.decode(embedding, boxes, (positions, labels))
        for backend, embedding in zip(both, embeddings, strict=True)
    ]
    assert refined[0].shape == refined[1].shape == plain.shape
    apart = np.abs(refined[0] - refined[1]).max()
    assert apart <= LOGITS_ATOL
    assert np.abs(refined[0] - plain).max() > 10 * apart


def test_results_are_not_overwritten_by_the_next_call(cache, image):
    backend = load_backend("demo")
    geometry = SliceGeometry.of(backend.config, *SHAPE)
    first_input, second_input = geometry.prepare(image), geometry.prepare(255 - image)
    boxes = some_boxes(geometry, 2)
    first = backend.encode(first_input)
    kept = first.copy()
    logits = backend.decode(first, boxes)
    kept_logits = logits.copy()
    second = backend.encode(second_input)
    backend.decode(second, boxes[::-1])
    assert np.array_equal(first, kept)
    assert np.array_equal(logits, kept_logits)
    assert not np.array_equal(first, second)
    assert first.flags.writeable


def test_what_runs_is_told(both):
    for backend, name in zip(both, ["torch", "openvino"], strict=True):
        info = backend.info
        assert (info.model, info.backend) == (backend.config.name, name)
        assert info.precision == "fp32"
        assert len(info.weights_sha256) == 64
        assert info.weights_bytes > 1e6


def test_openvino_logits_are_the_reference_ones(parity, lite_medsam_file):
    backend = load_backend(str(lite_medsam_file), "openvino")
    boxes = parity.arrays["a_boxes_256"].astype(np.float32)
    logits = backend.decode(parity.arrays["a_embedding"][None], boxes)
    error = np.abs(logits[:, ::4, ::4] - parity.arrays["a_logits_s4"]).max()
    assert error <= LOGITS_ATOL


# Conversion ----------------------------------------------------------------


@pytest.fixture
def conversions(monkeypatch):
    """Count conversions, and save their time."""
    made: list[Path] = []

    def stand_in(source, folder):
        made.append(folder)
        for name in ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"):
            (folder / name).touch()

    monkeypatch.setattr(conversion, "_convert", stand_in)
    return made


def test_a_second_start_converts_nothing_and_compiles_nothing(cache, conversions):
    backend = load_backend("demo")
    assert conversions == []
    for compiled in (backend._encoder, backend._decoder):
        assert compiled.get_property("LOADED_FROM_CACHE")


def test_the_cache_holds_the_graphs_and_no_leftovers(cache):
    folders = list((cache / "openvino").iterdir())
    assert not [path.name for path in folders if path.name.startswith(".")]
    folder = converted(resolve_model("demo")).encoder.parent
    assert folder in folders
    graphs = ("encoder", "decoder", "decoder_slice")
    names = {f"{name}{end}" for name in graphs for end in (".xml", ".bin")}
    names |= {"compiled", "checksums.json"}
    # There once a point was set, or the model was exported.
    later = ("decoder_points", "whole_decoder")
    optional = {f"{name}{end}" for name in later for end in (".xml", ".bin")}
    # Each precision that ran keeps its compiled graphs apart.
    optional |= {f"compiled-{name}" for name in ("bf16", "f16", "fast", "float")}
    assert {path.name for path in folder.iterdir()} - optional == names


def test_other_weights_get_other_graphs(tmp_path, monkeypatch, conversions):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(1)
    model, path = build_model("demo"), tmp_path / "own.safetensors"
    save_model(model, path)
    first = converted(resolve_model(str(path)))
    assert converted(resolve_model(str(path))) == first
    assert len(conversions) == 1
    torch.nn.init.ones_(model.mask_decoder.iou_token.weight)
    save_model(model, path)
    second = converted(resolve_model(str(path)))
    assert len(conversions) == 2
    assert first.encoder.parent != second.encoder.parent


def test_another_openvino_or_converter_gets_other_graphs(
    tmp_path, monkeypatch, conversions
):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    source = resolve_model("demo")
    folders = {converted(source).encoder.parent}
    monkeypatch.setattr("openvino.__version__", "2099.1")
    folders.add(converted(source).encoder.parent)
    monkeypatch.setattr(conversion, "CONVERSION_VERSION", 99)
    folders.add(converted(source).encoder.parent)
    assert len(folders) == len(conversions) == 3


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))

    def failing(source, folder):
        (folder / "encoder.xml").touch()
        raise RuntimeError("disk full")

    monkeypatch.setattr(conversion, "_convert", failing)
    with pytest.raises(RuntimeError, match="disk full"):
        converted(resolve_model("demo"))
    assert list((tmp_path / "openvino").iterdir()) == []


def test_half_converted_graphs_are_replaced(tmp_path, monkeypatch, conversions):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    source = resolve_model("demo")
    graphs = converted(source)
    graphs.decoder.with_suffix(".bin").unlink()
    assert converted(source) == graphs
    assert len(conversions) == 2
    assert graphs.decoder.with_suffix(".bin").exists()


def test_of_two_conversions_at_once_the_first_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    source = resolve_model("demo")

    def overtaken(source, folder):
        first = folder.parent / "other"
        for path in (folder, first):
            path.mkdir(exist_ok=True)
            (path / "decoder.bin").write_text(path.name)
        sums = {"decoder.bin": sha256_of(first / "decoder.bin")}
        (first / CHECKSUMS).write_text(json.dumps(sums))
        first.rename(target)

    monkeypatch.setattr(conversion, "_convert", lambda s, f: None)
    target = converted(source).decoder.parent  # where the graphs will be
    shutil.rmtree(target)
    monkeypatch.setattr(conversion, "_convert", overtaken)
    graphs = converted(source)
    assert graphs.decoder.with_suffix(".bin").read_text() == "other"
    assert [p.name for p in (tmp_path / "openvino").iterdir()] == [target.name]


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("QMEDSAM_CACHE", "~/graphs")
    assert cache_folder() == Path.home() / "graphs"
    monkeypatch.delenv("QMEDSAM_CACHE")
    assert "qmedsam" in str(cache_folder())


IMPORT = """
import sys
from napari_qmedsam.runtime.conversion import import_openvino
core = import_openvino().Core()
assert "CPU" in core.available_devices
print("openvino_telemetry" in sys.modules, "openvino_telemetry.main" in sys.modules)
"""


def test_openvino_comes_without_its_telemetry():
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "CI"},
    )
    assert result.stdout.split() == ["False", "False"]


IMPORT_NNCF = """
import sys
from napari_qmedsam.checkpoints.openvino_import import import_nncf
print(type(import_nncf().telemetry.telemetry).__module__)
print("openvino_telemetry" in sys.modules)
"""


def test_nncf_comes_without_its_telemetry():
    pytest.importorskip("nncf")
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_NNCF],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if "CI" not in k},
    )
    assert result.stdout.split() == ["unittest.mock", "False"]


INTERRUPTED = """
import os, signal
from napari_qmedsam.runtime import load_backend
first = load_backend("demo")
second = load_backend("demo")
del first
del second
os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_survives_backends_that_have_gone():
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True
    )
    assert result.stderr.rstrip().endswith("KeyboardInterrupt")
    assert result.returncode == -signal.SIGINT  # not of a segmentation fault


# Asking for a runtime ------------------------------------------------------


def test_unknown_backends_are_refused_with_those_there_are():
    with pytest.raises(
        UnsupportedBackend, match=r"'tensorrt'.*openvino, onnxruntime, torch"
    ):
        load_backend("demo", "tensorrt")


def test_unknown_precisions_are_refused_with_those_there_are():
    with pytest.raises(UnsupportedBackend, match=r"'fp64'.*fp32"):
        load_backend("demo", "torch", precision="fp64")


def test_bad_models_are_refused_by_every_backend(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nothing")
    for backend in ("torch", "openvino"):
        with pytest.raises(UnknownModel, match="'sam3'"):
            load_backend("sam3", backend)
        with pytest.raises(BadCheckpoint, match=r"'weights.pth'"):
            load_backend("demo", backend, weights=path)


def test_weights_that_do_not_fit_leave_no_graphs(tmp_path, monkeypatch):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(BadCheckpoint, match="missing"):
        load_backend("demo", weights=path)
    assert list((tmp_path / "cache" / "openvino").iterdir()) == []


def test_threads_are_passed_on(cache):
    before = torch.get_num_threads()
    try:
        assert isinstance(load_backend("demo", "torch", threads=1), TorchBackend)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    backend = load_backend("demo", "openvino", threads=1)
    assert backend._encoder.get_property("INFERENCE_NUM_THREADS") == 1


def test_openvino_computes_in_float32(cache):
    backend = load_backend("demo")
    for compiled in (backend._encoder, backend._decoder):
        hint = compiled.get_property("INFERENCE_PRECISION_HINT")
        assert hint.get_type_name() == "f32"
