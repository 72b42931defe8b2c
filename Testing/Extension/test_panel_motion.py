"""Panel, motion: what is asked for is simulated, kept with the volumes and repeated."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DABSegLib.nodes import links
from panel_user import volumes_of

from DABSegCore.labels import MODALITIES
from DABSegCore.motion import SEVERITIES

SHARP = [f"Ann_{modality}" for modality in MODALITIES]


@pytest.fixture
def four(user, scene, a_small_patient):
    """Four good volumes, picked."""
    volumes = volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.volumes() == SHARP)
    user.settle()
    return volumes


def voxels_of(names):
    return [slicer.util.arrayFromVolume(slicer.util.getNode(name)) for name in names]


def record_of(name):
    return links.trajectory_of(slicer.util.getNode(name))


def test_the_settings_reach_the_simulation(user, four):
    user.ui.severitySlider.value = 3
    user.choose("axisCombo", "columns (j)")
    user.ui.seedSpin.value = 42
    user.press("t1BlurCheck")
    user.press("t2BlurCheck")
    assert "are chosen in section 1 now" in user.presses_and_waits("simulateButton")
    assert user.volumes() == ["Ann_t1", "Ann_t1ce_motion", "Ann_t2", "Ann_flair_motion"]
    assert user.reads("simulateButton") == "Simulate motion"
    record = record_of("Ann_flair_motion")
    assert record == record_of("Ann_t1ce_motion")
    drawn = {modality: record["modalities"][modality]["trajectory"] for modality in MODALITIES}
    assert [m for m in MODALITIES if drawn[m] is not None] == ["t1ce", "flair"]
    assert drawn["flair"]["axis"] == 1
    assert drawn["flair"]["severity"] == 3
    assert drawn["flair"]["origin"]["seed"] == 42
    blurred = slicer.util.getNode("Ann_flair_motion")
    assert (blurred.GetAttribute("DABSeg.Kind"), blurred.GetAttribute("DABSeg.Modality")) == ("motion", "flair")
    assert links.sharp_of(blurred) is four["flair"]
    assert user.can("applyButton")
    assert user.reads("findingsLabel") == ""


def test_without_motion_or_modality_there_is_nothing_to_simulate(user, four):
    user.ui.severitySlider.value = 0
    assert not user.can("simulateButton")
    user.ui.severitySlider.value = 1
    assert user.can("simulateButton")
    for modality in MODALITIES:
        user.press(f"{modality}BlurCheck")
    assert not user.can("simulateButton")


def test_simulating_again_starts_from_the_sharp_volumes(user, four, scene):
    sharp = [array.copy() for array in voxels_of(SHARP)]
    user.presses_and_waits("simulateButton")
    first = user.volumes()
    user.presses_and_waits("simulateButton")
    second = user.volumes()
    assert first == [f"{name}_motion" for name in SHARP]
    assert second == [f"{name}_motion_1" for name in SHARP]
    assert record_of(first[0]) == record_of(second[0])
    for once, again, before, now in zip(voxels_of(first), voxels_of(second), sharp, voxels_of(SHARP), strict=True):
        np.testing.assert_array_equal(once, again)  # the same seed; of a blurred one it would be blurred twice
        np.testing.assert_array_equal(before, now)
        assert not np.array_equal(once, before)
    assert [links.sharp_of(slicer.util.getNode(name)) for name in second] == list(four.values())


def test_a_stored_motion_is_repeated(user, four):
    user.ui.seedSpin.value = 7
    user.presses_and_waits("simulateButton")
    user.ui.seedSpin.value = 8
    assert not user.can("replayButton")
    user.choose("replaySelector", "Ann_t1")
    assert not user.can("replayButton"), "it was not blurred here"
    user.choose("replaySelector", "Ann_t1_motion")
    caption = user.reads("replayButton")
    user.presses_and_waits("replayButton")
    assert user.reads("replayButton") == caption
    assert user.volumes() == [f"{name}_motion_1" for name in SHARP]
    for once, again in zip(voxels_of([f"{name}_motion" for name in SHARP]), voxels_of(user.volumes()), strict=True):
        np.testing.assert_array_equal(once, again)
    assert record_of("Ann_t1_motion_1")["modalities"]["t1"]["trajectory"]["origin"]["seed"] == 7


def test_the_motion_of_one_patient_can_be_given_to_another(user, four, scene, a_small_patient):
    user.presses_and_waits("simulateButton")
    darker = volumes_of(scene, a_small_patient, "Bob")
    for modality, volume in darker.items():
        user.choose(f"{modality}Selector", volume.GetName())
        slicer.util.arrayFromVolume(volume)[:] //= 2
        slicer.util.arrayFromVolumeModified(volume)
    user.choose("replaySelector", "Ann_t2_motion")
    user.presses_and_waits("replayButton")
    assert user.volumes() == [f"Bob_{modality}_motion" for modality in MODALITIES]
    once, again = record_of("Ann_t2_motion"), record_of("Bob_t2_motion")
    assert once["modalities"]["t2"]["trajectory"] == again["modalities"]["t2"]["trajectory"]


def test_the_levels_are_called_what_they_are_called_everywhere(user):
    words = ", ".join(f"{number}: {level.name}" for number, level in SEVERITIES.items())
    assert words in user.ui.severitySlider.toolTip
