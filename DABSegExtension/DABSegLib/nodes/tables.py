"""Tables: the numbers of a result as table nodes, which Slicer shows, copies and saves, and back as rows.

A cell is text, and empty where a number is not known: a column of numbers would show "nan" there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vtk


@dataclass(frozen=True)
class RegionRow:
    """What is known of one segment; None where nothing is.

    Args:
        region: Its name.
        volume_ml: Its volume.
        dice: Overlap with the reference segmentation, 0 to 1.
        hd95_mm: 95th percentile of the distance between both surfaces.
        reference_ml: Volume in the reference segmentation.
    """

    region: str
    volume_ml: float | None = None
    dice: float | None = None
    hd95_mm: float | None = None
    reference_ml: float | None = None


@dataclass(frozen=True)
class ImageRow:
    """How near a modality is to its sharp volume, before ("blurred") and after ("pseudo-clear"); None if not known.

    Args:
        modality: Its title, such as "T1ce".
        psnr_blurred_db: Peak signal-to-noise ratio of the input.
        psnr_clear_db: Of the pseudo-clear volume.
        ssim_blurred: Structural similarity of the input, at most 1.
        ssim_clear: Of the pseudo-clear volume.
    """

    modality: str
    psnr_blurred_db: float | None = None
    psnr_clear_db: float | None = None
    ssim_blurred: float | None = None
    ssim_clear: float | None = None


REGION_COLUMNS = {"Region": None, "Volume (ml)": 2, "Dice": 3, "HD95 (mm)": 2, "True (ml)": 2}
IMAGE_COLUMNS = {
    "Modality": None,
    "PSNR in (dB)": 2,
    "PSNR out (dB)": 2,
    "SSIM in": 3,
    "SSIM out": 3,
}
"""Heading of a column -> digits after the point, None for text; in the order of a row's fields."""


def region_table(scene: Any, table_node: Any | None, rows: Sequence[RegionRow], name: str = "Regions") -> Any:
    """Put the rows into a table node, made if there is none; what has not changed is left untouched.

    Args:
        scene: Where a new node goes.
        table_node: The vtkMRMLTableNode of an earlier call, or None.
        rows: One for each segment.
        name: Of a new node, such as "Virtual_005 regions"; it gets a number where that is taken.

    Returns:
        The table node.
    """
    return _table(scene, table_node, REGION_COLUMNS, [_cells(row) for row in rows], name)


def image_table(scene: Any, table_node: Any | None, rows: Sequence[ImageRow], name: str = "Images") -> Any:
    """As `region_table`, for the modalities."""
    return _table(scene, table_node, IMAGE_COLUMNS, [_cells(row) for row in rows], name)


def region_rows(table_node: Any) -> list[RegionRow]:
    """The rows of a region table, with the digits that it shows."""
    return [RegionRow(text, *numbers) for text, *numbers in _rows(table_node, REGION_COLUMNS)]


def image_rows(table_node: Any) -> list[ImageRow]:
    """The rows of an image table, with the digits that it shows."""
    return [ImageRow(text, *numbers) for text, *numbers in _rows(table_node, IMAGE_COLUMNS)]


def _cells(row: RegionRow | ImageRow) -> list[Any]:
    return list(vars(row).values())


def _table(scene: Any, node: Any | None, columns: dict[str, int | None], rows: list[list[Any]], name: str) -> Any:
    """Fill a table node; only other texts than before count as a change."""
    texts = [[_text(cell, digits) for cell, digits in zip(row, columns.values(), strict=True)] for row in rows]
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)  # measured, not typed; it holds for users only
    elif _texts(node) == [list(columns), *texts]:
        return node
    was_modifying = node.StartModify()
    node.RemoveAllColumns()
    for index, heading in enumerate(columns):
        array = vtk.vtkStringArray()
        array.SetName(heading)
        for row in texts:
            array.InsertNextValue(row[index])
        node.AddColumn(array)
    node.EndModify(was_modifying)
    return node


def _text(cell: Any, digits: int | None) -> str:
    """A cell as it is shown."""
    if digits is None:
        return str(cell)
    return f"{cell:.{digits}f}" if cell is not None and math.isfinite(cell) else ""


def _texts(node: Any) -> list[list[str]]:
    """All a table node shows, the headings first."""
    count = node.GetNumberOfColumns()
    rows = [[node.GetCellText(row, column) for column in range(count)] for row in range(node.GetNumberOfRows())]
    return [[node.GetColumnName(column) for column in range(count)], *rows]


def _rows(node: Any, columns: dict[str, int | None]) -> list[list[Any]]:
    """The rows of a table that has these columns; a cell that is empty or no number any more is None.

    Raises:
        ValueError: If it has other columns.
    """
    headings, *rows = _texts(node)
    if headings != list(columns):
        raise ValueError(f"{node.GetName()} has the columns {headings}, not {list(columns)}")
    return [
        [text if digits is None else _number(text) for text, digits in zip(row, columns.values(), strict=True)]
        for row in rows
    ]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
