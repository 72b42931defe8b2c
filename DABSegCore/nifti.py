"""NIfTI: the bytes of a `.nii` file to and from an array and its affine (NIfTI-1.1 and NIfTI-2 standards).

Why not ITK's reader: measured with ITK 5.4, a truncated or corrupted `.nii.gz` comes back as a volume with
noise or zeros and no error, and where sform and pixdim disagree its affine is neither of the two.
Here a gzip stream is checked to its last byte and the affine is the sform as stored.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from typing import NamedTuple

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.rotation import matrix_from_quaternion, quaternion_from_matrix

DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Data type code of the standard -> NumPy type; complex, colour and 128-bit types are refused."""

LARGEST_BYTES = 4 << 30
"""A gzip stream that unpacks to more is refused: this is a head of 1024 float32 voxels along every axis."""

UNIT_MM = {1: 1000.0, 3: 0.001}
"""Spatial unit code -> mm: metres and micrometres; every other code (2 is mm, 0 unknown) is read as mm."""


class Header(NamedTuple):
    """The fields of a NIfTI header that say where the voxels are, in the file and in space."""

    bytes: int
    order: str
    size: tuple[int, ...]
    code: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    intercept: float
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    srow: tuple[float, ...]


class Layout(NamedTuple):
    """Where in a file that is not gzipped the voxels are, and where in space.

    Args:
        shape: (D, H, W) = (k, j, i).
        dtype: As stored, with its byte order.
        start: Byte of the first voxel.
        scaling: Slope and intercept that make a stored value an intensity, or None where it is one.
        affine: (i, j, k) to RAS mm [4, 4], float64: the sform where it is coded, else the qform, else (no orientation
            in the header) the voxel sizes alone.
        space: Code of the space the affine leads to: 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 other template.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    scaling: tuple[float, float] | None
    affine: np.ndarray
    space: int


def decode_nifti(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Array and affine of a NIfTI file, gzipped or not.

    Args:
        data: The whole file.
        name: What to call it in an error.

    Returns:
        Array [D, H, W] = (k, j, i) in the stored type (float32 where the header scales).
        Affine [4, 4] and code of the space it leads to, as in `Layout`.

    Raises:
        InputError: If the file is truncated, corrupted, not NIfTI, not one 3-D volume or not real numbers.
    """
    data = _gunzip(data, name) if data[:2] == b"\x1f\x8b" else data
    layout = decode_header(data, name)
    count = math.prod(layout.shape)
    needed = layout.start + count * layout.dtype.itemsize
    if len(data) < needed:
        raise truncated(name, f"{len(data)} of {needed} bytes are there")
    array = np.frombuffer(data, layout.dtype, count, layout.start).reshape(layout.shape)
    if layout.scaling is not None:
        slope, intercept = layout.scaling
        with np.errstate(over="ignore", invalid="ignore"):  # the reader of the volume looks for what is not finite
            array = (array * slope + intercept).astype(np.float32)
    return array, layout.affine, layout.space


def decode_header(data: bytes, name: str) -> Layout:
    """Where the voxels are, so that a large file can be read in pieces.

    Args:
        data: The first bytes of a file that is not gzipped, 540 or more.
        name: What to call it in an error.

    Raises:
        InputError: If the header is truncated, not NIfTI, not of one 3-D volume or not of real numbers.
    """
    header = _header(data, name)
    size = header.size[:3] if all(n == 1 for n in header.size[3:]) else header.size
    if len(size) != 3 or min(size) < 2:
        raise not_one_volume(name, size)
    if header.code not in DTYPES:
        raise InputError(
            f"{name} stores NIfTI data type {header.code}, but a modality holds one real number a voxel; "
            "convert it to 16-bit integers or 32-bit floats",
            code="unreadable-file",
        )
    dtype = np.dtype(header.order + DTYPES[header.code])
    scaled = header.slope not in (0.0, 1.0) or (header.slope and header.intercept)
    scaling = (header.slope, header.intercept) if scaled else None
    return Layout(size[::-1], dtype, _start(header, name), scaling, _affine(header, name), _space(header))


def encode_nifti(array: np.ndarray, affine: np.ndarray, gzipped: bool, space: int = 1) -> bytes:
    """The bytes of a NIfTI-1 file; equal inputs give equal bytes.

    Args:
        array: Volume [D, H, W] of a real type; bool is written as uint8.
        affine: (i, j, k) to RAS mm [4, 4]; written as sform (exact to float32) and as qform.
        gzipped: Whether to compress; the fastest level, as MRI noise hardly packs better at the slower ones.
        space: Code of the space the affine leads to, as from `decode_nifti`; of both forms, as they are one affine.
    """
    data = b"".join(nifti_parts(array, affine, space))
    return gzip.compress(data, compresslevel=1, mtime=0) if gzipped else data


def nifti_parts(array: np.ndarray, affine: np.ndarray, space: int = 1) -> tuple[bytes, memoryview]:
    """What a NIfTI-1 file consists of, all up to its first voxel and the voxels, without a copy of these.

    Args:
        array: As for `encode_nifti`.
        affine: As for `encode_nifti`.
        space: As for `encode_nifti`.
    """
    array = np.ascontiguousarray(array, dtype=np.uint8 if array.dtype == bool else array.dtype.newbyteorder("<"))
    return encode_header(array.shape, array.dtype, affine, space), memoryview(array).cast("B")


def encode_header(shape: tuple[int, ...], dtype: np.dtype, affine: np.ndarray, space: int = 1) -> bytes:
    """All of a NIfTI-1 file up to its first voxel, so that a large one can be written in pieces.

    Args:
        shape: (D, H, W) = (k, j, i).
        dtype: Of the voxels, which follow in C order, little end first.
        affine: As for `encode_nifti`.
        space: As for `encode_nifti`.
    """
    codes = {np.dtype("<" + text): code for code, text in DTYPES.items()}
    dtype = np.dtype(dtype).newbyteorder("<")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    quaternion, handed = _quaternion(affine[:3, :3] / spacing)
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, codes[dtype], 8 * dtype.itemsize)
    struct.pack_into("<8f", head, 76, handed, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", head, 108, 352, 1, 0)
    head[123] = 2  # millimetres
    struct.pack_into("<2h", head, 252, space, space)
    struct.pack_into("<6f", head, 256, *quaternion, *affine[:3, 3])
    struct.pack_into("<12f", head, 280, *affine[:3].ravel())
    head[344:348] = b"n+1\0"
    return bytes(head)


def not_one_volume(name: str, size: tuple[int, ...]) -> InputError:
    """The error for a 2-D or 4-D image; a single slice stored as 3-D counts as 2-D."""
    shape = " x ".join(str(n) for n in size)
    dimensions = 2 if len(size) == 3 else len(size)
    return InputError(
        f"{name} is {dimensions}-D ({shape}), but each modality is one 3-D volume; give the one you mean",
        code="not-3d",
    )


def truncated(name: str, detail: str) -> InputError:
    """The error for a file whose end is missing or whose contents fail their own checksum."""
    return InputError(
        f"{name} is truncated or corrupted ({detail}), but every voxel is needed; copy or download it again",
        code="truncated-file",
    )


def _gunzip(data: bytes, name: str) -> bytes:
    """Decompress one member after another, checking lengths and checksums."""
    parts, room = [], LARGEST_BYTES
    while data:
        stream = zlib.decompressobj(wbits=31)  # 31: with gzip's header and checksum
        try:
            parts.append(stream.decompress(data, room + 1))
        except zlib.error as error:
            raise truncated(name, str(error)) from error
        room -= len(parts[-1])
        if room < 0:
            raise InputError(
                f"{name} unpacks to more than {LARGEST_BYTES / 2**30:g} GiB, but a head scan has less; check the file",
                code="too-large",
            )
        if not stream.eof:
            raise truncated(name, "the gzip stream ends early")
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _header(data: bytes, name: str) -> Header:
    """Parse the header of either version and byte order."""
    for order in "<>":
        if len(data) >= 348 and struct.unpack_from(order + "i", data)[0] == 348:
            return _header1(data, order)
        if len(data) >= 540 and struct.unpack_from(order + "i", data)[0] == 540:
            return _header2(data, order)
    if len(data) < 348:
        raise truncated(name, f"{len(data)} bytes, a header alone has 348")
    raise InputError(
        f"{name} is named as NIfTI but does not begin with a NIfTI header; convert it or correct its name",
        code="unreadable-file",
    )


def _header1(data: bytes, order: str) -> Header:
    dim = struct.unpack_from(order + "8h", data, 40)
    code = struct.unpack_from(order + "h", data, 70)[0]
    pixdim = struct.unpack_from(order + "8f", data, 76)
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    forms = struct.unpack_from(order + "2h", data, 252)
    numbers = struct.unpack_from(order + "18f", data, 256)
    size = dim[1 : 1 + max(0, dim[0])]
    slope, intercept = _scaling(slope, intercept)
    units = data[123] & 7
    return Header(348, order, size, code, pixdim, offset, slope, intercept, units, *forms, numbers[:6], numbers[6:])


def _header2(data: bytes, order: str) -> Header:
    code = struct.unpack_from(order + "h", data, 12)[0]
    dim = struct.unpack_from(order + "8q", data, 16)
    pixdim = struct.unpack_from(order + "8d", data, 104)
    offset, slope, intercept = struct.unpack_from(order + "q2d", data, 168)
    forms = struct.unpack_from(order + "2i", data, 344)
    numbers = struct.unpack_from(order + "18d", data, 352)
    units = struct.unpack_from(order + "i", data, 500)[0] & 7
    size = dim[1 : 1 + max(0, dim[0])]
    slope, intercept = _scaling(slope, intercept)
    return Header(540, order, size, code, pixdim, offset, slope, intercept, units, *forms, numbers[:6], numbers[6:])


def _scaling(slope: float, intercept: float) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or not finite means "unscaled"."""
    return (slope, intercept) if np.isfinite([slope, intercept]).all() else (0.0, 0.0)


def _start(header: Header, name: str) -> int:
    """Where in the file the voxels begin, in bytes."""
    if not (math.isfinite(header.offset) and header.offset >= header.bytes):
        raise truncated(name, f"its voxels are said to begin at byte {header.offset:g}, within its header or nowhere")
    return int(header.offset)


def _space(header: Header) -> int:
    """Code of the space that the affine leads to; scanner space where none of the standard is stored."""
    code = header.sform_code if header.sform_code > 0 else header.qform_code
    return code if 1 <= code <= 5 else 1


def _affine(header: Header, name: str) -> np.ndarray:
    """(i, j, k) -> RAS mm [4, 4]: sform, else qform, else voxel sizes along the axes."""
    affine = np.eye(4)
    by_quaternion = header.sform_code <= 0 < header.qform_code
    sizes = (*header.pixdim[:4], *(header.quaternion if by_quaternion else ()))
    used = header.srow if header.sform_code > 0 else sizes
    if not np.isfinite(used).all():
        raise InputError(
            f"{name} has a place in space with numbers that are NaN or infinite, but every one must be finite; "
            "export the image again",
            code="bad-geometry",
        )
    if header.sform_code > 0:
        affine[:3] = np.reshape(header.srow, (3, 4))
    elif by_quaternion:
        b, c, d = header.quaternion[:3]
        a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        handed = -1.0 if header.pixdim[0] < 0 else 1.0
        scale = np.array(header.pixdim[1:4]) * (1.0, 1.0, handed)
        affine[:3, :3] = matrix_from_quaternion(np.array([b, c, d, a])) * scale
        affine[:3, 3] = header.quaternion[3:]
    else:
        affine[:3, :3] = np.diag(header.pixdim[1:4])
    affine[:3] *= UNIT_MM.get(header.units, 1.0)
    return affine


def _quaternion(axes: np.ndarray) -> tuple[tuple[float, float, float], float]:
    """Quaternion (b, c, d) of the rotation nearest to the unit axes [3, 3], and their handedness +1 or -1."""
    u, _, vt = np.linalg.svd(axes)
    nearest = u @ vt
    handed = float(np.sign(np.linalg.det(nearest)))
    b, c, d, _ = quaternion_from_matrix(nearest * (1.0, 1.0, handed)).tolist()
    return (b, c, d), handed
