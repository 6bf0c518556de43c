"""Fake-quantized models in plain torch, against Brevitas and by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_qmedsam.errors import (
    CalibrationMismatch,
    InvalidSettings,
    UnsupportedQuantization,
)
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import (
    ModelConfig,
    PreprocessingKind,
    ViTConfig,
)
from napari_qmedsam.models.fake_quantized import rounding
from napari_qmedsam.models.fake_quantized.attention import QuantDownscalingAttention
from napari_qmedsam.models.fake_quantized.layers import LAYERS, QuantConv2d, become
from napari_qmedsam.models.fake_quantized.model import (
    collect_statistics,
    fake_quantize,
    quantizers,
)
from napari_qmedsam.models.fake_quantized.quantizers import (
    ActivationQuantizer,
    QuantIdentity,
    WeightQuantizer,
)
from napari_qmedsam.models.fake_quantized.rounding import magnitude
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.models.fake_quantized.smoothing import smooth_convolutions
from napari_qmedsam.models.fake_quantized.statistics import _fit_others
from napari_qmedsam.models.mask_decoder import DownscalingAttention

SCALE = ".fused_activation_quant_proxy.tensor_quant.scaling_impl.value"
BOXES = torch.tensor([[4.0, 6.0, 40.0, 50.0], [10.0, 10.0, 30.0, 20.0]])

TINY_VIT = ModelConfig(
    name="tiny_vit_b",
    input_size=64,
    preprocessing=PreprocessingKind.SQUARE,
    encoder=ViTConfig(16, 2, 2, 8, 3, (1,), 2, 8),
    prompt_dim=16,
    decoder_mlp=16,
    decoder_heads=2,
)


def images(seed: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def ready(config: ModelConfig, settings: FakeQuantSettings | None = None):
    torch.manual_seed(0)
    model = fake_quantize(build_model(config), settings or FakeQuantSettings())
    collect_statistics(model, [(images(s), BOXES) for s in range(3)])
    return model


# Against Brevitas ------------------------------------------------------------


@pytest.fixture(scope="module")
def brevitas_nn():
    reason = "the reference; pip install napari-qmedsam[qat]"
    return pytest.importorskip("brevitas.nn", reason=reason)


def reference(brevitas_nn, layer: nn.Module, bits: int, per_channel: bool):
    """The same layer made of Brevitas's parts, with the same tensors."""
    from brevitas import quant

    options = {
        "input_quant": quant.Int8ActPerTensorFloat,
        "weight_quant": quant.Int8WeightPerChannelFloat
        if per_channel
        else quant.Int8WeightPerTensorFloat,
        "input_bit_width": bits,
        "weight_bit_width": bits,
        "return_quant_tensor": False,
        "bias": layer.bias is not None,
    }
    if isinstance(layer, nn.Linear):
        made = brevitas_nn.QuantLinear(layer.in_features, layer.out_features, **options)
    else:
        kind = (
            brevitas_nn.QuantConvTranspose2d
            if isinstance(layer, nn.ConvTranspose2d)
            else brevitas_nn.QuantConv2d
        )
        made = kind(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            **options,
        )
    made.weight.data.copy_(layer.weight.data)
    if layer.bias is not None:
        made.bias.data.copy_(layer.bias.data)
    return made


LAYER_CASES = {
    "linear": (lambda: nn.Linear(24, 10), (2, 5, 24)),
    "convolution": (lambda: nn.Conv2d(6, 8, 3, 2, 1, bias=False), (2, 6, 9, 9)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 9, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 2, 2), (2, 6, 5, 5)),
}


def run(module: nn.Module, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """One training step's forward and backward: output, gradients of all inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = module(*leaves)
    output.backward(torch.linspace(-1, 2, output.numel()).view_as(output))
    return output.detach(), [x.grad for x in leaves]


def assert_same_steps(ours: nn.Module, theirs: nn.Module, shapes: list[tuple]) -> None:
    """Collect for 3 steps, learn for 3: outputs, gradients, scales stay equal."""
    generator = torch.Generator().manual_seed(1)
    ours.train(), theirs.train()
    optimisers = [
        torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (ours, theirs)
    ]
    for _ in range(6):
        inputs = [3 * torch.randn(shape, generator=generator) for shape in shapes]
        for optimiser in optimisers:
            optimiser.zero_grad()
        (a, to_a), (b, to_b) = run(ours, inputs), run(theirs, inputs)
        assert torch.equal(a, b)
        assert all(torch.equal(x, y) for x, y in zip(to_a, to_b, strict=True))
        theirs_by_name = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            assert torch.equal(parameter.grad, theirs_by_name[name].grad), name
        for optimiser in optimisers:
            optimiser.step()
    # Far outside the range: codes are cut off, and so are gradients.
    inputs = [30 * torch.randn(shape, generator=generator) for shape in shapes]
    (a, to_a), (b, to_b) = run(ours, inputs), run(theirs, inputs)
    assert torch.equal(a, b)
    assert all(torch.equal(x, y) for x, y in zip(to_a, to_b, strict=True))
    ours.eval(), theirs.eval()
    assert torch.equal(ours(*inputs), theirs(*inputs))
    state, expected = ours.state_dict(), theirs.state_dict()
    assert set(state) == set(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("case", LAYER_CASES)
def test_layers_equal_brevitas_bit_for_bit(brevitas_nn, case, bits, per_channel):
    torch.manual_seed(0)
    make, shape = LAYER_CASES[case]
    layer = make()
    theirs = reference(brevitas_nn, layer, bits, per_channel)
    for name, module in theirs.named_modules():
        if name.endswith("scaling_impl") and hasattr(module, "collect_stats_steps"):
            module.collect_stats_steps = 3
    ours = become(layer, LAYERS[type(layer)])
    ours.prepare(FakeQuantSettings(bits, bits, per_channel, statistics_steps=3))
    assert_same_steps(ours, theirs, [shape])


@pytest.mark.parametrize("bits", [8, 4])
def test_attention_equals_brevitas_bit_for_bit(brevitas_nn, bits):
    torch.manual_seed(0)
    float_attention = DownscalingAttention(16, 8, 2)
    layers = dict(float_attention.named_children())

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, reference(brevitas_nn, layer, bits, False))
            for name in ("act_q", "act_k", "act_attn", "act_v"):
                setattr(self, name, brevitas_nn.QuantIdentity(bit_width=bits))

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (
                getattr(self, f"{n}_proj")(x).unflatten(2, (2, 4)).transpose(1, 2)
                for n, x in (("q", q), ("k", k), ("v", v))
            )
            scores = self.act_q(q) @ self.act_k(k).transpose(2, 3) * 4**-0.5
            out = self.act_attn(scores.softmax(-1)) @ self.act_v(v)
            return self.out_proj(out.transpose(1, 2).flatten(2))

    theirs = Theirs()
    for module in theirs.modules():
        if hasattr(module, "collect_stats_steps"):
            module.collect_stats_steps = 3
    settings = FakeQuantSettings(bits, bits, statistics_steps=3)
    ours = become(float_attention, QuantDownscalingAttention)
    ours.prepare(settings)
    for name, layer in layers.items():
        quantized = become(layer, LAYERS[nn.Linear])
        quantized.prepare(settings)
        setattr(ours, name, quantized)
    assert_same_steps(ours, theirs, [(2, 3, 16), (2, 5, 16), (2, 5, 16)])


# By hand ---------------------------------------------------------------------


def test_codes_are_rounded_half_to_even_and_cut_off():
    quantizer = ActivationQuantizer(8, steps=1)
    quantizer.learned.set(128.0)  # the step is 1
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 126.6, 127.4, 300.0, -128.6, -300.0])
    expected = torch.tensor([0.0, 2, 2, 0, 127, 127, 127, -128, -128])
    assert torch.equal(quantizer(x), expected)


def test_four_bits_have_sixteen_levels_and_weights_fifteen():
    quantizer = ActivationQuantizer(4, steps=1)
    quantizer.learned.set(8.0)
    x = torch.linspace(-20, 20, 401)
    assert quantizer(x).unique().tolist() == list(range(-8, 8))
    weight = WeightQuantizer(4, per_channel=False)(torch.linspace(-7, 7, 141))
    assert weight.unique().tolist() == list(range(-7, 8))


def test_each_channel_has_its_own_weight_scale():
    weight = torch.tensor([[127.0, 1.4], [0.254, 0.0031]])
    both = WeightQuantizer(8, per_channel=True)
    assert torch.allclose(both(weight), torch.tensor([[127.0, 1], [0.254, 0.004]]))
    assert torch.equal(WeightQuantizer(8, False)(weight)[1], torch.zeros(2))


def test_gradient_flows_through_the_largest_weight():
    weight = torch.tensor([127.0, 10.25], requires_grad=True)
    WeightQuantizer(8, per_channel=False)(weight).sum().backward()
    # d/dW1 of round(W1 / s) s = 1; through s = W0 / 127 comes (10 - 10.25) / 127.
    assert torch.allclose(weight.grad, torch.tensor([1 - 0.25 / 127, 1.0]))


def test_zeros_stay_zeros():
    assert WeightQuantizer(8, False)(torch.zeros(3)).tolist() == [0, 0, 0]
    quantizer = ActivationQuantizer(8, steps=1).train()
    for _ in range(3):
        assert quantizer(torch.zeros(2, 5)).abs().max() == 0


@pytest.mark.parametrize("count", [1, 7, 4096, 49_999, 150_001, 2_000_003])
def test_magnitude_is_the_ranked_value(count):
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, generator=generator)
    rank = math.floor(0.99999 * count + 0.5)
    assert magnitude(x) == x.abs().sort()[0][rank - 1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cutting_into_blocks_changes_nothing(monkeypatch, layout):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 5, generator=generator).to(memory_format=layout)
    out = torch.randn(2, 3, 8, 5, generator=generator)
    results = []
    for block in (1 << 16, 7):
        monkeypatch.setattr(rounding, "BLOCK", block)
        quantizer = ActivationQuantizer(8, steps=1)
        quantizer.learned.set(1.5)
        leaf = x.clone().requires_grad_()
        y = quantizer(leaf)
        y.backward(out)
        results.append((y.detach(), leaf.grad, quantizer.learned.value.grad))
    whole, cut = results
    assert torch.equal(whole[0], cut[0])
    assert torch.equal(whole[1], cut[1])
    assert torch.allclose(whole[2], cut[2], rtol=1e-5)


def test_half_precision_in_half_precision_out():
    quantizer = ActivationQuantizer(8, steps=1)
    quantizer.learned.set(1.0)
    leaf = torch.randn(9, dtype=torch.bfloat16).requires_grad_()
    y = quantizer(leaf)
    y.float().sum().backward()
    assert y.dtype == leaf.grad.dtype == torch.bfloat16


# Whole models ----------------------------------------------------------------


def test_lite_medsam_has_the_185_scales_of_the_paper():
    model = fake_quantize(build_model("lite_medsam"), FakeQuantSettings())
    for _, quantizer in quantizers(model):
        quantizer.learned.set(1.0)
    added = set(model.state_dict()) - set(build_model("lite_medsam").state_dict())
    assert all(name.endswith(SCALE) for name in added)
    assert sum(name.startswith("image_encoder.") for name in added) == 109
    assert sum(name.startswith("mask_decoder.") for name in added) == 76
    assert not [name for name in added if "iou_prediction_head" in name]
    for name in (
        "image_encoder.patch_embed.seq.0.c.input_quant",
        "image_encoder.layers.1.blocks.0.attn.act_attn.act_quant",
        "image_encoder.neck.2.input_quant",
        "mask_decoder.transformer.layers.0.self_attn.act_q.act_quant",
        "mask_decoder.output_upscaling.3.input_quant",
        "mask_decoder.act_hyper_in.act_quant",
    ):
        assert name + SCALE in added


def test_of_two_activations_the_second_has_7_bits_where_weights_have(tiny_config):
    settings = FakeQuantSettings(weight_bit_width=7)
    model = fake_quantize(build_model(tiny_config), settings)
    bits = {name: quantizer.bit_width for name, quantizer in quantizers(model)}
    for name, width in bits.items():
        second = name.endswith(("act_k.act_quant", "act_v.act_quant"))
        assert width == (7 if second or "act_hyper_in" in name else 8), name
    assert bits["mask_decoder.act_embedding.act_quant"] == 8


def test_attention_by_row_keeps_the_tokens_that_look_everywhere():
    torch.manual_seed(0)
    plain = DownscalingAttention(32, 16, 2)
    q, k = torch.randn(1, 2, 2, 8), torch.randn(1, 2, 900, 8)
    v = torch.rand(1, 2, 900, 8)
    q[:, :, 0] *= 20  # looks at one pixel; the other at all of them
    wanted = plain.attend(q, k, v)
    errors = []
    for by_row in (False, True):
        quantized = become(DownscalingAttention(32, 16, 2), QuantDownscalingAttention)
        quantized.prepare(FakeQuantSettings(attention_by_row=by_row))
        off = (quantized.eval().attend(q, k, v) - wanted).norm(dim=-1)
        errors.append((off / wanted.norm(dim=-1)).amax((0, 1)))
    (sharp, everywhere), by_row = errors
    assert everywhere > 0.5  # a range for the sharp one rounds it to nothing
    assert by_row.max() < 0.02
    assert sharp < 0.1


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("groups", [1, 8], ids=["dense", "depthwise"])
def test_smoothed_convolutions_leave_small_channels_their_levels(groups, per_channel):
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, 3, groups=groups, padding=1, bias=False)
    x = torch.rand(2, 8, 12, 12)
    x[:, 0] *= 100
    wanted = plain(x)
    errors = []
    for smooth in (False, True):
        layer = become(copy.deepcopy(plain), QuantConv2d)
        settings = {"per_channel": per_channel, "smooth_convolutions": smooth}
        layer.prepare(FakeQuantSettings(**settings))
        model = nn.Sequential(layer).eval()
        smooth_convolutions(model, {"0.input_quant"}, lambda model=model: model(x))
        if smooth:
            exact = layer._conv_forward(x * layer.input_factor, layer.weight, None)
            assert torch.allclose(exact, wanted, rtol=1e-4, atol=1e-4)
        errors.append((model(x) - wanted)[:, 1:].square().mean())
    assert errors[1] < errors[0] / (50 if groups == 8 and per_channel else 2)


def test_smoothed_convolutions_travel_with_the_weights(tiny_config):
    settings = FakeQuantSettings(smooth_convolutions=True)
    model = ready(tiny_config, settings)
    factors = {n: b for n, b in model.state_dict().items() if "input_factor" in n}
    assert factors
    assert any((factor > 1).any() for factor in factors.values())
    other = fake_quantize(build_model(tiny_config), settings)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other(images(3), BOXES), model(images(3), BOXES))


@pytest.mark.parametrize("vit", [False, True], ids=["tiny_vit", "vit"])
def test_every_product_is_quantized_and_near_the_float_one(tiny_config, vit):
    config = TINY_VIT if vit else tiny_config
    torch.manual_seed(0)
    model = build_model(config)
    quantized = ready(config)
    products = [
        name
        for name, m in model.named_modules()
        if type(m) in LAYERS
        and not name.startswith("prompt_encoder")
        and "iou_prediction_head" not in name
    ]
    scales = [name for name, _ in quantizers(quantized)]
    assert {f"{name}.input_quant" for name in products} <= set(scales)
    errors = []
    # One slice tells little: which way a value at a code's border goes depends on
    # the processor, and random weights pass it on.
    for seed in range(9, 19):
        x = images(seed)
        with torch.no_grad():
            exact, rounded = model(x, BOXES), quantized(x, BOXES)
        assert not torch.equal(exact, rounded)
        error = (exact - rounded).norm() / (exact - exact.mean()).norm()
        errors.append(error.item())
    assert np.mean(errors) < 0.1


def test_float_tensors_keep_their_names_and_values(tiny_config):
    torch.manual_seed(0)
    state = build_model(tiny_config).state_dict()
    quantized = ready(tiny_config).state_dict()
    for name, value in state.items():
        assert torch.equal(quantized[name], value), name


def test_the_float_model_is_left_alone(tiny_config):
    model = build_model(tiny_config)
    with torch.no_grad():
        before = model(images(0), BOXES)
        fake_quantize(model, FakeQuantSettings())
        assert torch.equal(model(images(0), BOXES), before)
    assert model.fake_quant is None


def test_a_decoder_can_be_added_to_a_quantized_encoder(tiny_config):
    first = ready(tiny_config, FakeQuantSettings(decoder=False))
    assert {n.split(".")[0] for n, _ in quantizers(first)} == {"image_encoder"}
    known = {n: q.scale() for n, q in quantizers(first)}
    second = fake_quantize(first, FakeQuantSettings())
    collect_statistics(second, [(images(5), BOXES)])
    after = {n: q.scale() for n, q in quantizers(second)}
    assert {n: after[n] for n in known} == known
    assert {n.split(".")[0] for n in after} == {"image_encoder", "mask_decoder"}
    with pytest.raises(UnsupportedQuantization, match="already"):
        fake_quantize(second, FakeQuantSettings(weight_bit_width=4))
    with pytest.raises(UnsupportedQuantization, match="already"):
        fake_quantize(second, FakeQuantSettings(decoder=False))


def test_a_state_dict_brings_scales_along(tiny_config):
    model = ready(tiny_config)
    other = fake_quantize(build_model(tiny_config), FakeQuantSettings())
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = model(images(3), BOXES)
        assert torch.equal(other(images(3), BOXES), expected)
        other.train()
        for _, quantizer in quantizers(other):
            assert quantizer.learned.is_known


def test_training_moves_weights_and_scales(tiny_config):
    model = ready(tiny_config).train()
    before = {n: q.scale() for n, q in quantizers(model)}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = (model(images(0, 2), BOXES) - 1).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert {n for n, q in quantizers(model) if q.scale() != before[n]}
    unused = ("mlps.1.", "mlps.2.", "mlps.3.")  # masks that a box does not ask for
    for name, quantizer in quantizers(model):
        if not any(part in name for part in unused):
            assert quantizer.learned.value.grad != 0, name


def test_collecting_leaves_weights_and_norms_alone(tiny_config):
    model = fake_quantize(build_model(tiny_config), FakeQuantSettings()).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    collect_statistics(model, [(images(0), BOXES)])
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(after[n], v) for n, v in before.items())


class OneActivation(nn.Module):
    """Its images are what it rounds; the other quantizer sees nothing."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.used, self.idle = QuantIdentity(8, 1), QuantIdentity(8, 1)
        self.used.act_quant.learned.set(value)
        self.idle.act_quant.learned.set(value)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize("collected", [0.5, 1.0, 4.0])
def test_ranges_are_set_to_where_rounding_costs_least(collected):
    model, values = OneActivation(collected), torch.linspace(-1, 1, 999)
    names = {name for name, _ in quantizers(model)}
    _fit_others(model, names, [(values, BOXES)], lambda done: None)
    assert model.used.act_quant.learned.value.item() == pytest.approx(1.0)
    assert model.idle.act_quant.learned.value.item() == collected


def test_collecting_needs_a_fake_quantized_model_and_batches(tiny_config):
    with pytest.raises(CalibrationMismatch, match="not fake-quantized"):
        collect_statistics(build_model(tiny_config), [(images(0), BOXES)])
    with pytest.raises(CalibrationMismatch, match="nothing"):
        collect_statistics(
            fake_quantize(build_model(tiny_config), FakeQuantSettings()), []
        )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"weight_bit_width": 5}, "weight_bit_width 5"),
        ({"activation_bit_width": 2}, "activation_bit_width 2"),
        ({"encoder": False, "decoder": False}, "Quantize the encoder"),
        ({"statistics_steps": 0}, "at least 1"),
    ],
)
def test_settings_outside_their_range_are_refused(changes, match):
    with pytest.raises(InvalidSettings, match=match):
        FakeQuantSettings(**changes)


def test_settings_survive_the_model_card():
    settings = FakeQuantSettings(4, 8, per_channel=True, decoder=False)
    assert FakeQuantSettings.from_dict(settings.to_dict()) == settings
    for damaged in (None, {"bits": 8}, {"per_channel": 1}):
        with pytest.raises(InvalidSettings, match="damaged"):
            FakeQuantSettings.from_dict(damaged)
