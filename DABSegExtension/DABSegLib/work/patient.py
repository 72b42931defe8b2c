"""Patient: four volumes and, where there is one, a reference segmentation, from a case folder into the scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from DABSegCore.cases import find_case
from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import bridge, links, segments
from DABSegLib.work.entry import all_or_none
from DABSegLib.work.files import told
from DABSegLib.work.runner import Status, Steps


def load_patient_steps(folder: Path) -> Steps[tuple[dict[str, Any], Any | None]]:
    """Read a case folder of `.nii` files into nodes that are in no scene.

    Args:
        folder: Four modalities; a reference segmentation may be there, as canonical labels on the grid of T1ce.

    Returns:
        Modality -> volume node, and the segmentation node or None.

    Raises:
        InputError: If a file is missing or cannot be read.
    """
    case = find_case(folder)
    volumes = {}
    for number, modality in enumerate(MODALITIES):
        status = Status("Loading the patient", 0.9 + 0.02 * number, busy=True)
        steps = bridge.volume_node_steps(case.paths[modality], f"{case.case_id}_{modality}", None)
        volumes[modality] = yield from told(steps, status)
    if case.segmentation is None:
        return volumes, None
    steps = segments.segmentation_steps(case.segmentation, volumes["t1ce"], f"{case.case_id} truth")
    return volumes, (yield from told(steps, Status("Loading the truth", 0.98, busy=True)))


def enter_patient(scene: Any, volumes: Mapping[str, Any], truth: Any | None) -> None:
    """Put a patient into the scene, all of it or nothing; the truth knows whose it is."""
    with all_or_none(scene):
        for modality, node in volumes.items():
            node.SetAttribute(links.MODALITY, modality)
            bridge.add_volume(scene, node, None, kind=None, source=None)
        if truth is not None:
            segments.add_segmentation(scene, truth, volumes["t1ce"])
            truth.SetNodeReferenceID(links.TRUTH_OF, volumes["t1ce"].GetID())
