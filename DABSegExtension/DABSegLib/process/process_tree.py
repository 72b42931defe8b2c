"""Process tree: start a process apart from this one, and end it with all it has started, on any system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from DABSegCore.errors import InputError
from DABSegLib import home

NICENESS = 5
"""Below normal priority: the window stays quick while the processor is busy."""

ON_WINDOWS = os.name == "nt"
_WINDOWS_FLAGS = ("CREATE_NO_WINDOW", "BELOW_NORMAL_PRIORITY_CLASS", "CREATE_NEW_PROCESS_GROUP")


def start(arguments: Sequence[str], folder: Path, stdout: str, stderr: str) -> subprocess.Popen[bytes]:
    """Run `python -m <arguments>` in a folder at below normal priority, without a console window or a keyboard.

    Args:
        arguments: Module and options.
        folder: Where it runs; an empty one, since Python looks for modules there first.
        stdout: Name of the file in it for what is written to stdout.
        stderr: The same for stderr.

    Raises:
        InputError: If there is no such program, or the system will not start it.
    """
    flags = sum(getattr(subprocess, name, 0) for name in _WINDOWS_FLAGS)
    try:
        with (folder / stdout).open("wb") as out, (folder / stderr).open("wb") as err:
            process = subprocess.Popen(
                [home.python(), "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=home.environment(),
                creationflags=flags,
                start_new_session=not ON_WINDOWS,  # a process group that can be signalled as one
            )
    except OSError as error:
        raise InputError(
            f"the computation cannot be started ({error.strerror or error}); install Slicer and the extension again, "
            "or free some memory and disk space",
            code="cannot-start",
        ) from error
    if not ON_WINDOWS:
        with contextlib.suppress(OSError):  # it may have ended already
            os.setpriority(os.PRIO_PGRP, process.pid, NICENESS)
    return process


def ask_to_end(process: subprocess.Popen[bytes]) -> bool:
    """Ask the tree to end in its own way; False where nobody can be asked (Windows)."""
    if ON_WINDOWS:
        return False
    _signal_group(process, signal.SIGTERM)
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the tree by force, without waiting for it. On Windows only while its root runs is the tree known."""
    if not ON_WINDOWS:
        _signal_group(process, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.Popen(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says so in its own way
        os.killpg(process.pid, number)
