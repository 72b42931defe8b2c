"""Links: which node belongs to which, kept in the nodes themselves so that a saved scene remembers it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import slicer

from DABSegCore.labels import MODALITIES, REGIONS

KIND = "DABSeg.Kind"
"""Attribute of every volume that was made here: motion, pseudo-clear, difference, fused or uncertainty."""

SOURCE = "DABSeg.Source"
"""Node reference of a volume made here to the one it was made from."""

MODALITY = "DABSeg.Modality"
REGION = "DABSeg.Region"
"""Attributes of a volume made here that is about one of them."""

TRAJECTORY = "DABSeg.Trajectory"
"""Attribute of a volume with simulated motion: the record that repeats it, as JSON."""

REPORT = "DABSeg.Report"
"""Attribute of a segmentation: what was run, as JSON."""

SCORES = "DABSeg.Scores"
"""Attribute of a segmentation: what was measured of it, as JSON."""

SHARP = "DABSeg.Sharp"
"""Node reference from a volume with simulated motion to the one without."""

TRUTH_OF = "DABSeg.TruthOf"
"""Node reference from a reference segmentation to a volume of its patient."""

PARTS: dict[str, tuple[str, ...]] = {
    "input": MODALITIES,
    "pseudo-clear": MODALITIES,
    "difference": MODALITIES,
    "fused": ("fused",),
    "uncertainty": REGIONS,
}
"""What there is a volume of, by role."""

ROLES = tuple(PARTS)
REFERENCE = "DABSeg.Reference"
"""Node reference from a segmentation to the volume on whose grid it is."""

REGION_TABLE, IMAGE_TABLE = "DABSeg.RegionTable", "DABSeg.ImageTable"


def is_derived(volume: Any) -> bool:
    """Whether a volume was made by this module."""
    return bool(volume.GetAttribute(KIND))


def sharp_of(volume: Any) -> Any | None:
    """The volume that one with simulated motion was made from."""
    return volume.GetNodeReference(SHARP) if volume is not None else None


def truth_of(volumes: Iterable[Any]) -> Any | None:
    """The reference segmentation that came with one of the volumes, or with the one it was blurred from."""
    originals = [sharp_of(volume) or volume for volume in volumes]
    ids = {volume.GetID() for volume in originals}
    scenes = {volume.GetScene() for volume in originals}
    for scene in scenes:
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene):
            if node.GetNodeReferenceID(TRUTH_OF) in ids:
                return node
    return None


def trajectory_of(volume: Any) -> dict[str, Any] | None:
    """The record of the motion that a volume was blurred by, or None."""
    text = volume.GetAttribute(TRAJECTORY) if volume is not None else None
    return json.loads(text) if text else None


def connect(segmentation: Any, role: str, volumes: Mapping[str, Any]) -> None:
    """Let a segmentation know its volumes of a role, by part (by modality, for most roles)."""
    for part, volume in volumes.items():
        segmentation.SetNodeReferenceID(_name(role, part), volume.GetID())


def connected(segmentation: Any, role: str) -> dict[str, Any]:
    """The volumes of a role that are still in the scene, by part."""
    found = {part: segmentation.GetNodeReference(_name(role, part)) for part in _parts(role)}
    return {part: volume for part, volume in found.items() if volume is not None}


def report_of(segmentation: Any) -> dict[str, Any]:
    """What was run to make a segmentation; empty where it was not made here."""
    text = segmentation.GetAttribute(REPORT)
    return json.loads(text) if text else {}


def scores_of(segmentation: Any) -> dict[str, Any]:
    """What was measured of a segmentation, as `DABSegCore.score` writes it; "of" are the segments that it was."""
    return json.loads(segmentation.GetAttribute(SCORES) or "{}")


def keep_scores(segmentation: Any, scores: Mapping[str, Any]) -> None:
    """Let a segmentation remember what was measured of it."""
    segmentation.SetAttribute(SCORES, json.dumps(scores))


def _parts(role: str) -> tuple[str, ...]:
    if role not in PARTS:
        raise ValueError(f"a role is one of {', '.join(ROLES)}, not {role!r}")
    return PARTS[role]


def _name(role: str, part: str) -> str:
    if part not in _parts(role):
        raise ValueError(f"{role} is of {', '.join(PARTS[role])}, not of {part!r}")
    return f"DABSeg.{role}.{part}"
