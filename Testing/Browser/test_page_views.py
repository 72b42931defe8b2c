"""Views of the page: made as the layout wants them, and what the pointer does in them, against Slicer's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trame_slicer")

from DABSegLib.views import layout
from DABSegLib.views.compare import Comparison
from page_user import SIZE, Views

from DABSegExtension.browser.views import THREE_D, cells_of


@pytest.fixture(scope="module")
def views() -> Views:
    return Views()


@pytest.fixture
def comparison(views: Views) -> Iterator[Comparison]:
    """Three rows on the page, at the size they have there."""
    with views.heads("sharp", "blurred", "pseudo-clear") as (rows, tumour):
        comparison = Comparison(views.scene, rows, tumour)
        comparison.show()
        views.resize()
        yield comparison
        comparison.restore()


def first(views: Views) -> tuple[str, Any]:
    tag = views.tags()[0]
    return tag, views.node(tag)


def head_px(picture: np.ndarray) -> tuple[int, int]:
    """Height and width of what is not black."""
    seen = picture.max(axis=2) > 20
    return int(np.ptp(np.flatnonzero(seen.any(axis=1)))), int(np.ptp(np.flatnonzero(seen.any(axis=0))))


def test_cells_are_those_of_the_layout() -> None:
    rows = cells_of(layout.compare_layout(("sharp", "fused", "uncertainty")))
    assert [[(cell.column, cell.row) for cell in row] for row in rows] == [
        [("T1", "sharp"), ("T1ce", "sharp"), ("T2", "sharp"), ("FLAIR", "sharp")],
        [("", "fused")],
        [("ET", "uncertainty"), ("TC", "uncertainty"), ("WT", "uncertainty")],
    ]
    assert rows[0][3].tag == layout.view_name("sharp", "flair")
    assert rows[0][3].label == "FLAIR sharp"
    assert rows[1][0].colour == layout.ROW_COLOURS["fused"]


def test_views_are_made_when_the_layout_wants_them_and_the_page_is_told(views: Views, comparison: Comparison) -> None:
    assert views.tags() == [layout.view_name(row, m) for row in comparison.rows for m in comparison.rows[row]]
    assert all(views.node(tag).IsMappedInLayout() for tag in views.tags())
    told: list[bool] = []
    views.screen.on_layout = lambda: told.append(True)
    comparison.restore()
    assert views.tags() == []
    assert told


def test_only_what_is_on_the_page_is_rendered(views: Views, comparison: Comparison) -> None:
    tags = views.tags()
    comparison.update({"sharp": comparison.rows["sharp"]}, None)
    assert [views.frames.stream(tag).visible for tag in tags] == [True] * 4 + [False] * 8
    views.screen.show_three_d(True)
    assert views.frames.stream(THREE_D).visible
    views.screen.show_three_d(False)
    assert not views.frames.stream(THREE_D).visible


def test_every_view_shows_its_head_with_the_outlines_over_it(views: Views, comparison: Comparison) -> None:
    for tag in views.tags():
        picture = views.picture(tag)
        assert picture.shape == (SIZE[1], SIZE[0], 3)
        height, width = head_px(picture)
        assert max(height / SIZE[1], width / SIZE[0]) > 0.7
        yellow = (picture[..., 0] > 180) & (picture[..., 1] > 150) & (picture[..., 2] < 120)
        assert yellow.sum() > 20, tag


def test_fills_lie_over_the_image_in_views_that_were_made_after_the_segmentation(views: Views) -> None:
    with views.heads("sharp", "difference") as (rows, tumour):
        comparison = Comparison(views.scene, {"difference": rows["sharp"]}, tumour)
        comparison.show()  # the first time this row is wanted
        views.resize()
        tumour.GetDisplayNode().SetVisibility2DFill(True)
        tumour.GetDisplayNode().SetOpacity2DFill(0.3)
        pictures = {}
        for shown in (True, False):
            tumour.GetDisplayNode().SetVisibility2D(shown)
            pictures[shown] = views.picture(views.tags()[0]).astype(int)
        changed = (pictures[True] != pictures[False]).any(axis=2)
        assert changed.sum() > 500
        grey = pictures[False][changed].max(axis=1) > 60  # where there is image below, the fill lets it through
        assert pictures[True][changed][grey].max(axis=1).min() > 30
        comparison.restore()


def test_a_head_still_fits_in_its_picture_when_a_row_was_added(views: Views) -> None:
    """A slice node leaves its matrices as they are while it tells of its new size."""
    with views.heads("sharp", "blurred") as (rows, _):
        comparison = Comparison(views.scene, {"sharp": rows["sharp"]})
        comparison.show()
        views.resize(240, 400)
        comparison.update(rows, None)
        views.resize(240, 200)
        heads = [head_px(views.picture(tag)) for tag in views.tags()]
        comparison.fit()
        assert heads == [head_px(views.picture(tag)) for tag in views.tags()]
        comparison.restore()


def test_the_wheel_moves_all_views_each_when_it_is_rendered(views: Views, comparison: Comparison) -> None:
    asked: list[int] = []
    views.screen.on_scroll = asked.append
    tag, node = first(views)
    views.point(tag, "StartMouseWheel", spinY=1.0)
    views.point(tag, "MouseWheel", spinY=1.0)
    views.point(tag, "MouseWheel", spinY=1.0)
    views.point(tag, "EndMouseWheel")
    views.point(tag, "MouseWheel", spinY=-1.0)
    assert asked == [-1, -1, 1]
    before = node.GetSliceOffset()
    views.point(tag, "MouseWheel", spinY=1.0, directly=True)
    assert node.GetSliceOffset() < before, "Slicer itself goes down, too"
    views.screen.move(before + 4)
    other = views.tags()[5]
    assert views.node(other).GetSliceOffset() < before + 4
    views.picture(other)
    assert views.node(other).GetSliceOffset() == pytest.approx(before + 4)
    assert not views.screen.together.done()
    views.screen.together.finish()
    assert {views.node(tag).GetSliceOffset() for tag in views.tags()} == {before + 4}


def test_a_touch_pad_moves_slice_by_slice(views: Views, comparison: Comparison) -> None:
    asked: list[int] = []
    views.screen.on_scroll = asked.append
    for _ in range(10):
        views.point(views.tags()[0], "MouseWheel", spinY=0.2)
    assert asked == [-1, -1]


def test_the_right_button_zooms_as_in_slicer(views: Views, comparison: Comparison) -> None:
    tag, node = first(views)
    at_first = node.GetFieldOfView()
    zoomed = []
    for directly in (True, False):
        comparison.fit()
        for kind, y in (("RightButtonPress", 100), ("MouseMove", 110), ("MouseMove", 160), ("RightButtonRelease", 160)):
            views.point(tag, kind, y=y, buttonRight=1, directly=directly)
        views.screen.together.finish()
        zoomed.append(node.GetFieldOfView()[:2])
    assert zoomed[0] == pytest.approx(zoomed[1], rel=1e-6)
    assert zoomed[1][1] == pytest.approx(at_first[1] * 360 / 300)
    assert {round(views.node(tag).GetFieldOfView()[1], 6) for tag in views.tags()} == {round(zoomed[1][1], 6)}


def test_the_left_button_adjusts_a_column(views: Views, comparison: Comparison) -> None:
    tag = views.tags()[1]
    before = {row: volumes["t1ce"].GetDisplayNode().GetWindow() for row, volumes in comparison.rows.items()}
    other = comparison.rows["sharp"]["t1"].GetDisplayNode().GetWindow()
    views.point(tag, "LeftButtonPress", buttonLeft=1, action="down")
    views.point(tag, "MouseMove", buttonLeft=1, action="down", x=170)
    views.point(tag, "LeftButtonRelease", x=170)
    after = {row: volumes["t1ce"].GetDisplayNode().GetWindow() for row, volumes in comparison.rows.items()}
    assert len(set(after.values())) == 1
    assert set(after.values()) != set(before.values())
    assert comparison.rows["sharp"]["t1"].GetDisplayNode().GetWindow() == other


def test_the_crosshair_is_there_while_shift_is_held(views: Views, comparison: Comparison) -> None:
    crosshair = views.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    tag = views.tags()[2]
    for x in (100, 140):
        views.point(tag, "MouseMove", x=x, shiftKey=1)
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    there = np.array(crosshair.GetCrosshairRAS())
    to_xy = np.linalg.inv(
        np.array([[views.node(tag).GetXYToRAS().GetElement(r, c) for c in range(4)] for r in range(4)])
    )
    assert (to_xy @ [*there, 1])[0] == pytest.approx(140, abs=1)
    views.point(tag, "MouseMove", x=141)
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
