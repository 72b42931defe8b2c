"""Sample: a virtual patient made on the spot, into the scene when complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.cases import find_case
from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import bridge, links, segments
from DABSegLib.work.entry import all_or_none
from DABSegLib.work.files import in_scratch_steps, told
from DABSegLib.work.follow import follow_steps
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
        return (yield from _load_steps(next((folder / "out").iterdir())))

    volumes, truth = yield from in_scratch_steps(make_steps, Status("Showing the patient", 0.99, busy=True))
    with all_or_none(scene):
        for modality, node in volumes.items():
            node.SetAttribute(links.MODALITY, modality)
            bridge.add_volume(scene, node, None, kind=None, source=None)
        segments.add_segmentation(scene, truth, volumes["t1ce"])
        truth.SetNodeReferenceID(links.TRUTH_OF, volumes["t1ce"].GetID())
    return SampleResult(volumes, truth)


def _load_steps(patient: Path) -> Steps[tuple[dict[str, Any], Any]]:
    """Read a case folder of `.nii` files into nodes that are in no scene."""
    case = find_case(patient)
    volumes = {}
    for number, modality in enumerate(MODALITIES):
        status = Status("Loading the patient", 0.9 + 0.02 * number, busy=True)
        steps = bridge.volume_node_steps(case.paths[modality], f"{case.case_id}_{modality}", None)
        volumes[modality] = yield from told(steps, status)
    steps = segments.segmentation_steps(case.segmentation, volumes["t1ce"], f"{case.case_id} truth")
    return volumes, (yield from told(steps, Status("Loading the truth", 0.98, busy=True)))
