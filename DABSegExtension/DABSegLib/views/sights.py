"""Sights: what there is to see in the world: the head of some volumes, and where a tumour is widest."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from DABSegCore.volume import Volume
from DABSegLib.nodes.geometry import voxels, world_affine
from DABSegLib.nodes.masks import LABELMAP, segment_array, segment_volume

STRIDE = 2
"""Every second voxel of each axis is looked at, in an eighth of the time."""

UNSEEN = STRIDE - 1
"""A head may begin and end that many voxels farther out than was seen."""


@dataclass(frozen=True, eq=False)
class Sights:
    """What slices are fitted to.

    Args:
        corners: Of boxes around the heads, RAS mm in the world [8 V, 3].
        affines: Voxel index (i, j, k) -> RAS mm of each volume [V, 4, 4].
        tumour: Its voxels in the world, or None.
    """

    corners: np.ndarray
    affines: np.ndarray
    tumour: Volume | None

    @property
    def centre(self) -> np.ndarray:
        """Middle of the heads, RAS mm [3]."""
        return (self.corners.min(axis=0) + self.corners.max(axis=0)) / 2

    def extent_mm(self, direction: np.ndarray) -> float:
        """How far the heads reach along a unit vector in RAS [3]."""
        return float(np.ptp(self.corners @ direction))

    def range_mm(self, normal: np.ndarray) -> tuple[float, float, float]:
        """First and last place along a unit vector that is within the heads, and the distance of the finest slices."""
        places = self.corners @ normal
        steps = np.abs(normal @ self.affines[:, :3, :3]).max(axis=1)
        return float(places.min()), float(places.max()), float(steps.min())

    def best_mm(self, normal: np.ndarray) -> float:
        """Where along a unit vector the tumour is widest; the middle of the heads where there is none."""
        return float(self.centre @ normal) if self.tumour is None else widest_mm(self.tumour, normal)


def look(volumes: Iterable[Any], segmentation: Any | None) -> Sights:
    """Look at volumes, and at the largest segment of a segmentation, which of ours is the whole tumour.

    Args:
        volumes: At least one volume node; each may have its own grid and transform.
        segmentation: vtkMRMLSegmentationNode or None.

    Raises:
        InputError: As for `geometry.voxels` and `geometry.world_affine`, or if the segmentation lies in a transform
            that is not linear.
    """
    volumes = list(volumes)
    affines = np.stack([world_affine(volume) for volume in volumes])
    corners = np.concatenate([head_corners(voxels(v), affine) for v, affine in zip(volumes, affines, strict=True)])
    return Sights(corners, affines, None if segmentation is None else _largest_segment(segmentation))


def head_corners(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Corners of a box around all voxels that are not 0, at most a voxel too large; of the whole grid where all are.

    Args:
        array: Voxels [D, H, W].
        affine: Voxel index (i, j, k) -> RAS mm [4, 4].

    Returns:
        RAS mm [8, 3].
    """
    sparse = array[::STRIDE, ::STRIDE, ::STRIDE] != 0
    box = []
    for axis in range(3):
        found = np.flatnonzero(sparse.any(axis=tuple({0, 1, 2} - {axis}))) * STRIDE
        first, last = (found[0] - UNSEEN, found[-1] + UNSEEN) if len(found) else (0, array.shape[axis] - 1)
        box.append((max(first, 0) - 0.5, min(last, array.shape[axis] - 1) + 0.5))
    kji = np.array(list(itertools.product(*box)))
    return (np.c_[kji[:, ::-1], np.ones(8)] @ affine.T)[:, :3]


def widest_mm(mask: Volume, normal: np.ndarray) -> float:
    """Where along a direction a mask's section is largest; in the middle where several are as large.

    Args:
        mask: Not empty [D, H, W].
        normal: Unit vector in RAS [3].

    Returns:
        Distance in mm from the world's origin along the direction; a slice's centre where slices are at right angles.
    """
    step = normal @ mask.affine[:3]  # mm along the direction for a voxel of i, j and k, and from the origin
    k, j, i = np.nonzero(mask.array)
    place = step[0] * i + step[1] * j + step[2] * k + step[3]
    section = np.rint((place - place.min()) / np.abs(step[:3]).max()).astype(int)
    area = np.bincount(section)
    largest = np.flatnonzero(area == area.max())
    return float(place[section == largest[len(largest) // 2]].mean())


def _largest_segment(segmentation: Any) -> Volume | None:
    """The segment with the most voxels as a mask in the world; None of nothing."""
    segments = segmentation.GetSegmentation()
    if not segments.ContainsRepresentation(LABELMAP):
        return None
    parts = [segments.GetSegment(segment_id) for segment_id in segments.GetSegmentIDs()]
    sizes = [np.count_nonzero(segment_array(part)) for part in parts]
    return segment_volume(segmentation, parts[int(np.argmax(sizes))]) if any(sizes) else None
