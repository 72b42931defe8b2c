"""Heads: small comparisons in a real scene, four modalities of some kinds of image with a tumour in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
from nodes import a_volume_node

from DABSegCore.labels import MODALITIES

SHAPE = (24, 28, 26)
COLOURS = {"ET": (1, 0.2, 0.2), "TC": (0.2, 0.5, 1), "WT": (0.95, 0.85, 0.2)}
AFFINE = np.array([[-4.0, 0, 0, 50], [0, -4, 0, 60], [0, 0, 4, -30], [0, 0, 0, 1]])
"""4 mm voxels, i to the left and j to the front, as in BraTS turned by half a turn."""


def a_head(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """An ellipsoid of 100 in a background of 0, with a bright ball on the patient's left: float32 [D, H, W]."""
    k, j, i = (np.linspace(-1, 1, n)[axis] for n, axis in zip(shape, np.indices(shape), strict=True))
    head = np.where(k**2 + j**2 + i**2 < 0.8, 100, 0)
    head[(k - 0.2) ** 2 + j**2 + (i - 0.4) ** 2 < 0.05] = 300
    return head.astype(np.float32)


def a_tumour(shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    """Nested regions in the bright ball."""
    k, j, i = (np.linspace(-1, 1, n)[axis] for n, axis in zip(shape, np.indices(shape), strict=True))
    apart = (k - 0.2) ** 2 + j**2 + (i - 0.4) ** 2
    return {"ET": apart < 0.02, "TC": apart < 0.05, "WT": apart < 0.12}


def rows_of(scene: Any, kinds: tuple[str, ...] = ("sharp", "blurred", "pseudo-clear")) -> dict[str, dict[str, Any]]:
    """Volume nodes of each kind and modality, as bright as the modality's number says."""
    return {
        kind: {
            modality: a_volume_node(scene, a_head() * (1 + m), AFFINE, f"{modality}_{kind}")
            for m, modality in enumerate(MODALITIES)
        }
        for kind in kinds
    }


def a_segmentation(scene: Any, masks: Mapping[str, np.ndarray], volume: Any) -> Any:
    """A segmentation node of masks on a volume node's grid."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(name, name, COLOURS.get(name, (0, 1, 0)))
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, name, volume)
    return node
