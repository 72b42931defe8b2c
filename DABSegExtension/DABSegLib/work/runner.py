"""Runner: one piece of work, advanced step by step, that ends as done, failed or cancelled and never in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from DABSegCore.errors import InputError
from DABSegLib.process.messages import Failure, Fault, fault_of_bug, fault_of_error

T = TypeVar("T")

OnLog = Callable[[str, str], Any]
"""Told a level ("info", "warning" or "error") and a line."""

IDLE_S = 0.05
"""How long to wait before the next step where there is nothing to do but wait."""


@dataclass(frozen=True)
class Status:
    """How far a piece of work is.

    Args:
        stage: What is being done, for people.
        fraction: Of the whole work, in [0, 1]; None while that cannot be known.
        left_s: Seconds it still takes; None while that cannot be known.
        busy: Whether the next step should follow at once, rather than `IDLE_S` later.
    """

    stage: str
    fraction: float | None = None
    left_s: float | None = None
    busy: bool = False


Steps = Generator[Status, None, T]


class Cancelled(Exception):
    """Thrown into the steps of a work that is cancelled; they clean up, with as many steps as that takes."""


class Work(Generic[T]):
    """Steps on their way to a result.

    Whoever has an event loop calls `advance` until `finished`. Nothing is raised for what goes wrong: it is in
    `fault`. A cancelled work may need some more steps, until its process has ended; a closed one waits for that.

    Args:
        steps: Do one small piece between two yields, and return the result.
        on_log: Told what becomes of it.
    """

    def __init__(self, steps: Steps[T], on_log: OnLog = lambda level, line: None) -> None:
        self._steps = steps
        self._on_log = on_log
        self._wish: Callable[[], Status] | None = None
        self._cancelled = False
        self._stepping = False
        self.outcome: Literal["running", "done", "failed", "cancelled"] = "running"
        self.status = Status("Waiting", 0.0, busy=True)
        self.result: T | None = None
        self.fault: Fault | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.outcome != "running"

    def advance(self) -> Status:
        """Do one step, unless finished or in the middle of one (an event loop within a step); never raises."""
        self._step()
        return self.status

    def cancel(self) -> None:
        """Stop, leaving no trace; go on calling `advance` until finished, which is soon. Does nothing when finished."""
        if not self._cancelled:
            self._cancelled = True
            self._wish = lambda: self._steps.throw(Cancelled())
            self._step()

    def close(self) -> None:
        """Stop at once, leaving no trace: when this returns the process has ended."""
        self._wish = self._close
        self._step()

    def _close(self) -> Status:
        self._steps.close()
        raise Cancelled

    def _step(self) -> None:
        """Take a step, the last wanted one if there is a wish to stop, and note how it ended."""
        while not (self.finished or self._stepping):
            step, self._wish = self._wish or partial(next, self._steps), None
            self._stepping = True
            try:
                self._take(step)
            finally:
                self._stepping = False
            if self._wish is None:
                break

    def _take(self, step: Callable[[], Status]) -> None:
        try:
            self.status = step()
        except StopIteration as end:
            self.result = end.value
            self._end("done", Status("Done", 1.0, 0.0))
        except Cancelled:
            self._end("cancelled", Status("Cancelled"))
        except Failure as failure:
            self._fail(failure.fault)
        except InputError as error:
            self._fail(fault_of_error(error))
        except Exception as bug:  # ours; the panel shows its traceback instead of losing it in a timer
            self._fail(fault_of_bug(bug))

    def _fail(self, fault: Fault) -> None:
        self.fault = fault
        self._on_log("error", fault.cause)
        self._end("failed", Status("Failed"))

    def _end(self, outcome: Literal["done", "failed", "cancelled"], status: Status) -> None:
        self.outcome, self.status = outcome, status


def run_to_end(work: Work[T]) -> T:
    """Do all of a piece of work now, for scripts, which have no event loop to keep waiting.

    Raises:
        InputError: If it fails, with its cause and cure.
    """
    while not work.finished:
        if not work.advance().busy:
            time.sleep(IDLE_S)
    if work.fault is not None:
        text = " ".join(filter(None, (work.fault.cause, work.fault.cure)))
        raise InputError(text if work.fault.code != "bug" else f"{text}\n{work.fault.log}", work.fault.code)
    if work.outcome == "cancelled":
        raise InputError("the work was cancelled; start it again", code="cancelled")
    return work.result  # type: ignore[return-value]
