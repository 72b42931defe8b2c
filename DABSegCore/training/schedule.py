"""Schedule: how far a run is, and the learning rate and region weights that go with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from DABSegCore.training.config import TrainConfig


@dataclass
class Clock:
    """Wall-clock time of a run over all its sittings, reading and validating included.

    Attributes:
        banked_s: What earlier sittings took.
        now: Source of seconds.
    """

    banked_s: float = 0.0
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def sitting_s(self) -> float:
        """Seconds of this sitting."""
        return self.now() - self._started

    @property
    def elapsed_s(self) -> float:
        """Seconds of all sittings."""
        return self.banked_s + self.sitting_s


@dataclass(frozen=True)
class Schedule:
    """The plan of a run.

    Attributes:
        config: Its length is in steps or in minutes.
        steps: Length in steps, None where it is in minutes.
    """

    config: TrainConfig
    steps: int | None

    @staticmethod
    def of(config: TrainConfig, cases: int) -> Schedule:
        """The schedule for that many training cases."""
        if config.epochs is not None:
            return Schedule(config, max(1, round(config.epochs * cases / config.batch)))
        return Schedule(config, config.steps)

    def share(self, step: int, elapsed_s: float) -> float:
        """How much of the schedule is done before a step, in [0, 1]."""
        done = step / self.steps if self.steps else elapsed_s / (60 * self.config.total_minutes)
        return min(done, 1.0)

    def left_s(self, elapsed_s: float) -> float:
        """Seconds still to go in a schedule of minutes."""
        return max(0.0, 60 * self.config.total_minutes - elapsed_s)

    def is_late(self, share: float) -> bool:
        """Whether the late region weights hold (the paper's "after the network training stabilizes")."""
        return self.config.late_from <= share < 1

    def learning_rate(self, step: int, share: float) -> float:
        """Linear warm-up, then a cosine; a second cosine from `late_from` on, as the paper's fine-tuning has."""
        config = self.config
        late = config.late_from
        phase = (share - late) / (1 - late) if self.is_late(share) else share / late if late > 0 else share
        warm = min((step + 1) / config.warm_up_steps, 1.0) if config.warm_up_steps else 1.0
        low = config.last_learning_rate
        return warm * (low + (config.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * min(phase, 1.0))))
