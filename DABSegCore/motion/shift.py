"""Shift: the sub-voxel displacement between two volumes, by phase correlation, and its undoing by a windowed sinc."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CORRELATION_MM = 4.0
"""Standard deviation of the correlation peak; structures finer than a few times this have no vote."""

TAPS = 4
"""Half width of the windowed sinc in voxels."""

Box = tuple[tuple[int, int], ...]
"""One (first, last + 1) voxel range per axis."""


def estimate_shift(moved: Tensor, still: Tensor, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Displacement of one volume against another by phase correlation.

    The whitened cross-spectrum is weighted by a Gaussian, so a pure shift gives a Gaussian peak, whose place follows
    exactly from the logarithms of three samples per axis.

    Args:
        moved: Displaced volume [D, H, W].
        still: Reference volume, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order.

    Returns:
        Displacement in mm in (i, j, k) order; zero if a volume is empty.
    """
    spacing = tuple(spacing_mm)[::-1]
    cross = torch.fft.rfftn(moved) * torch.fft.rfftn(still).conj()
    cross = cross / cross.abs().clamp_min(1e-30)
    for axis, (size, step) in enumerate(zip(moved.shape, spacing, strict=True)):
        frequency = (torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq)(size, step, device=moved.device)
        weight = torch.exp(-2 * (math.pi * CORRELATION_MM * frequency) ** 2)
        cross = cross * weight.reshape([-1 if a == axis else 1 for a in range(3)])
    peak = torch.fft.irfftn(cross, s=moved.shape).cpu()
    if float(peak.max()) <= 0:
        return 0.0, 0.0, 0.0
    top = tuple(int(index) for index in np.unravel_index(int(peak.argmax()), peak.shape))
    places = (_summit(peak[top[:a] + (slice(None),) + top[a + 1 :]].tolist(), top[a]) for a in range(3))
    return tuple(place * step for place, step in zip(places, spacing, strict=True))[::-1]


def _summit(line: list[float], top: int) -> float:
    """Sub-sample place of the maximum of a periodic Gaussian bump sampled with its maximum at `top`."""
    size = len(line)
    left, mid, right = (math.log(max(line[(top + d) % size], 1e-12)) for d in (-1, 0, 1))
    bend = left - 2 * mid + right
    signed = (top + size // 2) % size - size // 2
    return signed + (0.5 * (left - right) / bend if bend < 0 else 0.0)


def widen(box: Box, shape: Sequence[int], shift_voxels: Sequence[float]) -> Box:
    """The box and what `undo_shift` reads around it, within the volume."""
    margin = [math.ceil(abs(s)) + TAPS if s else 0 for s in shift_voxels]
    return tuple((max(0, lo - m), min(n, hi + m)) for (lo, hi), m, n in zip(box, margin, shape, strict=True))


def undo_shift(image: Tensor, wide: Box, target: Box, shift_voxels: Sequence[float]) -> Tensor:
    """Move an image back by a shift, one axis after the other.

    Args:
        image: Image [A, B, C] on the box `wide`.
        wide: `widen(target, ...)`.
        target: Box wanted.
        shift_voxels: Displacement along the three array axes.

    Returns:
        Image on the target box; untouched along axes without shift, and then clipped at 0 as the sinc undershoots.
    """
    with torch.autocast(image.device.type, enabled=False):
        for axis, shift in enumerate(shift_voxels):
            (first, last), (start, stop) = target[axis], wide[axis]
            if shift == 0:
                image = image.narrow(axis, first - start, last - first)
                continue
            matrix = _sinc_matrix(np.arange(first, last) + shift, np.arange(start, stop)).to(image)
            image = torch.tensordot(image, matrix, dims=([axis], [1])).movedim(-1, axis)
    return image.clamp_min(0) if any(shift_voxels) else image


def _sinc_matrix(read_at: np.ndarray, voxels: np.ndarray) -> Tensor:
    """Weights [len(read_at), len(voxels)] of a cosine-windowed sinc; they sum to 1 where all taps are inside."""
    fraction = read_at - np.floor(read_at)
    taps = np.arange(1 - TAPS, TAPS + 1)
    total = _windowed_sinc(fraction[:, None] - taps[None, :]).sum(1, keepdims=True)
    weights = _windowed_sinc(read_at[:, None] - voxels[None, :]) / total
    return torch.from_numpy(weights.astype(np.float32))


def _windowed_sinc(offset: np.ndarray) -> np.ndarray:
    window = np.where(np.abs(offset) < TAPS, np.square(np.cos(np.pi * offset / (2 * TAPS))), 0.0)
    return np.sinc(offset) * window
