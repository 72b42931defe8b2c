"""Follow: a child process from start to end, as steps that tell how far it is."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DABSegCore.errors import InputError
from DABSegLib.process.job import Job
from DABSegLib.process.messages import Failure, fault_of_child, readable
from DABSegLib.work.runner import Cancelled, OnLog, Status, Steps

CREEP_S = 3.0
"""A stage that does not say how long it takes is two thirds done after this, as far as the bar goes."""

SLOW_STEP_S = 20.0
"""The same for a step of a stage whose pace is not known yet, as the first window of the network."""

COHORT_LINE = re.compile(r"case (?P<number>\d+) of (?P<count>\d+): (?P<name>.*)")
"""What a command over many cases logs when it begins with the next."""


@dataclass(frozen=True)
class Stage:
    """What a command's stage is called in the panel, and which part of the whole work it is."""

    title: str
    low: float
    high: float


START = Stage("Starting", 0.05, 0.15)
STAGES = {
    "weights": Stage("Reading the weights", 0.15, 0.17),
    "read": Stage("Reading the volumes", 0.17, 0.19),
    "prepare": Stage("Preparing", 0.19, 0.2),
    "network": Stage("Restoring and segmenting", 0.2, 0.85),
    "write": Stage("Writing the results", 0.85, 0.9),
    "motion": Stage("Simulating motion", 0.15, 0.9),
    "score": Stage("Comparing", 0.15, 1.0),
    "virtual patient": Stage("Making a virtual patient", 0.15, 0.9),
}
"""Stage of a command, or the first word of it -> its place in the whole."""


@dataclass
class Told:
    """What a child process has told so far.

    Args:
        names: Path of a temporary file -> what the user calls it.
        on_log: Told its lines and warnings.
    """

    names: Mapping[str, str]
    on_log: OnLog
    done: dict[str, Any] | None = None
    """Its last word, if it came that far."""
    error: dict[str, Any] | None = None
    """Its last error event."""
    began: dict[str, float] = field(default_factory=dict)
    """Stage -> when it last began, in seconds since 1970; "" for the first event of all."""
    warnings: list[str] = field(default_factory=list)
    _stage: Stage = START
    _step: tuple[int, int | None, float | None, float] = field(default_factory=lambda: (0, None, None, time.time()))
    """Steps done, of how many, seconds left, and when that was."""
    _case: re.Match[str] | None = None
    _furthest: float = 0.0

    def note(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        kind, now = event["event"], float(event.get("time") or time.time())
        self.began.setdefault("", now)
        if kind == "stage":
            self._enter(str(event.get("stage")), event.get("total"), now)
        elif kind == "step":
            self._step = (int(event.get("step") or 0), event.get("total"), event.get("eta_s"), now)
        elif kind == "done":
            self.done = dict(event)
        elif kind in ("log", "warning", "error"):
            self._hear(kind, event)

    def status(self, now: float | None = None) -> Status:
        """How far it is, in the panel's words."""
        now = time.time() if now is None else now
        step, total, eta_s, at = self._step
        pace_s = CREEP_S if not total else SLOW_STEP_S if not eta_s else eta_s / max(total - step, 1)
        part = min((step + 1 - math.exp(-max(now - at, 0.0) / pace_s)) / (total or 1), 1.0)
        fraction = self._stage.low + (self._stage.high - self._stage.low) * part
        left_s = None if eta_s is None else max(eta_s - (now - at), 0.0)
        title = self._stage.title
        if self._case is not None:  # many cases: the bar is theirs, and nobody knows how long the next one takes
            number, count = int(self._case["number"]), int(self._case["count"])
            fraction, left_s = START.high + (1 - START.high) * (number - 1 + fraction) / count, None
            title = f"Case {number} of {count}, {self._case['name']}: {title[0].lower()}{title[1:]}"
        self._furthest = max(self._furthest, fraction)
        return Status(title, self._furthest, left_s)

    def _enter(self, name: str, total: int | None, now: float) -> None:
        known = STAGES.get(name) or STAGES.get(name.split()[0] if name else "")
        here = self._stage.high
        self._stage = known or Stage(name[:1].upper() + name[1:], here, here)
        self.began[name] = now
        self._step = (0, total, None, now)

    def _hear(self, kind: str, event: Mapping[str, Any]) -> None:
        text = readable(str(event.get("message", "")), self.names)
        self._case = COHORT_LINE.fullmatch(text) or self._case
        if kind == "error":
            self.error = dict(event)
        if kind == "warning":
            self.warnings.append(text)
        if kind != "error" or self._case is not None:  # the only error of a command is told as its fault
            self.on_log("info" if kind == "log" else kind, text)


@dataclass(frozen=True)
class Ended:
    """A child process that did what it was asked to.

    Args:
        told: Its events.
        started: When it was started, in seconds since 1970.
        ended: When it ended.
    """

    told: Told
    started: float
    ended: float


def follow_steps(
    arguments: Sequence[str],
    folder: Path,
    *,
    names: Mapping[str, str] | None = None,
    on_log: OnLog = lambda level, line: None,
    check: Callable[[], object] = lambda: None,
    grace_s: float = 0.0,
) -> Steps[Ended]:
    """Run a command of DABSegCore to its end.

    Args:
        arguments: Module and options; `--progress json` is added.
        folder: Folder to make for what it says.
        names: Path of a temporary file -> what the user calls it.
        on_log: Told its lines and warnings.
        check: Raises an InputError once nobody needs the result any more.
        grace_s: What it is given, when stopped, to put its files away. None where all go with their folder.

    Raises:
        Failure: If it failed.
    """
    told = Told(names or {}, on_log)
    folder.mkdir(parents=True)
    job = Job([*arguments, "--progress", "json"], folder)
    try:
        while job.returncode is None:
            for event in job.poll():
                told.note(event)
            check()
            yield told.status()
        log, returncode, ended = job.log(), job.returncode, job.started + job.seconds
    except (Cancelled, InputError):
        job.stop(grace_s)
        while not job.has_ended:
            job.poll()
            yield Status("Stopping")
        raise
    finally:
        job.close()
    # A command over many cases has the number of those that failed as its exit code, and says so in the end.
    if told.done is None or (returncode != 0 and "failures" not in told.done):
        raise Failure(fault_of_child(told.error, returncode, log, names))
    return Ended(told, job.started, ended)
