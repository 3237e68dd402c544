"""Several processes, on one machine or many, that take the very step one process would take.

Started by torchrun. Every process sees its share of a step's pairs; what the network answers is gathered before the
loss is taken, because the loss ranks pairs and weighs whole batches, and batch norms share their statistics. So the
loss and its gradient are those of the whole batch, not a mean over shares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

Precision = Literal["auto", "bf16", "fp32"]
_PATIENCE = timedelta(hours=2)  # one process may validate, or make crops, while others wait


@dataclass(frozen=True, slots=True)
class Place:
    """Which process this is.

    Attributes:
        rank: its number among all.
        world: how many there are.
        device: what it computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def computes_in_bf16(self, precision: Precision) -> bool:
        """Whether to compute in bfloat16 where that does no harm: with `auto` if the processor can do so by itself."""
        if precision != "auto":
            return precision == "bf16"
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no other way to ask


@contextmanager
def processes(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Place]:
    """This process's place: as torchrun says, over NCCL on GPUs and Gloo on CPUs; alone otherwise.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but PyTorch finds no GPU; use device=auto or device=cpu")
    cuda = torch.cuda.is_available() and device != "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(local)
    if world == 1:
        yield Place(0, 1, local)
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Place(dist.get_rank(), world, local)
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def said_by_leader(value: Any) -> Any:  # noqa: ANN401 - whatever it says
    """What the first process holds, in all of them."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def together(x: Tensor) -> Tensor:
    """All processes' rows, (N, ...) -> (world * N, ...); only this one's carry a gradient.

    The gradients that the processes get from the same loss are then its parts, to be added up.
    """
    if world_size() == 1:
        return x
    local = x.float().contiguous()
    rows = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(rows, local.detach())
    rows[dist.get_rank()] = local
    return torch.cat(rows)


def shared(term: Tensor) -> Tensor:
    """A term of the loss that every process computes whole: its gradients, added up, count it once."""
    return term.detach() + (term - term.detach()) / world_size()


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - the context, which is not needed
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes' rows, on a CPU too, where `nn.SyncBatchNorm` does not run.

    Shares are of equal size. The variance is taken around the common mean, in single precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        if not self.training:
            return super().forward(x)
        world, values = world_size(), x.float()
        mean: Tensor = _Sum.apply(values.mean((0, 2, 3))) / world
        centred = values - mean[:, None, None]
        variance: Tensor = _Sum.apply(centred.square().mean((0, 2, 3))) / world
        self._keep(mean.detach(), variance.detach(), world * x.numel() // x.shape[1])
        scaled = centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return (scaled + self.bias[:, None, None]).to(x.dtype)

    def _keep(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Renew the running statistics, the variance without bias."""
        momentum = 0.1 if self.momentum is None else self.momentum
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def sync_norms(network: nn.Module, place: Place) -> None:
    """Make every batch norm share its statistics, in place; state and names stay as they are."""
    if place.world == 1:
        return
    if place.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            # the same module with another forward: parameters stay those that the optimizer holds
            module.__class__ = SyncedBatchNorm
