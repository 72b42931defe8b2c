"""Robustness: how good the outlines of a case are at every level of motion, without a trace in the scene.

Each level is computed in a scene of its own, which shares the voxels of the volumes and goes at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import slicer
from DABSegLib.work import Inputs, Status, score_steps, segment_steps, simulate_steps
from DABSegLib.work.runner import OnLog, Steps

from DABSegCore.labels import REGIONS
from DABSegExtension.browser.jobs import Task
from DABSegExtension.browser.links import LEVELS
from DABSegExtension.browser.state import RobustnessRow

T = TypeVar("T")


class Robustness:
    """One measurement.

    Args:
        volumes: Modality -> sharp volume, which stay in their scene.
        truth: Reference segmentation, or None: then agreement with the outlines at level 0 is measured.
        seed: Of the motion, the same at all levels.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        on_row: Told each row as it is done.
        on_log: Told what the processes tell.
    """

    def __init__(
        self,
        volumes: Mapping[str, Any],
        truth: Any | None,
        seed: int,
        *,
        weights: Path | None,
        device: str,
        on_row: Callable[[RobustnessRow], None],
        on_log: OnLog,
    ) -> None:
        self._volumes, self._seed = dict(volumes), seed
        self._kind = "dice" if truth is not None else "agreement"
        self._reference = _copied(truth) if truth is not None else None
        self._options = {"weights": weights, "device": device}
        self._on_row, self._on_log = on_row, on_log

    def tasks(self) -> list[Task]:
        """A task for each level, each in a turn of its own: others need not wait for all five."""
        return [
            Task(
                "robustness",
                lambda severity=severity: self._level_steps(severity),
                heavy=True,
                low=number / len(LEVELS),
                high=(number + 1) / len(LEVELS),
                title=f"Motion level {severity} of {LEVELS[-1]}",
            )
            for number, severity in enumerate(LEVELS)
        ]

    def _level_steps(self, severity: int) -> Steps[None]:
        """Move the head, outline the tumour, compare."""

        def on_log(level: str, text: str) -> None:
            self._on_log(level, f"at motion level {severity}, {text}")

        with _private_scene() as scene:
            inputs = Inputs({modality: _shared(scene, node) for modality, node in self._volumes.items()})
            if severity:
                steps = simulate_steps(scene, inputs, severity=severity, seed=self._seed, on_log=on_log)
                inputs = Inputs((yield from within(steps, 0.0, 0.4)).motion)
            steps = segment_steps(scene, inputs, **self._options, on_log=on_log)
            found = (yield from within(steps, 0.4, 0.9)).segmentation
            if self._reference is None:
                self._reference = _copied(found)
            there = scene.AddNode(_copied(self._reference))
            steps = score_steps(scene, found, there, {}, {}, {}, inputs.reference_node, on_log=on_log)
            regions = (yield from within(steps, 0.9, 1.0))["regions"]
        dice = {region: regions.get(region, {}).get("dice") for region in REGIONS}
        self._on_row(RobustnessRow(severity, self._kind, **dice))


def within(steps: Steps[T], low: float, high: float) -> Steps[T]:
    """Steps as a part of others: how far they are is told on the scale of the whole."""
    with closing(steps):
        while True:
            try:
                status = next(steps)
            except StopIteration as end:
                return end.value
            fraction = None if status.fraction is None else low + (high - low) * status.fraction
            try:
                yield Status(status.stage, fraction, None, status.busy)
            except Exception as wish:  # to be cancelled; the steps clean up, as they would alone
                yield from _stopping(steps, wish)
                raise


def _stopping(steps: Steps[Any], wish: Exception) -> Iterator[Status]:
    """Hand a wish to stop on to steps and take those they still need."""
    try:
        yield steps.throw(wish)
        yield from steps
    except type(wish):
        return


@contextmanager
def _private_scene() -> Iterator[Any]:
    """A scene that nobody sees; what is in it goes at the end."""
    scene = slicer.vtkMRMLScene()
    try:
        yield scene
    finally:
        scene.Clear(1)


def _shared(scene: Any, node: Any) -> Any:
    """A volume node in another scene with the same voxels in the same place, which are not copied."""
    twin = slicer.vtkMRMLScalarVolumeNode()
    twin.SetName(node.GetName())
    twin.SetAndObserveImageData(node.GetImageData())
    twin.CopyOrientation(node)
    return scene.AddNode(twin)


def _copied(segmentation: Any) -> Any:
    """A segmentation node in no scene with the same segments."""
    twin = slicer.vtkMRMLSegmentationNode()
    twin.SetName(segmentation.GetName())
    twin.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    return twin
