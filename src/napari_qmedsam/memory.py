"""Memory that long work frees and asks for again."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``."""

USUAL = {
    M_MMAP_MAX: 65536,
    M_MMAP_THRESHOLD: 32 * 2**20,
    M_TRIM_THRESHOLD: 64 * 2**20,
}
"""What glibc comes to by itself in a process that has freed large arrays."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory in the process until the end; also a decorator.

    glibc gives large arrays back to the system at once, and gets every page of the
    next one anew: a quarter of the time of quantizing LiteMedSAM. It is given back at
    the end. Where there is no glibc, and in threads that have an arena of their own,
    nothing is changed.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    has_it = hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "malloc_trim")
    return libc if has_it else None
