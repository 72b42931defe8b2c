"""Image: likeness of two images in a mask, as PSNR, SSIM and NMSE."""

from __future__ import annotations

import numpy as np

from DABSegCore.errors import packages_for
from DABSegCore.metrics.masks import box_around, same_shape

_SSIM_SIGMA = 1.5  # voxels
_SSIM_RADIUS = 5  # an 11-voxel window, as in Wang et al. 2004
_K1, _K2 = 0.01, 0.03


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
    same_shape(image, reference, mask)
    where = ... if mask is None else np.asarray(mask, bool)
    error = np.asarray(image)[where].astype(np.float64) - np.asarray(reference)[where]
    squared = np.square(error)
    if squared.size == 0:
        return float("nan")
    mse = float(squared.mean())
    return float(-10.0 * np.log10(mse)) if mse > 0 else float("inf")


def nmse(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Normalised mean squared error: the sum of squared differences over that of the reference's squares.

    Args:
        image: Intensities [D, H, W].
        reference: Intensities, same shape.
        mask: Voxels that count, bool [D, H, W]; None for all.

    Returns:
        0 for equal images, 1 for an image of nothing but 0; NaN for an empty mask. Where the reference is 0 all over
        the mask, NaN if the images are equal there and else infinite.

    Raises:
        ValueError: If the shapes differ.
    """
    same_shape(image, reference, mask)
    where = ... if mask is None else np.asarray(mask, bool)
    truth = np.asarray(reference)[where].astype(np.float64)
    error, power = (float(np.square(values).sum()) for values in (np.asarray(image)[where] - truth, truth))
    if power == 0:
        return float("inf") if error else float("nan")
    return error / power


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
    same_shape(image, reference, mask)
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
    return tuple(slice(max(side.start - _SSIM_RADIUS, 0), side.stop + _SSIM_RADIUS) for side in box_around(mask))


def _local_mean(array: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean around every voxel [D, H, W]."""
    from scipy import ndimage

    return ndimage.gaussian_filter(array, _SSIM_SIGMA, radius=_SSIM_RADIUS, mode="reflect")
