import pytest
import torch

from napari_qmedsam.errors import CalibrationMismatch
from napari_qmedsam.quantization import GramAccumulator, quantize_weight
from napari_qmedsam.quantization.gram import damped


def test_batches_add_up_to_the_gram_matrix():
    inputs = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    gram = GramAccumulator(5)
    for batch in inputs:
        gram.add(batch)
    flat = inputs.reshape(-1, 5).double()
    assert gram.rows == 21
    assert gram.matrix.dtype == torch.float64
    torch.testing.assert_close(gram.matrix, flat.T @ flat, rtol=1e-5, atol=1e-5)


def test_groups_have_gram_matrices_of_their_own():
    inputs = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
    gram = GramAccumulator(3, groups=4)
    gram.add(inputs)
    assert gram.rows == 9
    expected = inputs.double().transpose(1, 2) @ inputs.double()
    torch.testing.assert_close(gram.matrix, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_bad_inputs_are_refused_and_leave_no_trace(value):
    gram = GramAccumulator(2)
    with pytest.raises(CalibrationMismatch, match="finite"):
        gram.add(torch.full((3, 2), value))
    with pytest.raises(CalibrationMismatch, match="shape"):
        gram.add(torch.ones(3, 4))
    assert gram.rows == 0
    assert not gram.matrix.any()


def test_damping_adds_a_share_of_the_mean_energy_to_each_input():
    gram = torch.tensor([[4.0, 1.0], [1.0, 2.0]])
    assert torch.equal(damped(gram, 0.1), torch.tensor([[4.3, 1.0], [1.0, 2.3]]))
    assert damped(gram, 0) is gram


def test_damping_is_each_groups_own():
    gram = torch.stack([torch.eye(3), 10 * torch.eye(3)])
    assert torch.allclose(damped(gram, 0.5), 1.5 * gram)


def test_damping_keeps_weights_near_where_calibration_says_little():
    torch.manual_seed(0)
    weight, inputs = torch.randn(16, 32), torch.randn(4, 32)  # 28 free directions
    gram = (inputs.T @ inputs).double()
    plain, kept = (
        (quantize_weight(weight, g, method="comq", bit_width=4).dequantize() - weight)
        for g in (gram, damped(gram, 1.0))
    )
    assert kept.norm() < 0.8 * plain.norm()


def test_a_sample_stands_for_all_rows():
    inputs = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    gram = GramAccumulator(4)
    gram.add(inputs[:100], count=1000)
    sample = inputs[:100].double()
    torch.testing.assert_close(
        gram.matrix, 10 * sample.T @ sample, rtol=1e-5, atol=1e-4
    )
    assert gram.rows == 100
