"""Nodes: volumes and transforms made by hand in a real scene, for tests whose truths are in millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from vtk.util import numpy_support


def an_affine(angles_deg=(0, 0, 0), spacing=(1, 1, 1), origin=(0, 0, 0), flip=None) -> np.ndarray:
    """(i, j, k) -> RAS mm: turned about x, y and z in this order, axis `flip` reversed (then it is left-handed)."""
    affine = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        turn, (a, b) = np.eye(3), [other for other in range(3) if other != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    if flip is not None:
        affine[:3, flip] *= -1
    return affine


def a_matrix(affine: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine, dtype=float).ravel().tolist())
    return matrix


def a_volume_node(scene: Any, array: np.ndarray, affine: np.ndarray, name: str = "volume") -> Any:
    """A volume node in the scene with a copy of the array [D, H, W] (or [D, H, W, components])."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(array.dtype), array.shape[3] if array.ndim == 4 else 1)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.reshape(-1, *array.shape[3:])
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(a_matrix(affine))
    return node


def a_transform(scene: Any, affine: np.ndarray, parent: Any = None) -> Any:
    """A linear transform node, within another one if given."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    node.SetMatrixTransformToParent(a_matrix(affine))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def a_warp(scene: Any) -> Any:
    """A transform node that is not linear."""
    warp = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.eye(3).tolist() + [[0, 0, 0], [9, 9, 9]]:
        source.InsertNextPoint(point)
        target.InsertNextPoint([value + 0.5 * (sum(point) > 5) for value in point])
    warp.SetSourceLandmarks(source)
    warp.SetTargetLandmarks(target)
    warp.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    node.SetAndObserveTransformToParent(warp)
    return node


def a_marker(shape: tuple[int, ...], affine: np.ndarray, ras_mm, sigma_mm: float = 4.0) -> np.ndarray:
    """A bright blob at a place in RAS, seen by a grid: float32 [D, H, W], 1000 at its centre."""
    k, j, i = np.indices(shape)
    places = np.stack([i, j, k, np.ones(shape)], axis=-1) @ affine.T
    apart = ((places[..., :3] - ras_mm) ** 2).sum(axis=-1)
    return (1000 * np.exp(-apart / (2 * sigma_mm**2))).astype(np.float32)


def marker_place(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the blob is: the mean place in RAS of the voxels, weighted by their values."""
    k, j, i = np.indices(array.shape)
    weights = np.maximum(array.astype(float), 0)
    ijk = [(axis * weights).sum() / weights.sum() for axis in (i, j, k)]
    return (affine @ [*ijk, 1])[:3]


def finish(steps: Any) -> Any:
    """Run a generator to its end; returns what it returns."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def node_ids(scene: Any) -> list[str]:
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


def roi_node(scene: Any, size, place: np.ndarray) -> Any:
    """A box of `size` mm about its own origin, put in its place by a matrix [4, 4]."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    node.SetCenter((0, 0, 0))
    node.SetSize(size)
    node.SetAndObserveObjectToNodeMatrix(a_matrix(place))
    return node
