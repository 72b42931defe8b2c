"""Resample: an array onto another grid by physical place, slice by slice, so that the application stays quick."""

from __future__ import annotations

import itertools
from collections.abc import Generator

import numpy as np

SAME_VOXELS = 0.01
"""Grids whose voxels lie no farther apart are one: nothing is interpolated then."""

TIE = 1e-6
"""Voxels: a point half way between two voxels goes to the upper one, rounding errors or not."""


def resample_steps(
    array: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray, linear: bool
) -> Generator[None, None, np.ndarray]:
    """Put an array on another grid, 0 where it has no voxel.

    Args:
        array: Voxels [D, H, W]; it may be empty.
        affine: Its (i, j, k) -> mm.
        shape: (D, H, W) of the other grid.
        target: The other grid's (i, j, k) -> mm of the same space.
        linear: For intensities, which come out as float32; else each voxel takes the nearest one's value.

    Yields:
        After every slice.

    Returns:
        Voxels on the other grid.
    """
    out = np.zeros(shape, np.float32 if linear else array.dtype)
    to_source = np.linalg.inv(affine) @ target
    box = _box(array.shape, np.linalg.inv(to_source), shape)
    shift = _whole_shift(to_source, shape)
    if shift is not None:
        inner = tuple(slice(part.start + n, part.stop + n) for part, n in zip(box, shift, strict=True))
        out[box] = array[inner]
        return out
    value_at = _linear if linear else _nearest
    js, is_ = (np.arange(part.start, part.stop) for part in box[1:])
    for k in range(box[0].start, box[0].stop):
        # position in the source, axes k, j, i, of every voxel of the slice [H, W]
        at = [m[0] * is_ + (m[1] * js + (m[2] * k + m[3]))[:, None] for m in to_source[2::-1]]
        out[k, box[1], box[2]] = value_at(array, at)
        yield
    return out


def _box(source_shape: tuple[int, ...], to_target: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of the target grid that a source of this shape can touch."""
    if 0 in source_shape:
        return (slice(0, 0),) * 3
    corners = np.array([(*c, 1.0) for c in itertools.product(*((-0.5, n - 0.5) for n in source_shape[::-1]))])
    kji = (corners @ to_target.T)[:, 2::-1]
    first = np.ceil(kji.min(axis=0) - TIE).astype(int).clip(0, shape)
    last = (np.floor(kji.max(axis=0) - TIE).astype(int) + 1).clip(first, shape)
    return tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))


def _whole_shift(to_source: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """By how many voxels (k, j, i) the grids are shifted, if that is all that differs."""
    corners = np.array([(*c, 1.0) for c in itertools.product(*((0, n - 1) for n in shape[::-1]))])
    shifts = (corners @ to_source.T - corners)[:, :3]
    whole = np.round(shifts[0])
    return tuple(whole[::-1].astype(int).tolist()) if np.abs(shifts - whole).max() <= SAME_VOXELS else None


def _nearest(array: np.ndarray, at: list[np.ndarray]) -> np.ndarray:
    """Values of the voxels nearest to positions (k, j, i), each [H, W]."""
    index = [np.floor(x + (0.5 + TIE)).astype(np.intp) for x in at]
    inside = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(index, array.shape, strict=True)])
    values = array[tuple(i.clip(0, n - 1) for i, n in zip(index, array.shape, strict=True))]
    return np.where(inside, values, array.dtype.type(0))


def _linear(array: np.ndarray, at: list[np.ndarray]) -> np.ndarray:
    """Trilinear values at positions (k, j, i), each [H, W]; within half a voxel of a face, that of the face."""
    inside = np.logical_and.reduce([(x >= -0.5) & (x < n - 0.5) for x, n in zip(at, array.shape, strict=True)])
    lower, upper, part = [], [], []
    for x, n in zip(at, array.shape, strict=True):
        x = x.clip(0, n - 1)
        low = x.astype(np.intp)
        lower.append(low)
        upper.append(np.minimum(low + 1, n - 1))
        part.append(x - low)
    values = np.zeros(inside.shape)
    for corner in itertools.product((0, 1), repeat=3):
        index = tuple((lower, upper)[c][axis] for axis, c in enumerate(corner))
        weight = [part[axis] if c else 1 - part[axis] for axis, c in enumerate(corner)]
        values += array[index] * (weight[0] * weight[1] * weight[2])
    return np.where(inside, values, 0.0)
