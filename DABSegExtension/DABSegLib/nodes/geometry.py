"""Geometry: the voxels of a volume node, and where they are in the world through its parent transforms.

Only a node's own array and its own matrices count, never the file it came from: Slicer's reader may have flipped that.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import vtk
from vtk.util import numpy_support

from DABSegCore.errors import InputError
from DABSegCore.volume import Volume
from DABSegCore.volume import same_grid as same_grid_of_volumes

Box = tuple[int, int, int, int, int, int]
"""Half-open voxel box (D0, D1, H0, H1, W0, W1) of an array [D, H, W]."""

EDGE_VOXELS = 1e-3
"""A region that reaches less than this into a voxel does not touch it: matrices are exact to less."""


def voxels(node: Any) -> np.ndarray:
    """The node's voxels [D, H, W], a view on VTK's memory.

    Raises:
        InputError: If there are none, or a voxel holds several numbers.
    """
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or not scalars.GetNumberOfTuples():
        raise InputError(
            f'"{node.GetName()}" holds no voxels, but an image is needed; load it again or choose another volume',
            code="no-image",
        )
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(
            f'"{node.GetName()}" holds {scalars.GetNumberOfComponents()} numbers a voxel, as colour or diffusion '
            "images do, but a modality holds one; choose a volume of grey values",
            code="not-scalar",
        )
    return numpy_support.vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def local_affine(node: Any) -> np.ndarray:
    """Voxel index (i, j, k) -> RAS mm [4, 4] within the node's own parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return _array(matrix)


def world_affine(node: Any) -> np.ndarray:
    """Voxel index (i, j, k) -> RAS mm [4, 4] of the world, through all parent transforms.

    Raises:
        InputError: If a parent transform is not linear, or the axes that come out do not meet at right angles.
    """
    affine = parent_matrix(node) @ local_affine(node)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / np.maximum(spacing, 1e-12)
    if not np.isfinite(affine).all() or np.abs(axes.T @ axes - np.eye(3)).max() >= 1e-3:
        raise InputError(
            f'"{node.GetName()}" has voxel axes that are sheared or of no length, but they must meet at right angles '
            "(to 0.001); take it out of its transform or resample it onto an ordinary grid",
            code="bad-geometry",
        )
    return affine


def parent_matrix(node: Any) -> np.ndarray:
    """What a node's parent transforms do together [4, 4], the identity without any.

    Raises:
        InputError: If they are not linear.
    """
    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent is not None and not parent.GetMatrixTransformToWorld(matrix):
        raise InputError(
            f'"{node.GetName()}" lies in the transform "{parent.GetName()}", which is not linear, but a grid stays a '
            "grid only in a linear one; harden the transform on the volume or take it out",
            code="nonlinear-transform",
        )
    return _array(matrix)


def as_volume(node: Any) -> Volume:
    """The node as the core sees it: its voxels, not copied, at their place in the world.

    Raises:
        InputError: As for `voxels` and `world_affine`.
    """
    return Volume(voxels(node), world_affine(node))


def same_grid(a: Any, b: Any) -> bool:
    """Whether two volume nodes share shape and place in the world, to 1 % of a voxel.

    Raises:
        InputError: As for `as_volume`.
    """
    return same_grid_of_volumes(as_volume(a), as_volume(b))


def box_of_roi(roi_node: Any, reference_node: Any) -> Box:
    """The voxels of the reference that a region of interest touches, as the smallest box around them.

    Args:
        roi_node: vtkMRMLMarkupsROINode, in any orientation and under any linear transform.
        reference_node: Volume node.

    Raises:
        InputError: If the region has no size, does not meet the volume, or a transform is not linear.
    """
    size_mm = np.array(roi_node.GetSize())
    if not (roi_node.GetNumberOfDefinedControlPoints() and (size_mm > 0).all()):
        raise InputError(
            f'the region "{roi_node.GetName()}" has no size, but a box is needed; draw it in a slice view or choose '
            "none",
            code="empty-roi",
        )
    reference = as_volume(reference_node)
    signs = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    corners = np.c_[signs * size_mm, np.ones(8)]  # of the box in its own axes, mm
    to_world = parent_matrix(roi_node) @ _array(roi_node.GetObjectToNodeMatrix())
    ijk = (corners @ (np.linalg.inv(reference.affine) @ to_world).T)[:, :3]
    shape = np.array(reference.shape)
    first = np.floor(ijk.min(axis=0)[::-1] + 0.5 + EDGE_VOXELS).astype(int).clip(0, shape)
    last = np.ceil(ijk.max(axis=0)[::-1] + 0.5 - EDGE_VOXELS).astype(int).clip(0, shape)
    if (first >= last).any():
        raise InputError(
            f'the region "{roi_node.GetName()}" does not meet "{reference_node.GetName()}", but only voxels inside '
            "the volume can be looked at; move the region onto the head",
            code="roi-outside",
        )
    (d0, h0, w0), (d1, h1, w1) = first.tolist(), last.tolist()
    return d0, d1, h0, h1, w0, w1


def _array(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as an array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
