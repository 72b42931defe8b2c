"""A scene of: nodes with given voxels and places, and steps run to their end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer
import vtk

OBLIQUE = np.array([[0.8, -0.9, 0.0, 12.0], [0.6, 1.2, 0.0, -7.0], [0.0, 0.0, 3.0, 40.0], [0.0, 0.0, 0.0, 1.0]])
"""(i, j, k) -> RAS mm: turned, with voxels of 1 x 1.5 x 3 mm."""

LEFT_HANDED = OBLIQUE * (1, 1, -1, 1)


def finish(steps: Generator[None, None, Any]) -> Any:
    """Run steps to their end; gives what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def matrix(affine: np.ndarray) -> Any:
    """A vtkMatrix4x4."""
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(affine, float).ravel().tolist())
    return made


def a_volume(scene: Any, array: np.ndarray, affine: np.ndarray, name: str = "a volume", under: Any = None) -> Any:
    """A volume node with these voxels [D, H, W], under a transform node or none."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.array(array))
    node.SetIJKToRASMatrix(matrix(affine))
    if under is not None:
        node.SetAndObserveTransformNodeID(under.GetID())
    return node


def a_transform(scene: Any, affine: np.ndarray, under: Any = None) -> Any:
    """A linear transform node."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "a transform")
    node.SetMatrixTransformToParent(matrix(affine))
    if under is not None:
        node.SetAndObserveTransformNodeID(under.GetID())
    return node


def a_bending_transform(scene: Any) -> Any:
    """A transform node that is not linear."""
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        source.InsertNextPoint(point)
        target.InsertNextPoint([coordinate * coordinate / 9 + 1 for coordinate in point])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "a bending transform")
    node.SetAndObserveTransformToParent(spline)
    return node


def a_segmentation(scene: Any, masks: dict[str, np.ndarray], reference: Any) -> Any:
    """A segmentation node in the scene with these masks [D, H, W] on a reference, made by Slicer's own functions."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "a segmentation")
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for name, mask in masks.items():
        segment_id = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, reference)
    return node
