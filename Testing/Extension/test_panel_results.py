"""Panel, results: what Apply gives, what is measured of it and what it is measured against."""

from __future__ import annotations

import re

import numpy as np
import pytest
import slicer
from DABSegLib.nodes import links, segments
from nodes import a_warp
from panel_user import a_patient, type_path, volumes_of

from DABSegCore.labels import MODALITIES, REGIONS

HEADS = ["Region", "Volume (ml)", "Dice", "HD95 (mm)", "True (ml)"]
BLURRED = [f"Virtual_003_{modality}_motion" for modality in MODALITIES]


def names(kind: str) -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass(kind)]


def segmentation_of(user):
    return user.parameters.segmentation


def test_apply_with_the_shipped_weights(user, scene):
    sample = a_patient(scene)
    user.until(lambda: user.can("simulateButton"))
    user.presses_and_waits("simulateButton")
    assert not user.is_there("regionTable"), "there are no results yet"
    told: list[str] = []
    user.press("applyButton")
    assert user.reads("applyButton") == "Cancel"
    user.until(lambda: told.append(user.reads("statusLabel")) or not user.busy)
    assert user.reads("applyButton") == "Apply"
    assert any(re.fullmatch(r"Restoring and segmenting, \d+%(, about \d+ s left)?", words) for words in told), set(told)
    assert {words.split(",")[0] for words in told} >= {"Starting", "Preparing", "Restoring and segmenting"}
    percents = [int(found[1]) for words in told if (found := re.search(r"(\d+)%", words))]
    back = [before for before, after in zip(percents, percents[1:], strict=False) if after < before]
    assert len(back) <= 1, "the bar goes back where measuring begins and nowhere else"
    assert min(back, default=100) >= 90
    _check_segments(user, sample)
    _check_volumes(scene)
    _check_tables(user)
    assert user.reads("knownLabel") == (
        "Compared with segments: Virtual_003 truth; sharp volumes: Virtual_003_t1, Virtual_003_t1ce, Virtual_003_t2, "
        "Virtual_003_flair."
    )
    assert not user.ui.resultsSection.collapsed
    assert not sample.truth.GetDisplayNode().GetVisibility(), "two outlines of the same colours"


def _check_segments(user, sample):
    segmentation = segmentation_of(user)
    assert segmentation.GetName() == "Virtual_003 tumour"
    assert list(segmentation.GetSegmentation().GetSegmentIDs()) == list(REGIONS)
    assert segments.volumes_ml(segmentation)["WT"] == pytest.approx(segments.volumes_ml(sample.truth)["WT"], rel=0.3)
    assert re.fullmatch(
        r'Made by DABSeg \S+ with the weights "small" \([0-9a-f]{8}\) on \S+ in \d+ s\.', user.reads("reportLabel")
    )


def _check_volumes(scene):
    for modality in MODALITIES:
        node = slicer.util.getNode(f"Virtual_003_{modality}_motion_pseudo-clear (synthetic)")
        blurred = slicer.util.getNode(f"Virtual_003_{modality}_motion")
        sharp = slicer.util.getNode(f"Virtual_003_{modality}")
        clear, moved, true = (slicer.util.arrayFromVolume(volume) for volume in (node, blurred, sharp))
        assert not np.array_equal(clear, moved)
        assert np.corrcoef(clear[true > 0], true[true > 0])[0, 1] > 0.8
        assert (node.GetAttribute("DABSeg.Kind"), node.GetAttribute("DABSeg.Modality")) == ("pseudo-clear", modality)


def _check_tables(user):
    rows = user.table("regionTable")
    assert [row[0] for row in rows] == list(REGIONS)
    model = user.ui.regionTable.model()
    assert [model.horizontalHeaderItem(column).text() for column in range(5)] == HEADS
    ml = segments.volumes_ml(segmentation_of(user))
    assert [row[1] for row in rows] == [f"{ml[region]:.2f}" for region in REGIONS]
    dice, hd95 = [float(row[2]) for row in rows], [float(row[3]) for row in rows]
    assert dice[2] > 0.8
    assert hd95[2] < 12
    images = user.table("imageTable")
    assert [row[0] for row in images] == ["T1", "T1ce", "T2", "FLAIR"]
    record = links.trajectory_of(slicer.util.getNode("Virtual_003_t1_motion"))["modalities"]
    for modality, (_, blurred_db, clear_db, blurred_ssim, clear_ssim) in zip(MODALITIES, images, strict=True):
        assert float(blurred_db) == pytest.approx(record[modality]["psnr_db"], abs=0.011)
        assert 15 < float(clear_db) < 50
        assert 0.5 < float(blurred_ssim) < 1
        assert 0.5 < float(clear_ssim) < 1


def test_another_patient_is_not_measured_against_the_truth_of_the_first(finished, a_small_patient, scene):
    """The stale truth, and stale sharp volumes."""
    other = volumes_of(scene, a_small_patient, "Ann")
    for modality, volume in other.items():
        finished.choose(f"{modality}Selector", volume.GetName())
    finished.presses_and_waits("applyButton")
    assert segmentation_of(finished).GetName() == "Ann tumour"
    rows = finished.table("regionTable")
    assert [row[2:] for row in rows] == [["", "", ""]] * 3
    assert finished.table("imageTable") is None
    assert finished.reads("knownLabel") == "Nothing to compare with yet."
    assert not finished.can("measureButton")
    finished.choose("segmentationSelector", "Virtual_003 tumour")
    assert float(finished.table("regionTable")[2][2]) > 0.8, "what was measured is kept"
    assert finished.table("imageTable")
    finished.choose("segmentationSelector", "Ann tumour")
    finished.choose("truthSelector", "Virtual_003 truth")
    finished.presses_and_waits("measureButton")
    assert float(finished.table("regionTable")[2][2]) > 0.8, "it is the same head, and the user has said so"


def test_only_outlines_of_the_result_that_is_picked_are_seen(finished, scene, quick_weights):
    type_path(finished.ui.weightsPath, quick_weights)
    first, truth = segmentation_of(finished), slicer.util.getNode("Virtual_003 truth")
    truth.SetDisplayVisibility(True)
    finished.presses_and_waits("applyButton")
    second = segmentation_of(finished)
    assert [node.GetDisplayVisibility() for node in (first, second, truth)] == [0, 1, 0]
    finished.choose("segmentationSelector", first.GetName())
    assert [node.GetDisplayVisibility() for node in (first, second)] == [1, 0]
    truth.SetDisplayVisibility(True)
    finished.choose("segmentationSelector", truth.GetName())
    assert [node.GetDisplayVisibility() for node in (first, second, truth)] == [0, 0, 1]


def test_what_was_picked_by_hand_to_measure_against_is_of_one_patient(user, a_small_patient, scene):
    first = a_patient(scene)
    user.until(lambda: user.volumes()[0] == "Virtual_003_t1")
    user.choose("truthSelector", "Virtual_003 truth")
    user.choose("t1SharpSelector", "Virtual_003_t1")
    other = volumes_of(scene, a_small_patient, "Ann")
    for modality in MODALITIES[:3]:
        user.choose(f"{modality}Selector", f"Ann_{modality}")
    assert user.parameters.truth is first.truth, "one volume is still that of the first"
    user.choose("flairSelector", other["flair"].GetName())
    assert user.parameters.truth is None
    assert user.parameters.t1Sharp is None
    user.choose("truthSelector", "Virtual_003 truth")
    user.choose("t1Selector", "Virtual_003_t1")
    user.choose("t1Selector", "Ann_t1")
    assert user.parameters.truth is first.truth, "picked for this patient, whose volumes were looked through"


def test_a_volume_that_changes_meanwhile_is_told(user, scene, quick_weights):
    sample = a_patient(scene)
    type_path(user.ui.weightsPath, quick_weights)
    user.until(lambda: user.can("applyButton"))
    user.press("applyButton")
    user.until(lambda: user.reads("statusLabel").startswith("Restoring"))
    slicer.util.arrayFromVolume(sample.volumes["t2"])[:] *= 2
    slicer.util.arrayFromVolumeModified(sample.volumes["t2"])
    user.until(lambda: not user.busy)
    assert '"Virtual_003_t2" changed while this was computed' in user.reads("messageLabel"), (
        "measuring goes on from there"
    )


def test_sharp_volumes_can_be_picked(finished):
    for modality in MODALITIES:
        finished.choose(f"{modality}SharpSelector", BLURRED[MODALITIES.index(modality)])
    assert "sharp volumes" not in finished.reads("knownLabel"), "blurred ones compared with themselves"
    finished.choose("t2SharpSelector", "Virtual_003_t1")
    assert "sharp volumes: Virtual_003_t1." in finished.reads("knownLabel")
    finished.presses_and_waits("measureButton")
    assert [row[0] for row in finished.table("imageTable")] == ["T2"]


def test_difference_maps_come_and_go(finished, scene):
    before = [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]
    finished.presses_and_waits("differenceCheck")
    maps = links.connected(segmentation_of(finished), "difference")
    assert set(maps) == set(MODALITIES)
    for modality, node in maps.items():
        clear = slicer.util.getNode(f"Virtual_003_{modality}_motion_pseudo-clear (synthetic)")
        blurred = slicer.util.getNode(f"Virtual_003_{modality}_motion")
        wanted = slicer.util.arrayFromVolume(clear) - slicer.util.arrayFromVolume(blurred)
        np.testing.assert_allclose(slicer.util.arrayFromVolume(node), wanted, atol=1e-3)
        assert node.GetAttribute("DABSeg.Kind") == "difference"
    finished.press("differenceCheck")
    left = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    assert {n.GetName() for n in left if n.GetID() not in before} <= {"DABSeg difference"}
    assert names("vtkMRMLScalarVolumeNode") == [name for name in names("vtkMRMLScalarVolumeNode") if "diff" not in name]


def test_a_difference_that_cannot_be_made_is_told_and_unticked(finished, scene):
    scene.RemoveNode(slicer.util.getNode(BLURRED[0]))
    taken = slicer.util.getNode(BLURRED[1])
    taken.SetAndObserveImageData(None)
    assert finished.presses_and_waits("differenceCheck") != ""
    assert not finished.ui.differenceCheck.checked
    assert links.connected(segmentation_of(finished), "difference") == {}


def test_surfaces_are_shown_and_hidden_and_change_no_measure(finished):
    measured = finished.table("regionTable")
    finished.press("surfaceCheck")
    assert segments.is_surface_shown(segmentation_of(finished))
    finished.waits(1.0)
    assert finished.table("regionTable") == measured
    finished.press("surfaceCheck")
    assert not segments.is_surface_shown(segmentation_of(finished))
    finished.waits(1.0)
    assert finished.table("regionTable") == measured


def test_a_segmentation_of_others_is_shown_and_measured(finished, scene):
    finished.choose("segmentationSelector", "Virtual_003 truth")
    assert finished.reads("reportLabel") == "Not made by DABSeg."
    assert [row[0] for row in finished.table("regionTable")] == list(REGIONS)
    assert not finished.can("differenceCheck")
    finished.choose("truthSelector", "Virtual_003 truth")
    finished.presses_and_waits("measureButton")
    assert [row[2] for row in finished.table("regionTable")] == ["1.000"] * 3


def test_a_segmentation_that_cannot_be_measured_is_told(finished, scene):
    bent = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bent")
    bent.GetSegmentation().AddEmptySegment("ET", "ET")
    bent.SetAndObserveTransformNodeID(a_warp(scene).GetID())
    finished.choose("segmentationSelector", "bent")
    assert '"bent"' in finished.reads("messageLabel")
    assert finished.table("regionTable") is None
    finished.choose("segmentationSelector", "Virtual_003 tumour")
    assert finished.table("regionTable")


def test_results_that_are_deleted_leave_an_empty_section(finished, scene):
    finished.press("surfaceCheck")
    scene.RemoveNode(segmentation_of(finished))
    finished.settle()
    assert finished.table("regionTable") is None
    assert finished.table("imageTable") is None
    assert not finished.is_there("reportLabel")
    assert not finished.ui.surfaceCheck.checked
    assert not any(finished.can(name) for name in ("surfaceCheck", "differenceCheck", "editButton", "exportButton"))
    assert finished.can("applyButton")


def test_motion_that_is_simulated_anew_has_no_results_yet(finished):
    finished.presses_and_waits("simulateButton")
    assert segmentation_of(finished) is None
    assert finished.table("regionTable") is None
