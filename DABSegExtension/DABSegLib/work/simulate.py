"""Simulate: volumes as they would look had the head moved, into the scene when all are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.files import read_bytes, write_bytes
from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import bridge, links
from DABSegLib.work.entry import all_or_none
from DABSegLib.work.files import as_options, in_scratch_steps, told, write_steps
from DABSegLib.work.follow import follow_steps
from DABSegLib.work.inputs import Inputs
from DABSegLib.work.runner import OnLog, Status, Steps


@dataclass(frozen=True)
class SimulateResult:
    """What came into the scene.

    Args:
        motion: Modality -> blurred volume, or the sharp one itself where none was asked for.
        record: The motion, as in `trajectory.json`; repeats it as `replay`.
    """

    motion: dict[str, Any]
    record: dict[str, Any]


def simulate_steps(
    scene: Any,
    inputs: Inputs,
    *,
    severity: int = 2,
    axis: int | None = None,
    seed: int = 0,
    modalities: Sequence[str] = MODALITIES,
    replay: dict[str, Any] | None = None,
    on_log: OnLog = lambda level, line: None,
) -> Steps[SimulateResult]:
    """Simulate head motion in a child process; the scene changes in the last step only.

    Args:
        scene: The vtkMRMLScene that holds the volumes.
        inputs: The sharp volumes.
        severity: Level 0 (none) to 4.
        axis: Phase-encode axis as array axis (0 = k, 1 = j, 2 = i); drawn per modality when None.
        seed: With the case's name it decides the motion.
        modalities: Those to blur.
        replay: The record of an earlier simulation to repeat; the four choices above are not looked at then.
        on_log: Told what the process tells.

    Raises:
        InputError: If an input is bad.
    """
    choices = ["--severity", str(severity), "--seed", str(seed), "--modalities", *modalities]
    if axis is not None:
        choices += ["--axis", str(axis)]
    made, record = yield from in_scratch_steps(
        lambda folder: _compute_steps(scene, inputs, choices, replay, folder, on_log),
        Status("Showing the volumes", 0.99, busy=True),
    )
    inputs.check_still_in(scene)
    with all_or_none(scene):
        for modality, node in made.items():
            _enter(scene, node, modality, inputs.volumes[modality], record)
    return SimulateResult({modality: made.get(modality, inputs.volumes[modality]) for modality in MODALITIES}, record)


def _compute_steps(
    scene: Any, inputs: Inputs, choices: list[str], replay: dict[str, Any] | None, folder: Path, on_log: OnLog
) -> Steps[tuple[dict[str, Any], dict[str, Any]]]:
    """The blurred volumes in nodes that are in no scene, and the record of their motion."""
    paths = yield from write_steps(inputs.volumes, folder / "in")
    if replay is not None:
        write_bytes(folder / "replay.json", json.dumps(replay).encode())
        choices = ["--replay", str(folder / "replay.json")]
    command = ["DABSegCore.simulate", *as_options(paths), "--case-id", inputs.case_id, *choices]
    yield from follow_steps(
        [*command, "--format", "nii", "--out", str(folder / "out")],
        folder / "job",
        names={str(path): inputs.names[modality] for modality, path in paths.items()},
        on_log=on_log,
        check=lambda: inputs.check_still_in(scene),
    )
    twin = folder / "out" / inputs.case_id
    record = json.loads(read_bytes(twin / "trajectory.json"))
    return (yield from _load_steps(twin, record, inputs)), record


def _load_steps(twin: Path, record: Mapping[str, Any], inputs: Inputs) -> Steps[dict[str, Any]]:
    """Read the blurred volumes into nodes that are in no scene, each on the grid of its own sharp one."""
    blurred = [modality for modality in MODALITIES if record["modalities"][modality]["trajectory"] is not None]
    made = {}
    for number, modality in enumerate(blurred):
        status = Status("Loading the blurred volumes", 0.9 + 0.09 * number / len(blurred), busy=True)
        path = twin / record["modalities"][modality]["file"]
        steps = bridge.volume_node_steps(path, f"{inputs.names[modality]}_motion", inputs.volumes[modality])
        made[modality] = yield from told(steps, status)
    return made


def _enter(scene: Any, node: Any, modality: str, sharp: Any, record: Mapping[str, Any]) -> None:
    """Put a blurred volume into the scene, with what made it."""
    node.SetAttribute(links.MODALITY, modality)
    node.SetAttribute(links.TRAJECTORY, json.dumps(record, separators=(",", ":"), ensure_ascii=False))
    bridge.add_volume(scene, node, sharp, kind="motion", source=sharp)
    node.SetNodeReferenceID(links.SHARP, sharp.GetID())
