"""Uploads: the four images of a case, streamed to disk and looked at before a worker hears of them.

They are a stranger's files. Their own names are never used as paths; a file that is too large is refused while it
arrives; and one whose header leads elsewhere (NRRD and MetaImage may name another file on this computer to read their
voxels from) or promises more voxels than a head has is refused before anything reads it as an image.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import re
import shutil
import zlib
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader
from aiohttp.http_exceptions import HttpProcessingError
from DABSegLib.naming import TITLES

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.nifti import decode_header, truncated

T = TypeVar("T")

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
PIECE = 1 << 18
HEADER_BYTES = 1 << 16
"""A NRRD or MetaImage header that has not ended by then is none."""

MOST_VOXELS = 1 << 27
"""512 along every axis; BraTS has 8.9 million."""

UNPACKED_BYTES = MOST_VOXELS * 8 + HEADER_BYTES
"""What a .nii.gz may unpack to."""

PATIENCE_S = 60.0
"""After how long without a byte a sender is taken for gone."""

GZIP = b"\x1f\x8b"
KEPT = 2
"""Folders of uploads that are kept: the last, and the one before it, which may still be open."""


async def receive(parts: MultipartReader, folder: Path, most_bytes: int) -> dict[str, Path]:
    """Store the four images of a form, all or none.

    Args:
        parts: The form as it arrives; the name of a field is the modality.
        folder: For uploads; each gets a folder of its own in it, and only the last few are kept.
        most_bytes: For all files together.

    Returns:
        Modality -> file, in the order of `MODALITIES`.

    Raises:
        InputError: If one is missing, given twice, too large, or no image of a kind that is read.
    """
    try:
        return await _receive(parts, folder, most_bytes)
    except OSError as error:
        raise InputError(
            f"the server cannot store the files ({error.strerror or error}); tell whoever runs it", code="cannot-write"
        ) from error
    except (HttpProcessingError, RuntimeError) as error:  # aiohttp's, where a form is broken
        raise broken_form() from error


async def _receive(parts: MultipartReader, folder: Path, most_bytes: int) -> dict[str, Path]:
    """As `receive`; an error of the system is raised as it is."""
    place = _new_folder(folder)
    try:
        files = await _store(parts, place, most_bytes)
        missing = [modality for modality in MODALITIES if modality not in files]
        if missing:
            names = " and ".join(TITLES[modality] for modality in missing)
            raise InputError(
                f"{names} missing, but all four modalities are needed; choose a file for each", code="missing-modality"
            )
        for modality, path in files.items():
            await asyncio.to_thread(check, path, modality)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    for old in sorted(folder.iterdir(), key=lambda path: int(path.name))[:-KEPT]:
        shutil.rmtree(old)
    return {modality: files[modality] for modality in MODALITIES}


async def _store(parts: MultipartReader, place: Path, most_bytes: int) -> dict[str, Path]:
    """Write the files of a form as modality + suffix into a folder, unread."""
    files: dict[str, Path] = {}
    left = most_bytes
    while (part := await _soon(parts.next())) is not None:
        if not isinstance(part, BodyPartReader) or part.name not in MODALITIES:
            raise InputError(
                f"a field other than {', '.join(MODALITIES)} was sent; choose a file for each of these four",
                code="bad-upload",
            )
        if part.name in files:
            raise InputError(f"{TITLES[part.name]} was sent twice; choose one file for it", code="bad-upload")
        path = place / (part.name + suffix_of(part.filename or "", part.name))
        files[part.name] = path
        with path.open("xb") as file:
            while piece := await _soon(part.read_chunk(PIECE)):
                left -= len(piece)
                if left < 0:
                    raise too_large(most_bytes)
                file.write(piece)
    return files


async def _soon(coming: Awaitable[T]) -> T:
    """What a sender sends next; one that has gone without a word would keep its session for ever.

    Raises:
        InputError: If nothing comes.
    """
    try:
        return await asyncio.wait_for(coming, PATIENCE_S)
    except asyncio.TimeoutError as error:
        raise InputError(
            f"nothing more of the files came for {PATIENCE_S:g} s; see to the connection, then send them again",
            code="stalled",
        ) from error


def too_large(most_bytes: int) -> InputError:
    """The error for more than may be sent."""
    return InputError(
        f"the files have more than the {most_bytes >> 20} MiB that may be sent; pack them (nii.gz), or ask "
        "whoever runs the server for more",
        code="too-large",
    )


def broken_form() -> InputError:
    """The error for what is no form with files."""
    return InputError("no form with files was sent; choose a file for each modality", code="bad-upload")


def suffix_of(name: str, modality: str) -> str:
    """The image suffix of a file name, in lower case.

    Raises:
        InputError: If it is none that is read.
    """
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"the file for {TITLES[modality]} is none that is read by its name; export it as NIfTI (nii, nii.gz), "
        "NRRD (nrrd) or MetaImage (mha)",
        code="bad-file-type",
    )


def check(path: Path, modality: str) -> None:
    """Look whether a file is what its suffix says, is whole in itself, and is of a head's size.

    Raises:
        InputError: If not.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    looks = {".nii": _unpacked_nifti, ".nii.gz": _packed_nifti, ".nrrd": _nrrd, ".mha": _meta}
    voxels = looks[path.name[len(modality) :]](head, path, modality)
    if not 0 < voxels <= MOST_VOXELS:
        raise InputError(
            f"the file for {TITLES[modality]} has {voxels} voxels by its header, but 1 to "
            f"{MOST_VOXELS} are read; resample it",
            code="too-large",
        )


def _unpacked_nifti(head: bytes, path: Path, modality: str) -> int:
    """Voxels of a NIfTI file that is not packed."""
    return _nifti(head, path.stat().st_size, modality)


def _nifti(head: bytes, size: int, modality: str) -> int:
    """Voxels of a NIfTI file by its first bytes and its size in bytes, both unpacked."""
    if head[:2] == GZIP:
        raise _not_what_it_says(modality, "unpacked NIfTI file, as its name says")
    if head[344:347] not in (b"n+1",) and head[4:7] not in (b"n+2",):
        raise _not_what_it_says(modality, "NIfTI file")
    name = f"the file for {TITLES[modality]}"
    layout = decode_header(head, name)
    voxels = math.prod(layout.shape)
    needed = layout.start + voxels * layout.dtype.itemsize
    if size < needed and voxels <= MOST_VOXELS:
        raise truncated(name, f"{size} of {needed} bytes are there")
    return voxels


def _packed_nifti(head: bytes, path: Path, modality: str) -> int:
    """The same of a gzipped one, which is unpacked once, in pieces, to see that it ends."""
    if head[:2] != GZIP:
        raise _not_what_it_says(modality, "packed NIfTI file, as its name says")
    first = b""
    total = 0
    try:
        for piece in _unpacked(path):
            first += piece[: HEADER_BYTES - len(first)]
            total += len(piece)
            if total > UNPACKED_BYTES:
                raise too_many_bytes(modality)
    except zlib.error as error:
        raise _not_what_it_says(modality, "whole NIfTI file: its packing is damaged") from error
    return _nifti(first, total, modality)


def _unpacked(path: Path) -> Iterator[bytes]:
    """The contents of a gzip file in pieces of no more than `PIECE` bytes.

    Raises:
        zlib.error: If it is damaged or does not end.
    """
    packer, is_begun = zlib.decompressobj(wbits=31), False
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            while piece:
                yield packer.decompress(piece, PIECE)
                piece, is_begun = packer.unconsumed_tail, True
                if packer.eof:
                    piece, packer, is_begun = packer.unused_data.lstrip(b"\0"), zlib.decompressobj(wbits=31), False
    while is_begun and (piece := packer.decompress(b"", PIECE)):  # all was taken, and not all given
        yield piece
    if is_begun and not packer.eof:
        raise zlib.error("it ends too early")


def too_many_bytes(modality: str) -> InputError:
    """The error for a file that unpacks to more than an image can be."""
    return InputError(
        f"the file for {TITLES[modality]} unpacks to more than {UNPACKED_BYTES >> 20} MiB; resample the image",
        code="too-large",
    )


def _nrrd(head: bytes, path: Path, modality: str) -> int:
    """Voxels of a NRRD file by its header, which must not lead to another file."""
    if not head.startswith(b"NRRD000"):
        raise _not_what_it_says(modality, "NRRD file")
    lines = re.split(rb"\r\n|\r|\n", head)  # each of them ends a line for its reader
    if b"" not in lines:
        raise _not_what_it_says(modality, "NRRD file with its voxels in it")
    fields = _fields(lines[1 : lines.index(b"")], ":")
    if "data file" in fields or "datafile" in fields:
        raise _leads_elsewhere(modality)
    return _product(fields.get("sizes", ""), modality, "NRRD file")


def _meta(head: bytes, path: Path, modality: str) -> int:
    """Voxels of a MetaImage by its header, which must not lead to another file and ends with where its voxels are."""
    data = re.search(rb"(?im)^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n", head)
    if data is None:
        raise _not_what_it_says(modality, "MetaImage file with its voxels in it")
    fields = _fields(re.split(rb"\r?\n", head[: data.end()]), "=")
    named = re.findall(rb"(?i)ElementDataFile", head[: data.end()])
    if data[1].strip().upper() != b"LOCAL" or len(named) > 1:  # its reader takes "ElementDataFile: PATH" as well
        raise _leads_elsewhere(modality)
    channels = b" ".join(re.findall(rb"(?i)ElementNumberOfChannels[ \t]*[=:][ \t]*([^\r\n]*)", head[: data.end()]))
    return _product(f"{fields.get('dimsize', '')} {channels.decode('latin-1')}", modality, "MetaImage file")


def _fields(lines: list[bytes], sign: str) -> dict[str, str]:
    """Name in lower case -> value, of the lines of a header."""
    pairs = (line.decode("latin-1").partition(sign) for line in lines)
    return {name.strip().lower(): value.strip() for name, found, value in pairs if found}


def _product(sizes: str, modality: str, kind: str) -> int:
    try:
        return math.prod(int(size) for size in sizes.split() or ["none"])
    except ValueError as error:
        raise _not_what_it_says(modality, kind) from error


def _new_folder(folder: Path) -> Path:
    """An empty folder in a folder; they are numbered."""
    for number in itertools.count(1 + max((int(path.name) for path in folder.iterdir()), default=0)):
        with contextlib.suppress(FileExistsError):
            (folder / str(number)).mkdir(mode=0o700)
            return folder / str(number)
    raise AssertionError("unreachable")


def _not_what_it_says(modality: str, kind: str) -> InputError:
    return InputError(f"the file for {TITLES[modality]} is no {kind}; export it again", code="bad-file-type")


def _leads_elsewhere(modality: str) -> InputError:
    return InputError(
        f"the file for {TITLES[modality]} keeps its voxels in another file, which is not read; export it as one file",
        code="bad-file-type",
    )
