"""K-space: rigid head motion during a scan, applied to a volume line by line in k-space.

A scan acquires k-space in lines along the phase-encode axis. While the head rests in pose j, a segment of consecutive
lines is filled; then it jumps. The corrupted image is sum_j IFFT(m_j FFT(T_j x)), where the mask m_j keeps the lines of
pose j. As m_j depends on the phase-encode index alone, the transforms along the other two axes cancel: each pose adds
its moved volume T_j x filtered along phase encode by one complex kernel. So it is computed: resample, then one small
matrix product per pose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.motion.shift import Box, estimate_shift, undo_shift, widen
from DABSegCore.motion.trajectory import (
    PRESETS,
    SEVERITIES,
    Trajectory,
    case_generator,
    draw_annulus,
    draw_shaw,
    motion_severity_index,
    scale_to_index,
)
from DABSegCore.rotation import matrix_from_vector

SLAB = 16
"""Planes resampled at a time: their coordinates then stay in the processor's cache, and memory stays small."""


def corrupt_case(
    images: Tensor,
    spacing_mm: Sequence[float],
    severity: int,
    case_id: str,
    *,
    seed: int = 0,
    draw: int = 0,
    modalities: Sequence[str] = MODALITIES,
    axis: int | None = None,
    preset: str = "annulus",
) -> tuple[Tensor, list[Trajectory | None]]:
    """Corrupt every modality of a case, each by its own motion (they are separate scans).

    Args:
        images: Sharp volumes on one grid [M, D, H, W], >= 0, any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        severity: Level 0..4; 0 returns the images as they are.
        case_id: Part of the seed.
        seed: Global seed >= 0.
        draw: Counts repeated draws.
        modalities: Name of each channel, M of them; part of the seed.
        axis: Phase-encode axis as array axis; drawn per modality when None.
        preset: One of `PRESETS`.

    Returns:
        Corrupted volumes [M, D, H, W] on the same device and scale, zero where all modalities were zero; and M
        trajectories (None at severity 0).
    """
    if severity == 0:
        return images, [None] * len(images)
    options = {"brain": (images != 0).any(0), "seed": seed, "draw": draw, "axis": axis, "preset": preset}
    pairs = [
        corrupt_volume(image, spacing_mm, severity, case_id, name, **options)
        for image, name in zip(images, modalities, strict=True)
    ]
    return torch.stack([volume for volume, _ in pairs]), [trajectory for _, trajectory in pairs]


def corrupt_volume(
    volume: Tensor,
    spacing_mm: Sequence[float],
    severity: int,
    case_id: str,
    modality: str,
    *,
    brain: Tensor | None = None,
    seed: int = 0,
    draw: int = 0,
    axis: int | None = None,
    preset: str = "annulus",
) -> tuple[Tensor, Trajectory]:
    """Draw and apply one modality's motion; arguments as in `corrupt_case`, volume and brain [D, H, W]."""
    generator = case_generator(seed, case_id, modality, severity, draw)
    trajectory = draw_trajectory(volume, spacing_mm, severity, generator, axis=axis, preset=preset)
    origin = {"seed": seed, "case_id": case_id, "modality": modality, "draw": draw}
    trajectory = replace(trajectory, origin=origin)
    return apply_trajectory(volume, spacing_mm, trajectory, brain=brain), trajectory


# ---------------------------------------------------------------- draw


def draw_trajectory(
    volume: Tensor,
    spacing_mm: Sequence[float],
    severity: int,
    generator: torch.Generator,
    *,
    axis: int | None = None,
    preset: str = "annulus",
    recentre: bool = True,
) -> Trajectory:
    """Draw one acquisition's motion.

    Preset `annulus` scales the drawn poses to the level's motion severity index, each pose weighing by its share of the
    volume's squared gradient along phase encode: a move counts by what it spoils. Preset `shaw` (Shaw et al. 2019) has
    no levels.

    Args:
        volume: Sharp volume [D, H, W], any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        severity: Level in `SEVERITIES`, at least 1.
        generator: CPU generator, the only source of chance.
        axis: Phase-encode axis as array axis (0 = D, 1 = H, 2 = W); drawn from the three when None.
        preset: One of `PRESETS`.
        recentre: Estimate the residual shift of the corrupted image and store it, to be undone.

    Returns:
        The trajectory; applying it is free of chance.

    Raises:
        InputError: If severity, axis or preset is unknown.
    """
    _check_request(severity, axis, preset)
    drawn = int(torch.randint(3, (1,), generator=generator))  # even if given, so that poses do not depend on it
    axis = drawn if axis is None else axis
    n_lines = padded_lines(volume.shape[axis])
    level = SEVERITIES[severity]
    shaw = preset == "shaw"
    poses = draw_shaw(spacing_mm, n_lines, generator) if shaw else draw_annulus(level, n_lines, generator)
    shares = _line_shares(volume, axis, n_lines)
    weights = np.array([shares[a:b].sum() for a, b in zip(poses.edges[:-1], poses.edges[1:], strict=True)])
    poses = poses if shaw else scale_to_index(poses, weights, level.msi_mm)
    trajectory = Trajectory(
        severity=severity,
        preset=preset,
        shape=tuple(volume.shape),
        spacing_mm=tuple(float(s) for s in spacing_mm),
        axis=axis,
        n_lines=n_lines,
        edges=tuple(poses.edges),
        rotation_deg=tuple(map(tuple, poses.rotation_deg.tolist())),
        translation_mm=tuple(map(tuple, poses.translation_mm.tolist())),
        msi_mm=motion_severity_index(poses, weights),
    )
    return replace(trajectory, shift_mm=_residual_shift(volume, trajectory)) if recentre else trajectory


def padded_lines(size: int) -> int:
    """Lines for a side of `size` voxels: 12 % or 20 voxels more on each side, so that ghosts do not wrap.

    A multiple of 8, so that the coarser grids of `_residual_shift` divide the same field of view.
    """
    return 8 * math.ceil((size + 2 * max(20, math.ceil(0.12 * size))) / 8)


def _check_request(severity: int, axis: int | None, preset: str) -> None:
    """Refuse what cannot be drawn."""
    if severity not in SEVERITIES or severity == 0:
        raise InputError(f"severity {severity} cannot be drawn; choose 1, 2, 3 or 4", code="unknown-severity")
    if axis not in (None, 0, 1, 2):
        raise InputError(f"phase-encode axis {axis} does not exist; choose 0, 1 or 2", code="unknown-axis")
    if preset not in PRESETS:
        choices = " or ".join(PRESETS)
        raise InputError(f"motion preset {preset!r} does not exist; choose {choices}", code="unknown-preset")


def _line_shares(volume: Tensor, axis: int, n_lines: int) -> np.ndarray:
    """Share of k^2 |X|^2 on each phase-encode line of the sharp volume [n_lines], -k_max to k_max."""
    lines = _crop(volume.float(), _box(volume)).movedim(axis, -1)
    spectrum = torch.view_as_real(torch.fft.rfft(lines, n=n_lines))
    energy = spectrum.square_().sum((0, 1, 3)).double().cpu().numpy()
    k = np.abs(np.arange(n_lines) - n_lines // 2)
    power = np.square(k) * energy[k]
    return power / max(power.sum(), np.finfo(float).tiny)


def _residual_shift(volume: Tensor, trajectory: Trajectory) -> tuple[float, float, float]:
    """Displacement in mm (i, j, k) of the corrupted image as a whole, found by simulating on a 2 mm grid.

    Coarse voxels see the same lines near the k-space centre, and only these tell the position.
    """
    factor = [1 if s > 1.5 else 2 if s > 0.75 else 4 for s in trajectory.spacing_mm[::-1]]
    tail = [(-n) % f for n, f in zip(volume.shape, factor, strict=True)]
    padded = functional.pad(volume.float(), (0, tail[2], 0, tail[1], 0, tail[0]))
    coarse = functional.avg_pool3d(padded[None], tuple(factor))[0]
    spacing = tuple(s * f for s, f in zip(trajectory.spacing_mm, factor[::-1], strict=True))
    n_lines = trajectory.n_lines // factor[trajectory.axis]
    centres = n_lines // 2 - trajectory.n_lines // 2
    inner = (min(max(edge + centres, 0), n_lines) for edge in trajectory.edges[1:-1])
    reduced = replace(
        trajectory, shape=tuple(coarse.shape), spacing_mm=spacing, n_lines=n_lines, edges=(0, *inner, n_lines)
    )
    # Ghosts outside the brain take part: cut to its outline, every image would seem to be in place.
    return estimate_shift(apply_trajectory(coarse, spacing, reduced), coarse, spacing)


# ---------------------------------------------------------------- apply


def apply_trajectory(
    volume: Tensor,
    spacing_mm: Sequence[float],
    trajectory: Trajectory,
    *,
    brain: Tensor | None = None,
    combine: str = "magnitude",
) -> Tensor:
    """Corrupt a volume by a drawn trajectory.

    Args:
        volume: Sharp volume [D, H, W], any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        trajectory: What `draw_trajectory` gave for a volume of this shape.
        brain: Mask [D, H, W] applied afterwards, as skull stripping would be; only its box is computed. None keeps
            the ghosts outside the head.
        combine: `magnitude`, as scanners do, or `real`.

    Returns:
        Corrupted volume [D, H, W], float32, intensity scale kept.

    Raises:
        InputError: If the trajectory was drawn for another shape.
    """
    if tuple(volume.shape) != tuple(trajectory.shape):
        raise InputError(
            f"the trajectory was drawn for a volume of shape {trajectory.shape}, but this one has "
            f"{tuple(volume.shape)}; replay it on the volume it came from",
            code="trajectory-grid",
        )
    order = _phase_first(trajectory.axis)
    volume = volume.float().permute(order)
    spacing = np.asarray(spacing_mm, dtype=float)[::-1][list(order)]
    shift = (np.asarray(trajectory.shift_mm)[::-1][list(order)] / spacing).tolist()
    source = _box(volume)
    target = tuple((0, n) for n in volume.shape) if brain is None else _box(brain.permute(order))
    out = torch.zeros(volume.shape, device=volume.device)
    wide = widen(target, volume.shape, shift)
    image = _compose(volume, source, wide, spacing, trajectory, combine)
    _crop(out, target).copy_(undo_shift(image, wide, target, shift))
    out = out.permute(tuple(np.argsort(order).tolist()))
    return out.contiguous() if brain is None else torch.where(brain != 0, out, 0.0).contiguous()


def _phase_first(axis: int) -> tuple[int, ...]:
    """Array axes with phase encode first: the order [P, A, B] of everything below."""
    return (axis, *(a for a in range(3) if a != axis))


def _box(array: Tensor) -> Box:
    """Smallest box that holds all non-zero voxels; the first voxel if there are none."""
    inside = array != 0
    if array.device.type == "cpu":
        inside = inside.numpy()  # whose `any` is twenty times as fast
    rows, columns = inside.any(2), inside.any(0)
    lines = (rows.any(1), rows.any(0), columns.any(0))
    if array.device.type != "cpu":  # one question instead of nine
        lines = torch.cat(lines).cpu().split(list(array.shape))
    hits = [np.flatnonzero(np.asarray(line)) for line in lines]
    return tuple((int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 1) for hit in hits)


def _crop(array: Tensor, box: Box) -> Tensor:
    return array[tuple(slice(lo, hi) for lo, hi in box)]


def _compose(
    volume: Tensor, source: Box, target: Box, spacing: np.ndarray, trajectory: Trajectory, combine: str
) -> Tensor:
    """Sum over the poses of the moved volume, each filtered to the pose's own lines.

    Exact on the target box: a voxel depends on nothing but its own phase-encode line of the moved volumes.

    Args:
        volume: Sharp volume [P, A, B].
        source: Box of its non-zero voxels.
        target: Box to compute.
        spacing: Spacing in mm [3], order [P, A, B].
        trajectory: The motion.
        combine: `magnitude` or `real`.

    Returns:
        Image on the target box.
    """
    first, n_out = target[0][0], target[0][1] - target[0][0]
    across = [hi - lo for lo, hi in target[1:]]
    total = torch.zeros(2 * n_out, math.prod(across), device=volume.device)
    with torch.autocast(volume.device.type, enabled=False):  # half precision would add noise of its own
        for j, (lo, hi) in enumerate(zip(trajectory.edges[:-1], trajectory.edges[1:], strict=True)):
            if hi == lo:
                continue
            moved, start = _moved(volume, source, target[1:], spacing, trajectory, j)
            lines = _line_filter(lo, hi, trajectory.n_lines, (first, n_out), (start, len(moved)))
            total.addmm_(lines.to(total), moved.reshape(len(moved), -1))
    real, imaginary = total.view(2, n_out, *across)
    return real if combine == "real" else real.square_().add_(imaginary.square_()).sqrt_()


def _line_filter(lo: int, hi: int, n_lines: int, out: tuple[int, int], into: tuple[int, int]) -> Tensor:
    """Inverse FFT times line mask times FFT as one matrix, cut to the voxels wanted.

    Args:
        lo: First line kept, counted from -k_max.
        hi: Line after the last one kept.
        n_lines: Lines in all.
        out: First output voxel along phase encode and number of voxels.
        into: The same of the input.

    Returns:
        Real parts above imaginary parts [2 * n_out, n_in], float32.
    """
    mask = np.zeros(n_lines)
    mask[lo:hi] = 1.0
    kernel = np.fft.ifft(np.roll(mask, -(n_lines // 2)))  # a mask in k-space is a circular convolution here
    lag = (out[0] + np.arange(out[1]))[:, None] - (into[0] + np.arange(into[1]))[None, :]
    matrix = kernel[lag % n_lines]
    return torch.from_numpy(np.concatenate([matrix.real, matrix.imag]).astype(np.float32))


def _moved(
    volume: Tensor, source: Box, across: Box, spacing: np.ndarray, trajectory: Trajectory, j: int
) -> tuple[Tensor, int]:
    """The volume in pose j on the lines asked for, as far along phase encode as it is not zero.

    A pose at rest is copied; others are read trilinearly, which costs a little sharpness on their lines.

    Args:
        volume: Sharp volume [P, A, B].
        source: Box of its non-zero voxels.
        across: Ranges wanted along A and B.
        spacing: Spacing in mm [3], order [P, A, B].
        trajectory: The motion.
        j: Pose index.

    Returns:
        Moved volume [p, a, b], and the place of its first voxel along P (negative inside the padding).
    """
    turn, move = _pose(trajectory, j)
    if not move.any() and not any(trajectory.rotation_deg[j]):
        return _crop(volume, (source[0], *across)), source[0][0]
    centre = (np.array(volume.shape) - 1) / 2
    corners = np.stack(np.meshgrid(*[(lo - 1, hi) for lo, hi in source], indexing="ij"), -1).reshape(-1, 3)
    reach = (((corners - centre) * spacing) @ turn[0] + move[0]) / spacing[0] + centre[0]
    padding = (trajectory.n_lines - volume.shape[0]) // 2
    limits = (-padding, trajectory.n_lines - padding)
    first, last = np.clip([math.floor(reach.min()), math.ceil(reach.max()) + 1], *limits).tolist()
    # The head moves by R x + t, so voxel n shows what was at R^T (x_n - t): voxel pull @ n + start.
    pull = turn.T * spacing / spacing[:, None]
    start = centre - pull @ (centre + move / spacing) - [lo for lo, _ in source]
    return _sample(_crop(volume, source), pull, start, ((first, last), *across)), first


def _pose(trajectory: Trajectory, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation matrix and translation in mm of pose j, turned from (i, j, k) to [P, A, B] order."""
    order = [2 - a for a in _phase_first(trajectory.axis)]  # array axis a is voxel axis 2 - a
    turn = matrix_from_vector(np.deg2rad(trajectory.rotation_deg[j]))
    return turn[np.ix_(order, order)], np.asarray(trajectory.translation_mm[j])[order]


def _sample(volume: Tensor, pull: np.ndarray, start: np.ndarray, box: Box) -> Tensor:
    """Read a volume trilinearly at pull @ n + start for every voxel n of a box; zero outside the volume."""
    scale = 2 / np.array(volume.shape)  # grid_sample's -1 and 1 are the outer faces of the outer voxels
    slope = torch.from_numpy((pull * scale[:, None])[::-1].copy())  # and its coordinates are (x, y, z) = (B, A, P)
    offset = torch.from_numpy(((start + 0.5) * scale - 1)[::-1].copy())
    parts = [torch.arange(lo, hi, dtype=torch.float64)[:, None] * slope[:, d] for d, (lo, hi) in enumerate(box)]
    plane, row, column = (part.to(volume.device, torch.float32) for part in (parts[0] + offset, *parts[1:]))
    options = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
    out = torch.empty([hi - lo for lo, hi in box], device=volume.device)
    for some, planes in zip(out.split(SLAB), plane.split(SLAB), strict=True):
        grid = (planes[:, None, None] + row[:, None]) + column
        some.copy_(functional.grid_sample(volume[None, None], grid[None], **options)[0, 0])
    return out
