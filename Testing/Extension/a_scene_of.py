"""A scene of: volumes under transforms, and segmentations, made by Slicer's own functions; the rest is `nodes`'s."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from nodes import a_matrix as matrix
from nodes import a_transform as a_transform
from nodes import a_warp as a_bending_transform  # noqa: F401
from nodes import finish as finish

OBLIQUE = np.array([[0.8, -0.9, 0.0, 12.0], [0.6, 1.2, 0.0, -7.0], [0.0, 0.0, 3.0, 40.0], [0.0, 0.0, 0.0, 1.0]])
"""(i, j, k) -> RAS mm: turned, with voxels of 1 x 1.5 x 3 mm."""

LEFT_HANDED = OBLIQUE * (1, 1, -1, 1)


def a_volume(scene: Any, array: np.ndarray, affine: np.ndarray, name: str = "a volume", under: Any = None) -> Any:
    """A volume node with these voxels [D, H, W], under a transform node or none."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.array(array))
    node.SetIJKToRASMatrix(matrix(affine))
    if under is not None:
        node.SetAndObserveTransformNodeID(under.GetID())
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
