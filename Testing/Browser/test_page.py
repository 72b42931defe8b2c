"""Page: a page of a workbench with volumes in a real scene, and what it does with wishes, good and bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("trame_slicer")

from DABSegLib.views.layout import view_name
from page_user import StillBench, Views

from DABSegCore.labels import MODALITIES
from DABSegExtension.browser.page import Page
from DABSegExtension.browser.server import new_server
from DABSegExtension.browser.state import RobustnessRow, View


@pytest.fixture(scope="module")
def views() -> Views:
    return Views()


@pytest.fixture
def page(views: Views) -> Iterator[Page]:
    """Shows a sharp and a blurred head with a tumour that was found."""
    with views.heads("sharp", "blurred") as (rows, tumour):
        bench = StillBench()
        page = Page(new_server(), views.screen, bench, 7)  # type: ignore[arg-type]
        bench.volumes, bench.segmentation = rows, tumour
        bench.now = replace(bench.now, revision=1)
        page.changed()
        views.resize()
        page.tell()
        yield page
        bench.volumes, bench.segmentation = {}, None
        page.show()


def asked(page: Page) -> list[tuple[Any, ...]]:
    return page.bench.asked  # type: ignore[attr-defined]


def test_the_page_shows_all_there_is(page: Page, views: Views) -> None:
    assert [row["name"] for row in page.state.rows] == ["sharp", "blurred"]
    assert page.state.columns == ["T1", "T1ce", "T2", "FLAIR"]
    assert views.tags() == [view_name(row, m) for row in ("sharp", "blurred") for m in MODALITIES]
    there = {item["kind"]: item["there"] for item in page.state.kinds}
    assert there == {"sharp": True, "blurred": True, "pseudo-clear": False, "difference": False}
    assert page.state.look["plane"] == "Axial"
    assert page.state.look["windows"].keys() == set(MODALITIES)
    assert page.state.limits == {"upload_mib": 7}
    assert "connection to the workbench is gone" in page.state.trame__template_error


def test_rows_come_and_go_but_one_stays(page: Page) -> None:
    page.controls.do("rows", "sharp", False)
    assert [row["name"] for row in page.state.rows] == ["blurred"]
    page.controls.do("rows", "blurred", False)
    assert [row["name"] for row in page.state.rows] == ["blurred"]
    page.controls.do("rows", "sharp", True)
    assert [row["name"] for row in page.state.rows] == ["sharp", "blurred"]


def test_when_nothing_is_open_any_more_the_views_go(page: Page, views: Views) -> None:
    page.bench.volumes, page.bench.segmentation = {}, None  # type: ignore[misc]
    page.bench.now = replace(page.bench.now, revision=2)  # type: ignore[misc]
    page.changed()
    assert page.state.rows == []
    assert views.tags() == []
    page.tell()
    assert page.state.look == {}


def test_a_link_looks_where_it_says(page: Page) -> None:
    page.bench.now = replace(page.bench.now, view=View("Coronal", 8.0, number=1))  # type: ignore[misc]
    page.changed()
    page.screen.together.finish()
    assert (page.comparison.orientation, page.comparison.offset_mm) == ("Coronal", pytest.approx(8.0))
    page.tell()
    assert asked(page)[-1] == ("look", "Coronal", pytest.approx(8.0))


def test_slices_move_within_the_head_and_on_their_grid(page: Page) -> None:
    first_mm, last_mm, step_mm = page.comparison.offset_range_mm()
    began_mm = page.offset_mm
    page.controls.do("key", "f")
    assert page.offset_mm == pytest.approx(began_mm + step_mm)
    page.controls.do("key", "ArrowLeft")
    page.controls.do("key", "b")
    assert page.offset_mm == pytest.approx(began_mm - step_mm)
    page.scroll(10_000)
    assert last_mm - step_mm < page.offset_mm <= last_mm
    assert (page.offset_mm - began_mm) / step_mm == pytest.approx(round((page.offset_mm - began_mm) / step_mm))
    page.controls.do("offset", first_mm - 100)
    assert page.offset_mm == first_mm


def test_a_turn_during_a_scroll_ends_at_the_tumour(page: Page) -> None:
    page.scroll(3)
    page.controls.do("plane", "Sagittal")
    page.screen.together.finish()
    assert page.comparison.orientation == "Sagittal"
    assert page.offset_mm == pytest.approx(page.comparison.offset_mm)
    assert not asked(page) or asked(page)[-1][1] != "Sagittal"
    page.tell()
    assert page.state.look["plane"] == "Sagittal"
    assert page.state.look["edges"] == ["A", "P", "S", "I"]


def test_regions_are_shown_filled_and_hidden(page: Page) -> None:
    display = page.bench.segmentation.GetDisplayNode()
    page.controls.do("region", "TC", False)
    page.controls.do("fill", 0.4)
    assert [display.GetSegmentVisibility(name) for name in ("ET", "TC", "WT")] == [True, False, True]
    assert display.GetVisibility2DFill()
    assert display.GetOpacity2DFill() == pytest.approx(0.4)
    page.controls.do("rows", "sharp", False)  # shows anew
    assert not display.GetSegmentVisibility("TC")
    assert display.GetVisibility2DFill()
    page.controls.do("fill", 0)
    assert not display.GetVisibility2DFill()
    page.controls.do("key", "g")
    assert not display.GetVisibility2D()
    page.controls.do("key", "g")
    assert display.GetVisibility2D()


def test_the_reference_is_outlined_when_asked_for_or_alone(page: Page, views: Views) -> None:
    with views.heads("sharp") as (_, truth):
        page.bench.truth = truth  # type: ignore[misc]
        page.controls.do("reference", True)
        assert page.comparison.segmentation is truth
        page.controls.do("reference", False)
        assert page.comparison.segmentation is page.bench.segmentation
        found, page.bench.segmentation = page.bench.segmentation, None  # type: ignore[misc]
        page.show()
        assert page.comparison.segmentation is truth
        page.bench.segmentation, page.bench.truth = found, None  # type: ignore[misc]
        page.show()


def test_brightness_by_name(page: Page) -> None:
    display = page.bench.rows()["blurred"]["t1"].GetDisplayNode()
    page.controls.do("window", "Full")
    assert (display.GetWindow(), display.GetLevel()) == (300, 150)
    page.controls.do("window", "Brain")
    assert display.GetWindow() < 300
    page.controls.do("key", "w")
    page.tell()
    assert page.state.look["windows"]["t1"] == pytest.approx([display.GetWindow(), display.GetLevel()], rel=0.01)


def test_surfaces_come_and_go_with_the_3d_view(page: Page) -> None:
    from DABSegLib.nodes.segments import is_surface_shown

    page.controls.do("three_d", True)
    assert page.state.three_d
    assert is_surface_shown(page.bench.segmentation)
    page.controls.do("three_d", False)
    assert not is_surface_shown(page.bench.segmentation)


def test_wishes_reach_the_workbench(page: Page) -> None:
    asked(page).clear()
    for name, *arguments in (
        ("open_case", "B"),
        ("open_virtual", 5),
        ("simulate", 3, 17),
        ("run",),
        ("measure",),
        ("prepare",),
        ("dismiss",),
        ("cancel",),
    ):
        page.controls.do(name, *arguments)
    assert asked(page) == [
        ("open_case", "B"),
        ("open_virtual", 5),
        ("simulate", 3, 17),
        ("run",),
        ("measure_robustness",),
        ("prepare_downloads",),
        ("dismiss",),
        ("cancel",),
    ]


@pytest.mark.parametrize(
    "wish",
    [
        ("open_case", "../etc"),
        ("open_case", ["A"]),
        ("open_virtual", -1),
        ("open_virtual", 1.5),
        ("open_virtual", "5"),
        ("open_virtual", None),
        ("simulate", 5, 0),
        ("simulate", 2),
        ("simulate", True, 0),
        ("rows", "everything", True),
        ("plane", "Oblique"),
        ("offset", float("nan")),
        ("offset", "12"),
        ("window", "Dark"),
        ("region", "__class__", True),
        ("fill", None),
        ("key", ["f"]),
    ],
)
def test_nonsense_is_not_done(page: Page, wish: tuple[Any, ...], caplog: pytest.LogCaptureFixture) -> None:
    asked(page).clear()
    before = (page.offset_mm, page.comparison.orientation, page.outline.as_json(), set(page.wanted))
    page.controls.do(*wish)
    assert asked(page) == []
    assert (page.offset_mm, page.comparison.orientation, page.outline.as_json(), set(page.wanted)) == before
    assert "in a way it does not" in caplog.text


def test_the_chart_follows_the_measurement(page: Page) -> None:
    assert page.state.chart == ""
    page.bench.now = replace(page.bench.now, robustness=(RobustnessRow(0, "dice", 0.5, 0.6, 0.7),))  # type: ignore[misc]
    page.tell()
    assert page.state.chart.startswith("<svg")
    assert page.state.snap["robustness"][0]["WT"] == 0.7
