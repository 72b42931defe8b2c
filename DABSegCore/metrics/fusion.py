"""Fusion: what a volume made of several others is worth, without a truth to compare it with; as in RMR-Fusion.

Intensities span [0, 1] and are seen as 256 grey levels where the published numbers are. All are the larger the better,
but noise raises entropy and average gradient too. Over whole volumes, as published, the background counts: a mask of
the brain gives other numbers, and only those of one kind can be compared. In an empty mask all are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from DABSegCore.metrics.masks import same_shape

LEVELS = 256
_SIDE = 3  # pixels of a window's edge in `fmi`
_AT_ONCE = 8192  # windows of `fmi` in memory


def entropy(image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """EN: Shannon entropy of the histogram of grey levels (Roberts et al. 2008).

    Args:
        image: Intensities [D, H, W].
        mask: Voxels that count, bool [D, H, W]; None for all.

    Returns:
        Bits, 0 for a constant image and 8 if all grey levels are as frequent; NaN for an empty mask.

    Raises:
        ValueError: If the shapes differ.
    """
    same_shape(image, mask)
    values = _grey(image)[_where(mask)]
    if values.size == 0:
        return float("nan")
    return float(_bits(np.bincount(np.rint(values).astype(np.int64).ravel(), minlength=LEVELS) / values.size))


def average_gradient(image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """AG: mean root mean square of the steps to the next voxel along the three axes (Cui et al. 2015, who have two).

    Args:
        image: Intensities [D, H, W].
        mask: Voxels that count, bool [D, H, W]; None for all. The last of each axis have no next and never count.

    Returns:
        Grey levels per voxel; NaN for an empty mask.

    Raises:
        ValueError: If the shapes differ.
    """
    same_shape(image, mask)
    grey, inner = _grey(image), (slice(0, -1),) * 3
    steps = (np.diff(grey, axis=axis)[_but(axis)] for axis in range(3))
    size = np.sqrt(sum(np.square(step) for step in steps) / 3)
    size = size[_where(mask, inner)]
    return float(size.mean()) if size.size else float("nan")


def scd(fused: np.ndarray, first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> float:
    """SCD: sum of the correlations of differences (Aslantas and Bendes 2015).

    What is left of the fused image without one source should look like the other.

    Args:
        fused: Intensities [D, H, W].
        first: One source, same shape.
        second: The other, same shape.
        mask: Voxels that count, bool [D, H, W]; None for all.

    Returns:
        At most 2, for a sum of both; a difference that is constant adds 0. NaN for an empty mask.

    Raises:
        ValueError: If the shapes differ.
    """
    same_shape(fused, first, second, mask)
    f, a, b = (np.asarray(image, np.float64)[_where(mask)].ravel() for image in (fused, first, second))
    return _correlation(f - b, a) + _correlation(f - a, b) if f.size else float("nan")


def fmi(fused: np.ndarray, sources: Sequence[np.ndarray], mask: np.ndarray | None = None) -> float:
    """FMI: how much of the sources' edges the fused image tells (Haghighat et al. 2011, and 2014 for windows).

    In a window of 3x3 pixels of an axial slice, steepness is a distribution over its nine places. The joint one of two
    images lies between the product and the Frechet bound that their correlation points to, as far as the correlation
    says; mutual information is of it, over the mean of both entropies. The mean over windows and sources is returned.

    Args:
        fused: Intensities [D, H, W].
        sources: What it was made of, one or more of the same shape.
        mask: Voxels whose windows count, bool [D, H, W]; None for all. The outermost of a slice have none.

    Returns:
        1 for a fused image with the sources' edges, flat windows included; NaN where no window counts.

    Raises:
        ValueError: If the shapes differ or there is no source.
    """
    same_shape(fused, *sources, mask)
    if not sources:
        raise ValueError("a fused image has at least one source")
    total, count = 0.0, 0
    for k in range(np.shape(fused)[0]):
        there = None if mask is None else np.asarray(mask[k], bool)
        if there is not None and not there.any():
            continue
        of_fused = _windows(fused[k], there)
        for source in sources:
            of_source = _windows(source[k], there)
            for start in range(0, len(of_fused), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                total += float(_shared_information(of_fused[part], of_source[part]).sum())
            count += len(of_fused)
    return total / count if count else float("nan")


def _grey(image: np.ndarray) -> np.ndarray:
    """Grey levels 0 to 255, not rounded."""
    return np.clip(np.asarray(image, np.float64), 0, 1) * (LEVELS - 1)


def _where(mask: np.ndarray | None, part: tuple[slice, ...] = ()) -> Any:
    """Index of the voxels that count."""
    return ... if mask is None else np.asarray(mask, bool)[part]


def _but(axis: int) -> tuple[slice, ...]:
    """All but the last voxel of the other axes: what is left has one size for every axis of steps."""
    return tuple(slice(None) if a == axis else slice(0, -1) for a in range(3))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, of [N]; 0 if either is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 1e-12 * len(x) else 0.0


def _bits(p: np.ndarray) -> np.ndarray:
    """Entropy of distributions over the last axis."""
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(-1)


def _windows(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Steepness in the windows of a slice [H, W], as distributions over their places [N, 9]."""
    if min(np.shape(image)) < _SIDE:
        return np.zeros((0, _SIDE**2))
    steepness = np.hypot(*np.gradient(np.asarray(image, np.float64)))
    windows = np.lib.stride_tricks.sliding_window_view(steepness, (_SIDE, _SIDE))
    inner = (slice(1, -1),) * 2
    windows = windows[_where(mask, inner)].reshape(-1, _SIDE**2)
    least, most = windows.min(-1, keepdims=True), windows.max(-1, keepdims=True)
    flat = most - least < 1e-12
    weights = np.where(flat, 1.0, (windows - least) / np.where(flat, 1.0, most - least))
    return weights / weights.sum(-1, keepdims=True)


def _shared_information(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Mutual information of pairs of distributions [N, L], over the mean of their entropies: [N]."""
    below_p, below_q = p.cumsum(-1)[:, :, None], q.cumsum(-1)[:, None, :]
    x, y = p - p.mean(-1, keepdims=True), q - q.mean(-1, keepdims=True)
    size = np.sqrt(np.square(x).sum(-1) * np.square(y).sum(-1))
    alike = np.where(size > 1e-12, (x * y).sum(-1) / np.where(size > 1e-12, size, 1), 0)[:, None, None]
    bound = np.where(alike >= 0, np.minimum(below_p, below_q), np.maximum(below_p + below_q - 1, 0))
    # Hoeffding: a covariance is the sum of what the joint distribution function has over the product of its margins.
    reach = (bound - below_p * below_q).sum((1, 2), keepdims=True)
    wanted = alike * (_spread(p) * _spread(q))[:, None, None]
    share = np.clip(np.where(np.abs(reach) > 1e-12, wanted / np.where(np.abs(reach) > 1e-12, reach, 1), 0), 0, 1)
    extreme = np.diff(np.diff(bound, axis=1, prepend=0), axis=2, prepend=0)
    joint = np.clip(share * extreme + (1 - share) * p[:, :, None] * q[:, None, :], 0, None)
    each = _bits(p) + _bits(q)
    informed = each > 1e-9  # else both have all in one place, which says something only if that is the same
    shared = 2 * (each - _bits(joint.reshape(len(p), -1))) / np.where(informed, each, 1)
    return np.where((p == q).all(-1), 1.0, np.where(informed, shared, 0.0))


def _spread(p: np.ndarray) -> np.ndarray:
    """Standard deviation of the place under distributions [N, L]."""
    place = np.arange(p.shape[-1])
    mean = p @ place
    return np.sqrt(np.clip(p @ np.square(place) - np.square(mean), 0, None))
