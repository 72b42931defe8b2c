"""Trajectory: how a head moved during one acquisition, how such motion is drawn, and the severity scale S0..S4."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from DABSegCore.errors import InputError
from DABSegCore.rotation import matrix_from_vector, rigid_exp, rigid_log, vector_from_matrix

PRESETS = ("annulus", "shaw")

HEAD_RADIUS_MM = 80.0
"""Radius of the sphere over which a pose becomes one displacement."""

OUTER_RADIUS = 0.25
"""No move falls further from the k-space centre than this share of the lines: out there it hardly shows."""

MAX_SCALE = 3.0
"""A drawn trajectory is enlarged at most this much to reach its level's motion severity index."""


@dataclass(frozen=True)
class Severity:
    """One level of the severity scale."""

    name: str
    n_events: int
    """Number of sudden moves during the scan."""
    angle_deg: float
    """Rotations are drawn from U(-angle, angle) per axis."""
    move_mm: float
    """Translations are drawn from U(-move, move) per axis."""
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
"""Severity scale S0..S4. Where the moves fall matters as much as their size, so both grow together; scaling to a motion
severity index then keeps the levels apart (drawn at uniform times they overlap widely)."""


@dataclass(frozen=True)
class Trajectory:
    """Motion of one acquisition: T poses, each owning a run of k-space lines along the phase-encode axis.

    Pose j moves the head by x -> R_j x + t_j, in mm about the centre of the field of view. Vectors are in the voxel
    axes' (i, j, k) order, like spacing_mm.
    """

    severity: int
    preset: str
    shape: tuple[int, int, int]
    """Shape [D, H, W] of the volume it was drawn for."""
    spacing_mm: tuple[float, float, float]
    axis: int
    """Phase-encode axis as array axis: 0 = D = k, 1 = H = j, 2 = W = i."""
    n_lines: int
    """Lines of the padded field of view."""
    edges: tuple[int, ...]
    """Pose j owns edges[j] <= line < edges[j + 1], lines counted from -k_max to k_max (T + 1 values)."""
    rotation_deg: tuple[tuple[float, float, float], ...]
    """Rotation vector (axis times angle) of each pose [T, 3]."""
    translation_mm: tuple[tuple[float, float, float], ...]
    """Translation of each pose [T, 3]."""
    msi_mm: float
    """Motion severity index reached."""
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Residual displacement of the image as a whole, to be undone so that labels stay valid."""
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
            rows = {name: tuple(tuple(map(_real, v)) for v in record[name]) for name in _ROWS}
            vectors = {name: tuple(map(kind, record[name])) for name, kind in _VECTORS.items()}
            scalars = {name: kind(record[name]) for name, kind in _SCALARS.items()}
            trajectory = cls(**{**record, **rows, **vectors, **scalars})
            trajectory._check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as fault:
            raise InputError(
                f"the trajectory record is not usable ({fault}), but a replay needs every field the simulation wrote; "
                "use an unedited trajectory.json of this version",
                code="bad-trajectory",
            ) from fault
        return trajectory

    def _check(self) -> None:
        """Raise ValueError where fields contradict each other."""
        if self.version != 1:
            raise ValueError(f"version is {self.version}, expected 1")
        if self.severity not in SEVERITIES or self.preset not in PRESETS or not isinstance(self.origin, dict):
            raise ValueError(f"severity {self.severity}, preset {self.preset!r} or the origin is unknown")
        if self.axis not in (0, 1, 2) or len(self.shape) != 3 or self.n_lines < self.shape[self.axis]:
            raise ValueError(f"axis {self.axis} with {self.n_lines} lines does not fit shape {self.shape}")
        if not len(self.rotation_deg) == len(self.translation_mm) == len(self.edges) - 1:
            raise ValueError("edges, rotations and translations differ in number")
        if self.edges[0] != 0 or self.edges[-1] != self.n_lines or list(self.edges) != sorted(self.edges):
            raise ValueError("edges do not partition the lines")
        vectors = (*self.rotation_deg, *self.translation_mm, self.shift_mm, self.spacing_mm)
        if not all(len(v) == 3 and all(map(math.isfinite, v)) for v in vectors) or min(self.spacing_mm) <= 0:
            raise ValueError("a pose, shift or spacing is not three usable numbers")
        if not (math.isfinite(self.msi_mm) and self.msi_mm >= 0):
            raise ValueError(f"a motion severity index of {self.msi_mm} mm cannot be")


def _whole(value: Any) -> int:
    """An integer that is one in JSON already."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _real(value: Any) -> float:
    """A number that is one in JSON already."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return float(value)


_ROWS = ("rotation_deg", "translation_mm")
_VECTORS = {"shape": _whole, "spacing_mm": _real, "edges": _whole, "shift_mm": _real}
_SCALARS = {"version": _whole, "severity": _whole, "axis": _whole, "n_lines": _whole, "msi_mm": _real}


class Poses(NamedTuple):
    """Poses before they are scaled and tied to a volume."""

    edges: list[int]
    rotation_deg: np.ndarray  # [T, 3]
    translation_mm: np.ndarray  # [T, 3]

    def scaled(self, factor: float) -> Poses:
        """All rotations and translations times a factor."""
        return Poses(self.edges, self.rotation_deg * factor, self.translation_mm * factor)


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


def motion_severity_index(poses: Poses, weights: np.ndarray) -> float:
    """Weighted root mean square displacement over the poses, in mm.

    A pose displaces a sphere of radius R by d^2 = R^2/5 tr(M^T M) + |t|^2 with M = rotation - I (Jenkinson et al. 2002,
    NeuroImage 17).

    Args:
        poses: T poses.
        weights: Weight of each pose [T], sum 1.
    """
    offset = matrix_from_vector(np.deg2rad(poses.rotation_deg)) - np.eye(3)
    squared = HEAD_RADIUS_MM**2 / 5 * np.square(offset).sum((1, 2)) + np.square(poses.translation_mm).sum(1)
    return float(np.sqrt((weights * squared).sum()))


def scale_to_index(poses: Poses, weights: np.ndarray, target_mm: float) -> Poses:
    """Scale all poses so that their motion severity index meets a target (at most by `MAX_SCALE`)."""
    factor = 1.0
    for _ in range(4):  # the index is nearly linear in the factor
        index = motion_severity_index(poses.scaled(factor), weights)
        factor = min(MAX_SCALE, factor * target_mm / index) if index > 0 else 1.0
    return poses.scaled(factor)


def draw_annulus(level: Severity, n_lines: int, generator: torch.Generator) -> Poses:
    """A level's moves, half before and half after the k-space centre, relative to the pose held there.

    Their distances from the centre are log-uniform between the level's inner radius and `OUTER_RADIUS`.
    """
    share = level.inner_radius * (OUTER_RADIUS / level.inner_radius) ** _uniform((level.n_events,), generator)
    distance = np.maximum(1, np.rint(share * n_lines)).astype(int)
    reference, centre = level.n_events // 2, n_lines // 2
    before = sorted(centre - distance[:reference])
    after = sorted(centre + 1 + distance[reference:])
    angles = level.angle_deg * (2 * _uniform((level.n_events + 1, 3), generator) - 1)
    moves = level.move_mm * (2 * _uniform((level.n_events + 1, 3), generator) - 1)
    turns = matrix_from_vector(np.deg2rad(angles))
    back = turns[reference].T
    rotation = np.rad2deg(vector_from_matrix(back @ turns))
    rotation[reference] = 0.0  # exactly at rest, so that it is never resampled
    translation = (moves - moves[reference]) @ back.T
    return Poses([0, *map(int, before), *map(int, after), n_lines], rotation, translation)


def draw_shaw(spacing_mm: Sequence[float], n_lines: int, generator: torch.Generator) -> Poses:
    """Random motion of Shaw et al. 2019 (MIDL): large and small moves that pile up, demeaned at the k-space centre.

    Moves add up as matrix logarithms, which here are their six entries, and the mean that is taken off weighs poses by
    exp(-k^2) over their lines. Moves happen between lines here, where the authors' code may split one.
    """
    n_large, n_small = (int(n) for n in torch.poisson(torch.tensor([2.0, 3.0]), generator=generator))
    n_large, n_small = min(n_large, 5), min(n_small, 10)
    n_large = n_large or int(n_small == 0)
    size = np.repeat([[10.0, 10.0], [3.0, 2.0]], [n_large, n_small], axis=0)  # standard deviations: degrees, voxels
    size = size[torch.randperm(len(size), generator=generator).numpy()]
    angles = size[:, :1] * _normal((len(size), 3), generator)
    moves = size[:, 1:] * _normal((len(size), 3), generator) * np.asarray(spacing_mm)
    lo, hi = round(0.3 * n_lines), round(0.7 * n_lines)
    events = np.sort(lo + torch.randperm(hi - lo, generator=generator)[: len(size)].numpy())
    edges = [0, *events.tolist(), n_lines]
    about_x, about_y, about_z = (matrix_from_vector(np.deg2rad(angles[:, [n]]) * np.eye(3)[n]) for n in range(3))
    logs = np.concatenate(rigid_log(about_z @ about_y @ about_x, moves), axis=1)
    piled = np.cumsum([np.zeros(6), *logs], axis=0)
    density = np.exp(-np.square(np.arange(n_lines, dtype=float) - n_lines // 2))
    weights = np.array([density[a:b].sum() for a, b in zip(edges[:-1], edges[1:], strict=True)]) / density.sum()
    turns, translation = rigid_exp(*np.split(piled - weights @ piled, 2, axis=1))
    return Poses(edges, np.rad2deg(vector_from_matrix(turns)), translation)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    return torch.randn(shape, generator=generator, dtype=torch.float64).numpy()
