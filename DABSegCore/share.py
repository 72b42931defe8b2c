"""Share: the cases of a folder divided among processes, as `torchrun` starts them; with a single one, nothing happens.

    torchrun --nproc-per-node=8 -m DABSegCore.segment --data CASES --out RESULTS

Cases know nothing of each other, so processes only meet in the end, to tell the first of them what became of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from DABSegCore.errors import InputError

PATIENCE = timedelta(days=7)
"""How long a process that is through waits for the others; `torchrun` ends all at once if one dies."""

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """This process among those that divide the cases.

    Attributes:
        rank: Its number; 0 writes the table and talks.
        size: How many there are.
        local: Its number among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that talks."""
        return self.rank == 0

    def owns(self, number: int) -> bool:
        """Whether the case of that number is this process's."""
        return number % self.size == self.rank

    def mode(self, asked: str) -> str:
        """How this process reports its progress: one bar on a terminal is enough."""
        return "quiet" if asked == "bar" and not self.leads else asked

    def device(self, name: str) -> str:
        """The device for this process: GPUs are dealt out in turn, and may be shared, since cases take CPU time, too.

        Args:
            name: As for `devices.resolve_device`.

        Raises:
            InputError: If one GPU is named for all.
        """
        if self.size > 1 and name.startswith("cuda:"):
            raise InputError(
                f"--device {name} is one GPU for {self.size} processes; use --device cuda, which deals them out",
                code="bad-argument",
            )
        if self.size == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{self.local % count}" if count else name

    def gather(self, items: list[T]) -> list[list[T]]:
        """Every process's items, by rank; waits for all of them."""
        if self.size == 1:
            return [items]
        import torch.distributed as dist

        found: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, items)
        return found


@contextmanager
def shared() -> Iterator[Share]:
    """Join the other processes where `torchrun` started several, and leave them in the end.

    Raises:
        InputError: If it was not `torchrun` that started them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Share()
        return
    if "LOCAL_RANK" not in os.environ:
        raise InputError(
            f"WORLD_SIZE says {size} processes, but LOCAL_RANK is not set; start them by torchrun, or unset WORLD_SIZE",
            code="bad-argument",
        )
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Share(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()
