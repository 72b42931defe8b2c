"""Masks: the voxels of segments, brought onto the grid of a volume in the world, and as files."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DABSegCore.errors import InputError
from DABSegCore.files import replacing
from DABSegCore.nifti import encode_nifti
from DABSegCore.volume import Volume
from DABSegLib.nodes.geometry import as_volume, parent_matrix
from DABSegLib.nodes.resample import resample_steps

LABELMAP = "Binary labelmap"
"""Slicer's name for segments as voxels."""


def crop(array: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Where (k, j, i) the box around all that is not zero begins, and the box; nothing of nothing."""
    corner = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(array.any(axis=others)).tolist() or [0, -1]
        array = array[(slice(None),) * axis + (slice(inside[0], inside[-1] + 1),)]
        corner.append(inside[0])
    return tuple(corner), array


def check_labelmaps(node: Any) -> None:
    """Refuse a segmentation that has other representations only, such as one read from surfaces."""
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(LABELMAP):
        raise InputError(
            f'the segmentation "{node.GetName()}" has no binary labelmap, but its voxels are needed; create the '
            "representation in the Segmentations module",
            code="no-labelmap",
        )


def segment_array(segment: Any) -> np.ndarray:
    """The voxels of a vtkSegment within the extent of its labelmap, bool [D, H, W]; empty where it has none."""
    image = segment.GetRepresentation(LABELMAP)
    scalars = image.GetPointData().GetScalars()
    if scalars is None or image.GetNumberOfPoints() == 0:
        return np.zeros((0, 0, 0), bool)
    return (vtk_to_numpy(scalars) == segment.GetLabelValue()).reshape(image.GetDimensions()[::-1])


def segment_volume(node: Any, segment: Any) -> Volume:
    """A segment of a node as a mask at its place in the world, no larger than its labelmap.

    Raises:
        InputError: If a parent transform is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    image = segment.GetRepresentation(LABELMAP)
    image.GetImageToWorldMatrix(matrix)
    affine = parent_matrix(node) @ slicer.util.arrayFromVTKMatrix(matrix)
    affine[:, 3] = affine @ (*image.GetExtent()[::2], 1)
    return Volume(segment_array(segment), affine)


def union_steps(parts: Iterable[Volume], reference_node: Any) -> Generator[None, None, np.ndarray]:
    """Masks at their places in the world, together on the grid of a volume node; bool [D, H, W].

    Raises:
        InputError: As for `as_volume`.
    """
    grid = as_volume(reference_node)
    mask = np.zeros(grid.shape, bool)
    for part in parts:
        mask |= yield from resample_steps(part.array, part.affine, grid.shape, grid.affine, linear=False)
        yield
    return mask


def write_mask(path: Path, mask: np.ndarray, reference_node: Any) -> Path:
    """Write a mask [D, H, W] on the grid of a volume node as an uncompressed .nii file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(encode_nifti(mask, as_volume(reference_node).affine, gzipped=False))
    return path
