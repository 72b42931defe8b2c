"""ITK: image files that are not NIfTI, and resampling, by SimpleITK.

The one file that knows SimpleITK, and the one that `volume` imports only where it must: NIfTI on the working grid
needs none of this. Arrays are [D, H, W] = (k, j, i) and affines lead to RAS mm; ITK's LPS is converted here only.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DABSegCore.errors import InputError
from DABSegCore.files import list_folder, read_bytes
from DABSegCore.nifti import not_one_volume, truncated

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_LOCK = threading.Lock()


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [D, H, W] in the stored type and affine [4, 4] of a file.

    Raises:
        InputError: If it cannot be read or is not one 3-D volume.
    """
    try:
        with _quiet():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise truncated(str(path), _last_line(error)) from error
    return _from_itk(image, path)


def read_dicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [D, H, W] and affine [4, 4] of the one DICOM series of a folder, slices in order of place.

    Raises:
        InputError: If there is not one series, or it cannot be read or is not evenly spaced.
    """
    for file in list_folder(folder):
        if not os.path.isdir(file):
            read_bytes(file, 1)  # ITK would pass over a locked slice without a word
    with _quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if len(series) != 1:
            found = ": " + ", ".join(series) if series else ""
            raise InputError(
                f"{folder} holds {len(series)} DICOM series{found}; a modality is one series in one folder, "
                "so move the one you mean into a folder of its own",
                code="not-one-series",
            )
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
        try:
            if len(names) == 1:
                return _from_itk(sitk.ReadImage(names[0]), folder)
            _check_slices(names, folder)
            return _from_itk(sitk.ReadImage(names), folder)
        except RuntimeError as error:
            raise truncated(str(folder), _last_line(error)) from error


def write_image(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array [D, H, W] under a name whose suffix says the format, and check that it reads back equal.

    Raises:
        OSError: If it does not, or cannot be written.
    """
    try:
        sitk.WriteImage(_to_itk(array, affine), str(path), useCompression=True)
        back = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise OSError(errno.EIO, _last_line(error)) from error
    # ITK may not notice a full disk, so what it wrote is read back.
    if not np.array_equal(back, array):
        raise OSError(errno.ENOSPC, "what was written reads back differently")


def resample(array: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], onto: np.ndarray, order: str) -> np.ndarray:
    """Read an array at the voxels of another grid, 0 where it has none.

    Args:
        array: What to read [d, h, w].
        affine: Its affine [4, 4].
        shape: (D, H, W) of the other grid.
        onto: Affine of the other grid [4, 4].
        order: "linear" or "nearest".

    Returns:
        Array [D, H, W] in the type of `array`.
    """
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator({"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}[order])
    direction, spacing, origin = _geometry(onto)
    resampler.SetSize(shape[::-1])
    resampler.SetOutputDirection(direction)
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    return sitk.GetArrayFromImage(resampler.Execute(_to_itk(array, affine))).astype(array.dtype, copy=False)


def _check_slices(names: tuple[str, ...], folder: Path) -> None:
    """Refuse a series with a slice missing or given twice: its slices must be evenly spaced."""
    places = []
    for name in names:
        reader = sitk.ImageFileReader()
        reader.SetFileName(name)
        reader.ReadImageInformation()
        places.append(reader.GetOrigin())
    steps = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)
    if steps.min() < 0.9 * np.median(steps) or steps.max() > 1.1 * np.median(steps) or steps.min() == 0:
        raise InputError(
            f"{folder} has slices {steps.min():.2f} to {steps.max():.2f} mm apart, but a volume needs them "
            "evenly spaced; look for missing slices or for several acquisitions under one series",
            code="uneven-slices",
        )


def _from_itk(image: sitk.Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine of an ITK image, refused unless it is 3-D with one number a voxel."""
    size = image.GetSize()
    size = size[:3] if size[3:] == (1,) else size
    size += (image.GetNumberOfComponentsPerPixel(),) if image.GetNumberOfComponentsPerPixel() > 1 else ()
    if len(size) != 3 or min(size) < 2:
        raise not_one_volume(str(path), size)
    image = image[(slice(None),) * 3 + (0,)] if image.GetDimension() == 4 else image
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), RAS_FROM_LPS @ affine


def _to_itk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """ITK image of an array [D, H, W]."""
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    direction, spacing, origin = _geometry(affine)
    image.SetDirection(direction)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def _geometry(affine: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """ITK's direction [9], spacing [3] and origin [3] of a RAS affine."""
    lps = RAS_FROM_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return (lps[:3, :3] / spacing).ravel().tolist(), spacing.tolist(), lps[:3, 3].tolist()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal, where they would bury the one sentence that matters.

    One thread at a time: the switch is one for all.
    """
    with _LOCK:
        before = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _last_line(error: Exception) -> str:
    """The last line of an ITK message, which is the one that says something."""
    return str(error).strip().splitlines()[-1].strip()
