"""Masks: the box around one, its surface, steps in its grid, and the one shape that arrays to compare must have."""

from __future__ import annotations

import itertools

import numpy as np

ROUNDING = 1e-4
"""How far lengths may be off, in mm or as a share: headers hold spacings in single precision, and 1.0000001 is 1."""


def box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask [D, H, W]; of no size where that is empty."""
    seen = (mask.any(axis=(1, 2)), mask.any(axis=(0, 2)), mask.any(axis=(0, 1)))
    return tuple(slice(ends[0], ends[-1] + 1) for ends in (np.flatnonzero(row).tolist() or [0, -1] for row in seen))


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask with one of the six neighbours outside it, bool [D, H, W]; beyond the array all is outside."""
    around = np.pad(mask, 1)
    here, before, after = slice(1, -1), slice(0, -2), slice(2, None)
    inner = mask.copy()
    for side in (before, after):
        inner &= around[side, here, here] & around[here, side, here] & around[here, here, side]
    return mask & ~inner


def steps_within(edges_mm: np.ndarray, reach_mm: float) -> np.ndarray:
    """Offsets in voxels along (D, H, W), int [N, 3]: all that are no longer than a reach along any one axis."""
    widths = [int((reach_mm + ROUNDING) // edge) for edge in edges_mm]
    return np.array(list(itertools.product(*(range(-width, width + 1) for width in widths))))


def same_shape(*arrays: np.ndarray | None) -> None:
    """Refuse arrays that cannot be compared voxel by voxel; None is passed over.

    Raises:
        ValueError: If the shapes differ.
    """
    shapes = {np.shape(array) for array in arrays if array is not None}
    if len(shapes) > 1:
        raise ValueError(f"arrays to compare must have one shape, not {' and '.join(map(str, sorted(shapes)))}")
