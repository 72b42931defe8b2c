"""Child: ask the probe, and put into words how it ended if it did not get to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DABSegCore.diagnosis.machine import CODE
from DABSegCore.orphan import VARIABLE

LIMIT_S = 120.0
"""Longer than a first import of torch from a slow network drive takes."""

SIGNALS = {
    "SIGILL": "an instruction this processor does not have: the package was built for a newer one",
    "SIGSEGV": "a fault in a compiled library or a driver",
    "SIGBUS": "a fault in memory: a damaged file, or too little shared memory",
    "SIGABRT": "a compiled library gave up",
    "SIGKILL": "killed from outside, most often for want of memory",
}
WINDOWS = {
    0xC0000005: "SIGSEGV",
    0xC000001D: "SIGILL",
    0xC0000409: "SIGABRT",
}
"""Exit codes that mean what these signals mean elsewhere."""


@dataclass
class Answer:
    """What the probe said.

    Attributes:
        findings: In order, each with its `kind`.
        doing: The step it was at last.
        end: Why it did not get to its end, in words; None if it did.
    """

    findings: list[dict[str, Any]] = field(default_factory=list)
    doing: str = "starting Python"
    end: str | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The findings of a kind."""
        return [finding for finding in self.findings if finding["kind"] == kind]


def ask_probe(device: str, weights: Path, limit_s: float = LIMIT_S) -> Answer:
    """Run the probe of a device in a process of its own."""
    return ask([sys.executable, "-m", "DABSegCore.diagnosis.probe", device, str(weights)], limit_s)


def ask(command: Sequence[str], limit_s: float = LIMIT_S) -> Answer:
    """Run a program that prints lines of `--progress json`, and gather what it says until it ends or is ended."""
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=limit_s, check=False, env=_environment()
        )
        said, ending = done.stdout, how_it_ended(done.returncode, done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as late:
        said, ending = late.stdout or b"", f"it did not answer within {limit_s:.0f} seconds"
    except OSError as error:
        said, ending = b"", f"Python did not start again ({error.strerror or error})"
    answer = read_lines(said.decode(errors="replace"))
    if answer.end is not None:
        answer.end = ending or answer.end
    return answer


def read_lines(said: str) -> Answer:
    """The answer in what the probe printed; other lines among them are some library's."""
    answer = Answer(end="it ended early")
    for line in said.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not isinstance(event, Mapping):
            continue
        if event.get("event") == "stage":
            answer.doing = str(event["stage"])
        elif event.get("event") == "metric" and "kind" in event:
            answer.findings.append({key: event[key] for key in event if key not in ("event", "time", "stage")})
        elif event.get("event") == "done":
            answer.end = None
    return answer


def how_it_ended(code: int, errors: str = "") -> str:
    """An exit code in words, empty where it is 0.

    Args:
        code: As `subprocess` gives it: negative for a signal.
        errors: What was written to stderr.
    """
    name = WINDOWS.get(code & 0xFFFFFFFF, "")
    if code < 0 and not name:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    if name:
        return f"the process died of {name} ({SIGNALS.get(name, 'from outside')})"
    last = [line.strip() for line in errors.splitlines() if line.strip()][-1:]
    return f"the process ended with code {code} ({last[0] if last else 'without a word'})" if code else ""


def _environment() -> dict[str, str]:
    """The child finds this very package and ends with this process."""
    inherited = os.environ.get("PYTHONPATH", "")
    places = os.pathsep.join(filter(None, (str(CODE.parent), inherited)))
    return {**os.environ, "PYTHONPATH": places, "PYTHONUNBUFFERED": "1", VARIABLE: str(os.getpid())}
