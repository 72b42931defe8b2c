"""Volume: a 3-D array and its place in space; reads, writes and resamples it.

The one file that knows image I/O: the bytes of NIfTI are in `nifti`, all else is left to SimpleITK in `itk`, which is
imported only where it is needed. Arrays are [D, H, W] = (k, j, i); the affine maps (i, j, k) to RAS mm as in NIfTI.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from DABSegCore.errors import InputError, packages_for
from DABSegCore.files import read_bytes, replacing, write_bytes
from DABSegCore.files import sha256 as sha256
from DABSegCore.labels import canonical_labels
from DABSegCore.nifti import decode_nifti, encode_nifti, nifti_parts

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""File names read as images; anything else must be a folder with one DICOM series."""

FORMATS = ("nii.gz", "nii", "nrrd")
"""What a command can be asked to write its volumes as; the first unless it is asked."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array with its place in space.

    Args:
        array: Voxels [D, H, W] = (k, j, i).
        affine: Voxel index (i, j, k) -> RAS mm [4, 4], float64.
        space: NIfTI's code of the space that RAS is of: 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 other template.
    """

    array: np.ndarray
    affine: np.ndarray
    space: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Array shape (D, H, W)."""
        return self.array.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths in (i, j, k) order."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k

    def with_array(self, array: np.ndarray) -> Volume:
        """The same place with other voxels [D, H, W]."""
        return replace(self, array=array)


def read_volume(path: str | Path) -> Volume:
    """Read one modality.

    Args:
        path: A .nii, .nii.gz, .nrrd, .mha or .mhd file, or a folder with one DICOM series.

    Returns:
        Volume of finite float32 voxels.

    Raises:
        InputError: If the file is missing, unreadable, truncated, not one 3-D volume, not finite or sheared.
    """
    path = Path(path)
    volume = _read_any(path)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.array(volume.array, dtype=np.float32, order="C")
        total = array.sum(dtype=np.float64)
    if not np.isfinite(total):
        bad = int((~np.isfinite(array)).sum())
        raise InputError(
            f"{path} holds {bad} voxels that are NaN or infinite, but every voxel must be a finite number; "
            "export the image again or replace them by 0",
            code="not-finite",
        )
    _check_axes(volume.affine, path)
    return volume.with_array(array)


def read_labels(path: str | Path) -> Volume:
    """Read a BraTS label map, of 2020 or 2023, stored as integers or floats.

    Args:
        path: As for `read_volume`.

    Returns:
        Volume of canonical labels {0, 1, 2, 4}, uint8.

    Raises:
        InputError: As for `read_volume`, or if a value is not a BraTS label.
    """
    volume = read_volume(path)
    small = np.clip(volume.array, 0, 255).astype(np.uint8)  # bytes are quicker to look through than floats
    stored = small if np.array_equal(small, volume.array) else volume.array
    try:
        return volume.with_array(canonical_labels(stored))
    except InputError as error:
        raise InputError(f"{path}: {error}", code=error.code) from error


def write_volume(path: str | Path, volume: Volume) -> None:
    """Write a volume whole or not at all.

    Args:
        path: A name ending in .nii.gz, .nii, .nrrd or .mha, in a folder that exists.
        volume: What to write; geometry is kept to float32 (NIfTI) or float64.

    Raises:
        InputError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    suffix = image_suffix(path)
    if suffix == ".nii.gz":
        write_bytes(path, encode_nifti(volume.array, volume.affine, True, volume.space))
        return
    if suffix == ".nii":
        write_bytes(path, *nifti_parts(volume.array, volume.affine, volume.space))
        return
    if suffix not in (".nrrd", ".mha"):
        raise _unknown_format(path)
    with packages_for(f"writing {path}"):
        from DABSegCore import itk
    with replacing(path, suffix) as temporary:
        itk.write_image(temporary, volume.array, volume.affine)


def write_png(path: str | Path, rgb: np.ndarray) -> None:
    """Write a colour picture whole or not at all.

    Args:
        path: Where to, in a folder that exists.
        rgb: Colours, uint8 [H, W, 3].

    Raises:
        InputError: As for `write_volume`.
    """
    height, width, _ = rgb.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each line begins with its filter, 0 = none
    rows[:, 1:] = rgb.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, colour type 2 = RGB
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
    write_bytes(path, b"\x89PNG\r\n\x1a\n" + body)


def same_grid(a: Volume, b: Volume) -> bool:
    """Whether two volumes share shape and place: no corner differs by more than 1 % of a voxel."""
    if a.shape != b.shape:
        return False
    corners = _lattice(a.shape, 2)
    apart_mm = np.linalg.norm((corners @ (a.affine - b.affine).T)[:, :3], axis=1)
    return bool(apart_mm.max() <= 0.01 * min(a.spacing_mm))


def overlap(volume: Volume, reference: Volume) -> float:
    """Share of the reference's grid that lies inside the volume's grid, 0 to 1 (counted on 33^3 points)."""
    i, j, k = np.meshgrid(*(np.linspace(0, n - 1, 33) for n in reference.shape[::-1]), sparse=True)
    inside = np.ones((33, 33, 33), bool)
    for row, n in zip(np.linalg.inv(volume.affine) @ reference.affine, volume.shape[::-1], strict=False):
        place = row[0] * i + (row[1] * j + (row[2] * k + row[3]))  # not by a matrix product: 10 times quicker
        inside &= (place >= -0.5) & (place <= n - 0.5)
    return float(inside.mean())


def resample(volume: Volume, reference: Volume, order: str = "linear") -> Volume:
    """Put a volume on the reference's grid by physical place, 0 where it has no voxel.

    Args:
        volume: What to resample [D, H, W].
        reference: The grid to put it on; its voxels are not looked at.
        order: "linear" for intensities and probabilities, "nearest" for labels and masks.

    Returns:
        Volume on the reference's grid, in the type of `volume`.

    Raises:
        InputError: If the grids do not overlap.
    """
    if overlap(volume, reference) == 0:
        raise InputError(
            "the two images lie in different places and do not overlap, but they must show the same head "
            "in the same space; register them first or pick the right file",
            code="no-overlap",
        )
    with packages_for("resampling an image onto another grid"):
        from DABSegCore import itk
    return reference.with_array(itk.resample(volume.array, volume.affine, reference.shape, reference.affine, order))


def image_suffix(path: Path) -> str:
    """The image suffix a file name ends with, in lower case, or "" if it is no image name."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def _read_any(path: Path) -> Volume:
    """Read in the stored type, by what the path is."""
    folder = os.path.isdir(path)  # Path.is_dir raises where the parent is locked
    suffix = "" if folder else image_suffix(path)
    if suffix in (".nii", ".nii.gz"):
        return Volume(*decode_nifti(read_bytes(path), str(path)))
    if not folder:
        read_bytes(path, 1)  # so that a missing or locked file is told as such
        if not suffix:
            raise _unknown_format(path)
    with packages_for(f"reading {path}"):
        from DABSegCore import itk
    return Volume(*(itk.read_dicom(path) if folder else itk.read_image(path)))


def _check_axes(affine: np.ndarray, path: Path) -> None:
    """Refuse axes that are not at right angles (shear), of no length or not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        axes = affine[:3, :3] / np.maximum(spacing, 1e-12)
        if np.isfinite(affine).all() and np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3:
            return
    raise InputError(
        f"{path} has voxel axes that are sheared or of no length, but they must meet at right angles "
        "(to 0.001); resample the image onto an ordinary grid first",
        code="bad-geometry",
    )


def _lattice(shape: tuple[int, ...], points: int) -> np.ndarray:
    """Evenly spread voxel indices (i, j, k, 1) from corner to corner [points^3, 4]."""
    axes = [np.linspace(0, n - 1, points) for n in shape[::-1]]
    return np.stack(np.meshgrid(*axes, [1.0]), axis=-1).reshape(-1, 4)


def _unknown_format(path: Path) -> InputError:
    """The error for a name no reader or writer knows."""
    return InputError(
        f"{path} has a name of no known image format; give a file ending in {', '.join(SUFFIXES)}, "
        "or the folder of one DICOM series",
        code="unknown-format",
    )
