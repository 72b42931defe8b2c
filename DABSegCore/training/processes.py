"""Processes: one training in several of them, as `torchrun` starts them; with a single one, nothing happens here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from DABSegCore.devices import resolve_device
from DABSegCore.errors import InputError

PATIENCE = timedelta(hours=1)
"""How long processes wait for one that still reads cases or validates; `torchrun` ends them at once if one dies."""


@dataclass(frozen=True)
class Processes:
    """This process among those that share a training.

    Attributes:
        device: What it computes on.
        rank: Its number; 0 writes the files and talks.
        size: How many there are.
        here: How many of them are on this machine.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    here: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def places(self, batch: int, parts: int) -> list[list[int]]:
        """Places of a step's patches that this process makes, by part.

        Part p holds the places p * batch / parts and on, whatever the number of processes, so that Dice over a part
        is the same number with one process as with many.

        Raises:
            InputError: If the batch does not divide.
        """
        if batch % (parts * self.size):
            raise InputError(
                f"--batch {batch} must divide by {self.size} processes times --accumulate {parts}; change one",
                code="bad-argument",
            )
        share = batch // parts // self.size
        return [[p * (batch // parts) + self.rank * share + i for i in range(share)] for p in range(parts)]

    def total(self, sums: Tensor) -> Tensor:
        """Sums over all processes, differentiable: every process must turn them into the same loss."""
        return _Total.apply(sums, self.size) if self.size > 1 else sums

    def mean(self, value: Tensor) -> Tensor:
        """Mean over all processes, for the log."""
        if self.size == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.size

    def largest(self, value: Tensor) -> Tensor:
        """Largest over all processes, element by element."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value

    def agree(self, elapsed_s: float, stop: bool) -> tuple[float, bool]:
        """One clock and one decision for all: the slowest clock, and to stop if any process wants to."""
        if self.size == 1:
            return elapsed_s, stop
        said = torch.tensor([elapsed_s, float(stop)], dtype=torch.float64, device=self.device)
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return said[0].item(), bool(said[1])

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, by rank, known to all."""
        items: list[Any] = [item]
        if self.size > 1:
            items = [None] * self.size
            dist.all_gather_object(items, item)
        return items

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network with gradients averaged over processes.

        On GPUs BatchNorm, which only `paper` has, counts all processes' patches; on CPUs torch cannot.
        """
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # Its copy of a 1x1x1 kernel names other strides for edges of one voxel, which makes no difference.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)


class _Total(torch.autograd.Function):
    """Sum over processes. Every process computes the same loss of it, and gradients are averaged over processes later,
    so the gradient is multiplied by their number to come out as of one loss."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, size: int) -> Tensor:
        ctx.size = size
        sums = sums.clone()
        dist.all_reduce(sums)
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.size, None


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the others where `torchrun` started several, and leave them in the end.

    Args:
        device: As for `resolve_device`; each process on a machine with several GPUs takes the one of its local rank.

    Raises:
        InputError: If the device is absent or one for all, there are fewer GPUs than processes on this machine, or it
            was not `torchrun` that started them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        place = resolve_device(device)
        if place.type == "cuda":
            torch.cuda.set_device(place)  # streams and counts of memory are those of the current device
        yield Processes(place)
        return
    if "LOCAL_RANK" not in os.environ:
        raise InputError(
            f"WORLD_SIZE says {size} processes, but LOCAL_RANK is not set; start them by torchrun, or unset WORLD_SIZE",
            code="bad-argument",
        )
    local = int(os.environ["LOCAL_RANK"])
    if device.startswith("cuda:"):
        raise InputError(
            f"--device {device} is one GPU for {size} processes; use --device cuda, where each takes its own",
            code="bad-argument",
        )
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if torch.cuda.device_count() <= local:
            raise InputError(
                f"process {local} of this machine has no GPU of its own, as there are {torch.cuda.device_count()}; "
                "start fewer with --nproc-per-node, or use --device cpu",
                code="no-device",
            )
        device = f"cuda:{local}"
    place = resolve_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    yield Processes(place, dist.get_rank(), dist.get_world_size(), here)
    dist.destroy_process_group()  # not after a fault: nccl may wait there for the others, and the fault go untold
