"""Comparison on screen: real slice nodes, displays and displayable managers, from putting it up to taking it down."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer
from DABSegLib.nodes.geometry import local_affine
from DABSegLib.views import layout
from DABSegLib.views.compare import Comparison
from heads import a_head, a_segmentation, a_tumour, rows_of
from nodes import a_matrix, a_transform, a_volume_node, an_affine
from standins.view import BAR_PX
from standins.views import Views

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES

ROWS = ("sharp", "blurred", "pseudo-clear")
BEFORE = slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


@pytest.fixture
def views(scene: Any) -> Iterator[Views]:
    """A window that shows one slice before anything is compared."""
    views = Views(scene, (640, 480))
    layout.arrange(scene, BEFORE)
    views.arrange()
    yield views
    views.close()


@pytest.fixture
def comparison(scene: Any, views: Views) -> Iterator[Comparison]:
    """Three rows of a head with a tumour, on screen."""
    rows = rows_of(scene)
    segmentation = a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"])
    comparison = Comparison(scene, rows, segmentation)
    comparison.show()
    views.arrange()
    yield comparison
    comparison.restore()


def slice_node(scene: Any, row: str, modality: str) -> Any:
    return scene.GetSingletonNode(layout.view_name(row, modality), "vtkMRMLSliceNode")


def slice_nodes(comparison: Comparison) -> list[Any]:
    return [slice_node(comparison.scene, row, modality) for row in comparison.rows for modality in MODALITIES]


def composite(views: Views, row: str, modality: str) -> Any:
    return views.view(layout.view_name(row, modality)).logic.GetSliceCompositeNode()


def window_level(volume: Any) -> tuple[float, float]:
    return volume.GetDisplayNode().GetWindow(), volume.GetDisplayNode().GetLevel()


def arrangement(scene: Any) -> int:
    return layout.layout_node(scene).GetViewArrangement()


def test_every_view_shows_its_volume_and_nothing_over_it(comparison: Comparison, views: Views) -> None:
    for row in ROWS:
        for modality in MODALITIES:
            node = composite(views, row, modality)
            assert node.GetBackgroundVolumeID() == comparison.rows[row][modality].GetID()
            assert node.GetForegroundVolumeID() is None
            assert node.GetLabelVolumeID() is None
            assert node.GetLinkedControl()
            assert node.GetHotLinkedControl()


def test_rows_that_lack_a_modality_are_left_out(scene: Any, views: Views) -> None:
    rows = rows_of(scene)
    scene.RemoveNode(rows["sharp"]["t2"])
    rows["blurred"]["flair"] = None
    comparison = Comparison(scene, rows)
    comparison.show()
    assert len(views.names()) == 4
    assert all(name.startswith("DABSegPseudoClear") for name in views.names())


def test_nothing_to_compare_is_said(scene: Any, views: Views) -> None:
    rows = rows_of(scene, ("sharp",))
    del rows["sharp"]["t1"]
    with pytest.raises(InputError, match="nothing to compare") as caught:
        Comparison(scene, rows)
    assert caught.value.code == "nothing-to-compare"


def test_a_volume_without_voxels_is_refused_before_anything_changes(scene: Any, views: Views) -> None:
    rows = rows_of(scene, ("sharp",))
    rows["sharp"]["t1"].SetAndObserveImageData(None)
    before = arrangement(scene)
    comparison = Comparison(scene, rows)
    with pytest.raises(InputError, match="no voxels"):
        comparison.show()
    assert arrangement(scene) == before
    assert not comparison.shown


def test_restore_brings_the_layout_back(scene: Any, comparison: Comparison) -> None:
    assert layout.is_ours(arrangement(scene))
    comparison.restore()
    comparison.restore()
    assert arrangement(scene) == BEFORE
    assert not comparison.shown


def test_an_update_changes_the_images_and_keeps_the_slice(scene: Any, comparison: Comparison, views: Views) -> None:
    comparison.set_orientation("Sagittal")
    comparison.set_offset_mm(-3.5)
    rows = {"blurred": comparison.rows["blurred"], **rows_of(scene, ("difference",))}
    comparison.update(rows, None)
    assert list(comparison.rows) == ["blurred", "difference"]
    assert len(views.names()) == 8
    assert (comparison.orientation, comparison.offset_mm) == ("Sagittal", -3.5)
    comparison.restore()
    assert arrangement(scene) == BEFORE


def test_an_update_for_another_head_goes_to_its_tumour(scene: Any, comparison: Comparison) -> None:
    comparison.set_offset_mm(8)
    moved = a_transform(scene, an_affine(origin=(0, 0, 500)))
    for volumes in comparison.rows.values():
        for volume in volumes.values():
            volume.SetAndObserveTransformNodeID(moved.GetID())
    comparison.segmentation.SetAndObserveTransformNodeID(moved.GetID())
    comparison.update(comparison.rows, comparison.segmentation)
    assert comparison.offset_mm == pytest.approx(500 - 30 + 4 * 14)


def test_another_layout_ends_it(scene: Any, views: Views) -> None:
    ended: list[bool] = []
    rows = rows_of(scene)
    segmentation = a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"])
    comparison = Comparison(scene, rows, segmentation, on_ended=lambda: ended.append(True))
    comparison.show()
    layout.arrange(scene, layout.ORDINARY)
    assert ended == [True]
    assert not comparison.shown
    assert segmentation.GetDisplayNode().GetVisibility2DFill()
    comparison.restore()
    assert ended == [True]
    assert arrangement(scene) == layout.ORDINARY


def test_one_view_may_fill_the_screen_meanwhile(scene: Any, comparison: Comparison, views: Views) -> None:
    layout.layout_node(scene).AddMaximizedViewNode(slice_node(scene, "sharp", "t2"))
    assert comparison.shown
    views.logic.MaximizeView(slice_node(scene, "sharp", "t2"))  # as newer Slicers do
    assert comparison.shown
    comparison.restore()
    assert arrangement(scene) == BEFORE


def test_a_column_is_as_bright_as_its_first(scene: Any, views: Views) -> None:
    rows = rows_of(scene)
    for row, window in (("sharp", 700), ("blurred", 50)):
        rows[row]["t2"].CreateDefaultDisplayNodes()
        rows[row]["t2"].GetDisplayNode().SetAutoWindowLevel(False)
        rows[row]["t2"].GetDisplayNode().SetWindowLevel(window, 200)
    comparison = Comparison(scene, rows)
    comparison.show()
    assert [window_level(rows[row]["t2"]) for row in ROWS] == [(700, 200)] * 3
    assert window_level(rows["sharp"]["t1"]) == window_level(rows["blurred"]["t1"]) != (700, 200)


def test_brightness_follows_within_a_column_until_the_end(comparison: Comparison) -> None:
    rows = comparison.rows
    others = window_level(rows["sharp"]["t1"])
    rows["pseudo-clear"]["flair"].GetDisplayNode().SetWindowLevel(123, 45)
    assert [window_level(rows[row]["flair"]) for row in ROWS] == [(123, 45)] * 3
    assert window_level(rows["sharp"]["t1"]) == others
    comparison.restore()
    rows["sharp"]["flair"].GetDisplayNode().SetWindowLevel(10, 5)
    assert window_level(rows["blurred"]["flair"]) == (123, 45)


def test_automatic_brightness_of_one_is_that_of_all(comparison: Comparison) -> None:
    rows = comparison.rows
    rows["sharp"]["t1"].GetDisplayNode().SetWindowLevel(10, 5)
    rows["blurred"]["t1"].GetDisplayNode().SetAutoWindowLevel(True)
    assert window_level(rows["sharp"]["t1"]) == window_level(rows["blurred"]["t1"]) != (10, 5)


def test_differences_keep_their_own_brightness(scene: Any, views: Views) -> None:
    rows = rows_of(scene, ("blurred", "difference"))
    rows["difference"]["t1"].CreateDefaultDisplayNodes()
    rows["difference"]["t1"].GetDisplayNode().SetAutoWindowLevel(False)
    rows["difference"]["t1"].GetDisplayNode().SetWindowLevel(8, 0)
    comparison = Comparison(scene, rows)
    comparison.show()
    rows["blurred"]["t1"].GetDisplayNode().SetWindowLevel(99, 9)
    assert window_level(rows["difference"]["t1"]) == (8, 0)


def test_a_volume_that_is_in_two_rows_is_no_trouble(scene: Any, views: Views) -> None:
    rows = rows_of(scene, ("sharp", "blurred"))
    rows["blurred"]["t1"] = rows["sharp"]["t1"]  # not corrupted
    comparison = Comparison(scene, rows)
    comparison.show()
    rows["sharp"]["t1"].GetDisplayNode().SetWindowLevel(40, 30)
    assert window_level(rows["blurred"]["t1"]) == (40, 30)


def test_segments_are_outlines_until_the_end(scene: Any, views: Views) -> None:
    rows = rows_of(scene)
    segmentation, other = (a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"]) for _ in range(2))
    display = segmentation.GetDisplayNode()
    display.SetOpacity2DOutline(0.4)
    display.SetVisibility(False)
    comparison = Comparison(scene, rows, segmentation)
    comparison.show()
    assert display.GetVisibility()
    assert not display.GetVisibility2DFill()
    assert display.GetOpacity2DOutline() == 1
    assert not other.GetDisplayNode().GetVisibility2D()
    comparison.update(rows, segmentation)
    comparison.restore()
    assert not display.GetVisibility()
    assert display.GetVisibility2DFill()
    assert display.GetOpacity2DOutline() == 0.4
    assert other.GetDisplayNode().GetVisibility2D()


def test_a_segmentation_of_one_view_is_seen_in_ours_meanwhile(scene: Any, views: Views) -> None:
    rows = rows_of(scene)
    segmentation = a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"])
    display = segmentation.GetDisplayNode()
    display.AddViewNodeID("vtkMRMLSliceNodeRed")
    comparison = Comparison(scene, rows, segmentation)
    comparison.show()
    assert display.IsDisplayableInView(slice_node(scene, "blurred", "t1").GetID())
    comparison.restore()
    assert list(display.GetViewNodeIDs()) == ["vtkMRMLSliceNodeRed"]


def test_it_begins_at_the_tumours_widest(comparison: Comparison) -> None:
    areas = a_tumour()["WT"].sum(axis=(1, 2))
    assert areas[round((comparison.offset_mm + 30) / 4)] == areas.max()
    comparison.set_orientation("Coronal")
    areas = a_tumour()["WT"].sum(axis=(0, 2))
    assert areas[round((60 - comparison.offset_mm) / 4)] == areas.max()


def test_an_orientation_chosen_in_slicer_is_known_and_a_tilted_one_is_not(comparison: Comparison) -> None:
    for view in slice_nodes(comparison):
        view.SetOrientation("Coronal")
    assert comparison.orientation == "Coronal"
    for view in slice_nodes(comparison):
        view.GetSliceToRAS().DeepCopy(a_matrix(an_affine((20, 10, 0))))
        view.UpdateMatrices()
    assert comparison.orientation == "Axial"


def test_the_slider_moves_all_and_only_ours(scene: Any, comparison: Comparison) -> None:
    red = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    before = red.GetSliceOffset()
    comparison.set_offset_mm(7.5)
    assert [view.GetSliceOffset() for view in slice_nodes(comparison)] == [7.5] * 12
    assert red.GetSliceOffset() == before != 7.5


def test_scrolling_in_one_view_moves_all_and_is_told_once(scene: Any, views: Views) -> None:
    moves: list[float] = []
    rows = rows_of(scene)
    comparison = Comparison(scene, rows, None, on_moved=moves.append)
    comparison.show()
    views.arrange()
    moves.clear()
    before = scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetSliceOffset()
    views.view("DABSegBlurredT2").scroll_to(-9)
    assert [view.GetSliceOffset() for view in slice_nodes(comparison)] == pytest.approx([-9] * 12)
    assert moves == pytest.approx([-9])
    assert scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetSliceOffset() == before
    comparison.restore()
    slice_node(scene, "sharp", "t1").SetSliceOffset(20)
    assert len(moves) == 1


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
def test_the_range_is_that_of_the_head(comparison: Comparison, orientation: str) -> None:
    comparison.set_orientation(orientation)
    assert {view.GetOrientation() for view in slice_nodes(comparison)} == {orientation}
    axis = {"Axial": 0, "Coronal": 1, "Sagittal": 2}[orientation]
    inside = np.flatnonzero(a_head().any(axis=tuple({0, 1, 2} - {axis})))
    length = 4 * (inside[-1] - inside[0] + 1)
    first, last, step = comparison.offset_range_mm()
    assert last - first == pytest.approx(length, abs=8)  # every second voxel is looked at
    assert step == pytest.approx(4)
    assert first <= comparison.offset_mm <= last


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (1500, 300)], ids=["usual", "tall", "wide"])
@pytest.mark.parametrize("orientation", ["Axial", "Sagittal"])
def test_the_whole_head_is_in_every_view(
    comparison: Comparison, views: Views, size: tuple[int, int], orientation: str
) -> None:
    comparison.set_orientation(orientation)
    views.size = size
    views.arrange()
    k, j, i = np.nonzero(a_head())
    affine = local_affine(comparison.rows["sharp"]["t1"])
    points = np.c_[i, j, k, np.ones(len(i))] @ affine.T
    for view in slice_nodes(comparison):
        to_xy = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.GetXYToRAS()))
        xy = (points @ to_xy.T)[:, :2]
        width, height, _ = view.GetDimensions()
        assert (xy.min(axis=0) >= 0).all()
        assert (xy.max(axis=0) <= (width, height)).all()
        assert (np.ptp(xy, axis=0) / (width, height)).max() > 0.7  # and not small


def test_a_zoomed_view_stays_zoomed_when_the_window_changes(comparison: Comparison, views: Views) -> None:
    zoomed, other = slice_nodes(comparison)[:2]
    zoomed.SetFieldOfView(*(side / 3 for side in zoomed.GetFieldOfView()[:2]), 1)
    height_mm = zoomed.GetFieldOfView()[1]
    views.size = (900, 500)
    views.arrange()
    assert zoomed.GetFieldOfView()[1] == pytest.approx(height_mm)
    comparison.fit()
    assert zoomed.GetFieldOfView()[1] == pytest.approx(other.GetFieldOfView()[1])


def test_a_view_moved_aside_stays_there_when_the_window_changes(comparison: Comparison, views: Views) -> None:
    moved = slice_nodes(comparison)[5]
    moved.SetXYZOrigin(11, -7, 0)
    views.size = (900, 500)
    views.arrange()
    assert moved.GetXYZOrigin()[:2] == (11, -7)
    comparison.fit()
    assert moved.GetXYZOrigin()[:2] == (0, 0)


def test_closing_the_scene_ends_it(scene: Any, views: Views) -> None:
    ended: list[bool] = []
    rows = rows_of(scene)
    segmentation = a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"])
    comparison = Comparison(scene, rows, segmentation, on_ended=lambda: ended.append(True))
    comparison.show()
    views.grab()
    scene.Clear(0)
    assert ended == [True]
    assert arrangement(scene) == BEFORE
    views.grab()
    with pytest.raises(InputError, match="nothing to compare"):
        comparison.update(rows, segmentation)

    again = Comparison(scene, rows_of(scene))
    again.show()
    assert len(views.names()) == 12
    again.restore()


def test_deleting_what_is_compared_is_no_trouble(scene: Any, comparison: Comparison, views: Views) -> None:
    scene.RemoveNode(comparison.rows["blurred"]["t1"])
    scene.RemoveNode(comparison.segmentation)
    comparison.set_offset_mm(1)
    views.grab()
    comparison.update(comparison.rows, comparison.segmentation)
    assert list(comparison.rows) == ["sharp", "pseudo-clear"]


def test_what_is_not_on_screen_cannot_be_moved(scene: Any, views: Views) -> None:
    with pytest.raises(RuntimeError, match="call show"):
        Comparison(scene, rows_of(scene)).set_offset_mm(0)


def test_a_browser_without_slice_views_gets_the_same_nodes(scene: Any) -> None:
    logic = slicer.vtkMRMLLayoutLogic()  # makes slice nodes, but nothing that shows them
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    logic.SetMRMLScene(scene)
    Comparison(scene, rows_of(scene)).show()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene)
    ours = {node.GetLayoutName() for node in composites if node.GetBackgroundVolumeID()}
    assert ours == {layout.view_name(row, modality) for row in ROWS for modality in MODALITIES}


# --- pictures -------------------------------------------------------------------------------------------------------


def cells(picture: np.ndarray, rows: int) -> np.ndarray:
    """The inner part of every view below its bar [rows, 4, h, w, 3]."""
    height, width, _ = picture.shape
    h, w = height // rows, width // 4
    return np.array(
        [
            [picture[r * h + BAR_PX + 3 : (r + 1) * h - 3, c * w + 3 : (c + 1) * w - 3] for c in range(4)]
            for r in range(rows)
        ]
    )


def is_colour(cell: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    return (np.abs(cell - 255 * np.array(colour)) < 60).all(axis=-1)


def test_every_view_shows_the_head_and_the_outlines(comparison: Comparison, views: Views) -> None:
    for row in cells(views.grab().astype(float), 3):
        for cell in row:
            assert is_colour(cell, (0.95, 0.85, 0.2)).sum() > 20
            assert is_colour(cell, (1, 0.2, 0.2)).sum() > 10
            assert (cell.max(axis=-1) > 40).mean() > 0.1  # the head
            assert (cell.max(axis=-1) < 5).mean() > 0.1  # around it
            fill = is_colour(cell, (0.95, 0.85, 0.2)).mean()
            assert fill < 0.08  # lines, no areas


def test_equal_images_look_equal_in_a_column(comparison: Comparison, views: Views) -> None:
    comparison.segmentation.GetDisplayNode().SetVisibility(False)
    _, blurred, clear = cells(views.grab().astype(float), 3)[:, :, :-16]  # without the names in the corner
    assert np.abs(blurred - clear).max() <= 1
    assert blurred.max() > 200
    comparison.rows["sharp"]["t1"].GetDisplayNode().SetWindowLevel(900, 450)
    _, blurred_now, clear_now = cells(views.grab().astype(float), 3)[:, :, :-16]
    assert blurred_now[0].mean() < 0.7 * blurred[0].mean()
    assert np.abs(blurred_now - clear_now).max() <= 1
    assert np.array_equal(blurred_now[1:], blurred[1:])


def test_the_patients_left_is_on_the_right_of_the_screen(scene: Any, views: Views) -> None:
    rows = rows_of(scene)  # a bright ball on the left, at i > middle: R is 50 - 4 i
    comparison = Comparison(scene, rows, a_segmentation(scene, a_tumour(), rows["sharp"]["t1ce"]))
    comparison.show()
    comparison.segmentation.GetDisplayNode().SetVisibility(False)
    for row in cells(views.grab().astype(float), 3)[:, :, :-16]:
        for cell in row:
            across = np.nonzero(cell.max(axis=-1) > 0.95 * cell.max())[1].mean()
            assert across > 0.55 * cell.shape[1]


def test_one_place_is_one_place_in_all_columns_whatever_their_grids(scene: Any, views: Views) -> None:
    spot_mm = np.array([12.0, -8, 20])
    affines = {
        "t1": an_affine((0, 0, 0), (3, 3, 3), (-60, -60, -40)),
        "t1ce": an_affine((20, 10, -15), (3, 3, 4), (-60, -40, -40)),
        "t2": an_affine((0, 0, 0), (3, 4, 3), (60, -70, -40), flip=0),
        "flair": an_affine((0, 0, 0), (3, 3, 3), (-60, -60, -40)),
    }
    moved = an_affine((0, 0, 30), (1, 1, 1), (15, -5, 4))
    volumes = {}
    for modality, affine in affines.items():
        to_world = moved @ affine if modality == "flair" else affine
        volumes[modality] = a_volume_node(scene, a_spot(to_world, spot_mm), affine, modality)
    volumes["flair"].SetAndObserveTransformNodeID(a_transform(scene, moved).GetID())
    comparison = Comparison(scene, {"sharp": volumes})
    comparison.show()
    comparison.set_offset_mm(spot_mm[2])
    brightest = cells(views.grab().astype(float), 1)[0, :, :-16].max(axis=-1)
    places = []
    for cell in brightest:
        y, x = np.nonzero(cell > 0.8 * cell.max())
        places.append((x.mean(), y.mean()))
    view = slice_node(scene, "sharp", "t1")
    mm_per_pixel = view.GetFieldOfView()[0] / view.GetDimensions()[0]
    assert np.ptp(places, axis=0) * mm_per_pixel == pytest.approx(0, abs=2)  # voxels are 3 and 4 mm


def a_spot(affine: np.ndarray, place_mm: np.ndarray, shape: tuple[int, ...] = (40, 40, 40)) -> np.ndarray:
    """A blob in a dim block, at a place in the world: float32 [D, H, W]."""
    k, j, i = np.indices(shape)
    places = (np.stack([i, j, k, np.ones(shape)], axis=-1) @ affine.T)[..., :3]
    return (100 + 400 * np.exp(-((places - place_mm) ** 2).sum(axis=-1) / (2 * 5**2))).astype(np.float32)


def test_one_that_nobody_keeps_leaves_its_views_alone(scene: Any, views: Views) -> None:
    rows = rows_of(scene)
    Comparison(scene, rows).show()
    gc.collect()
    rows["sharp"]["t1"].GetDisplayNode().SetWindowLevel(10, 5)
    assert window_level(rows["blurred"]["t1"]) != (10, 5)
    scene.Clear(0)
