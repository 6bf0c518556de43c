import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_qmedsam.checkpoints.packed import packing
from napari_qmedsam.checkpoints.packed.packing import (
    bits_for,
    pack,
    packed_size,
    unpack,
)
from napari_qmedsam.errors import BadCheckpoint, UnsupportedQuantization


@settings(max_examples=200, deadline=None)
@given(bits=st.integers(1, 16), count=st.integers(0, 70), seed=st.integers(0, 99))
def test_unpacking_undoes_packing(bits, count, seed):
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**bits, count))
    packed = pack(values, bits)
    assert packed.dtype == torch.uint8
    assert packed.numel() == packed_size(count, bits) == -(-count * bits // 8)
    assert torch.equal(unpack(packed, bits, count).long(), values)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 11])
def test_the_stream_is_that_of_numpy_low_bits_first(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, 101)
    stream = (values[:, None] >> np.arange(bits)) & 1
    expected = np.packbits(stream.reshape(-1).astype(np.uint8), bitorder="little")
    assert pack(torch.from_numpy(values), bits).numpy().tolist() == expected.tolist()


def test_three_bits_by_hand():
    # 1, 2, 3 -> 001, 010, 011 from the low end: 0b11010001, 0.
    assert pack(torch.tensor([1, 2, 3]), 3).tolist() == [0b11010001, 0]


def test_four_bits_put_the_first_number_low():
    assert pack(torch.tensor([0x3, 0xA]), 4).tolist() == [0xA3]


def test_chunks_join_without_a_seam(monkeypatch):
    values = torch.arange(100) % 8
    whole = pack(values, 3)
    monkeypatch.setattr(packing, "CHUNK", 16)
    assert torch.equal(pack(values, 3), whole)
    assert torch.equal(unpack(whole, 3, 100).long(), values)


def test_bits_for_the_largest_value():
    assert [bits_for(n) for n in (0, 1, 3, 4, 255, 256)] == [0, 1, 2, 3, 8, 9]


@pytest.mark.parametrize("values", [[4], [-1]])
def test_values_that_do_not_fit_are_refused(values):
    with pytest.raises(UnsupportedQuantization, match="do not fit 2 bits"):
        pack(torch.tensor(values), 2)


@pytest.mark.parametrize("bits", [0, 17])
def test_widths_out_of_range_are_refused(bits):
    with pytest.raises(UnsupportedQuantization, match="1 to 16"):
        pack(torch.zeros(1), bits)


def test_damaged_bytes_are_refused():
    packed = pack(torch.tensor([1, 2, 3]), 3)
    with pytest.raises(BadCheckpoint, match="Expected 2 packed bytes"):
        unpack(packed[:1], 3, 3)
    packed[-1] = 0x80
    with pytest.raises(BadCheckpoint, match="not 0"):
        unpack(packed, 3, 3)
