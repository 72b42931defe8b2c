"""Scratch: the temporary folder of one piece of work, which goes with it; those of crashed sessions go later."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from DABSegCore.errors import InputError
from DABSegCore.orphan import is_gone
from DABSegLib.home import temporary_root

NAME = re.compile(r"dabseg-(?P<host>\w*)-(?P<pid>\d{1,9})-\w+")
"""A folder's name tells whose it is: other computers may share the place."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new empty folder; it goes at the end, however that comes.

    Raises:
        InputError: If it cannot be made.
    """
    sweep()
    root = temporary_root()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"dabseg-{_host()}-{os.getpid()}-", dir=root))
    except OSError as error:
        raise InputError(
            f"{root}, the folder for temporary files, cannot be written ({error.strerror or error}); free some space "
            "or choose another one in Slicer's settings",
            code="cannot-write",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove the folders of sessions that crashed; returns them."""
    swept = []
    for folder in temporary_root().glob("dabseg-*"):
        owner = NAME.fullmatch(folder.name)
        if owner is not None and owner["host"] == _host() and is_gone(int(owner["pid"])):
            shutil.rmtree(folder, ignore_errors=True)
            swept.append(folder)
    return swept


def _host() -> str:
    """Name of this computer, as far as it fits into a file name."""
    return re.sub(r"\W", "", platform.node())[:40]
