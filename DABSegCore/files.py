"""Files: read whole, written whole or not at all, and their digests; every fault is one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from DABSegCore.errors import InputError

S, T = TypeVar("S"), TypeVar("T")

VOXEL_FILE = re.compile(rb"^(?:ElementDataFile[ \t]*=|data ?file:)[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
"""The line of a MetaImage or NRRD header that names the file of its voxels."""


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The file's first bytes, or all of them."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _not_read(path, error) from error


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name.

    Raises:
        InputError: If the folder does not exist, is none or may not be looked into.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _not_read(folder, error) from error


def check_exists(path: Path) -> None:
    """Refuse a path that is not there; one behind a locked folder is told as locked."""
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        raise _not_read(path, error) from error


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


def write_bytes(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file whole or not at all: under a temporary name in the same folder, then renamed.

    Args:
        path: Where to.
        parts: What it holds, one after the other.

    Raises:
        InputError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())  # some file systems report a full disk only here


def at_once(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """The same work on several files, by as many threads as there are files: reading, packing and digests let go of
    Python's lock, so they use the cores there are.

    Raises:
        Exception: The first one that any of them raised, in the order of the items, when all are done.
    """
    items = list(items)
    with ThreadPoolExecutor(max(len(items), 1)) as pool:
        return list(pool.map(work, items))


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
    """SHA-256 in hexadecimal of a file, or of the digests of the several files an image is made of.

    Several are a folder's files in the order of their names, or a header and the file that holds its voxels.

    Raises:
        InputError: If a file cannot be read, or a header spreads its voxels over more than one file.
    """
    path = Path(path)
    if os.path.isdir(path):
        digests = [_digest(read_bytes(file)) for file in list_folder(path) if not os.path.isdir(file)]
    else:
        data = read_bytes(path)
        voxels = _voxel_file(path, data)
        if voxels is None:
            return _digest(data)
        digests = [_digest(data), _digest(read_bytes(voxels))]
    return _digest("".join(digests).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _voxel_file(path: Path, data: bytes) -> Path | None:
    """The file that a MetaImage or NRRD header leaves its voxels to, or None if there is none."""
    suffix = path.suffix.lower()
    if suffix not in (".mhd", ".mha", ".nrrd"):
        return None
    header = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0] if suffix == ".nrrd" else data
    line = VOXEL_FILE.search(header)
    if line is None or line[1].upper() == b"LOCAL":
        return None
    name = line[1].decode(errors="replace")
    if name.upper().split()[:1] == ["LIST"] or "%" in name:
        raise InputError(
            f"{path} spreads its voxels over several files ({name}), but a header may name one; save the image as "
            "one file",
            code="unreadable-file",
        )
    return path.parent / name


def _not_read(path: Path, error: Exception) -> InputError:
    """The sentence for a file or folder that could not be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path} does not exist; check the path", code="missing-file")
    return InputError(
        f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); check its permissions and the drive",
        code="unreadable-file",
    )


def _not_written(path: Path, error: OSError) -> InputError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        fact, cure, code = "the disk is full", "free some space or choose another folder", "disk-full"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        fact, cure, code = "its folder does not exist", "make the folder first", "no-folder"
    else:
        fact, cure, code = error.strerror or str(error), "choose a folder that can be written", "not-writable"
    return InputError(f"{path} was not written: {fact}; {cure}", code=code)
