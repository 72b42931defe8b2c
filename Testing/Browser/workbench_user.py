"""Workbench user: somebody at a workbench without a page, on a real scene, with a case small enough to be quick."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[2]
for _folder in ("DABSegExtension", "Testing/Extension", "Testing/Core"):
    if str(REPOSITORY / _folder) not in sys.path:
        sys.path.append(str(REPOSITORY / _folder))

import slicer  # noqa: E402
from standins.mrml import fresh_scene  # noqa: E402
from standins.processes import children as children  # noqa: E402
from tiny import AFFINE, tiny_patient, write_case  # noqa: E402
from tiny import tiny_weights as tiny_weights  # noqa: E402

from DABSegExtension.browser.workbench import Workbench  # noqa: E402

SMALL = {"virtual_shape": (32, 48, 40), "virtual_spacing_mm": 5.0}
MOST_S = 120.0


class OwnTurns:
    """A queue without others; it notes what is asked of it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.mine = False

    def want(self) -> None:
        self.said.append("want")
        self.mine = True

    def end(self) -> None:
        self.said.append("end")
        self.mine = False

    def is_mine(self) -> bool:
        return self.mine

    def ahead(self) -> int:
        return 0


def a_workbench(folder: Path, cases: Mapping[str, Path] | None = None, **options: Any) -> Workbench:
    """A workbench on a fresh scene with its own folder."""
    for name in ("in", "out", "tmp"):
        (folder / name).mkdir(parents=True)
    options = {"turns": OwnTurns(), "on_change": lambda: None, "device": "cpu", **SMALL, **options}
    return Workbench(fresh_scene(), folder, cases or {}, **options)


def a_case(folder: Path, name: str = "Ann", seed: int = 3, *, truth: bool = True) -> Path:
    """A case folder: a head of 5 mm voxels that says its voxels have 1 mm."""
    images, label = tiny_patient(seed)
    return write_case(folder / name, name, images, label if truth else None, AFFINE)


def finish(bench: Workbench, until: Callable[[], bool] = lambda: False) -> None:
    """Let it work until nothing is left to do, or until something is so."""
    end = time.monotonic() + MOST_S
    while bench.busy and not until():
        assert time.monotonic() < end, f"still {bench.snapshot().stage} after {MOST_S} s"
        if not bench.tick():
            time.sleep(0.01)


def names(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the volumes of each row are called."""
    return {kind: [node.GetName() for node in volumes.values()] for kind, volumes in rows.items()}


def nodes() -> dict[str, str]:
    """Id -> name of what is in the scene, but for what asking `mask` leaves there."""
    scene = slicer.mrmlScene
    there = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return {node.GetID(): node.GetName() or "" for node in there if not node.IsA("vtkMRMLLabelMapVolumeDisplayNode")}


def mask(segmentation: Any, region: str, bench: Workbench) -> np.ndarray:
    """A region [D, H, W] on the grid of what is open, by Slicer's own function."""
    volume = bench.rows()["sharp"]["t1ce"]
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, region, volume) > 0
