"""One process, or several started by ``torchrun`` that train one model."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, as when the first one evaluates."""


@dataclass(frozen=True)
class Processes:
    """The place of this process among all that train together.

    Parameters
    ----------
    rank, count : int
    device : torch.device
        What this process computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True for the process that writes files and talks."""
        return self.rank == 0

    @property
    def has_bfloat16(self) -> bool:
        """Whether the device has instructions for bfloat16, which torch can imitate."""
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        # Not in every torch that is allowed.
        known: dict = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return the module so that its gradients are averaged over all."""
        if self.count == 1:
            return module
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[self.device.index] if on_gpu else None,
            # Tokens for points or several masks take no part in boxes.
            find_unused_parameters=True,
        )

    def any(self, flag: bool) -> bool:
        """Tell whether any process says so."""
        if self.count == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag))).item())

    def sum(self, values: Tensor) -> Tensor:
        """Add up values over all processes."""
        if self.count == 1:
            return values
        values = values.to(self.device)
        dist.all_reduce(values)
        return values.cpu()

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            dist.barrier()


def join_processes() -> Processes:
    """Join the group that ``torchrun`` started; alone without it.

    On GPUs the processes talk through nccl, on CPUs through gloo.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.set_float32_matmul_precision("high")  # where bfloat16 is not used
        torch.backends.cudnn.benchmark = True  # all batches are of one shape
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(0, 1, torch.device("cuda" if cuda else "cpu"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), count, device)


def leave_processes() -> None:
    """Leave the group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
