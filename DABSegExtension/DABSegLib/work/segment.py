"""Segment: restore four volumes and outline the tumour in them, into the scene when all is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegLib.work.inputs import Inputs
from DABSegLib.work.runner import OnLog, Steps


@dataclass(frozen=True)
class SegmentResult:
    """What came into the scene.

    Args:
        segmentation: vtkMRMLSegmentationNode with ET, TC and WT.
        pseudo_clear: Modality -> restored vtkMRMLScalarVolumeNode.
        report: The facts of the run, as in its `report.json`.
        timings_s: Seconds of export, start, load, network, write, import and total.
    """

    segmentation: Any
    pseudo_clear: dict[str, Any]
    report: dict[str, Any]
    timings_s: dict[str, float]


def segment_steps(
    scene: Any,
    inputs: Inputs,
    *,
    weights: Path | None = None,
    device: str = "auto",
    tta: bool = False,
    roi: Any | None = None,
    on_log: OnLog = lambda level, line: None,
) -> Steps[SegmentResult]:
    """Segment four volumes of a scene in a child process; the scene changes in the last step only.

    Args:
        scene: The vtkMRMLScene that holds them.
        inputs: The volumes.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        tta: Average over the eight mirror images.
        roi: vtkMRMLMarkupsROINode the network looks at only, or None for the whole brain.
        on_log: Told what the process tells.

    Raises:
        InputError: If an input is bad.
    """
    raise NotImplementedError
    yield
