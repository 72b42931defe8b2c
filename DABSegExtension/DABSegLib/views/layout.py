"""Layout: the screen of a comparison, slice views with a kind of image a row, and in most rows a modality a column."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import slicer

from DABSegCore.labels import MODALITIES
from DABSegLib.naming import TITLES
from DABSegLib.nodes.links import PARTS

ROWS = ("sharp", "blurred", "pseudo-clear", "difference", "fused", "uncertainty")
"""Kinds of image, from top to bottom. A new one comes last: scenes store ids that are made of their places here."""

ROW_COLOURS = {
    "sharp": "#8FC7F0",
    "blurred": "#B9B9B9",
    "pseudo-clear": "#7FD6C2",
    "difference": "#CDB0E6",
    "fused": "#E8C98A",
    "uncertainty": "#F0A3C4",
}
"""Of the bars above the views: light, because Slicer writes on them in black, and none of Slicer's own."""

FIRST_LAYOUT = 8430
"""Layout ids are this and the sixty-three after it, one for each choice of rows."""

VIEW_GROUP = 8430
"""Linked views follow one another within their group only, so Slicer's own views stay where they are."""

ORDINARY = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
"""What a new Slicer shows."""

LAYOUT_CLASS = "vtkMRMLLayoutNode"
MAXIMIZED = getattr(slicer.vtkMRMLLayoutNode, "SlicerLayoutMaximizedView", -1)
"""A view that fills the screen has a layout of its own in newer Slicers."""


def layout_id(rows: Sequence[str]) -> int:
    """Id of the layout with these rows, the same in every session because scenes store it."""
    return FIRST_LAYOUT + sum(1 << ROWS.index(row) for row in rows)


def is_ours(layout: int) -> bool:
    """Whether a layout id is that of a comparison."""
    return FIRST_LAYOUT < layout < FIRST_LAYOUT + (1 << len(ROWS))


def columns_of(row: str) -> tuple[str, ...]:
    """What a row has a view of, from left to right: modalities, but "fused" has one view and "uncertainty" regions."""
    return PARTS.get(row, MODALITIES)


def view_name(row: str, column: str) -> str:
    """Name of a view's slice node: "DABSegSharpT1". Without spaces, at which scene files part node ids."""
    return f"DABSeg{row.title().replace('-', '')}{_title(row, column)}"


def compare_layout(rows: Sequence[str], columns: Sequence[str] | None = None) -> str:
    """XML of a layout, as `vtkMRMLLayoutNode` takes it.

    Args:
        rows: Some of `ROWS`, from top to bottom.
        columns: Those to show of each row, from left to right. None: all there are.
    """
    grid = ElementTree.Element("layout", type="vertical")
    for row in rows:
        line = ElementTree.SubElement(ElementTree.SubElement(grid, "item"), "layout", type="horizontal")
        for column in columns_of(row) if columns is None else columns:
            item = ElementTree.SubElement(line, "item")
            view = {"class": "vtkMRMLSliceNode", "singletontag": view_name(row, column)}
            element = ElementTree.SubElement(item, "view", view)
            for name, value in _properties(row, column).items():
                ElementTree.SubElement(element, "property", name=name, action="default").text = value
    return ElementTree.tostring(grid, encoding="unicode")


def register(scene: Any) -> None:
    """Make every layout of a comparison known to the scene, so that one saved while comparing opens as it was."""
    node = layout_node(scene)
    was_modifying = node.StartModify()  # Slicer lays out all views anew whenever this node changes
    for count in range(1, len(ROWS) + 1):
        for rows in combinations(ROWS, count):
            if not node.IsLayoutDescription(layout_id(rows)):
                node.AddLayoutDescription(layout_id(rows), compare_layout(rows))
    node.EndModify(was_modifying)


def arrange(scene: Any, layout: int) -> None:
    """Put a layout on screen, all views of it, as Slicer's layout manager does when the user picks one."""
    node = layout_node(scene)
    node.RemoveAllMaximizedViewNodes()
    node.SetViewArrangement(layout)


def layout_node(scene: Any) -> Any:
    """The scene's layout node, which the application's layout manager or a browser's makes.

    Raises:
        RuntimeError: If there is none.
    """
    node = scene.GetSingletonNode(LAYOUT_CLASS, LAYOUT_CLASS)
    if node is None:
        raise RuntimeError("the scene has no layout node, so nothing lays out its views")
    return node


def _properties(row: str, column: str) -> dict[str, str]:
    """What a new view is set to; once it exists, the user's changes stay."""
    return {
        "orientation": "Axial",
        "viewlabel": f"{_title(row, column)} {row}".lstrip(),
        "viewcolor": ROW_COLOURS[row],
        "viewgroup": str(VIEW_GROUP),
    }


def _title(row: str, column: str) -> str:
    """What a column is called on screen; nothing where it is the only one, as the row says it."""
    return "" if column == row else TITLES.get(column, column)
