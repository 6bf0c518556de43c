"""Whole numbers of 1 to 16 bits, packed without gaps into bytes.

Low bits first, as OpenVINO packs its 4-bit and 2-bit constants: number k
occupies bits ``k * bits`` to ``(k + 1) * bits - 1`` of the stream, and bit t of
the stream is bit ``t % 8`` of byte ``t // 8``. Unused bits of the last byte
are 0.
"""

import torch
from torch import Tensor

from napari_qmedsam.errors import BadCheckpoint, UnsupportedQuantization

LARGEST_WIDTH = 16
"""Most bits a packed number may have."""

CHUNK = 1 << 19
"""Numbers unpacked at a time; a multiple of 8, so that chunks end on bytes."""


def packed_size(count: int, bits: int) -> int:
    """Return how many bytes `count` numbers of `bits` bits take."""
    return -(-count * bits // 8)


def bits_for(largest: int) -> int:
    """Return how many bits the numbers 0 to `largest` need; 0 for 0 alone."""
    return int(largest).bit_length()


def pack(values: Tensor, bits: int) -> Tensor:
    """Pack whole numbers into bytes.

    Parameters
    ----------
    values : Tensor, any shape, integer
        Each from 0 to ``2**bits - 1``; read in row-major order.
    bits : int
        1 to 16.

    Returns
    -------
    Tensor, (ceil(count * bits / 8),) uint8
        On the CPU.

    Raises
    ------
    UnsupportedQuantization
        If a value does not fit, or `bits` is out of range.
    """
    _check_width(bits)
    flat = values.detach().reshape(-1).cpu().to(torch.int32)
    if flat.numel() and not (int(flat.min()) >= 0 and int(flat.max()) < 2**bits):
        raise UnsupportedQuantization(
            f"Values from {int(flat.min())} to {int(flat.max())} do not fit "
            f"{bits} bits (0 to {2**bits - 1})."
        )
    packed = torch.zeros(packed_size(flat.numel(), bits), dtype=torch.uint8)
    for start in range(0, flat.numel(), CHUNK):
        part = _pack_chunk(flat[start : start + CHUNK], bits)
        first = start * bits // 8
        packed[first : first + part.numel()] = part
    return packed


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the `count` numbers that :func:`pack` stored.

    Parameters
    ----------
    packed : Tensor, (ceil(count * bits / 8),) uint8
    bits : int
        1 to 16.
    count : int

    Returns
    -------
    Tensor, (count,)
        uint8 up to 8 bits, int32 above.

    Raises
    ------
    BadCheckpoint
        If `packed` has another size or dtype, or bits beyond the last number.
    UnsupportedQuantization
        If `bits` is out of range.
    """
    _check_width(bits)
    size = packed_size(count, bits)
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (size,):
        raise BadCheckpoint(
            f"Expected {size} packed bytes for {count} numbers of {bits} bits, got "
            f"{tuple(packed.shape)} of {packed.dtype}. The file is damaged."
        )
    used = count * bits % 8
    if used and int(packed[-1]) >> used:
        raise BadCheckpoint(
            f"{count} packed numbers of {bits} bits are followed by bits that are "
            "not 0. The file is damaged."
        )
    dtype = torch.uint8 if bits <= 8 else torch.int32
    values = torch.empty(count, dtype=dtype)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        part = packed[start * bits // 8 : packed_size(stop, bits)].cpu()
        values[start:stop] = _unpack_chunk(part, bits, stop - start).to(dtype)
    return values


def _pack_chunk(values: Tensor, bits: int) -> Tensor:
    """Pack 8 numbers into `bits` bytes at a time, all octets at once."""
    padded = torch.nn.functional.pad(values, (0, -values.numel() % 8))
    octets = padded.reshape(-1, 8)
    words = torch.zeros(octets.shape[0], bits, dtype=torch.int32)
    for k in range(8):
        # Number k of an octet starts at this bit; it touches up to 3 bytes.
        byte, offset = divmod(k * bits, 8)
        shifted = octets[:, k] << offset
        while byte * 8 < (k + 1) * bits:
            words[:, byte] |= shifted & 0xFF
            shifted = shifted >> 8
            byte += 1
    return words.to(torch.uint8).reshape(-1)[: packed_size(values.numel(), bits)]


def _unpack_chunk(packed: Tensor, bits: int, count: int) -> Tensor:
    """Undo :func:`_pack_chunk`."""
    padded = torch.nn.functional.pad(packed, (0, -packed.numel() % bits))
    words = padded.reshape(-1, bits).to(torch.int32)
    octets = torch.zeros(words.shape[0], 8, dtype=torch.int32)
    for k in range(8):
        byte, offset = divmod(k * bits, 8)
        value, place = words[:, byte] >> offset, 8 - offset
        while place < bits:
            byte += 1
            value = value | (words[:, byte] << place)
            place += 8
        octets[:, k] = value & (2**bits - 1)
    return octets.reshape(-1)[:count]


def _check_width(bits: int) -> None:
    if not 1 <= bits <= LARGEST_WIDTH:
        raise UnsupportedQuantization(
            f"Cannot pack numbers of {bits} bits; 1 to {LARGEST_WIDTH} are possible."
        )
