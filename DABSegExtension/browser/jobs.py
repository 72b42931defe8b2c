"""Jobs: the tasks of a session, one after the other, the heavy ones in the session's turn only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from DABSegLib.process.messages import Fault
from DABSegLib.work.runner import Status, Steps, Work


class Turns(Protocol):
    """The queue for heavy work over all sessions, as the gateway keeps it."""

    def want(self) -> None:
        """Ask for a turn; does nothing when one was asked for."""

    def end(self) -> None:
        """Give the turn back, or leave the queue."""

    def is_mine(self) -> bool:
        """Whether it is this session's turn."""

    def ahead(self) -> int:
        """How many are before this session."""


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Args:
        doing: What, as in `Snapshot.doing`.
        steps: Makes the steps, once it is begun; their last one changes what the session is.
        heavy: Whether it needs the session's turn.
        same_turn: Whether it goes on in the turn of the task before it, if there is one.
        low: Where in the progress of the whole it begins.
        high: Where it ends.
        title: Before the stage it is in, as "Level 2 of 4"; "" for nothing.
    """

    doing: str
    steps: Callable[[], Steps[Any]]
    heavy: bool = False
    same_turn: bool = False
    low: float = 0.0
    high: float = 1.0
    title: str = ""


class Jobs:
    """Does tasks one step at a time; a task that fails or is cancelled takes those after it along.

    Args:
        turns: The queue for heavy work.
        on_change: Called when a task begins or ends.
        on_fault: Told why a task failed.
    """

    def __init__(self, turns: Turns, on_change: Callable[[], None], on_fault: Callable[[Fault], None]) -> None:
        self._turns, self._on_change, self._on_fault = turns, on_change, on_fault
        self._tasks: list[Task] = []
        self._work: Work[Any] | None = None
        self._task: Task | None = None
        self._in_queue = False
        self._next: list[Task] = []
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether something is being done or waits."""
        return bool(self._task or self._tasks or self._next)

    @property
    def doing(self) -> str:
        """What is being done, or waits."""
        waiting = self._tasks or self._next
        return self._task.doing if self._task else waiting[0].doing if waiting else ""

    @property
    def ahead(self) -> int | None:
        """How many are before this session; None where it does not wait for its turn."""
        waits = self._task is None and bool(self._tasks) and self._tasks[0].heavy and self._in_queue
        return self._turns.ahead() if waits and not self._turns.is_mine() else None

    @property
    def status(self) -> Status:
        """How far the whole is; `Status("")` where nothing is done."""
        if self._task is None:
            return Status(self._waiting(), self._tasks[0].low if self._tasks else None)
        task, status = self._task, self._work.status
        fraction = None if status.fraction is None else task.low + (task.high - task.low) * status.fraction
        stage = "Starting" if status.stage == "Waiting" else status.stage  # as a work is before its first step
        stage = f"{task.title}: {stage[:1].lower()}{stage[1:]}" if task.title else stage
        return Status(stage, fraction, None if task.title else status.left_s, status.busy)

    def start(self, tasks: Sequence[Task]) -> None:
        """Do these; what is being done is cancelled first."""
        if self._closed:
            return
        self._next = list(tasks)
        if self._task is not None or self._tasks:
            self._stop()
        self._promote()
        self._on_change()

    def cancel(self) -> None:
        """Stop; a process may take some more ticks to end."""
        self._next = []
        self._stop()
        self._promote()
        self._on_change()

    def close(self) -> None:
        """Stop at once; when this returns no process is left."""
        self._closed = True
        self._tasks, self._next = [], []
        if self._work is not None:
            self._work.close()
        self._work = self._task = None
        self._leave_queue()

    def tick(self) -> bool:
        """Do one step; True if the next should follow at once."""
        if self._task is None:
            return self._begin()
        work = self._work
        work.advance()
        if self._work is not work:  # a step may have closed all
            return False
        if not work.finished:
            return work.status.busy
        self._end(work)
        return self.busy

    def _begin(self) -> bool:
        """Begin the next task, if there is one and it may."""
        if not self._tasks:
            return False
        task = self._tasks[0]
        if task.heavy and not (self._in_queue and self._turns.is_mine()):
            if not self._in_queue:
                self._turns.want()
                self._in_queue = True
                self._on_change()
            return self._turns.is_mine()
        self._task = self._tasks.pop(0)
        self._work = Work(self._task.steps())
        self._on_change()
        return True

    def _end(self, work: Work[Any]) -> None:
        """A task is over; give the turn back unless the next goes on in it."""
        self._work = self._task = None
        if work.outcome != "done":
            self._tasks = []
        if not (self._tasks and self._tasks[0].same_turn):
            self._leave_queue()
        if work.fault is not None:
            self._on_fault(work.fault)
        self._promote()
        self._on_change()

    def _stop(self) -> None:
        self._tasks = []
        work = self._work
        if work is None:
            self._leave_queue()
            return
        work.cancel()
        if work.finished and self._work is work:  # else a process has to end first
            self._end(work)

    def _promote(self) -> None:
        """Let what was asked for last begin, once nothing else is done."""
        if self._task is None and not self._tasks:
            self._tasks, self._next = self._next, []

    def _leave_queue(self) -> None:
        if self._in_queue:
            self._in_queue = False
            self._turns.end()

    def _waiting(self) -> str:
        ahead = self.ahead
        if ahead is None:
            return "Starting" if self._tasks else ""
        if ahead == 0:
            return "Next in the queue"
        return f"Waiting for {ahead} {'other' if ahead == 1 else 'others'}"
