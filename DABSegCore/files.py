"""Files: read whole, written whole or not at all, and their digests; every fault is one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from DABSegCore.errors import InputError


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The file's first bytes, or all of them."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path", code="missing-file") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check its permissions and the drive",
            code="unreadable-file",
        ) from error


def make_folder(path: str | Path) -> Path:
    """Make a folder, and those above it, unless it is there.

    Raises:
        InputError: If it cannot be made, say for a file in its way or a parent that is not ours.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path} cannot be made ({error.strerror or error}); choose a place that can be written and "
            "where no file has that name",
            code="cannot-write",
        ) from error
    return path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: under a temporary name in the same folder, then renamed.

    Raises:
        InputError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # some file systems report a full disk only here


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary name beside `path` that takes its place on success and vanishes on failure."""
    temporary = path.parent / f".{path.name[:40]}.{os.getpid()}.tmp{suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def sha256(path: str | Path) -> str:
    """SHA-256 in hexadecimal of a file, or of the digests of a folder's files in the order of their names."""
    path = Path(path)
    if os.path.isdir(path):
        digests = [sha256(file) for file in sorted(path.iterdir()) if file.is_file()]
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _not_written(path: Path, error: OSError) -> InputError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        fact, cure, code = "the disk is full", "free some space or choose another folder", "disk-full"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        fact, cure, code = "its folder does not exist", "make the folder first", "no-folder"
    else:
        fact, cure, code = error.strerror or str(error), "choose a folder that can be written", "not-writable"
    return InputError(f"{path} was not written: {fact}; {cure}", code=code)
