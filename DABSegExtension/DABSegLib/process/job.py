"""Job: a command of DABSegCore as a child process, followed through files and ended with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DABSegLib.process import process_tree

MOST_AT_ONCE = 1 << 20
"""Bytes of events read in one poll."""

LONGEST_LOG = 1 << 18
"""Bytes from the end of the log that are shown."""

KILL_WAIT_S = 10.0
"""A killed process ends within a moment, or hangs in its driver for ever."""


class Job:
    """A running `python -m ...`, without threads and without Qt.

    What it writes goes to files, which never fill up as a pipe does while nobody reads.

    Args:
        arguments: What follows `python -m`: the module and its options.
        folder: An empty folder for `events.jsonl` (stdout) and `log.txt` (stderr); the process runs in it.

    Raises:
        InputError: If the process cannot be started.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.arguments = tuple(arguments)
        self.returncode: int | None = None
        """How it ended, noted by `poll` once it has ended and all its events were read; None until then."""
        self.started = time.time()
        """Seconds since 1970."""
        self._log_path = folder / "log.txt"
        self._noise: list[str] = []
        self._rest = b""
        self._kill_at: float | None = None
        self._ended_after_s: float | None = None
        self._process = process_tree.start(self.arguments, folder, "events.jsonl", self._log_path.name)
        self._events = (folder / "events.jsonl").open("rb")

    @property
    def pid(self) -> int:
        """Its process id; on POSIX also that of the group of all it starts."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since its start, until its end."""
        return time.time() - self.started if self._ended_after_s is None else self._ended_after_s

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended; what it started and left behind is killed then."""
        if self._ended_after_s is None and self._process.poll() is not None:
            self._ended_after_s = time.time() - self.started
            process_tree.kill(self._process)
        return self._ended_after_s is not None

    def poll(self) -> list[dict[str, Any]]:
        """New events; a line that is none goes to the log, one that is not complete waits."""
        if self._events.closed:
            return []
        ended = self.has_ended  # asked first, so that what it wrote last is not missed
        if not ended and self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()
        data = self._events.read(MOST_AT_ONCE)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if ended and len(data) < MOST_AT_ONCE:
            lines, self._rest = [*lines, self._rest], b""
            self.returncode = self._process.returncode
        return [event for line in lines if line.strip() and (event := self._event(line)) is not None]

    def log(self) -> str:
        """What it wrote to stderr, and lines on stdout that are no events."""
        with contextlib.suppress(FileNotFoundError), self._log_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LONGEST_LOG))
            return file.read().decode(errors="replace") + "".join(f"{line}\n" for line in self._noise)
        return "".join(f"{line}\n" for line in self._noise)

    def stop(self, grace_s: float = 2.0) -> None:
        """Ask the process and all it started to end; `poll` kills what is left after `grace_s`. Returns at once.

        On Windows, where nobody can be asked, they are killed. Stopping twice is stopping once.
        """
        if self._kill_at is not None or self.has_ended:
            return
        self._kill_at = time.monotonic() + grace_s
        if grace_s <= 0 or not process_tree.ask_to_end(self._process):
            self._kill()

    def close(self) -> None:
        """End the process and all it started, wait until it has, and let go of the files."""
        if not self.has_ended:
            self._kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_WAIT_S)
        self.has_ended  # noqa: B018 - notes the time
        self._events.close()

    def _kill(self) -> None:
        """Kill the tree, once."""
        if self._kill_at != float("inf"):
            self._kill_at = float("inf")
            process_tree.kill(self._process)

    def _event(self, line: bytes) -> dict[str, Any] | None:
        """The event of a line, or None for one that goes to the log."""
        text = line.decode(errors="replace").rstrip("\r")
        with contextlib.suppress(ValueError):
            event = json.loads(text)
            if isinstance(event, dict) and "event" in event:
                return event
        self._noise.append(text)
        return None
