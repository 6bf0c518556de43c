"""The equations of Permutation-COMQ written down as printed, on X itself.

Slow on purpose: every step is one line of section 3.3. The tests hold the
solver against it, benchmarks/quantizer_speed.py races the two.
"""

import torch
from torch import Tensor


def first_scales(w: Tensor, b: int, lam: float = 1.0) -> tuple[Tensor, Tensor]:
    """δ⁰ of section 3.4 and z of section 2.2, per column of W (m, n)."""
    largest, smallest = w.max(dim=0).values, w.min(dim=0).values
    delta = (largest - smallest) / (2**b - 1)
    return lam * delta, torch.round(smallest / delta)


def visit_row(
    x: Tensor,
    w: Tensor,
    wq: Tensor,
    q: Tensor,
    u: Tensor,
    delta: Tensor,
    z: Tensor,
    b: int,
    i: int,
) -> None:
    """Eq. (4) for row i; changes W_q, Q and U = X (W - W_q) in place."""
    u -= torch.outer(x[:, i], w[i] - wq[i])
    target = (u + torch.outer(x[:, i], w[i])).T @ x[:, i]
    target /= delta * (x[:, i] @ x[:, i])
    q[i] = torch.clamp(torch.round(target), z, z + 2**b - 1)
    wq[i] = delta * q[i]
    u += torch.outer(x[:, i], w[i] - wq[i])


def comq_on_inputs(
    x: Tensor, w: Tensor, b: int, sweeps: int, lam: float = 1.0
) -> tuple[Tensor, Tensor, list[float]]:
    """Algorithm 1 without permutation: codes (m, n), δ (n,), objectives."""
    delta, z = first_scales(w, b, lam)
    wq, q, u = w.clone(), torch.zeros_like(w), torch.zeros_like(x @ w)
    objectives = []
    for _ in range(sweeps):
        for i in range(w.shape[0]):
            visit_row(x, w, wq, q, u, delta, z, b, i)
        xq, xw = x @ q, x @ w
        delta = (xq * xw).sum(dim=0) / (xq * xq).sum(dim=0)  # eq. (5)
        wq = delta * q
        u = x @ (w - wq)
        objectives.append(float((u * u).sum()))
    return q, delta, objectives
