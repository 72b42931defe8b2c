"""Panel, cancel: whatever is stopped, and however, leaves the scene as it was and no process behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
from DABSegLib.process import scratch
from panel_user import a_patient, look_of, type_path
from standins import dialogs
from standins.application import close_module, open_module
from standins.processes import children

CAPTIONS = {
    "sampleButton": "Load sample case",
    "simulateButton": "Simulate motion",
    "replayButton": "Repeat",
    "applyButton": "Apply",
    "measureButton": "Measure",
    "exportButton": "Export...",
    "folderButton": "Segment the folder",
}
WORKS = [
    ("sampleButton", "Making a virtual patient"),
    ("simulateButton", "Reading T1"),
    ("simulateButton", "Simulating motion"),
    ("replayButton", "Simulating motion"),
    ("applyButton", "Starting"),
    ("applyButton", "Restoring and segmenting"),
    ("applyButton", "Loading the pseudo-clear volumes"),
    ("measureButton", "Reading T1"),
    ("exportButton", "Exporting"),
    ("folderButton", "Case 1 of 1, Virtual_003: restoring and segmenting"),
]
"""A button, and the stage at which the user has second thoughts."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr(scratch, "temporary_root", lambda: root)
    monkeypatch.setattr("DABSegLib.panel.runner.DOUBLE_CLICK_S", 0.0)
    return root


@pytest.fixture
def ready(finished, temporary, tmp_path, a_case_folder, quick_weights):
    """Somebody for whom every button can be pressed."""
    type_path(finished.ui.weightsPath, quick_weights)
    finished.choose("replaySelector", "Virtual_003_t2_motion")
    type_path(finished.ui.folderPath, a_case_folder.parent)
    type_path(finished.ui.folderResultsPath, tmp_path / "out")
    finished.settle()
    return finished


def begin(user, button, stage, folder):
    """Press a button and wait for a stage."""
    if button == "exportButton":
        dialogs.answers.append(str(folder))
    user.press(button)
    user.until(lambda: not user.busy or user.reads("statusLabel").startswith(stage))
    assert user.busy, f"it ended before {stage}: {user.reads('messageLabel')}"


@pytest.mark.parametrize(("button", "stage"), WORKS, ids=lambda word: word[:12])
def test_cancelled_nothing_has_happened(ready, scene, temporary, tmp_path, button, stage):
    before, tables = look_of(scene), (ready.table("regionTable"), ready.table("imageTable"))
    begin(ready, button, stage, tmp_path / "exported")
    assert ready.reads(button) == "Cancel"
    message = ready.presses_and_waits(button)
    assert message == "Cancelled. The scene is as it was before."
    assert look_of(scene) == before
    assert (ready.table("regionTable"), ready.table("imageTable")) == tables
    assert ready.reads(button) == CAPTIONS[button]
    assert (children(), list(temporary.iterdir())) == (set(), [])
    assert [path for path in tmp_path.rglob("*.tmp*") if path.is_file()] == []
    assert all(ready.can(name) for name in CAPTIONS), "everything can be begun anew"


def test_a_double_click_starts_and_does_not_cancel(ready, monkeypatch):
    monkeypatch.setattr("DABSegLib.panel.runner.DOUBLE_CLICK_S", 0.5)
    ready.press("simulateButton")
    ready.press("simulateButton")
    ready.until(lambda: not ready.busy)
    assert "blurred volumes are chosen" in ready.reads("messageLabel")


def test_after_a_cancel_apply_works(ready, scene):
    begin(ready, "applyButton", "Restoring", None)
    ready.presses_and_waits("applyButton")
    ready.presses_and_waits("applyButton")
    assert ready.parameters.segmentation.GetName() == "Virtual_003 tumour_1"
    assert ready.table("imageTable")


def test_difference_maps_that_are_being_made_cannot_be_stopped_but_are_harmless(ready, scene):
    ready.press("differenceCheck")
    assert not any(ready.can(name) for name in CAPTIONS)
    ready.until(lambda: ready.reads("statusLabel").startswith("Difference maps"))
    scene.RemoveNode(slicer.util.getNode("Virtual_003_flair_motion"))
    before = look_of(scene)
    ready.until(lambda: not ready.busy)
    assert "left the scene" in ready.reads("messageLabel")
    assert look_of(scene) == before
    assert not ready.ui.differenceCheck.checked


@pytest.mark.parametrize(("button", "stage"), WORKS[::2] + WORKS[-1:], ids=lambda word: word[:12])
def test_the_scene_may_be_closed_meanwhile(ready, scene, temporary, tmp_path, button, stage):
    begin(ready, button, stage, tmp_path / "exported")
    scene.Clear(False)
    assert not ready.busy
    assert (children(), list(temporary.iterdir())) == (set(), [])
    ready.waits(0.4)
    assert ready.reads(button) == CAPTIONS[button]
    assert ready.volumes() == ["None"] * 4
    assert ready.reads("findingsLabel").startswith("Load the four volumes of a patient")
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert ready.table("regionTable") is None
    assert ready.can("sampleButton")


def test_after_a_scene_was_closed_another_patient_can_be_simulated(ready, scene):
    begin(ready, "applyButton", "Restoring", None)
    scene.Clear(False)
    a_patient(scene)
    ready.until(lambda: ready.can("simulateButton"))
    ready.presses_and_waits("simulateButton")
    assert ready.volumes()[0] == "Virtual_003_t1_motion"


def test_a_scene_closed_while_another_module_is_shown(ready, scene):
    begin(ready, "applyButton", "Restoring", None)
    ready.widget.exit()
    scene.Clear(False)
    assert (ready.busy, children()) == (False, set())
    ready.waits(0.4)
    ready.widget.enter()
    assert ready.volumes() == ["None"] * 4
    assert ready.can("sampleButton")


def test_the_application_may_end_meanwhile(ready, scene, temporary):
    before = look_of(scene)
    begin(ready, "applyButton", "Restoring", None)
    ready.widget.exit()
    ready.widget.cleanup()
    assert (children(), list(temporary.iterdir())) == (set(), [])
    assert look_of(scene) == before


def test_a_module_that_is_loaded_anew_takes_up_the_scene(finished, scene):
    begin(finished, "measureButton", "Reading", None)
    finished.widget.exit()
    finished.widget.cleanup()
    again = open_module(scene)
    try:
        assert again.panel.parameters.segmentation.GetName() == "Virtual_003 tumour"
        assert again.panel.ui.applyButton.enabled
        assert again.panel.ui.regionTable.model().rowCount() == 3
    finally:
        close_module(again)
