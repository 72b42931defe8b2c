"""Fields: smooth random functions of space, implicit solids and the step from a 2 mm lattice to the image grid."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

LATTICE_MM = 2.0
"""Spacing on which smooth fields are evaluated, whatever the image's own spacing: a patient is one function of mm."""


@dataclass(frozen=True)
class Grid:
    """A box of points: z, y, x coordinates in mm from the brain's centre, towards superior, posterior and left."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def spacing_mm(self) -> float:
        """Edge of the cubic voxels."""
        return float(self.x[1] - self.x[0])

    def points(self) -> np.ndarray:
        """Coordinates (x, y, z) of every point, float32 [3, D, H, W]."""
        z, y, x = np.meshgrid(self.z, self.y, self.x, indexing="ij")
        return np.stack([x, y, z]).astype(np.float32)


def lattice(step_mm: float = LATTICE_MM) -> Grid:
    """The lattice that holds every possible brain."""
    return Grid(*(np.arange(-half, half + step_mm, step_mm) for half in (84.0, 100.0, 80.0)))


def generator(seed: int, purpose: str) -> np.random.Generator:
    """An independent stream for one purpose of one patient, the same on any machine."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{purpose}".encode())))


def upsample(field: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Trilinear interpolation between two axis-aligned grids, one axis at a time.

    Args:
        field: Values on `source`, float32 [d, h, w].
        source: An evenly spaced grid.
        target: Any grid; points outside `source` take its border value.

    Returns:
        Values on `target`, float32 [D, H, W].
    """
    for axis, (have, want) in reversed(list(enumerate(zip(_axes(source), _axes(target), strict=True)))):
        position = np.clip((want - have[0]) / (have[1] - have[0]), 0, len(have) - 1.001)
        low = position.astype(np.intp)
        weight = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        below = field.take(low, axis)
        field = below + weight * (field.take(low + 1, axis) - below)
    return field


def waves(points: np.ndarray, wavelength_mm: float, rng: np.random.Generator, count: int = 28) -> np.ndarray:
    """Band-limited noise of unit variance: plane waves of random direction and phase.

    Args:
        points: Coordinates in mm [3, ...].
        wavelength_mm: Middle of the band, which is 0.8 to 1.25 times it.
        rng: Source of directions and phases.
        count: Number of waves.

    Returns:
        Values at the points, float32 [...].
    """
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = (direction * 2 * np.pi / (wavelength_mm * rng.uniform(0.8, 1.25, (count, 1)))).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    x, y, z = points
    total = np.zeros(points.shape[1:], dtype=np.float32)
    for (kx, ky, kz), offset in zip(k, phase, strict=True):
        total += np.cos(kx * x + ky * y + kz * z + offset)
    return total * np.float32(np.sqrt(2.0 / count))


def smooth_noise(grid: Grid, wavelength_mm: float, rng: np.random.Generator, count: int = 10) -> np.ndarray:
    """Unit noise of one wavelength on the image grid, whatever its spacing, float32 [D, H, W]."""
    coarse = lattice(float(np.clip(wavelength_mm / 4.5, 2.0, 12.0)))
    return upsample(waves(coarse.points(), wavelength_mm, rng, count), coarse, grid)


def ellipsoid(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Depth in mm below an ellipsoid's surface (negative outside, exact to first order near the surface)."""
    dx, dy, dz = ((a - c) / r for a, c, r in zip((x, y, z), centre, radii, strict=True))
    unit = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-4
    slope = np.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 + (dz / radii[2]) ** 2) + 1e-4 / max(radii)
    return unit * (1 - unit) / slope


def tube(x: np.ndarray, y: np.ndarray, z: np.ndarray, knots: tuple, scale: float = 1.0) -> np.ndarray:
    """Depth in mm below a chain of tapered capsules through (x, y, z, radius) knots."""
    best = np.full(x.shape, -1e3, dtype=np.float32)
    for start, end in zip(knots[:-1], knots[1:], strict=True):
        ax, ay, az = (e - s for s, e in zip(start[:3], end[:3], strict=True))
        along = ((x - start[0]) * ax + (y - start[1]) * ay + (z - start[2]) * az) / (ax * ax + ay * ay + az * az)
        along = np.clip(along, 0, 1)
        gap = (x - start[0] - along * ax) ** 2 + (y - start[1] - along * ay) ** 2 + (z - start[2] - along * az) ** 2
        best = np.maximum(best, scale * (start[3] + along * (end[3] - start[3])) - np.sqrt(gap))
    return best


def blend(a: np.ndarray, b: np.ndarray, width_mm: float) -> np.ndarray:
    """Smooth union of two depths: the larger, rounded where they meet within `width_mm`."""
    overlap = np.maximum(width_mm - np.abs(a - b), 0)
    return np.maximum(a, b) + overlap * overlap / (4 * width_mm)


def share(depth: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Share of a voxel that lies inside a solid, from the depth of its middle: the partial volume in [0, 1]."""
    return np.clip(depth / np.float32(voxel_mm) + np.float32(0.5), 0, 1)


def _axes(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return grid.z, grid.y, grid.x
