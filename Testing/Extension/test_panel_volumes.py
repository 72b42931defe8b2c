"""Panel, volumes: what is said of what is picked, and what can be pressed then."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from nodes import a_volume_node, an_affine
from panel_user import volumes_of

from DABSegCore.labels import MODALITIES

TITLES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}


@pytest.fixture
def four(user, scene, a_small_patient):
    """Four good volumes, picked."""
    volumes = volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.volumes()[3] == "Ann_flair")
    user.settle()
    return volumes


def test_an_empty_scene_says_what_to_do(user):
    assert not user.can("applyButton")
    assert not user.can("simulateButton")
    assert not user.can("compareButton")
    assert user.can("sampleButton")
    assert user.reads("findingsLabel").startswith("Load the four volumes of a patient, skull-stripped and registered")
    assert "Load sample case" in user.reads("findingsLabel")
    assert "Four volumes are needed" in user.ui.applyButton.toolTip
    assert not user.is_there("messageLabel")
    assert not user.busy
    assert user.reads("noticeLabel").startswith("Research use only")


def test_fill_by_name_says_when_there_is_nothing(user, scene, a_small_patient):
    user.press("fillButton")
    assert user.reads("messageLabel").startswith("No loaded volume has a name like case_t1")
    image = a_small_patient.images[0]
    a_volume_node(scene, image, a_small_patient.affine, "something")
    user.press("fillButton")
    assert user.volumes() == ["None"] * 4


def test_volumes_that_arrive_are_picked_by_name(user, four):
    assert user.volumes() == [f"Ann_{modality}" for modality in MODALITIES]
    assert user.reads("findingsLabel") == ""
    assert user.can("applyButton")
    assert user.can("simulateButton")
    assert user.ui.applyButton.toolTip == "Restore the four volumes and outline the tumour."


def test_volumes_may_arrive_one_by_one(user, scene, a_small_patient):
    for modality in MODALITIES:  # each file takes its time to be read
        volumes_of(scene, a_small_patient, "Ann", [modality])
        user.waits(0.4)
    assert user.volumes() == [f"Ann_{modality}" for modality in MODALITIES]
    assert user.can("applyButton")


def test_what_the_user_has_picked_stays(user, scene, a_small_patient):
    odd = a_volume_node(scene, a_small_patient.images[1], a_small_patient.affine, "odd")
    user.choose("t1Selector", "odd")
    volumes_of(scene, a_small_patient, "Ann")
    user.waits(0.4)
    assert user.parameters.t1 is odd
    assert user.volumes()[1:] == ["None"] * 3
    user.press("fillButton")
    assert user.volumes() == [f"Ann_{modality}" for modality in MODALITIES]


def test_another_patient_does_not_replace_the_first_by_itself(user, four, scene, a_small_patient):
    volumes_of(scene, a_small_patient, "Bob")
    user.waits(0.4)
    assert user.volumes() == [f"Ann_{modality}" for modality in MODALITIES]
    user.press("fillButton")
    assert user.volumes() == [f"Bob_{modality}" for modality in MODALITIES]


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_that_is_missing_is_named(user, four, modality):
    user.choose(f"{modality}Selector", "None")
    assert f"No volume is chosen for {TITLES[modality]}," in user.reads("findingsLabel")
    assert not user.can("applyButton")
    assert not user.can("simulateButton")
    user.choose(f"{modality}Selector", f"Ann_{modality}")
    assert user.reads("findingsLabel") == ""
    assert user.can("applyButton")


def test_a_name_without_end_does_not_widen_the_panel(user, four):
    whole = user.widget.parent
    whole.show()
    width = whole.minimumSizeHint().width()
    four["t1"].SetName("t1_" + 200 * "a")
    user.choose("t1ceSelector", four["t1"].GetName())
    user.waits(0.1)  # the layout follows from the event loop
    assert four["t1"].GetName() in user.reads("findingsLabel")
    assert whole.minimumSizeHint().width() == width


def test_one_picked_twice_stops(user, four):
    user.choose("t2Selector", "Ann_t1")
    assert '"Ann_t1" is chosen for T1 and T2' in user.reads("findingsLabel")
    assert not user.can("applyButton")


def test_a_copy_stops_once_the_voxels_were_read(user, four, scene, a_small_patient):
    a_volume_node(scene, a_small_patient.images[0], a_small_patient.affine, "copy")
    user.choose("t2Selector", "copy")
    user.settle()
    assert '"Ann_t1" (T1) and "copy" (T2) have the same value in every voxel' in user.reads("findingsLabel")
    assert not user.can("applyButton")


def test_another_grid_is_said_and_does_not_stop(user, four, scene, a_small_patient):
    moved = a_small_patient.affine.copy()
    moved[:3, 3] += 1.5
    a_volume_node(scene, a_small_patient.images[3], moved, "moved")
    user.choose("flairSelector", "moved")
    user.settle()
    words = user.reads("findingsLabel")
    assert '"moved" lies on another grid than "Ann_t1ce"' in words
    assert "resampled onto the T1ce grid, not registered" in words
    assert user.can("applyButton")
    user.choose("referenceCombo", "FLAIR")
    assert '"Ann_t1" lies on another grid than "moved"' in user.reads("findingsLabel")


def test_another_place_stops(user, four, scene, a_small_patient):
    a_volume_node(scene, a_small_patient.images[3], an_affine(spacing=(3, 3, 3), origin=(900, 0, 0)), "far")
    user.choose("flairSelector", "far")
    assert "do not overlap" in user.reads("findingsLabel")
    assert not user.can("applyButton")


def test_a_constant_image_stops(user, four, scene, a_small_patient):
    a_volume_node(scene, np.full(a_small_patient.images[0].shape, 7.0), a_small_patient.affine, "grey <b>")
    user.choose("t1Selector", "grey <b>")
    user.settle()
    assert '"grey <b>" has the value 7 in every voxel' in user.reads("findingsLabel"), "a name is no markup"
    assert not user.can("applyButton")


def test_a_skull_is_said_and_does_not_stop(user, four, scene, a_small_patient):
    whole = a_small_patient.images[0] + 1  # every voxel of 5.2 l is filled
    a_volume_node(scene, whole, a_small_patient.affine, "head")
    user.choose("t1Selector", "head")
    user.settle()
    assert '"head" does not look skull-stripped' in user.reads("findingsLabel")
    assert user.can("applyButton")


def test_a_volume_that_is_deleted_leaves_its_place(user, four, scene):
    scene.RemoveNode(four["t2"])
    user.settle()
    assert user.volumes() == ["Ann_t1", "Ann_t1ce", "None", "Ann_flair"]
    assert not user.can("applyButton")


def test_the_sample_case_is_loaded_picked_and_shown(user, scene):
    assert user.presses_and_waits("sampleButton") == ""
    assert user.volumes() == [f"Virtual_005_{modality}" for modality in MODALITIES]
    assert user.reads("findingsLabel") == ""
    assert user.can("applyButton")
    assert user.can("compareButton")
    assert user.reads("sampleButton") == "Load sample case"
    assert slicer.util.arrayFromVolume(user.parameters.t1).shape == (155, 240, 240)
    assert [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == ["Virtual_005 truth"]
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert shown == user.parameters.t1ce.GetID()
    assert user.sees().max() > 200


def test_everything_is_off_while_something_runs(user, four):
    user.press("sampleButton")
    assert user.busy
    assert user.reads("sampleButton") == "Cancel"
    others = ("fillButton", "simulateButton", "replayButton", "applyButton", "exportButton", "measureButton")
    assert not any(user.can(name) for name in (*others, "folderButton"))
    assert user.stops("sampleButton") == "Cancelled. The scene is as it was before."
    assert user.can("applyButton")
