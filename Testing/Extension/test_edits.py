"""The watch on edits of a segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from a_scene_of import a_segmentation, a_transform, a_volume
from DABSegLib.nodes.edits import PATIENCE_S, QUIET_S
from DABSegLib.nodes.segments import EditWatch

MASK = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 3 == 0


class Watched:
    """A segmentation with one segment, a watch on it, and how often that told of a change."""

    def __init__(self, scene: Any) -> None:
        self.reference = a_volume(scene, np.ones(MASK.shape, np.float32), np.eye(4))
        self.node = a_segmentation(scene, {"ET": MASK}, self.reference)
        self.told = 0
        self.watch = EditWatch(self.node, self._tell)

    def _tell(self) -> None:
        self.told += 1

    def paint(self) -> None:
        """Change voxels as Segment Editor's effects do."""
        slicer.util.updateSegmentBinaryLabelmapFromArray((~MASK).astype(np.uint8), self.node, "ET", self.reference)


@pytest.fixture
def watched(scene: Any) -> Watched:
    return Watched(scene)


def edits(watched: Watched) -> dict[str, Any]:
    """Name of an edit -> how to do it."""
    segmentation = watched.node.GetSegmentation()
    return {
        "paint": watched.paint,
        "add": lambda: segmentation.AddEmptySegment("new", "new"),
        "remove": lambda: segmentation.RemoveSegment("ET"),
        "rename": lambda: segmentation.GetSegment("ET").SetName("enhancing"),
        "replace": lambda: watched.node.SetAndObserveSegmentation(slicer.vtkSegmentation()),
        "move": lambda: watched.node.SetAndObserveTransformNodeID(
            a_transform(watched.node.GetScene(), np.diag([2.0, 2, 2, 1])).GetID()
        ),
    }


@pytest.mark.parametrize("edit", ["paint", "add", "remove", "rename", "replace", "move"])
def test_every_edit_is_told_once(watched: Watched, edit: str) -> None:
    assert not watched.watch.poll(0.0)
    edits(watched)[edit]()
    assert not watched.watch.poll(1.0)
    assert watched.watch.poll(1.0 + QUIET_S)
    assert not watched.watch.poll(9.0)
    assert watched.told == 1


def test_a_burst_is_told_when_it_is_over(watched: Watched) -> None:
    for n in range(4):
        watched.paint()
        watched.paint()
        assert not watched.watch.poll(1.0 + n * 0.9 * QUIET_S)
    assert watched.watch.poll(1.0 + 4.2 * QUIET_S)
    assert watched.told == 1


def test_a_burst_without_end_is_told_all_the_same(watched: Watched) -> None:
    told = []
    for n in range(20):
        watched.paint()
        told.append(watched.watch.poll(PATIENCE_S / 10 * n))
    assert [n for n, was in enumerate(told) if was] == [10]
    assert watched.watch.poll(99.0)


def test_nothing_is_told_after_the_end(watched: Watched) -> None:
    watched.paint()
    watched.watch.close()
    watched.watch.close()
    watched.paint()
    assert not watched.watch.poll(1.0)
    assert not watched.watch.poll(9.0)
    assert watched.told == 0


def test_closing_the_scene_is_safe(watched: Watched, scene: Any) -> None:
    scene.Clear(0)
    watched.watch.poll(1.0)
    watched.watch.poll(9.0)
    watched.watch.close()
