"""Segment: restore four volumes and outline the tumour in them, into the scene when all is there."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DABSegCore.files import read_bytes
from DABSegCore.labels import MODALITIES
from DABSegLib.home import shipped_weights
from DABSegLib.nodes import bridge, extras, links, segments
from DABSegLib.work.entry import all_or_none
from DABSegLib.work.files import as_options, in_scratch_steps, told, write_steps
from DABSegLib.work.follow import Ended, follow_steps
from DABSegLib.work.inputs import Inputs
from DABSegLib.work.runner import OnLog, Status, Steps


@dataclass(frozen=True)
class SegmentResult:
    """What came into the scene.

    Args:
        segmentation: vtkMRMLSegmentationNode with ET, TC and WT.
        pseudo_clear: Modality -> restored vtkMRMLScalarVolumeNode; empty if the weights restore nothing.
        report: The facts of the run, as in its `report.json`.
        timings_s: Seconds of export, start, load, network, write, import and total.
        extras: What only some weights give: "fused" or "uncertainty" -> part, as in `links.PARTS` -> volume node.
    """

    segmentation: Any
    pseudo_clear: dict[str, Any]
    report: dict[str, Any]
    timings_s: dict[str, float]
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)


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
    begun, before = time.perf_counter(), inputs.state()
    choices = _choices(inputs, weights, device, tta, roi)
    computed = yield from in_scratch_steps(
        lambda folder: _compute_steps(scene, inputs, choices, folder, on_log),
        Status("Showing the results", 0.99, busy=True),
    )
    inputs.check_still_in(scene)
    inputs.tell_changes(before, on_log)
    with all_or_none(scene):
        _enter(scene, inputs, computed)
        now = time.perf_counter()
        timings_s = {
            "export": computed.exported - begun,
            **_shares(computed.ended),
            "import": now - computed.loaded,
            "total": now - begun,
        }
        report = _report(computed, inputs) | {"timings_s": {name: round(s, 3) for name, s in timings_s.items()}}
        text = json.dumps(report, separators=(",", ":"), ensure_ascii=False)
        computed.segmentation.SetAttribute(links.REPORT, text)
    return SegmentResult(computed.segmentation, computed.pseudo_clear, report, report["timings_s"], computed.extras)


@dataclass(frozen=True)
class _Computed:
    """Results in nodes that are in no scene, and when (`time.perf_counter`) the files were ready either way."""

    segmentation: Any
    pseudo_clear: dict[str, Any]
    extras: dict[str, dict[str, Any]]
    report: dict[str, Any]
    ended: Ended
    exported: float
    loaded: float


def _compute_steps(scene: Any, inputs: Inputs, choices: list[str], folder: Path, on_log: OnLog) -> Steps[_Computed]:
    """Volumes to files, files to results, results to nodes."""
    paths = yield from write_steps(inputs.volumes, folder / "in")
    exported = time.perf_counter()
    ended = yield from follow_steps(
        ["DABSegCore.segment", *as_options(paths), *choices, "--out", str(folder / "out")],
        folder / "job",
        names={str(path): inputs.names[modality] for modality, path in paths.items()},
        on_log=on_log,
        check=lambda: inputs.check_still_in(scene),
    )
    loaded = time.perf_counter()
    report = json.loads(read_bytes(folder / "out" / f"{inputs.case_id}_report.json"))
    segmentation, pseudo_clear, more = yield from _load_steps(folder / "out", inputs, report)
    return _Computed(segmentation, pseudo_clear, more, report, ended, exported, loaded)


def _choices(inputs: Inputs, weights: Path | None, device: str, tta: bool, roi: Any | None) -> list[str]:
    """What is asked of the command, besides the files."""
    options = ["--case-id", inputs.case_id, "--reference", inputs.reference, "--device", device]
    options += ["--weights", str((weights or shipped_weights()).absolute()), "--format", "nii", "--no-picture"]
    options += ["--save-extras", "if-any"]
    if tta:
        options.append("--tta")
    if roi is not None:
        options += ["--box", *map(str, bridge.box_of_roi(roi, inputs.reference_node))]
    return options


def _load_steps(out: Path, inputs: Inputs, report: dict[str, Any]) -> Steps[tuple[Any, dict, dict]]:
    """Read the segments, the pseudo-clear volumes and the extras into nodes that are in no scene."""
    case_id, reference = inputs.case_id, inputs.reference_node
    status = Status("Loading the segments", 0.9, busy=True)
    steps = segments.segmentation_steps(out / f"{case_id}_seg.nii", reference, f"{case_id} tumour")
    segmentation = yield from told(steps, status)
    restored = report.get("options", {}).get("restored", True)  # not by weights that restore nothing
    pseudo_clear = {}
    for number, modality in enumerate(MODALITIES if restored else ()):
        status = Status("Loading the pseudo-clear volumes", 0.92 + 0.015 * number, busy=True)
        name = f"{inputs.names[modality]}_pseudo-clear (synthetic)"
        steps = bridge.volume_node_steps(out / f"{case_id}_{modality}_pseudo-clear.nii", name, reference)
        pseudo_clear[modality] = yield from told(steps, status)
    more = yield from told(_extra_steps(out, inputs, report), Status("Loading the other volumes", 0.98, busy=True))
    return segmentation, pseudo_clear, more


def _extra_steps(out: Path, inputs: Inputs, report: dict[str, Any]) -> Generator[None, None, dict[str, dict[str, Any]]]:
    """Read what only some weights give, as far as the report tells of it, into nodes that are in no scene."""
    found: dict[str, dict[str, Any]] = {}
    for role in extras.EXTRAS:
        for part in links.PARTS[role]:
            file = f"{inputs.case_id}_{extras.file_part(role, part)}.nii"
            if file in report["outputs"]:
                name = extras.node_name(inputs.case_id, role, part)
                node = yield from bridge.volume_node_steps(out / file, name, inputs.reference_node)
                found.setdefault(role, {})[part] = node
    return found


def _enter(scene: Any, inputs: Inputs, computed: _Computed) -> None:
    """Put the results into the scene, each knowing what it was made of."""
    reference, segmentation = inputs.reference_node, computed.segmentation
    for modality, node in computed.pseudo_clear.items():
        node.SetAttribute(links.MODALITY, modality)
        bridge.add_volume(scene, node, reference, kind="pseudo-clear", source=inputs.volumes[modality])
    for role, volumes in computed.extras.items():
        for part, node in volumes.items():
            extras.add_extra(scene, node, role, part, reference)
    segments.add_segmentation(scene, segmentation, reference)
    links.connect(segmentation, "input", inputs.volumes)
    links.connect(segmentation, "pseudo-clear", computed.pseudo_clear)
    for role, volumes in computed.extras.items():
        links.connect(segmentation, role, volumes)
    segmentation.SetNodeReferenceID(links.REFERENCE, reference.GetID())


def _report(computed: _Computed, inputs: Inputs) -> dict[str, Any]:
    """The report without temporary files, in the names of the scene."""
    report = computed.report
    named = {m: {"name": inputs.names[m], "sha256": report["inputs"][m]["sha256"]} for m in MODALITIES}
    kept = {key: value for key, value in report.items() if key != "outputs"}
    return {**kept, "inputs": named, "warnings": computed.ended.told.warnings}


def _shares(ended: Ended) -> dict[str, float]:
    """Seconds of the child's start, load, network and write, by the times of its events."""
    began = ended.told.began
    first = began.get("", ended.ended)
    network = began.get("network", first)
    write = began.get("write", ended.ended)
    return {
        "start": first - ended.started,
        "load": network - first,
        "network": write - network,
        "write": ended.ended - write,
    }
