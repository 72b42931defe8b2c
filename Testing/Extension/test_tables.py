"""Results as table nodes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import slicer
from DABSegLib.nodes.tables import ImageRow, RegionRow, image_rows, image_table, region_rows, region_table
from standins.mrml import fresh_scene, load_scene, save_scene

ROWS = [
    RegionRow("ET", 10.964, 0.91254, 2.236, 11.5),
    RegionRow("TC", 14.4),
    RegionRow("cyst", 0.0, None, math.inf, math.nan),
]


def texts(node: Any) -> list[list[str]]:
    """What a table view shows, the headings first."""
    columns = range(node.GetNumberOfColumns())
    rows = [[node.GetCellText(r, c) for c in columns] for r in range(node.GetNumberOfRows())]
    return [[node.GetColumnName(c) for c in columns], *rows]


def test_a_region_table_shows_what_is_known(scene: Any) -> None:
    node = region_table(scene, None, ROWS, "Virtual_005 regions")
    assert node.GetName() == "Virtual_005 regions"
    assert texts(node) == [
        ["Region", "Volume (ml)", "Dice", "HD95 (mm)", "True (ml)"],
        ["ET", "10.96", "0.913", "2.24", "11.50"],
        ["TC", "14.40", "", "", ""],
        ["cyst", "0.00", "", "", ""],
    ]


def test_rows_come_back_with_the_digits_shown(scene: Any) -> None:
    assert region_rows(region_table(scene, None, ROWS)) == [
        RegionRow("ET", 10.96, 0.913, 2.24, 11.5),
        RegionRow("TC", 14.4),
        RegionRow("cyst", 0.0),
    ]


def test_an_image_table_goes_there_and_back(scene: Any) -> None:
    rows = [ImageRow("T1", 21.25, 24.5, 0.812, 0.913), ImageRow("FLAIR")]
    node = image_table(scene, None, rows)
    assert texts(node)[0] == [
        "Modality",
        "PSNR in (dB)",
        "PSNR out (dB)",
        "SSIM in",
        "SSIM out",
    ]
    assert image_rows(node) == rows


def test_a_table_is_updated_in_place(scene: Any) -> None:
    node = region_table(scene, None, ROWS, "regions")
    assert region_table(scene, node, ROWS[:1], "another name") is node
    assert (node.GetName(), len(texts(node))) == ("regions", 2)
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_what_has_not_changed_is_left_untouched(scene: Any) -> None:
    node = region_table(scene, None, ROWS)
    changed: list[Any] = []
    node.AddObserver("ModifiedEvent", lambda *_: changed.append(1))
    before = node.GetMTime()
    region_table(scene, node, ROWS)
    assert (changed, node.GetMTime()) == ([], before)
    region_table(scene, node, [*ROWS[:2], RegionRow("cyst", 1.0)])
    assert texts(node)[3][:2] == ["cyst", "1.00"]
    assert node.GetMTime() > before


def test_a_case_whose_name_is_taken_gets_a_table_of_its_own(scene: Any) -> None:
    first, second = (region_table(scene, None, ROWS, "regions") for _ in range(2))
    assert first.GetName() != second.GetName()


def test_users_cannot_type_into_a_table(application: Any, scene: Any) -> None:
    from PySide6.QtCore import Qt

    view = slicer.qMRMLTableView()
    node = region_table(scene, None, ROWS)
    editable = []
    for locked in (node.GetLocked(), False):
        node.SetLocked(locked)
        view.setMRMLTableNode(node)
        editable.append(bool(view.model().index(0, 1).flags() & Qt.ItemIsEditable))
    assert editable == [False, True]


def test_a_table_of_something_else_is_not_read(scene: Any) -> None:
    with pytest.raises(ValueError, match="has the columns"):
        image_rows(region_table(scene, None, ROWS))


def test_a_cell_that_was_spoilt_by_hand_is_unknown(scene: Any) -> None:
    node = region_table(scene, None, ROWS)
    node.SetCellText(0, 1, "about ten")
    assert region_rows(node)[0] == RegionRow("ET", None, 0.913, 2.24, 11.5)


def test_a_saved_scene_keeps_the_rows(scene: Any, tmp_path: Path) -> None:
    node = region_table(scene, None, ROWS, "case regions")
    again = load_scene(save_scene(tmp_path / "scene"), fresh_scene()).GetFirstNodeByName("case regions")
    assert texts(again) == texts(node)
    assert region_rows(again) == region_rows(node)
