"""Alone: one comparison at a time works in a folder, as two would train over each other's methods."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from DABSegCore.errors import InputError
from DABSegCore.orphan import is_gone
from DABSegCore.results import host_name

LOCK = ".dabseg-compare"
"""File that says which computer and process works in a folder."""


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other comparisons out of a folder for a while; one that was killed keeps nobody out.

    Raises:
        InputError: If another one is at work there.
    """
    path = out / LOCK
    mine = f"{host_name()} {os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        host, _, process = path.read_text(encoding="utf-8").strip().rpartition(" ")
        killed = host == host_name() and process.isdecimal() and is_gone(int(process))
        if not killed:
            raise InputError(
                f"another comparison works in {out} (process {process} on {host}); wait for its end, choose another "
                f"--out, or remove {path} if there is none",
                code="busy-folder",
            )
    path.write_text(mine, encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
