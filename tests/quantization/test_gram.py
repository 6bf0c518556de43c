import pytest
import torch

from napari_qmedsam.errors import CalibrationMismatch
from napari_qmedsam.quantization import GramAccumulator


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
