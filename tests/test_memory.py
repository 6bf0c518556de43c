"""Memory that is kept while long work lasts."""

import sys
import threading

import numpy as np
import pytest

from napari_qmedsam.memory import freed_memory_kept

resource = pytest.importorskip("resource")
LARGE = 48 * 2**20
"""Bytes above which glibc never keeps what is freed by itself."""


def faults() -> int:
    """Pages fetched for arrays that are made and dropped, twenty times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(LARGE, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_pages_are_fetched_once_and_given_back():
    before = faults()
    with freed_memory_kept():
        faults()  # the first array is new here too
        inside = faults()
    assert inside < before / 4
    assert faults() > before / 2


def test_it_ends_with_an_error_and_serves_threads():
    sums = []

    @freed_memory_kept()
    def work() -> None:
        sums.append(int(np.ones(LARGE, np.uint8).sum(dtype=np.int64)))
        raise ValueError("enough")

    def run() -> None:
        with pytest.raises(ValueError, match="enough"):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    run()
    assert sums == [LARGE, LARGE]
