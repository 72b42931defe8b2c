"""Simulate: volumes as they would look had the head moved, into the scene when all are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from DABSegCore.labels import MODALITIES
from DABSegLib.work.inputs import Inputs
from DABSegLib.work.runner import OnLog, Steps


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
    raise NotImplementedError
    yield


def sharp_of(volume: Any) -> Any | None:
    """The volume without motion that a blurred one was made of, if it still is in the scene."""
    raise NotImplementedError
