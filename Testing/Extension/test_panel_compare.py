"""Panel, comparing: the views side by side, as the application draws them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DABSegLib.nodes import links
from DABSegLib.nodes.regions import TUMOUR_REGIONS
from DABSegLib.views import layout
from panel_user import type_path, volumes_of

from DABSegCore.labels import MODALITIES

ROWS = ("sharp", "blurred", "pseudo-clear")
TWELVE = [layout.view_name(row, modality) for row in ROWS for modality in MODALITIES]


def views():
    return slicer.app.layoutManager().views


def cells(user) -> dict[str, np.ndarray]:
    """What each view of the comparison shows, without its bar: uint8 [H, W, 3]."""
    user.sees()
    return {name: views().view(name).grab()[24:] for name in views().names()}


def coloured(picture: np.ndarray) -> int:
    """Pixels of a grey image that have a colour: outlines."""
    values = picture.astype(int)
    return int(((values.max(axis=2) - values.min(axis=2)) > 60).sum())


def all_at_the_slider(user) -> bool:
    """Whether every slice is where the slider says, which has one decimal."""
    offsets = [views().view(name).logic.GetSliceOffset() for name in TWELVE]
    return max(offsets) - min(offsets) < 1e-6 and offsets[0] == pytest.approx(user.ui.sliceSlider.value, abs=0.051)


@pytest.fixture
def side_by_side(finished):
    finished.press("compareButton")
    return finished


def test_twelve_views_are_drawn_with_outlines(side_by_side):
    assert views().names() == TWELVE
    for name, picture in cells(side_by_side).items():
        assert picture.max() > 150, f"{name} is black"
        assert picture.mean() > 10, f"{name} is nearly black"
        assert coloured(picture) > 50, f"{name} has no outline"
    assert side_by_side.reads("compareButton") == "Back to the views before"


def test_the_outlines_are_those_of_the_segments(side_by_side):
    with_tumour = {name: coloured(picture) for name, picture in cells(side_by_side).items()}
    segmentation = side_by_side.parameters.segmentation
    for region in TUMOUR_REGIONS:
        segmentation.GetDisplayNode().SetSegmentVisibility(region, False)
    without = {name: coloured(picture) for name, picture in cells(side_by_side).items()}
    assert all(without[name] < with_tumour[name] / 5 for name in TWELVE)


def test_one_slider_moves_all(side_by_side):
    slider, before = side_by_side.ui.sliceSlider, cells(side_by_side)
    assert side_by_side.can("sliceSlider")
    assert all_at_the_slider(side_by_side)
    slider.value += 12
    assert all_at_the_slider(side_by_side)
    after = cells(side_by_side)
    assert all(not np.array_equal(before[name], after[name]) for name in TWELVE)
    views().view(TWELVE[5]).scroll_to(slider.value - 24)
    assert all_at_the_slider(side_by_side), "one view moves all, and the slider"
    assert slider.minimum < slider.value < slider.maximum


def test_all_are_turned_at_once(side_by_side):
    assert side_by_side.chosen("orientationCombo") == "Axial"
    side_by_side.choose("orientationCombo", "Sagittal")
    assert {views().view(name).node.GetOrientation() for name in TWELVE} == {"Sagittal"}
    assert all_at_the_slider(side_by_side)
    assert all(picture.max() > 150 for picture in cells(side_by_side).values())


def test_difference_maps_get_a_row_and_leave_it(side_by_side):
    side_by_side.presses_and_waits("differenceCheck")
    assert views().names() == [*TWELVE, *(layout.view_name("difference", modality) for modality in MODALITIES)]
    assert all(picture.max() > 60 for picture in cells(side_by_side).values())
    side_by_side.press("differenceCheck")
    assert views().names() == TWELVE


def test_back_to_the_views_before(finished):
    before = slicer.app.layoutManager().layout
    display = finished.parameters.segmentation.GetDisplayNode()
    shown = display.GetOpacity2DFill(), display.GetSliceIntersectionThickness()
    finished.press("compareButton")
    assert slicer.app.layoutManager().layout != before
    finished.press("compareButton")
    assert slicer.app.layoutManager().layout == before
    assert (display.GetOpacity2DFill(), display.GetSliceIntersectionThickness()) == shown
    assert not finished.ui.compareButton.checked
    assert finished.reads("compareButton") == "Side by side"
    assert not finished.can("sliceSlider")


def test_another_layout_chosen_in_the_toolbar_ends_it(side_by_side):
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    assert not side_by_side.ui.compareButton.checked
    assert side_by_side.reads("compareButton") == "Side by side"
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView


def test_another_result_that_is_picked_is_compared(side_by_side, scene, quick_weights):
    type_path(side_by_side.ui.weightsPath, quick_weights)
    first = side_by_side.parameters.segmentation
    side_by_side.presses_and_waits("applyButton")
    second = side_by_side.parameters.segmentation
    for segmentation in (second, first, second):
        side_by_side.choose("segmentationSelector", segmentation.GetName())
        shown = side_by_side.panel.comparing._comparison
        assert shown.segmentation is segmentation
        assert shown.rows["pseudo-clear"] == links.connected(segmentation, "pseudo-clear")
    side_by_side.press("compareButton")
    assert [node.GetDisplayVisibility() for node in (first, second)] == [0, 1]


def test_without_results_the_volumes_are_compared(user, scene, a_small_patient):
    volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.can("compareButton"))
    user.press("compareButton")
    assert views().names() == [layout.view_name("blurred", modality) for modality in MODALITIES]
    user.presses_and_waits("simulateButton")
    assert views().names() == [layout.view_name(row, m) for row in ("sharp", "blurred") for m in MODALITIES]


@pytest.mark.parametrize("kind", ["input", "pseudo-clear"])
def test_a_volume_that_is_deleted_takes_its_row_with_it(side_by_side, scene, kind):
    scene.RemoveNode(links.connected(side_by_side.parameters.segmentation, kind)["t2"])
    side_by_side.waits(0.05)
    left = {"input": ("pseudo-clear",), "pseudo-clear": ("sharp", "blurred")}[kind]
    assert views().names() == [layout.view_name(row, modality) for row in left for modality in MODALITIES]
    assert all(picture.max() > 150 for picture in cells(side_by_side).values())


def test_the_scene_closes_while_comparing(side_by_side, scene):
    scene.Clear(False)
    side_by_side.settle()
    assert not side_by_side.ui.compareButton.checked
    assert not side_by_side.can("compareButton")
    assert not layout.is_ours(slicer.app.layoutManager().layout)
