import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny layers are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def comq_on_inputs() -> Callable:
    """The paper's equations as printed; tests cannot import one another."""
    return runpy.run_path(str(Path(__file__).with_name("transcription.py")))[
        "comq_on_inputs"
    ]


@pytest.fixture
def layer() -> Callable:
    """Return a seeded layer: weight (out, in), inputs (rows, in), both float64."""

    def make(out: int, m: int, seed: int = 0, rows: int = 120) -> tuple:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        weight = 0.1 * normal(out, m) * torch.exp(0.5 * normal(1, m))
        mixing = torch.eye(m, dtype=torch.float64) + 0.3 * normal(m, m)
        return weight, normal(rows, m) @ mixing

    return make
