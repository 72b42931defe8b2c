"""Sample: a virtual patient made on the spot, into the scene when complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from DABSegLib.work.runner import OnLog, Steps


@dataclass(frozen=True)
class SampleResult:
    """What came into the scene.

    Args:
        volumes: Modality -> sharp vtkMRMLScalarVolumeNode.
        truth: vtkMRMLSegmentationNode of the tumour as it was made.
    """

    volumes: dict[str, Any]
    truth: Any


def sample_steps(
    scene: Any,
    seed: int = 5,
    *,
    shape: tuple[int, int, int] | None = None,
    spacing_mm: float | None = None,
    on_log: OnLog = lambda level, line: None,
) -> Steps[SampleResult]:
    """Make a virtual patient in a child process; the scene changes in the last step only.

    Args:
        scene: The vtkMRMLScene it goes into.
        seed: Which patient.
        shape: Voxels [D, H, W]; None: as the command has it.
        spacing_mm: Voxel edge; None: as the command has it.
        on_log: Told what the process tells.
    """
    raise NotImplementedError
    yield
