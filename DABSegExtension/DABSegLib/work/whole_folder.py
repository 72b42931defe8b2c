"""Whole folder: segment every case of a folder on disk, with the command a terminal would use."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from DABSegLib.process.scratch import scratch_folder
from DABSegLib.work.follow import follow_steps
from DABSegLib.work.runner import OnLog, Steps

TIDY_UP_S = 5.0
"""What a cancelled run is given to put its unfinished case away."""


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder of cases.

    Args:
        cases: How many there were.
        failures: How many of them failed.
        out: Where the results are, `summary.csv` among them.
    """

    cases: int
    failures: int
    out: Path


def folder_steps(
    data: Path,
    out: Path,
    *,
    severity: int | None = None,
    weights: Path | None = None,
    device: str = "auto",
    tta: bool = False,
    on_log: OnLog = lambda level, line: None,
) -> Steps[FolderResult]:
    """Segment all cases of a folder in a child process; cancelled, it keeps the cases that are done.

    Args:
        data: Folder of case folders.
        out: Folder for the results.
        severity: Blur them first by simulated motion of this level, into `out/motion`; None: as they are.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        tta: Average over the eight mirror images.
        on_log: Told what the process tells.

    Raises:
        InputError: If a folder is bad.
    """
    with scratch_folder() as folder:
        for number, command in enumerate(_commands(data, out, severity, weights, device, tta)):
            ended = yield from follow_steps(command, folder / f"job{number}", on_log=on_log, grace_s=TIDY_UP_S)
    done = ended.told.done or {}
    return FolderResult(int(done["cases"]), int(done["failures"]), out)


def folder_command(
    data: Path,
    out: Path,
    *,
    severity: int | None = None,
    weights: Path | None = None,
    device: str = "auto",
    tta: bool = False,
) -> str:
    """What does the same in a terminal, in the repository's folder: one command a line."""
    program = "python" if os.name != "nt" else "py"
    commands = [[program, "-m", *command] for command in _commands(data, out, severity, weights, device, tta)]
    return "\n".join(map(subprocess.list2cmdline if os.name == "nt" else shlex.join, commands))


def _commands(
    data: Path, out: Path, severity: int | None, weights: Path | None, device: str, tta: bool
) -> list[list[str]]:
    """What is run, one after the other: module and options."""
    data, out = data.absolute(), out.absolute()
    commands = []
    if severity is not None:
        blurred = out / "motion"
        commands.append(
            ["DABSegCore.simulate", "--data", str(data), "--out", str(blurred), "--severity", str(severity)]
        )
        data = blurred
    command = ["DABSegCore.segment", "--data", str(data), "--out", str(out), "--device", device]
    command += ["--weights", str(weights.absolute())] if weights is not None else []
    return [*commands, [*command, "--tta"] if tta else command]
