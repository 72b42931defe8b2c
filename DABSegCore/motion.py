"""Motion: rigid head motion during a scan, drawn as a trajectory and applied line by line in k-space.

A scan acquires k-space in lines along the phase-encode (PE) axis. While the head rests in one pose, a segment of
consecutive lines is filled; between segments it jumps. The corrupted image is the sum over poses j of
IFFT(m_j FFT(T_j x)), m_j masking the lines of pose j. As m_j depends on the PE index only, the transforms along the
two other axes cancel, and each pose contributes its moved volume filtered by one fixed complex kernel along PE. That is
how it is computed here: resample, then one small matrix product per pose.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import scipy.linalg
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES

PRESETS = ("annulus", "shaw")

HEAD_RADIUS_MM = 80.0
"""Sphere over which a pose is turned into one displacement (Jenkinson's rms deviation)."""

OUTER_RADIUS = 0.25
"""Events fall no further from the k-space centre than this share of the lines; beyond it motion hardly shows."""

MAX_SCALE = 3.0
"""A drawn trajectory is enlarged at most this much to reach its level's motion severity index."""

SINC_TAPS = 4
"""Half width in voxels of the windowed sinc that undoes a residual shift."""


@dataclass(frozen=True)
class Severity:
    """One level of the severity scale."""

    name: str
    n_events: int
    """Number of sudden moves during the scan."""
    angle_deg: float
    """Rotations are drawn from U(-angle, angle) per axis."""
    translation_mm: float
    """Translations are drawn from U(-translation, translation) per axis."""
    inner_radius: float
    """Closest approach of a move to the k-space centre, as a share of the lines."""
    msi_mm: float
    """Motion severity index the trajectory is scaled to."""


SEVERITIES = {
    0: Severity("none", 0, 0.0, 0.0, 0.0, 0.0),
    1: Severity("mild", 2, 2.0, 2.0, 0.06, 1.0),
    2: Severity("moderate", 4, 5.0, 5.0, 0.03, 2.5),
    3: Severity("severe", 6, 10.0, 10.0, 0.015, 5.0),
    4: Severity("extreme", 10, 16.0, 16.0, 0.0075, 9.0),
}
"""Severity scale S0..S4; levels 2 to 4 have the "subtle, moderate, severe" amplitudes of retroMoCoBox studies."""


@dataclass(frozen=True)
class Trajectory:
    """Drawn motion of one acquisition: T poses, each owning a run of k-space lines along one axis.

    Pose j moves the head by x -> R_j x + t_j, in mm about the centre of the field of view.
    Vectors are in (i, j, k) order, like spacing_mm.
    """

    severity: int
    preset: str
    shape: tuple[int, int, int]
    """Shape [D, H, W] of the volume it was drawn for."""
    spacing_mm: tuple[float, float, float]
    axis: int
    """Phase-encode axis as array axis: 0 = D = k, 1 = H = j, 2 = W = i."""
    n_lines: int
    """Lines of the padded field of view along the phase-encode axis."""
    edges: tuple[int, ...]
    """Pose j owns lines edges[j] <= line < edges[j + 1], counted from -k_max to k_max (T + 1 values)."""
    rotation_deg: tuple[tuple[float, float, float], ...]
    """Rotation vector (axis times angle) of each pose [T, 3]."""
    translation_mm: tuple[tuple[float, float, float], ...]
    """Translation of each pose [T, 3]."""
    msi_mm: float
    """Motion severity index reached."""
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Residual displacement of the whole image, which `apply_trajectory` undoes so that labels stay valid."""
    origin: dict[str, Any] = field(default_factory=dict)
    """What it was seeded with; information only."""
    version: int = 1

    def to_json(self) -> dict[str, Any]:
        """The trajectory as plain JSON types; floats survive the round trip exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Trajectory:
        """Rebuild a trajectory from `to_json`.

        Raises:
            InputError: If the record is not a coherent trajectory of this version.
        """
        try:
            rows = {name: tuple(tuple(map(float, v)) for v in record[name]) for name in _POSE_FIELDS}
            flat = {name: tuple(map(kind, record[name])) for name, kind in _TUPLE_FIELDS.items()}
            trajectory = cls(**{**record, **rows, **flat})
            trajectory._check()
        except (KeyError, TypeError, ValueError) as fault:
            raise InputError(
                f"the trajectory record is not usable ({fault}), but a replay needs every field that the simulation "
                "wrote; use an unedited trajectory.json of this version",
                code="bad-trajectory",
            ) from fault
        return trajectory

    def _check(self) -> None:
        """Raise ValueError where fields contradict each other."""
        n_poses = len(self.rotation_deg)
        if self.version != 1:
            raise ValueError(f"version is {self.version}, expected 1")
        if self.axis not in (0, 1, 2) or len(self.shape) != 3 or self.n_lines < self.shape[self.axis]:
            raise ValueError(f"axis {self.axis} with {self.n_lines} lines does not fit shape {self.shape}")
        if not n_poses == len(self.translation_mm) == len(self.edges) - 1:
            raise ValueError("edges, rotations and translations differ in number")
        if self.edges[0] != 0 or self.edges[-1] != self.n_lines or list(self.edges) != sorted(self.edges):
            raise ValueError("edges do not partition the lines")
        vectors = (*self.rotation_deg, *self.translation_mm, self.shift_mm, self.spacing_mm)
        if not all(len(v) == 3 and all(map(math.isfinite, v)) for v in vectors):
            raise ValueError("a pose, shift or spacing is not three finite numbers")


_POSE_FIELDS = ("rotation_deg", "translation_mm")
_TUPLE_FIELDS = {"shape": int, "spacing_mm": float, "edges": int, "shift_mm": float}


# ---------------------------------------------------------------- draw


def case_generator(seed: int, case_id: str, modality: str, severity: int, draw: int = 0) -> torch.Generator:
    """Generator that depends on nothing but its arguments, on any machine.

    Args:
        seed: Global seed >= 0.
        case_id: Case name; same case, same motion.
        modality: Modalities are separate scans, so each has its own motion.
        severity: Level 0..4.
        draw: Counts repeated draws for one case (an epoch, say).
    """
    words = [seed, zlib.crc32(case_id.encode()), zlib.crc32(modality.encode()), severity, draw]
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


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

    Preset `annulus` places a level's moves at distances from the k-space centre that are log-uniform between its inner
    radius and `OUTER_RADIUS`, takes the pose at the centre as reference, and scales all poses to the level's motion
    severity index. Preset `shaw` is the random motion of Shaw et al. 2019 (MIDL), which has no levels.

    Args:
        volume: Sharp volume [D, H, W], any device; its spectrum weighs the poses.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        severity: Level in `SEVERITIES`, at least 1.
        generator: CPU generator, the only source of chance.
        axis: Phase-encode axis as array axis (0 = D, 1 = H, 2 = W); drawn from the three when None.
        preset: One of `PRESETS`.
        recentre: Estimate the residual shift of the corrupted image and store it to be undone.

    Returns:
        The trajectory; `apply_trajectory` with it is free of chance.

    Raises:
        InputError: If severity, axis or preset is unknown.
    """
    _check_request(severity, axis, preset)
    drawn_axis = int(
        torch.randint(3, (1,), generator=generator)
    )  # drawn even if given: poses must not depend on it
    axis = drawn_axis if axis is None else axis
    n_lines = padded_lines(volume.shape[axis])
    draw = _draw_annulus if preset == "annulus" else _draw_shaw
    edges, rotation, translation = draw(SEVERITIES[severity], n_lines, spacing_mm, generator)
    shares = _line_shares(volume, axis, n_lines)
    weights = np.array([shares[lo:hi].sum() for lo, hi in zip(edges[:-1], edges[1:], strict=True)])
    scale = 1.0
    if preset == "annulus":
        scale = _scale_to_index(rotation, translation, weights, SEVERITIES[severity].msi_mm)
    trajectory = Trajectory(
        severity=severity,
        preset=preset,
        shape=tuple(volume.shape),
        spacing_mm=tuple(float(s) for s in spacing_mm),
        axis=axis,
        n_lines=n_lines,
        edges=tuple(edges),
        rotation_deg=_rows(rotation * scale),
        translation_mm=_rows(translation * scale),
        msi_mm=motion_severity_index(rotation * scale, translation * scale, weights),
    )
    return replace(trajectory, shift_mm=_residual_shift(volume, trajectory)) if recentre else trajectory


def padded_lines(size: int) -> int:
    """Phase-encode lines for a side of `size` voxels: 12 % or 20 voxels more on each side, so ghosts do not wrap.

    A multiple of 8, so that coarser grids (see `_residual_shift`) divide the same field of view.
    """
    return 8 * math.ceil((size + 2 * max(20, math.ceil(0.12 * size))) / 8)


def motion_severity_index(rotation_deg: np.ndarray, translation_mm: np.ndarray, weights: np.ndarray) -> float:
    """Root of the weighted mean square displacement over the poses, in mm.

    A pose displaces a sphere of radius R by d^2 = R^2/5 tr(M^T M) + |t|^2, M = rotation - I (Jenkinson et al. 2002);
    its weight is its share of the volume's squared gradient along phase encode, so a move counts by what it spoils.

    Args:
        rotation_deg: Rotation vectors [T, 3].
        translation_mm: Translations [T, 3].
        weights: Share of each pose [T], sums to 1.
    """
    offset = Rotation.from_rotvec(rotation_deg, degrees=True).as_matrix() - np.eye(3)
    squared = HEAD_RADIUS_MM**2 / 5 * np.square(offset).sum((1, 2)) + np.square(translation_mm).sum(1)
    return float(np.sqrt((weights * squared).sum()))


def _check_request(severity: int, axis: int | None, preset: str) -> None:
    if severity not in SEVERITIES or severity == 0:
        raise InputError(
            f"severity {severity} has no motion to draw; choose 1, 2, 3 or 4", code="unknown-severity"
        )
    if axis not in (None, 0, 1, 2):
        raise InputError(f"phase-encode axis {axis} does not exist; choose 0, 1 or 2", code="unknown-axis")
    if preset not in PRESETS:
        raise InputError(
            f"motion preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}", code="unknown-preset"
        )


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    return torch.randn(shape, generator=generator, dtype=torch.float64).numpy()


def _rows(vectors: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple(tuple(float(v) for v in row) for row in vectors)


def _draw_annulus(
    level: Severity, n_lines: int, spacing_mm: Sequence[float], generator: torch.Generator
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Edges [T+1], rotation vectors in degrees [T, 3] and translations in mm [T, 3], relative to the centre pose."""
    share = level.inner_radius * (OUTER_RADIUS / level.inner_radius) ** _uniform((level.n_events,), generator)
    distance = np.maximum(1, np.rint(share * n_lines)).astype(int)
    n_before, centre = level.n_events // 2, n_lines // 2
    before = sorted(centre - distance[:n_before])
    after = sorted(centre + 1 + distance[n_before:])
    rotation = level.angle_deg * (2 * _uniform((level.n_events + 1, 3), generator) - 1)
    translation = level.translation_mm * (2 * _uniform((level.n_events + 1, 3), generator) - 1)
    turn = Rotation.from_rotvec(rotation, degrees=True)
    back = turn[n_before].inv()
    edges = [0, *map(int, before), *map(int, after), n_lines]
    relative = (back * turn).as_rotvec(degrees=True)
    relative[n_before] = 0.0  # exactly the reference: such a pose is not resampled
    return edges, relative, back.apply(translation - translation[n_before])


def _draw_shaw(
    level: Severity, n_lines: int, spacing_mm: Sequence[float], generator: torch.Generator
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Large and small moves piling up in the Lie algebra, demeaned by the pose at the k-space centre (Shaw et al.)."""
    large, small = torch.poisson(torch.tensor([2.0, 3.0]), generator=generator).int().tolist()
    large, small = min(large, 5), min(small, 10)
    large = large or int(small == 0)
    n_events = large + small
    size = np.repeat([[10.0, 10.0], [3.0, 2.0]], [large, small], axis=0)  # sd: degrees, voxels
    size = size[torch.randperm(n_events, generator=generator).numpy()]
    angles = size[:, :1] * _normal((n_events, 3), generator)
    moves = size[:, 1:] * _normal((n_events, 3), generator) * np.asarray(spacing_mm)
    lo, hi = round(0.3 * n_lines), round(0.7 * n_lines)
    events = lo + torch.randperm(max(hi - lo, n_events), generator=generator)[:n_events].sort().values.numpy()
    edges = [0, *events.tolist(), n_lines]
    # The volume is read at A x, so the head moves by A^-1 = [R_z R_y R_x | t]: logs of the head's own moves, negated.
    logs = np.stack([np.zeros((4, 4)), *(_log_pose(a, t) for a, t in zip(angles, moves, strict=True))])
    piled = -np.cumsum(logs, axis=0)
    centre = np.exp(-np.square(np.arange(n_lines) - n_lines // 2, dtype=float))
    weights = np.array([centre[a:b].sum() for a, b in zip(edges[:-1], edges[1:], strict=True)]) / centre.sum()
    poses = np.stack([scipy.linalg.expm(-(log - np.tensordot(weights, piled, 1))) for log in piled])
    return edges, Rotation.from_matrix(poses[:, :3, :3]).as_rotvec(degrees=True), poses[:, :3, 3]


def _log_pose(angles_deg: np.ndarray, translation_mm: np.ndarray) -> np.ndarray:
    """Matrix logarithm [4, 4] of the pose [R_z R_y R_x | t]."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    pose[:3, 3] = translation_mm
    return scipy.linalg.logm(pose).real


def _line_shares(volume: Tensor, axis: int, n_lines: int) -> np.ndarray:
    """Share of k^2 |X|^2 on each phase-encode line of the sharp volume [n_lines], -k_max to k_max."""
    lines = _crop(volume, _box(volume)).movedim(axis, -1)
    energy = torch.fft.rfft(lines, n=n_lines).abs().square_().sum((0, 1)).double().cpu().numpy()
    k = np.abs(np.arange(n_lines) - n_lines // 2)
    power = np.square(k) * energy[k]
    return power / max(power.sum(), np.finfo(float).tiny)


def _scale_to_index(
    rotation: np.ndarray, translation: np.ndarray, weights: np.ndarray, target_mm: float
) -> float:
    """Factor on all poses that brings the motion severity index to its target; nearly linear, so it settles at once."""
    scale = 1.0
    for _ in range(4):
        index = motion_severity_index(rotation * scale, translation * scale, weights)
        scale = min(MAX_SCALE, scale * target_mm / index) if index > 0 else 1.0
    return scale


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
        volume: Sharp volume [D, H, W], floating point, any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        trajectory: What `draw_trajectory` gave for a volume of this shape.
        brain: Mask [D, H, W] applied afterwards, as skull stripping is; only its box is computed. None keeps the
            ghosts outside the head.
        combine: `magnitude` as scanners do, or `real`.

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
    shift = np.asarray(trajectory.shift_mm)[::-1][list(order)] / spacing
    if brain is None:
        target = tuple((0, size) for size in volume.shape)
    else:
        target = _box(brain.permute(order))
    source = _box(volume)
    out = torch.zeros_like(volume, memory_format=torch.contiguous_format)
    if all(hi > lo for lo, hi in (*target, *source)):
        wide = _widen(target, volume.shape, shift)
        image = _compose(volume, source, wide, spacing, trajectory, combine)
        _crop(out, target).copy_(_unshift(image, wide, target, shift))
    out = out.permute(tuple(int(a) for a in np.argsort(order)))
    return out.contiguous() if brain is None else out * brain


Box = tuple[tuple[int, int], ...]
"""One (first, last + 1) voxel range per axis."""


def _phase_first(axis: int) -> tuple[int, ...]:
    """Axis order with phase encode first."""
    return (axis, *(a for a in range(3) if a != axis))


def _box(array: Tensor) -> Box:
    """Smallest box that holds all non-zero voxels; (0, 0) ranges if there are none."""
    inside = array != 0
    ranges = []
    for axis in range(3):
        rest = inside.movedim(axis, 0).any(2).any(1)
        hits = rest.nonzero()
        ranges.append((int(hits[0]), int(hits[-1]) + 1) if len(hits) else (0, 0))
    return tuple(ranges)


def _crop(array: Tensor, box: Box) -> Tensor:
    return array[tuple(slice(lo, hi) for lo, hi in box)]


def _widen(box: Box, shape: Sequence[int], shift_voxels: np.ndarray) -> Box:
    """The box plus what the interpolation of a shift reads around it, within the field of view."""
    margin = [math.ceil(abs(s)) + SINC_TAPS if s else 0 for s in shift_voxels.tolist()]
    return tuple((max(0, lo - m), min(n, hi + m)) for (lo, hi), m, n in zip(box, margin, shape, strict=True))


def _compose(
    volume: Tensor, source: Box, target: Box, spacing: np.ndarray, trajectory: Trajectory, combine: str
) -> Tensor:
    """Sum over poses of the moved volume filtered by the pose's own lines, phase encode first.

    Exact on the target box: an output voxel sees nothing but its own phase-encode line of the moved volumes, and these
    are zero outside the moved source box.

    Args:
        volume: Sharp volume [P, A, B].
        source: Box of its non-zero voxels.
        target: Box to compute.
        spacing: Spacing in mm in [P, A, B] order.
        trajectory: The motion.
        combine: `magnitude` or `real`.

    Returns:
        Image on the target box.
    """
    (first, last), *across = target
    n_out, area = last - first, math.prod(hi - lo for lo, hi in across)
    total = torch.zeros(2 * n_out, area, device=volume.device)
    with torch.autocast(volume.device.type, enabled=False):  # half precision would bury the ringing in noise
        for j, (lo, hi) in enumerate(zip(trajectory.edges[:-1], trajectory.edges[1:], strict=True)):
            moved, start = _moved(volume, source, across, spacing, trajectory, j)
            if hi > lo and moved.shape[0]:
                lines = _line_filter(lo, hi, trajectory.n_lines, (first, n_out), (start, moved.shape[0]))
                total.addmm_(lines.to(total), moved.reshape(-1, area))
    real, imaginary = total.view(2, n_out, *(hi - lo for lo, hi in across))
    return real if combine == "real" else real.square_().add_(imaginary.square_()).sqrt_()


def _line_filter(lo: int, hi: int, n_lines: int, out: tuple[int, int], into: tuple[int, int]) -> Tensor:
    """Matrix that keeps lines lo <= line < hi: an inverse FFT times a mask times an FFT, cut to the voxels wanted.

    Args:
        lo: First line kept, counted from -k_max.
        hi: Line after the last one kept.
        n_lines: Lines in all.
        out: First output voxel and number of output voxels along phase encode.
        into: The same for the input.

    Returns:
        Real parts above imaginary parts [2 * n_out, n_in], float32.
    """
    mask = np.zeros(n_lines)
    mask[lo:hi] = 1.0
    kernel = np.fft.ifft(np.roll(mask, -(n_lines // 2)))
    distance = (out[0] + np.arange(out[1]))[:, None] - (into[0] + np.arange(into[1]))[None, :]
    filtered = kernel[distance % n_lines]
    return torch.from_numpy(np.concatenate([filtered.real, filtered.imag]).astype(np.float32))


def _moved(
    volume: Tensor,
    source: Box,
    across: Sequence[tuple[int, int]],
    spacing: np.ndarray,
    trajectory: Trajectory,
    j: int,
) -> tuple[Tensor, int]:
    """The volume in pose j on the lines asked for, as far along phase encode as it is not zero.

    Resampled trilinearly (which blurs a little, by design cheap); a pose at rest is copied.

    Args:
        volume: Sharp volume [P, A, B].
        source: Box of its non-zero voxels.
        across: Ranges wanted along A and B.
        spacing: Spacing in mm in [P, A, B] order.
        trajectory: The motion.
        j: Pose index.

    Returns:
        Moved volume [p, a, b], and the index of its first voxel along P (negative inside the padding).
    """
    turn, move = _pose(trajectory, j)
    if not np.any(trajectory.rotation_deg[j]) and not move.any():
        return _crop(volume, (source[0], *across)), source[0][0]
    size = np.array(volume.shape)
    centre = (size - 1) / 2
    corners = np.stack(np.meshgrid(*[(lo - 1, hi) for lo, hi in source], indexing="ij"), -1).reshape(-1, 3)
    reach = ((corners - centre) * spacing) @ turn[0] / spacing[0] + move[0] / spacing[0] + centre[0]
    pad = (trajectory.n_lines - int(size[0])) // 2
    first = max(-pad, math.floor(reach.min()))
    last = min(trajectory.n_lines - pad, math.ceil(reach.max()) + 1)
    box = ((first, max(first, last)), *across)
    # Read at R^-1 (x - t): output voxel n shows input voxel pull @ n + start.
    pull = (turn.T * spacing) / spacing[:, None]
    start = centre - pull @ (centre + move / spacing)
    return _sample(_crop(volume, source), pull, start - np.array([lo for lo, _ in source]), box), first


def _pose(trajectory: Trajectory, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation matrix and translation in mm of pose j, in the [P, A, B] order of its phase-encode axis."""
    order = [2 - a for a in _phase_first(trajectory.axis)]  # array axis a is voxel axis 2 - a of (i, j, k)
    turn = Rotation.from_rotvec(trajectory.rotation_deg[j], degrees=True).as_matrix()
    return turn[np.ix_(order, order)], np.asarray(trajectory.translation_mm[j])[order]


def _sample(volume: Tensor, pull: np.ndarray, start: np.ndarray, box: Box) -> Tensor:
    """Read a volume trilinearly at pull @ n + start for every voxel n of a box; zero outside the volume."""
    scale = 2 / np.array(
        volume.shape
    )  # grid_sample runs from -1 to 1 between the outer faces of the outer voxels
    steps = torch.from_numpy(
        (pull * scale[:, None])[::-1].copy()
    )  # its coordinates are (x, y, z) = (B, A, P)
    origin = torch.from_numpy(((start + 0.5) * scale - 1)[::-1].copy())
    along = [
        torch.arange(lo, hi, dtype=torch.float64)[:, None] * steps[:, d] for d, (lo, hi) in enumerate(box)
    ]
    plane, row, column = (
        part.to(volume.device, torch.float32) for part in (along[0] + origin, along[1], along[2])
    )
    grid = (plane[:, None, None] + row[:, None]) + column
    sampled = functional.grid_sample(
        volume[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled[0, 0]


# ---------------------------------------------------------------- residual shift


def _residual_shift(volume: Tensor, trajectory: Trajectory) -> tuple[float, float, float]:
    """Displacement in mm (i, j, k) of the corrupted image as a whole, from a simulation on a 2 mm grid.

    Coarse voxels see the same lines near the k-space centre, and these alone carry the position.
    """
    factor = [1 if s > 1.5 else 2 if s > 0.75 else 4 for s in trajectory.spacing_mm[::-1]]
    tail = [(-n) % f for n, f in zip(volume.shape, factor, strict=True)]
    padded = functional.pad(volume.float(), (0, tail[2], 0, tail[1], 0, tail[0]))
    coarse = functional.avg_pool3d(padded[None], tuple(factor))[0]
    n_lines = trajectory.n_lines // factor[trajectory.axis]
    moved_zero = n_lines // 2 - trajectory.n_lines // 2
    spacing = tuple(s * f for s, f in zip(trajectory.spacing_mm, factor[::-1], strict=True))
    reduced = replace(
        trajectory,
        shape=tuple(coarse.shape),
        spacing_mm=spacing,
        n_lines=n_lines,
        edges=(0, *(min(max(e + moved_zero, 0), n_lines) for e in trajectory.edges[1:-1]), n_lines),
    )
    return estimate_shift(apply_trajectory(coarse, spacing, reduced, brain=coarse != 0), coarse, spacing)


def estimate_shift(moved: Tensor, still: Tensor, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Displacement of one volume against another by phase correlation.

    The whitened cross-spectrum is weighted by a Gaussian, so a pure shift gives a Gaussian peak, whose place the
    logarithms of its neighbours tell exactly.

    Args:
        moved: Displaced volume [D, H, W].
        still: Reference volume, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order.

    Returns:
        Displacement in mm in (i, j, k) order; zero if a volume is empty.
    """
    spacing = tuple(spacing_mm)[::-1]
    cross = torch.fft.rfftn(moved) * torch.fft.rfftn(still).conj()
    cross = cross / cross.abs().clamp_min(1e-6 * float(cross.abs().max()) + 1e-30)
    for axis, (size, step) in enumerate(zip(moved.shape, spacing, strict=True)):
        grid = (torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq)(size, step, device=moved.device)
        weight = torch.exp(-2 * (math.pi * CORRELATION_MM * grid) ** 2)
        cross = cross * weight.reshape([-1 if a == axis else 1 for a in range(3)])
    peak = torch.fft.irfftn(cross, s=moved.shape).cpu()
    if float(peak.max()) <= 0:
        return 0.0, 0.0, 0.0
    top = np.unravel_index(int(peak.argmax()), peak.shape)
    shift = []
    for axis, (size, step) in enumerate(zip(peak.shape, spacing, strict=True)):
        line = peak[tuple(slice(None) if a == axis else int(top[a]) for a in range(3))]
        left, mid, right = (
            math.log(max(float(line[(int(top[axis]) + d) % size]), 1e-12)) for d in (-1, 0, 1)
        )
        bend = left - 2 * mid + right
        offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
        whole = (int(top[axis]) + size // 2) % size - size // 2
        shift.append((whole + offset) * step)
    return tuple(shift[::-1])


CORRELATION_MM = 4.0
"""Standard deviation of the correlation peak: structures finer than a few times this do not vote."""


def _unshift(image: Tensor, wide: Box, target: Box, shift_voxels: np.ndarray) -> Tensor:
    """Move an image by minus the shift and cut it from the wide to the target box, axis by axis [P, A, B]."""
    with torch.autocast(image.device.type, enabled=False):
        for axis, shift in enumerate(shift_voxels.tolist()):
            (first, last), (start, stop) = target[axis], wide[axis]
            if shift == 0:
                image = image.narrow(axis, first - start, last - first)
                continue
            matrix = _sinc_matrix(np.arange(first, last) + shift, np.arange(start, stop)).to(image)
            image = torch.tensordot(image, matrix, dims=([axis], [1])).movedim(-1, axis)
    return image.clamp_min(0) if shift_voxels.any() else image


def _sinc_matrix(read_at: np.ndarray, voxels: np.ndarray) -> Tensor:
    """Interpolation weights [len(read_at), len(voxels)] of a Hann-windowed sinc; rows away from the ends sum to 1."""
    offset = read_at[:, None] - voxels[None, :]
    fraction = read_at - np.floor(read_at)
    taps = np.arange(1 - SINC_TAPS, SINC_TAPS + 1)
    norm = _windowed_sinc(fraction[:, None] - taps[None, :]).sum(1, keepdims=True)
    return torch.from_numpy((_windowed_sinc(offset) / norm).astype(np.float32))


def _windowed_sinc(offset: np.ndarray) -> np.ndarray:
    window = np.where(np.abs(offset) < SINC_TAPS, np.square(np.cos(np.pi * offset / (2 * SINC_TAPS))), 0.0)
    return np.sinc(offset) * window


# ---------------------------------------------------------------- a whole case


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
        seed: Global seed.
        draw: Counts repeated draws.
        modalities: Name of each channel, M of them; part of the seed.
        axis: Phase-encode axis as array axis; drawn per modality when None.
        preset: One of `PRESETS`.

    Returns:
        Corrupted volumes [M, D, H, W] on the same device and scale, zero where every modality was; and M trajectories
        (None at severity 0).
    """
    if severity == 0:
        return images, [None] * len(images)
    brain = (images != 0).any(0)
    pairs = [
        corrupt_volume(
            image,
            spacing_mm,
            severity,
            case_id,
            name,
            brain=brain,
            seed=seed,
            draw=draw,
            axis=axis,
            preset=preset,
        )
        for image, name in zip(images, modalities, strict=True)
    ]
    return torch.stack([volume for volume, _ in pairs]), [trajectory for _, trajectory in pairs]
