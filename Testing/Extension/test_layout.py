"""Layout of a comparison: names, ids and what the real layout logic makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import slicer
from DABSegLib.views import layout
from standins.mrml import fresh_scene
from standins.views import Views

SLICERS_OWN_COLOURS = {"#F34A33", "#EDD54C", "#6EB04B"}


@pytest.fixture
def views(scene: Any) -> Iterator[Views]:
    views = Views(scene, (320, 240))
    yield views
    views.close()


def all_names() -> list[str]:
    return [layout.view_name(row, column) for row in layout.ROWS for column in layout.columns_of(row)]


def test_ids_are_what_they_were_in_scenes_saved_earlier() -> None:
    assert layout.layout_id(("sharp",)) == 8431
    assert layout.layout_id(("blurred", "pseudo-clear")) == 8436
    assert layout.layout_id(("sharp", "blurred", "pseudo-clear", "difference")) == 8445
    assert layout.layout_id(("blurred", "fused")) == 8448
    assert layout.layout_id(layout.ROWS) == 8493


def test_an_id_is_ours_or_slicers() -> None:
    assert layout.is_ours(layout.layout_id(("sharp",)))
    assert layout.is_ours(layout.layout_id(layout.ROWS))
    assert not any(map(layout.is_ours, (0, layout.ORDINARY, layout.FIRST_LAYOUT, 8494, layout.MAXIMIZED)))


def test_views_stand_in_rows_of_a_kind_and_columns_of_a_modality() -> None:
    grid = ElementTree.fromstring(layout.compare_layout(("sharp", "pseudo-clear"), ("t1", "flair")))
    lines = [[view.get("singletontag") for view in line.iter("view")] for line in grid.findall("item/layout")]
    assert lines == [["DABSegSharpT1", "DABSegSharpFLAIR"], ["DABSegPseudoClearT1", "DABSegPseudoClearFLAIR"]]


def test_rows_have_the_columns_they_need() -> None:
    grid = ElementTree.fromstring(layout.compare_layout(("blurred", "fused", "uncertainty")))
    lines = [
        [prop.text for prop in line.iter("property") if prop.get("name") == "viewlabel"]
        for line in grid.findall("item/layout")
    ]
    assert lines == [
        ["T1 blurred", "T1ce blurred", "T2 blurred", "FLAIR blurred"],
        ["fused"],
        ["ET uncertainty", "TC uncertainty", "WT uncertainty"],
    ]


def test_names_of_views_are_distinct_and_can_be_part_of_a_node_id() -> None:
    names = all_names()
    assert len(set(names)) == 4 * 4 + 1 + 3
    assert all(name.isalnum() for name in names)


def test_rows_differ_in_colour_from_each_other_and_from_slicers_views() -> None:
    assert len({*layout.ROW_COLOURS.values(), *SLICERS_OWN_COLOURS}) == len(layout.ROWS) + 3


def test_the_real_logic_makes_the_slice_nodes(scene: Any, views: Views) -> None:
    layout.register(scene)
    layout.arrange(scene, layout.layout_id(layout.ROWS))
    assert views.names() == all_names()
    node = scene.GetSingletonNode("DABSegPseudoClearFLAIR", "vtkMRMLSliceNode")
    assert node.GetLayoutLabel() == "FLAIR pseudo-clear"
    assert node.GetOrientation() == "Axial"
    assert node.GetViewGroup() != scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetViewGroup()
    assert node.GetLayoutColor() == pytest.approx((0x7F / 255, 0xD6 / 255, 0xC2 / 255), abs=1e-6)


def test_a_scene_saved_while_comparing_opens_with_its_views(scene: Any, views: Views, tmp_path: Path) -> None:
    layout.register(scene)
    layout.arrange(scene, layout.layout_id(("sharp", "blurred")))
    scene.SetURL(str(tmp_path / "compared.mrml"))
    assert scene.Commit()

    other = fresh_scene()
    views_of_other = Views(other, (320, 240))
    layout.register(other)
    layout.register(other)  # as every panel does
    other.SetURL(str(tmp_path / "compared.mrml"))
    assert other.Connect()
    assert len(views_of_other.names()) == 8
    assert layout.is_ours(layout.layout_node(other).GetViewArrangement())
    views_of_other.close()


def test_the_views_are_laid_out_anew_once_at_most(scene: Any, views: Views) -> None:
    changes: list[str] = []
    layout.layout_node(scene).AddObserver("ModifiedEvent", lambda _node, event: changes.append(event))
    layout.register(scene)
    layout.register(scene)
    assert len(changes) == 1


def test_a_scene_that_nothing_lays_out_is_our_mistake(scene: Any) -> None:
    with pytest.raises(RuntimeError, match="no layout node"):
        layout.arrange(scene, layout.ORDINARY)


def test_a_view_that_fills_the_screen_gives_way(scene: Any, views: Views) -> None:
    layout.register(scene)
    node = layout.layout_node(scene)
    node.AddMaximizedViewNode(scene.GetSingletonNode("Red", "vtkMRMLSliceNode"))
    layout.arrange(scene, layout.layout_id(("sharp",)))
    assert node.GetNumberOfMaximizedViewNodes() == 0
    assert slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView == layout.ORDINARY
