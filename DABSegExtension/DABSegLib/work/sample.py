"""Sample: a virtual patient made on the spot, into the scene when complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegLib.work.files import in_scratch_steps
from DABSegLib.work.follow import follow_steps
from DABSegLib.work.patient import enter_patient, load_patient_steps
from DABSegLib.work.runner import OnLog, Status, Steps


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
    choices = ["--seed", str(seed), "--format", "nii"]
    if shape is not None:
        choices += ["--shape", *map(str, shape)]
    if spacing_mm is not None:
        choices += ["--spacing-mm", str(spacing_mm)]

    def make_steps(folder: Path) -> Steps[tuple[dict[str, Any], Any]]:
        command = ["DABSegCore.virtual", *choices, "--out", str(folder / "out")]
        yield from follow_steps(command, folder / "job", on_log=on_log)
        return (yield from load_patient_steps(next((folder / "out").iterdir())))

    volumes, truth = yield from in_scratch_steps(make_steps, Status("Showing the patient", 0.99, busy=True))
    enter_patient(scene, volumes, truth)
    return SampleResult(volumes, truth)
