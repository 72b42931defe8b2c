"""Results: put into a folder whole or not at all, apart from the inputs, with a record that tells what belongs there.

A record is a JSON file that is written last and holds the digests of all files it tells of.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from DABSegCore.cases import Case
from DABSegCore.errors import InputError
from DABSegCore.files import at_once, make_folder, read_bytes, sha256
from DABSegCore.orphan import is_gone

STAGE = re.compile(r"\.dabseg-(?P<host>\w*)-(?P<pid>\d{1,9})-.*\.partial")
"""Name of a staging folder: whose it is tells whether it is still needed."""

STALE_S = 24 * 3600.0
"""No case takes this long, so an older staging folder is a killed run's, be it another computer's."""


@contextlib.contextmanager
def output_folder(out: Path) -> Iterator[None]:
    """Make sure of a folder for results; what had to be made for it and is empty in the end goes again.

    Raises:
        InputError: If it cannot be made or written: better now than after the network has run.
    """
    made = [folder for folder in (out, *out.parents) if not os.path.exists(folder)]
    try:
        make_folder(out)
        try:
            tempfile.TemporaryFile(dir=out).close()
        except OSError as error:
            raise _cannot_write(out, error) from error
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: results have arrived
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A hidden folder inside `out` for the unfinished results of one case, for this run alone; it goes in the end.

    Raises:
        InputError: If it cannot be made.
    """
    with output_folder(out):
        _sweep(out)
        try:
            stage = Path(tempfile.mkdtemp(".partial", f".dabseg-{host_name()}-{os.getpid()}-", out))
        except OSError as error:
            raise _cannot_write(out, error) from error
        try:
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, folder: Path, record: str, names: Iterable[str], earlier: Iterable[str] = ()) -> None:
    """Move finished results from their staging folder into place, the record that tells of them last.

    The earlier record goes first, so that no moment shows a record beside results it does not describe; so do
    earlier results that are not replaced.

    Args:
        stage: Holds the results and their record.
        folder: Where they belong, made when absent.
        record: File name of the record, old and new.
        names: File names of the results.
        earlier: Those that the earlier record tells of.
    """
    names = list(names)
    make_folder(folder)
    try:
        (folder / record).unlink(missing_ok=True)
        for name in set(earlier) - set(names):
            if Path(name).name == name and (folder / name).is_file():  # a record edited by hand may name anything
                (folder / name).unlink()
        for name in (*names, record):
            os.replace(stage / name, folder / name)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    names = list(names)
    return dict(zip(names, at_once(lambda name: sha256(folder / name), names), strict=True))


def are_intact(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Whether files are there with the content they were written with."""
    with contextlib.suppress(InputError):
        return bool(outputs) and digests(folder, outputs) == outputs
    return False


def parse_record(data: bytes, is_sound: Callable[[Any], bool]) -> dict[str, Any] | None:
    """A JSON record, or None if it cannot be used: cut short, edited by hand, of another make.

    Args:
        data: The file.
        is_sound: Whether all that is going to be used is there; what it raises on the way counts as no.
    """
    try:
        record = json.loads(data)
        return record if is_sound(record) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def find_record(path: Path, is_sound: Callable[[Any], bool]) -> dict[str, Any] | None:
    """The record of earlier results, or None where there is none that can be used."""
    with contextlib.suppress(InputError):
        return parse_record(read_bytes(path), is_sound)
    return None


def own_file(case: Case, folder: Path) -> Path | None:
    """An input of a case that lies in a folder, or is it (a DICOM series), also by way of links; None if none does."""
    for path in filter(None, (*case.paths.values(), case.segmentation)):
        if any(_same_folder(folder, place) for place in (path, path.parent, path.resolve().parent)):
            return path
    return None


def _same_folder(a: Path, b: Path) -> bool:
    """Whether two paths lead to one folder; one that is not there is no other."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def _sweep(out: Path) -> None:
    """Remove the staging folders of runs that were killed, and only those."""
    for stage in out.glob(".dabseg-*.partial"):
        owner = STAGE.fullmatch(stage.name)
        with contextlib.suppress(OSError):  # another run sweeps too
            killed = owner is not None and owner["host"] == host_name() and is_gone(int(owner["pid"]))
            if killed or time.time() - stage.stat().st_mtime > STALE_S:
                shutil.rmtree(stage, ignore_errors=True)


def host_name() -> str:
    """Name of this computer, as far as it fits into a file name."""
    return re.sub(r"\W", "", platform.node())[:40]


def _cannot_write(path: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(
        f"{path} cannot be written ({reason}); free some space or choose another folder with --out",
        code="cannot-write",
    )
