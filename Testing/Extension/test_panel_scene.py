"""Panel and scene: what is picked while nodes come and go, which Slicer's selectors do not keep by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from nodes import a_volume_node, an_affine
from panel_user import User
from standins.mrml import fresh_scene, save_scene

from DABSegCore.labels import MODALITIES

VOLUME = "vtkMRMLScalarVolumeNode"
NAMES = [f"Ann_{modality}" for modality in MODALITIES]


def some_volumes(scene: Any, names: list[str]) -> list[Any]:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    return [a_volume_node(scene, voxels + number, an_affine(), name) for number, name in enumerate(names)]


@pytest.fixture
def other_scene(application: Any, tmp_path: Path) -> Path:
    """A saved scene with the volume "other"."""
    some_volumes(fresh_scene(), ["other"])
    return save_scene(tmp_path / "other")


@pytest.fixture
def ann(other_scene: Path, user: User, scene: Any) -> list[Any]:
    """Four volumes, picked by the panel; their scene comes after the other one."""
    volumes = some_volumes(scene, NAMES)
    user.until(lambda: user.volumes() == NAMES)
    return volumes


def add_scene(file: Path, scene: Any) -> None:
    """Add a saved scene to what is there, as Add Data does."""
    scene.SetURL(str(file))
    scene.Import()


def test_what_is_picked_stays_when_a_scene_is_added(ann: list[Any], user: User, scene: Any, other_scene: Path) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    user.parameters.roi = roi
    add_scene(other_scene, scene)
    assert scene.GetFirstNodeByName("other").GetScene() is scene
    assert user.volumes() == NAMES
    assert user.parameters.roi is roi
    assert user.chosen("roiSelector") == "box"
    user.choose("t1Selector", "other")
    assert user.parameters.t1.GetName() == "other"


def test_a_scene_that_was_saved_with_the_panel_brings_its_choice(
    user: User, scene: Any, tmp_path: Path, application: Any
) -> None:
    some_volumes(scene, NAMES)
    user.until(lambda: user.volumes() == NAMES)
    user.parameters.seed = 7
    saved = save_scene(tmp_path / "ann")
    scene.Clear()
    some_volumes(scene, ["Bob_t1", "Bob_t1ce"])
    user.until(lambda: user.volumes()[:2] == ["Bob_t1", "Bob_t1ce"])
    add_scene(saved, scene)
    assert user.volumes() == NAMES
    assert user.parameters.seed == 7
    assert user.ui.seedSpin.value == 7


def test_picking_four_volumes_is_one_change(ann: list[Any], user: User) -> None:
    changes: list[str] = []
    user.parameters.AddObserver("ModifiedEvent", lambda _node, event: changes.append(event))
    user.panel.volumes.choose(dict(zip(MODALITIES, reversed(ann), strict=True)))
    assert len(changes) == 1
    assert user.volumes() == NAMES[::-1]


def test_nothing_takes_the_place_of_what_is_deleted(ann: list[Any], user: User, scene: Any) -> None:
    boxes = [scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name) for name in ("one", "two")]
    user.parameters.roi = boxes[0]
    scene.RemoveNode(boxes[0])
    scene.RemoveNode(ann[1])
    assert user.parameters.roi is None
    assert user.chosen("roiSelector") == "None"
    assert user.volumes() == ["Ann_t1", "None", "Ann_t2", "Ann_flair"]


def test_a_closed_scene_stays_empty_while_another_module_is_shown(
    ann: list[Any], user: User, scene: Any, other_scene: Path
) -> None:
    user.widget.exit()
    add_scene(other_scene, scene)
    assert user.volumes() == NAMES
    scene.Clear(1)
    assert slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode") == []
    user.widget.enter()
    assert user.volumes() == ["None"] * 4
    assert len(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")) == 1


def test_the_panel_is_connected_once_however_often_it_is_shown(ann: list[Any], user: User) -> None:
    before = user.parameters
    for _ in range(3):
        user.widget.exit()
        user.widget.enter()
    assert user.parameters is before
    user.choose("deviceCombo", "cpu")
    user.widget.enter()
    assert (user.parameters.device, user.chosen("deviceCombo")) == ("cpu", "cpu")


def test_a_parameter_node_that_is_deleted_is_made_anew(ann: list[Any], user: User, scene: Any) -> None:
    user.widget.exit()
    scene.RemoveNode(user.parameters.parameterNode)
    user.widget.enter()
    assert user.parameters.parameterNode.GetScene() is scene
    assert user.volumes() == NAMES


def test_work_waits_while_slicer_loads_a_file(user: User, scene: Any) -> None:
    """Slicer's progress dialog lets the event loop run in the middle of it."""
    user.press("sampleButton")
    user.waits(0.1)
    scene.StartState(scene.BatchProcessState)
    work = user.panel.runner._work
    status = work.status
    user.waits(0.3)
    assert user.busy
    assert work.status is status
    scene.EndState(scene.BatchProcessState)
    user.until(lambda: work.status is not status)
    user.press("sampleButton")  # cancels
    user.until(lambda: not user.busy)


def test_edits_are_taken_up_after_a_scene_was_loaded(ann: list[Any], user: User, scene: Any) -> None:
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ann[0])
    name = segmentation.GetSegmentation().AddEmptySegment("lump", "lump")
    user.parameters.segmentation = segmentation
    volume_ml = user.table("regionTable")
    scene.InvokeEvent(scene.StartImportEvent)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones((2, 3, 4), np.uint8), segmentation, name, ann[0])
    user.waits(1.0)
    assert user.table("regionTable") == volume_ml
    scene.InvokeEvent(scene.EndImportEvent)
    user.until(lambda: user.table("regionTable") == [["lump", "0.02", "", "", ""]], 3.0)
