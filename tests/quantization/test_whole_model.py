import copy

import numpy as np
import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints.header import METADATA_KEY, read_card
from napari_qmedsam.checkpoints.packed import model_file
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.datasets.calibration import from_phantoms, from_volumes
from napari_qmedsam.errors import BadCheckpoint, Cancelled, UnsupportedQuantization
from napari_qmedsam.models import build_model
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.gram import damped
from napari_qmedsam.quantization.layer import quantize_weight
from napari_qmedsam.quantization.model_card import quantized_card
from napari_qmedsam.quantization.model_layers import (
    quantizable_layers,
    replace_weight,
    stages,
)
from napari_qmedsam.quantization.recipe import (
    Override,
    Recipe,
    dump_recipe,
    load_recipe,
)
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.runtime.conversion import converted
from napari_qmedsam.volumes.volume import Volume


def recipe(*overrides, **settings):
    chosen = QuantizationSettings.of(**settings)
    return Recipe(settings=chosen, overrides=overrides)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return build_model("tiny")


@pytest.fixture
def calibration(tiny_config):
    return from_phantoms(tiny_config, 2)


def test_every_linear_and_convolution_of_encoder_and_decoder_is_found(model):
    names = {layer.name for layer in quantizable_layers(model)}
    expected = {
        name
        for name, module in model.named_modules()
        if hasattr(module, "weight")
        and module.weight.ndim in (2, 4)
        and not isinstance(module, torch.nn.Embedding)
        and not name.startswith("prompt_encoder")
    }
    assert names == expected
    assert "mask_decoder.output_upscaling.0" in names  # a transposed convolution


def test_rows_times_weight_is_what_the_layer_computes(model):
    torch.manual_seed(1)
    seen = set()
    for layer in quantizable_layers(model):
        module = layer.module
        kind = (type(module).__name__, getattr(module, "kernel_size", 0), layer.groups)
        if kind in seen:
            continue
        seen.add(kind)
        if isinstance(module, torch.nn.Linear):
            x = torch.randn(2, 5, module.in_features)
        else:
            x = torch.randn(2, module.in_channels, 8, 8)
        rows, weight = layer.rows(x).values, layer.weight().flatten(1)
        bias = 0 if module.bias is None else module.bias.detach()
        wanted = module(x).detach()
        if isinstance(module, torch.nn.ConvTranspose2d):
            k = module.kernel_size[0]
            got = (rows @ weight.T).view(2, 8, 8, module.out_channels, k, k)
            got = got.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
            got = got + bias.view(-1, 1, 1)
        elif layer.groups > 1:
            got = torch.einsum("grm,gm->gr", rows, weight)
            got = got.view(layer.groups, 2, *wanted.shape[2:]).transpose(0, 1)
        else:
            got = rows @ weight.T + bias
            if wanted.ndim == 4:
                got = got.view(2, *wanted.shape[2:], -1).permute(0, 3, 1, 2)
            else:
                got = got.view_as(wanted)
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.restore(layer.weight()), module.weight)
    assert len(seen) >= 5


def test_drawn_rows_are_some_of_all_from_all_over(model, monkeypatch):
    monkeypatch.setattr("napari_qmedsam.quantization.model_layers.MOST_ROWS", 16)
    torch.manual_seed(2)
    for layer in quantizable_layers(model)[:12]:
        module = layer.module
        x = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 1024, 16, 16)
        if isinstance(module, torch.nn.Linear):
            x = torch.arange(256.0)[None, :, None].expand(1, 256, module.in_features)
        else:
            x = x[:, : module.in_channels]
        every = layer.rows(x)
        drawn, again, other = (
            layer.rows(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
        )
        assert drawn.count == every.count == every.values.shape[-2]
        assert drawn.values.shape[-2] == 16
        assert torch.equal(drawn.values, again.values)
        assert not torch.equal(drawn.values, other.values)
        # One from each of 16 equal stretches; rows know their places.
        places = drawn.values[..., :, every.values.shape[-1] // 2].flatten()
        expected = every.values[..., :, every.values.shape[-1] // 2].flatten()
        for start, place in enumerate(places[:16]):
            stretch = every.count // 16
            assert place in expected[start * stretch : (start + 1) * stretch]


def test_sums_of_drawn_rows_come_near_those_of_all(model, calibration, monkeypatch):
    drawn = GramPass(quantizable_layers(model))
    monkeypatch.setattr("napari_qmedsam.quantization.model_layers.MOST_ROWS", 10**9)
    every = GramPass(quantizable_layers(model))
    every.run(model, calibration.samples)
    monkeypatch.setattr("napari_qmedsam.quantization.model_layers.MOST_ROWS", 256)
    drawn.run(model, calibration.samples)
    compared = 0
    for layer in drawn.layers:
        a, b = every.sums[layer.name], drawn.sums[layer.name]
        if b.rows < a.rows:
            compared += 1
            assert (a.gram - b.gram).norm() < 0.15 * a.gram.norm()
        else:
            torch.testing.assert_close(a.gram, b.gram)
    assert compared > 5


def test_eight_bits_hardly_change_the_logits(model, calibration):
    result = quantize_model(model, recipe(bit_width=8, method="comq"), calibration)
    sample = calibration.samples[0]
    image, boxes = torch.from_numpy(sample.image)[None], torch.from_numpy(sample.boxes)
    with torch.inference_mode():
        before, after = model(image, boxes), result.model(image, boxes)
    assert (after - before).abs().max() < 0.05 * before.abs().max()


def test_the_float_model_stays_as_it_is(model, calibration):
    before = copy.deepcopy(model.state_dict())
    quantize_model(model, recipe(bit_width=2), calibration)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_no_layer_is_worse_than_rounding(model, calibration):
    result = quantize_model(model, recipe(bit_width=2, method="comq"), calibration)
    for name, report in result.reports.items():
        assert report.objective[-1] <= report.rtn_objective * (1 + 1e-6), name


@pytest.mark.parametrize("sequential", [False, True])
def test_progress_counts_every_slice_and_layer(model, calibration, sequential):
    steps = []
    result = quantize_model(
        model, recipe(), calibration, sequential=sequential, progress=steps.append
    )
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    runs = len(stages(quantizable_layers(model))) if sequential else 1
    assert steps[0].total == 2 * runs + len(result.weights)


def test_sequential_inputs_are_those_of_whole_passes_after_each_block(
    model, calibration
):
    chosen = recipe(bit_width=2)
    result = quantize_model(model, chosen, calibration)
    partly = copy.deepcopy(model).eval()
    for run in stages(quantizable_layers(partly)):
        whole = GramPass(run)
        whole.run(partly, calibration.samples)
        for layer in run:
            gram = damped(whole.take(layer), chosen.damping_at(2))
            tensor, _ = quantize_weight(layer.weight(), gram, chosen.settings)
            codes = result.weights[layer.name].codes
            assert torch.equal(tensor.codes, codes), layer.name
            replace_weight(layer, tensor.dequantize())


def test_sequential_calibration_encodes_for_the_decoder_once(model, calibration):
    calls = []
    encoder = type(model.image_encoder)
    whole = encoder.forward

    def counted(self, image):
        embedding = whole(self, image)
        calls.append(embedding)  # not where a block ended it
        return embedding

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "forward", counted)
        quantize_model(model, recipe(bit_width=2), calibration)
    # The last block of the encoder ends inside it, or with it.
    assert len(calls) <= 2 * len(calibration.samples)


def test_cancelling_leaves_nothing_changed(model, calibration):
    with cancellable(lambda: True), pytest.raises(Cancelled):
        quantize_model(model, recipe(), calibration)


def test_a_calibration_nobody_resumes_stops_within_a_slice(model, calibration):
    asked = []

    def second_time():
        asked.append(True)
        return len(asked) > 1

    steps = []
    with cancellable(second_time), pytest.raises(Cancelled, match="in slice 0"):
        quantize_model(model, recipe(), calibration, progress=steps.append)
    assert not steps


def test_a_stopped_calibration_resumes_with_the_same_sums(model, calibration, tmp_path):
    layers = quantizable_layers(model)
    whole = GramPass(layers)
    whole.run(model, calibration.samples)
    first = GramPass(layers)
    with cancellable(lambda: first.done == 1), pytest.raises(Cancelled):
        first.run(model, calibration.samples)
    first.save(tmp_path / "sums.pt")
    second = GramPass(layers)
    second.resume(tmp_path / "sums.pt")
    assert second.done == 1
    second.run(model, calibration.samples)
    for name, total in whole.sums.items():
        assert torch.equal(total.gram, second.sums[name].gram), name


def test_sums_of_other_slices_are_refused(model, calibration, tmp_path):
    sums = GramPass(quantizable_layers(model))
    sums.save(tmp_path / "sums.pt", "32 phantoms")
    with pytest.raises(BadCheckpoint, match="other slices"):
        sums.resume(tmp_path / "sums.pt", "8 phantoms")


def test_sums_made_before_give_the_same_codes_and_stay_whole(model, calibration):
    sums = GramPass(quantizable_layers(model))
    first = quantize_model(model, recipe(), calibration, sequential=False)
    for _ in range(2):
        again = quantize_model(model, recipe(), calibration, sums=sums)
        assert sums.done == len(calibration.samples)
        for name, tensor in first.weights.items():
            assert torch.equal(tensor.codes, again.weights[name].codes), name


def test_overrides_choose_settings_by_name(model, calibration):
    result = quantize_model(
        model,
        recipe(
            Override(layers="mask_decoder.*", settings={"bit_width": 8}),
            Override(layers="*.iou_prediction_head.*", skip=True),
            bit_width=2,
        ),
        calibration,
    )
    widths = {name: tensor.bit_width for name, tensor in result.weights.items()}
    assert not any("iou_prediction_head" in name for name in widths)
    for name, width in widths.items():
        assert width == (8 if name.startswith("mask_decoder") else 2), name


def test_a_recipe_survives_the_file(tmp_path):
    original = recipe(Override(layers="*", settings={"bit_width": 3}), bit_width=2)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(original))
    assert load_recipe(tmp_path / "recipe.yaml") == original


def test_a_pattern_that_fits_no_layer_is_refused(model, calibration):
    chosen = recipe(Override(layers="encoder.*", skip=True))
    with pytest.raises(UnsupportedQuantization, match="'encoder.\\*' fits no layer"):
        quantize_model(model, chosen, calibration)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("settings: {bit_width: 9}", "bit_width"),
        ("setting: {}", "setting"),
        ("overrides: [{skip: true}]", "layers"),
        ("a: [", "Cannot read recipe"),
    ],
)
def test_bad_recipes_name_the_place(tmp_path, text, complaint):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UnsupportedQuantization, match=complaint):
        load_recipe(path)


def test_volumes_give_slices_with_content_only(tiny_config):
    array = np.zeros((20, 40, 40), np.int16)
    array[5:15, 10:30, 10:30] = np.random.default_rng(0).integers(50, 300, (20, 20))
    chosen = from_volumes(tiny_config, [Volume(array)], 4)
    assert len(chosen.samples) == 4
    assert all(sample.image.max() == 1 for sample in chosen.samples)
    assert chosen.provenance["slices"] == 4


def test_phantoms_are_the_same_each_time(tiny_config):
    first, again = from_phantoms(tiny_config, 2), from_phantoms(tiny_config, 2)
    for a, b in zip(first.samples, again.samples, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)


@pytest.fixture
def saved(model, calibration, tmp_path):
    """Return a function that quantizes, saves, and gives the path and the result."""

    def save(**settings):
        source = resolve_model(str(save_model(model, tmp_path / "float.safetensors")))
        result = quantize_model(model, recipe(**settings), calibration)
        card = quantized_card(result, source, sequential=False)
        path = tmp_path / "model.qmedsam.safetensors"
        return save_model(result.model, path, card, result.weights), result

    return save


@pytest.mark.parametrize(
    "settings",
    [
        {"bit_width": 4},
        {"bit_width": 3, "method": "comq"},
        {"bit_width": 2, "permutation": "elements", "granularity": "channel"},
        {"bit_width": 8, "method": "rtn", "granularity": "layer"},
    ],
)
def test_the_file_gives_back_the_weights_bit_for_bit(saved, settings):
    path, result = saved(**settings)
    state = read_state(path)
    for name, value in result.model.state_dict().items():
        assert torch.equal(state[name], value), name
    loaded = resolve_model(str(path)).load().packed
    assert set(loaded) == set(result.weights)
    card = read_card(path)
    assert card["effective_bits"] == result.effective_bits
    assert card["calibration"]["kind"] == "phantoms"
    assert len(card["source"]["sha256"]) == 64


def test_fewer_bits_make_a_smaller_file(saved):
    sizes = [saved(bit_width=bits, method="comq")[0].stat().st_size for bits in (2, 8)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("method", "bits"),
    [("comq", 4), *(("permutation-comq", bits) for bits in (2, 3, 4, 8))],
)
def test_openvino_and_torch_agree_on_quantized_models(saved, calibration, method, bits):
    path, _ = saved(bit_width=bits, method=method)
    sample = calibration.samples[0]
    logits = [
        backend.decode(backend.encode(sample.image), sample.boxes)
        for backend in (load_backend(str(path), name) for name in ("torch", "openvino"))
    ]
    assert np.abs(logits[0] - logits[1]).max() < 1e-2
    # Random weights: the range of the logits is what 1e-2 is to be seen against.
    assert np.abs(logits[0]).max() > 1e-2


def test_damaged_quantized_files_are_refused(saved, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path, result = saved(bit_width=4)
    content = path.read_bytes()
    cut = tmp_path / "cut.qmedsam.safetensors"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadCheckpoint, match="not a readable safetensors"):
        resolve_model(str(cut)).build()
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = {METADATA_KEY: file.metadata()[METADATA_KEY]}
    name = next(iter(result.weights))
    for key, value, complaint in (
        (f"{name}.codes", tensors[f"{name}.codes"][:-3].clone(), name),
        (f"{name}.scales", -tensors[f"{name}.scales"], "positive"),
    ):
        bad = tmp_path / "bad.qmedsam.safetensors"
        save_file(tensors | {key: value}, bad, metadata=metadata)
        with pytest.raises(BadCheckpoint, match=complaint):
            resolve_model(str(bad)).build()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    bad.write_bytes(flipped)
    with pytest.raises(BadCheckpoint, match="checksum"):
        resolve_model(str(bad)).load()


def test_a_packed_file_is_read_once_when_it_is_converted(saved, monkeypatch, tmp_path):
    path, _ = saved(bit_width=4, method="rtn")
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    read = model_file.quantized_weights
    reads = []

    def counted(*arguments):
        reads.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(model_file, "quantized_weights", counted)
    assert converted(resolve_model(str(path))).decoder.exists()
    assert len(reads) == 1


def test_damping_left_out_depends_on_the_bits():
    assert recipe().damping_at(2) > recipe().damping_at(4) > 0
    assert recipe().model_copy(update={"damping": 0.5}).damping_at(4) == 0.5
