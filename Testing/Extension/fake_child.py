"""Fake child: behaves as the tests of jobs need a command to: `python -m fake_child BEHAVIOUR ...`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from DABSegCore.errors import InputError
from DABSegCore.progress import Progress, run_command

LONG_S = 60.0
"""Longer than any test waits."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the first argument says. Returns the exit code."""
    behaviour, *rest = argv or sys.argv[1:]
    progress = Progress("json")
    if behaviour == "halves":  # of a line, with a pause between them
        _say('{"event": "log", "mess')
        _wait_for(Path("go"))
        _say('age": "whole"}\nno event\n[1]\n{"event": "done"}')
    elif behaviour == "sleep":
        progress.log("asleep")
        time.sleep(LONG_S)
    elif behaviour == "tidy":
        try:
            progress.log("asleep")
            time.sleep(LONG_S)
        finally:
            Path("tidied").touch()
    elif behaviour == "stubborn":
        _be_stubborn(progress)
    elif behaviour == "family":
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG_S})"])
        progress.log(str(child.pid))
        if rest[:1] != ["leave"]:
            time.sleep(LONG_S)
    elif behaviour == "fault":
        progress.stage("read")
        raise InputError(f"{rest[rest.index('--t2') + 1]} is a cat; choose a head", code="no-head")
    elif behaviour == "full":
        out = rest[rest.index("--out") + 1]
        raise InputError(f"{out}/Ann_seg.nii was not written: the disk is full; free some space", code="disk-full")
    elif behaviour == "die":
        sys.stderr.write("first line\nlast words\n")
        return int(rest[0])
    elif behaviour == "killed":
        os.kill(os.getpid(), 9)
    elif behaviour == "results":
        _hand_over(Path(rest[0]), Path(rest[rest.index("--out") + 1]), progress)
    return 0


def _be_stubborn(progress: Progress) -> None:
    """Do not end when asked to."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    progress.log("asleep")
    time.sleep(LONG_S)


def _hand_over(results: Path, out: Path, progress: Progress) -> None:
    """Deliver results that were made before, with the stages of the true command."""
    for stage in ("weights", "read", "prepare"):
        progress.stage(stage)
    progress.stage("network", 2)
    progress.step()
    progress.warn("all is invented")
    time.sleep(0.05)
    progress.step()
    progress.stage("write")
    shutil.copytree(results, out)
    progress.done(status="done")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


if __name__ == "__main__":
    run_command(main)
