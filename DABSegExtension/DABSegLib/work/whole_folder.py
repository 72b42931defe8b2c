"""Whole folder: segment every case of a folder on disk, with the command a terminal would use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from DABSegLib.work.runner import OnLog, Steps


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
    raise NotImplementedError
    yield


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
    raise NotImplementedError
