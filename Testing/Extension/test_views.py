"""The stand-in for Slicer's window of views: places of views, bars, slices, surfaces, and an end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer
from heads import a_segmentation, a_tumour, rows_of
from standins.mrml import fresh_scene
from standins.view import BAR_PX
from standins.views import GREY, Views

NODE = slicer.vtkMRMLLayoutNode


@pytest.fixture
def views(scene: Any) -> Iterator[Views]:
    views = Views(scene, (400, 300))
    yield views
    views.close()


def lay_out(views: Views, arrangement: int) -> None:
    views.logic.GetLayoutNode().SetViewArrangement(arrangement)


def custom(views: Views, description: str) -> None:
    views.logic.GetLayoutNode().AddLayoutDescription(777, description)
    lay_out(views, 777)


def slice_view(name: str, size: int = 1) -> str:
    colour = "<property name='viewcolor' action='default'>#0000FF</property>"
    return f"<item splitSize='{size}'><view class='vtkMRMLSliceNode' singletontag='{name}'>{colour}</view></item>"


def test_four_views_share_the_window_in_reading_order(views: Views) -> None:
    lay_out(views, NODE.SlicerLayoutFourUpView)
    assert views.names() == ["Red", "1", "Green", "Yellow"]
    boxes = [box for _, box in views.arrange()]
    assert boxes == [(0, 0, 200, 150), (202, 0, 198, 150), (0, 152, 200, 148), (202, 152, 198, 148)]


def test_sizes_of_a_split_count(views: Views) -> None:
    custom(views, f"<layout type='vertical'>{slice_view('A', 2)}{slice_view('B')}</layout>")
    assert [box[3] for _, box in views.arrange()] == [200, 98]


def test_of_tabs_the_first_is_seen(views: Views) -> None:
    custom(views, f"<layout type='tab'>{slice_view('A')}{slice_view('B')}</layout>")
    assert views.names() == ["A"]


def test_tables_and_plots_stay_grey(views: Views) -> None:
    lay_out(views, NODE.SlicerLayoutOneUpPlotView)
    assert (views.grab() == GREY).all()


def test_a_bar_has_the_colour_of_its_view_and_the_slice_the_rest(scene: Any, views: Views) -> None:
    custom(views, f"<layout type='horizontal'>{slice_view('A')}</layout>")
    picture = views.grab()
    assert picture.shape == (300, 400, 3)
    assert (picture[1, -50:] == (0, 0, 255)).all()
    assert (picture[BAR_PX + 1 : -30] == 0).all()
    assert scene.GetSingletonNode("A", "vtkMRMLSliceNode").GetDimensions()[:2] == (400, 300 - BAR_PX)


def test_a_volume_is_seen_with_its_name_in_the_corner(scene: Any, views: Views) -> None:
    volume = rows_of(scene, ("sharp",))["sharp"]["t1"]
    volume.CreateDefaultDisplayNodes()
    lay_out(views, NODE.SlicerLayoutOneUpRedSliceView)
    before = views.grab()
    logic = views.view("Red").logic
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.FitSliceToBackground()
    after = views.grab()
    assert after[BAR_PX:-30].max() == 255
    assert after[-15:, :60].max() > 150
    assert np.array_equal(after[:BAR_PX], before[:BAR_PX])
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(None)
    assert np.array_equal(views.grab(), before)


def test_linked_views_follow_one_that_is_scrolled(scene: Any, views: Views) -> None:
    lay_out(views, NODE.SlicerLayoutTwoOverTwoView)
    first, *others = [views.view(name) for name in views.names()]
    first.logic.GetSliceCompositeNode().SetLinkedControl(True)
    first.scroll_to(12.5)
    same = [view for view in others if view.node.GetOrientation() == first.node.GetOrientation()]
    assert same
    assert all(view.node.GetSliceOffset() == 12.5 for view in same)


def test_a_surface_is_seen_in_a_3d_view(scene: Any, views: Views) -> None:
    lay_out(views, NODE.SlicerLayoutOneUp3DView)
    empty = views.grab().astype(int)
    segmentation = a_segmentation(scene, a_tumour(), rows_of(scene, ("sharp",))["sharp"]["t1"])
    segmentation.CreateClosedSurfaceRepresentation()
    seen = views.grab().astype(int)
    yellow = (seen[..., 0] > seen[..., 2] + 80) & (seen[..., 1] > seen[..., 2] + 60)
    assert np.abs(seen - empty).max() > 100
    assert yellow.mean() > 0.02


def test_windows_that_are_closed_show_nothing_of_a_later_scene(scene: Any, views: Views) -> None:
    views.grab()
    views.close()
    later = Views(fresh_scene(), (400, 300))
    assert later.grab().shape == (300, 400, 3)
    later.close()
    views.close()


def test_scenes_that_were_shown_do_not_pile_up() -> None:
    gone = []

    def note(*_: Any) -> None:
        gone.append("a scene")

    for _ in range(4):
        scene = fresh_scene()
        scene.AddObserver("DeleteEvent", note)
        shown = Views(scene, (400, 300))
        lay_out(shown, NODE.SlicerLayoutFourUpView)
        shown.grab()
        shown.close()
        del scene, shown
        gc.collect()
    assert len(gone) == 3, "all but the one that is the application's"
