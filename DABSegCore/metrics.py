"""Metrics: agreement of masks (Dice, sensitivity, HD95) and of images (PSNR, SSIM), each with its empty case stated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from DABSegCore.errors import packages_for

_HD95_ONE_EMPTY_MM = 373.13
_SSIM_SIGMA = 1.5  # voxels
_SSIM_RADIUS = 5  # an 11-voxel window, as in Wang et al. 2004
_K1, _K2 = 0.01, 0.03


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice overlap 2 |A and B| / (|A| + |B|) (Dice 1945).

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Returns:
        0 to 1; 1 when both masks are empty, 0 when only one is.

    Raises:
        ValueError: If the shapes differ.
    """
    _same_shape(prediction, reference)
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2.0 * np.count_nonzero(prediction & reference) / total if total else 1.0


def sensitivity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the reference that was found, |A and B| / |B|.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Returns:
        0 to 1; NaN when the reference is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    _same_shape(prediction, reference)
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    there = np.count_nonzero(reference)
    return np.count_nonzero(prediction & reference) / there if there else float("nan")


@packages_for("HD95")
def hd95(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """95th percentile Hausdorff distance: how far the surfaces lie apart, but for the worst 5 % of them.

    A surface is the voxels of a mask with one of the six neighbours outside it; beyond the volume all is outside. Each
    surface voxel has a distance to the nearest one of the other surface, centre to centre. Of these the 95th percentile
    is taken from prediction to reference and back, and the larger of the two counts, as in MONAI.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.

    Returns:
        Millimetres; 0 when both masks are empty, 373.13 (the diagonal of the BraTS grid, as in its rankings) when only
        one is.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    from scipy.spatial import cKDTree

    _same_shape(prediction, reference)
    masks = np.asarray(prediction, bool), np.asarray(reference, bool)
    empty = [not mask.any() for mask in masks]
    if any(empty):
        return 0.0 if all(empty) else _HD95_ONE_EMPTY_MM
    ours, theirs = (_surface(mask) * np.array(spacing_mm)[::-1] for mask in masks)
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) of images whose intensities span [0, 1].

    Args:
        image: Intensities [D, H, W].
        reference: Intensities, same shape.
        mask: Voxels that count, bool [D, H, W]; None for all.

    Returns:
        Decibels; infinite for equal images, NaN for an empty mask.

    Raises:
        ValueError: If the shapes differ.
    """
    _same_shape(image, reference, mask)
    where = ... if mask is None else np.asarray(mask, bool)
    error = np.asarray(image)[where].astype(np.float64) - np.asarray(reference)[where]
    squared = np.square(error)
    if squared.size == 0:
        return float("nan")
    mse = float(squared.mean())
    return float(-10.0 * np.log10(mse)) if mse > 0 else float("inf")


@packages_for("SSIM")
def ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13) in 3-D, averaged over the voxels of the mask.

    Local means, variances and covariance are weighted by a Gaussian of sigma 1.5 voxels in a window of 11^3;
    intensities span [0, 1]. Beyond its faces the volume is mirrored.

    Args:
        image: Intensities [D, H, W].
        reference: Intensities, same shape.
        mask: Voxels whose similarity is averaged, bool [D, H, W]; None for all.

    Returns:
        At most 1, which means equal; NaN for an empty mask.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    _same_shape(image, reference, mask)
    inside = np.ones(np.shape(image), bool) if mask is None else np.asarray(mask, bool)
    if not inside.any():
        return float("nan")
    box = surroundings(inside)
    x, y = (np.asarray(array)[box].astype(np.float64) for array in (image, reference))
    # Of the variances only the sum is asked for, so four means do; what follows is of the mask's voxels alone.
    mean_x, mean_y, mean_xy, mean_squares = (_local_mean(a)[inside[box]] for a in (x, y, x * y, x * x + y * y))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    likeness = (2 * product + _K1**2) * (2 * (mean_xy - product) + _K2**2)
    likeness /= (squares + _K1**2) * (mean_squares - squares + _K2**2)
    return float(likeness.mean())


def surroundings(mask: np.ndarray) -> tuple[slice, ...]:
    """The part of a volume that `ssim` looks at for a mask [D, H, W]: cropped to it, images are as alike as before."""
    return tuple(slice(max(side.start - _SSIM_RADIUS, 0), side.stop + _SSIM_RADIUS) for side in _box(mask))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices of the voxels of a mask with one of six neighbours outside it [N, 3]; not for an empty mask."""
    box = _box(mask)
    padded = np.pad(mask[box], 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)  # what comes round is padding
    return np.argwhere(padded & ~inner) - 1 + [side.start for side in box]


def _local_mean(array: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean around every voxel [D, H, W]."""
    from scipy import ndimage

    return ndimage.gaussian_filter(array, _SSIM_SIGMA, radius=_SSIM_RADIUS, mode="reflect")


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask [D, H, W]; of no size where that is empty."""
    seen = (mask.any(axis=(1, 2)), mask.any(axis=(0, 2)), mask.any(axis=(0, 1)))
    return tuple(slice(ends[0], ends[-1] + 1) for ends in (np.flatnonzero(row).tolist() or [0, -1] for row in seen))


def _same_shape(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> None:
    shapes = {np.shape(array) for array in (first, second, mask) if array is not None}
    if len(shapes) > 1:
        raise ValueError(f"arrays to compare must have one shape, not {' and '.join(map(str, sorted(shapes)))}")
