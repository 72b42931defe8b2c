"""Meter: rows of the log, which are means over the steps since the row before, and where their time went."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from DABSegCore.labels import REGIONS
from DABSegCore.training.run import Run
from DABSegCore.training.stream import Prefetched


class Meter:
    """Means over the steps since the last reading, and where their time went.

    Args:
        run: Where learning rate, clock and device are known.
        patches: Where waiting for data is counted.
    """

    def __init__(self, run: Run, patches: Prefetched) -> None:
        self.run, self.patches = run, patches
        self._began, self._waited = time.perf_counter(), patches.waited_s
        self._steps, self._paused = 0, 0.0

    def add(self, log: dict[str, Tensor]) -> None:
        """Count one step."""
        self._steps += 1
        self.run.pending.append(log)

    def pause(self) -> None:
        """Stop the watch while something else is done."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        """Let the watch run again."""
        self._began += time.perf_counter() - self._paused

    def read(self) -> dict[str, float]:
        """The row of the log; begins anew."""
        run = self.run
        mean = {name: torch.stack([log[name] for log in run.pending]).mean(0) for name in run.pending[0]}
        mean = {name: run.processes.mean(value) for name, value in mean.items()}
        now, waited = time.perf_counter(), self.patches.waited_s
        spent = max(now - self._began, 1e-9)
        row = {
            "seconds": run.clock.elapsed_s,
            "learning_rate": run.optimiser.param_groups[0]["lr"],
            **{name: mean[name].item() for name in ("loss", "seg", "rec", "feat") if name in mean},
            **{f"dice_{region}": value for region, value in zip(REGIONS, mean["dice"].tolist(), strict=True)},
            "gain_db": mean["gain_db"].item(),
            "it_s": self._steps / spent,
            "wait_share": min(1.0, (waited - self._waited) / spent),
            "grad_norm": mean["grad_norm"].item(),
            "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if run.device.type == "cuda" else 0.0,
        }
        run.pending, self._steps, self._began, self._waited = [], 0, now, waited
        return row
