"""Panel, saved: a scene that is saved and opened again is as it was left, in this session and in the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from DABSegLib.nodes import links
from DABSegLib.views import layout
from panel_user import User, type_path
from standins.application import close_module, open_module
from standins.mrml import fresh_scene, load_scene, save_scene

from DABSegCore.labels import MODALITIES


def state(user: User) -> dict[str, Any]:
    """All that a user sees and has set."""
    ui, segmentation = user.ui, user.parameters.segmentation
    combos = ("referenceCombo", "axisCombo", "deviceCombo", "qualityCombo")
    selectors = ("replaySelector", "segmentationSelector", "truthSelector", "t2SharpSelector")
    return {
        "volumes": user.volumes(),
        **{name: user.chosen(name) for name in (*combos, *selectors)},
        "severity": ui.severitySlider.value,
        "seed": ui.seedSpin.value,
        "blur": [getattr(ui, f"{modality}BlurCheck").checked for modality in MODALITIES],
        "paths": [edit.currentPath for edit in (ui.weightsPath, ui.folderPath, ui.folderResultsPath)],
        "surface": ui.surfaceCheck.checked,
        "difference": ui.differenceCheck.checked,
        "rows": [ui.fusedCheck.checked, ui.uncertaintyCheck.checked],
        "tables": [user.table("regionTable"), user.table("imageTable")],
        "words": [user.reads(name) for name in ("reportLabel", "knownLabel", "commandEdit", "findingsLabel")],
        "links": {
            role: {m: n.GetName() for m, n in links.connected(segmentation, role).items()} for role in links.ROLES
        },
        "trajectory": links.trajectory_of(user.parameters.t1),
        "sharp": links.sharp_of(user.parameters.t1).GetName(),
        "report": links.report_of(segmentation),
    }


def everything_set(user: User, folder: Any) -> None:
    """Change all from what it is at first."""
    for name, text in {
        "referenceCombo": "FLAIR",
        "axisCombo": "slices (k)",
        "deviceCombo": "cpu",
        "qualityCombo": "best (8 times slower)",
        "replaySelector": "Virtual_003_t2_motion",
        "truthSelector": "Virtual_003 truth",
        "t2SharpSelector": "Virtual_003_t1",
    }.items():
        user.choose(name, text)
    user.ui.severitySlider.value = 4
    user.ui.seedSpin.value = 123456
    user.press("t1ceBlurCheck")
    for name in ("weightsPath", "folderPath", "folderResultsPath"):
        type_path(getattr(user.ui, name), folder / name)
    user.ui.uncertaintyCheck.checked = False
    user.presses_and_waits("differenceCheck")
    user.press("surfaceCheck")
    user.settle()


def test_all_is_as_it_was(finished, scene, tmp_path):
    everything_set(finished, tmp_path)
    before = state(finished)
    voxels = slicer.util.arrayFromVolume(finished.parameters.t1).copy()
    file = save_scene(tmp_path / "saved")
    scene.Clear(False)
    finished.settle()
    assert finished.volumes() == ["None"] * 4
    load_scene(file)
    finished.settle()
    assert state(finished) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(finished.parameters.t1), voxels)
    assert finished.reads("messageLabel") == "", "no edit is seen where there was none"
    finished.waits(0.6)
    assert state(finished) == before


def test_the_next_session_finds_it_too(finished, tmp_path):
    everything_set(finished, tmp_path)
    before = state(finished)
    file = save_scene(tmp_path / "saved")
    finished.widget.exit()
    finished.widget.cleanup()
    widget = open_module(fresh_scene())
    try:
        load_scene(file)
        again = User(widget)
        assert state(again) == before
    finally:
        close_module(widget)


def test_a_scene_opened_while_another_module_is_shown(finished, scene, tmp_path):
    before = state(finished)
    file = save_scene(tmp_path / "saved")
    finished.widget.exit()
    scene.Clear(False)
    load_scene(file)
    finished.waits(0.4)
    finished.widget.enter()
    finished.settle()
    assert state(finished) == before


def test_a_stored_motion_is_repeated_after_opening(finished):
    finished.choose("replaySelector", "Virtual_003_flair_motion")
    finished.presses_and_waits("replayButton")
    assert finished.volumes() == [f"Virtual_003_{modality}_motion_1" for modality in MODALITIES]
    for modality in MODALITIES:
        once, again = (slicer.util.getNode(f"Virtual_003_{modality}_motion{end}") for end in ("", "_1"))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(once), slicer.util.arrayFromVolume(again))


def test_a_scene_saved_while_comparing_opens_as_a_comparison_on_screen(finished, scene, tmp_path):
    finished.press("compareButton")
    names = slicer.app.layoutManager().views.names()
    shown = backgrounds(names)
    file = save_scene(tmp_path / "saved")
    scene.Clear(False)
    load_scene(file)
    finished.settle()
    assert layout.is_ours(slicer.app.layoutManager().layout)
    assert slicer.app.layoutManager().views.names() == names
    assert backgrounds(names) == shown
    assert finished.sees().max() > 150
    if not finished.ui.compareButton.checked:
        finished.press("compareButton")
    assert finished.can("sliceSlider")
    finished.press("compareButton")
    assert not layout.is_ours(slicer.app.layoutManager().layout), "there is a way back"


def backgrounds(names: list[str]) -> list[str]:
    """Names of the volumes in views."""
    logics = [slicer.app.layoutManager().views.view(name).logic for name in names]
    return [logic.GetBackgroundLayer().GetVolumeNode().GetName() for logic in logics]


@pytest.mark.parametrize("modality", ["t1", "flair"])
def test_results_of_a_scene_without_its_inputs(finished, scene, modality):
    """Somebody has deleted what they had no room for; the rest stays usable."""
    scene.RemoveNode(slicer.util.getNode(f"Virtual_003_{modality}_motion"))
    scene.RemoveNode(slicer.util.getNode(f"Virtual_003_{modality}"))
    finished.waits(0.1)
    assert finished.table("regionTable")
    assert finished.can("exportButton")
    finished.presses_and_waits("measureButton")
    assert len(finished.table("imageTable")) == 3
    finished.presses_and_waits("differenceCheck")
    assert set(links.connected(finished.parameters.segmentation, "difference")) == set(MODALITIES) - {modality}
