"""Child: a command of ours in a process of its own, its words passed on under the name of the method it works for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.orphan import VARIABLE
from DABSegCore.progress import Progress

PATIENCE_S = 120.0
"""How long an interrupted child may take to save what it has."""

INTERRUPTED = (130, 143, -2, -15)
"""Exit codes of a child that was asked to stop, by Ctrl-C or the end of a batch job."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code; minus the number of the signal that killed it.
        fault: The last error it told of, or its last line; empty where it said nothing.
        seconds: It took.
        peak_memory_mb: Most memory it held at once; None where the system does not tell, or if it held less than this
            process.
    """

    code: int
    fault: str
    seconds: float
    peak_memory_mb: float | None


def run_child(words: Sequence[str], name: str, progress: Progress) -> Ended:
    """Run `python -m` with words and wait for it.

    Args:
        words: A module of ours and its options, all but `--progress`.
        name: Of the method, to begin each line with.
        progress: What decides the form of the lines, and where they go.

    Raises:
        KeyboardInterrupt: If this process or the child was asked to stop; the child has then saved what it has.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *words, "--progress", progress.mode],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        encoding="utf-8",
        errors="replace",
    )
    fault, last = "", ""
    try:
        for line in process.stdout:
            fault = _pass_on(line.rstrip(), name, progress) or fault
            last = line.strip() or last
        peak_mb = _wait(process)
    except KeyboardInterrupt:  # Ctrl-C reaches the child as well, which may still have to save
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE_S)  # listening on: it would fail on words that nobody takes
        raise
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if process.returncode in INTERRUPTED:
        raise KeyboardInterrupt
    return Ended(process.returncode, fault or last, time.monotonic() - started, peak_mb)


def _environment() -> dict[str, str]:
    """The child finds this package, writes as soon as it has something to say, and ends when this process does."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
        VARIABLE: str(os.getpid()),
    }


def _pass_on(line: str, name: str, progress: Progress) -> str:
    """Say a child's line with the method's name; returns the error it tells of, if it does."""
    event = _event(line) if progress.mode == "json" else None
    if progress.mode == "json":
        if event is None and line.startswith("error: "):  # told as an event before
            return ""
        line = json.dumps({**(event or {"event": "log", "message": line}), "method": name})
    elif line:
        line = f"[{name}] {line}"
    if line:
        print(line, file=progress.stream, flush=True)
    if event is not None:
        return str(event.get("message", "")) if event.get("event") == "error" else ""
    start = f"[{name}] error: "
    return line.removeprefix(start) if line.startswith(start) else ""


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _wait(process: subprocess.Popen) -> float | None:
    """Wait for the end of a process; returns the most memory it held, in MB, where that is known."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if sys.platform == "darwin":
        return usage.ru_maxrss / 1e6
    # Linux begins to count before the new program is loaded, with what this process held: less cannot be told.
    return usage.ru_maxrss * 1024 / 1e6 if usage.ru_maxrss > _own_peak_kb() else None


def _own_peak_kb() -> int:
    """The most memory this process has held; 0 where the system has no such file."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0
