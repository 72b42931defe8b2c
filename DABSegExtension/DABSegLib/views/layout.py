"""Layout: the screen of a comparison, a grid of slice views with a modality a column and a kind of image a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import slicer

from DABSegCore.labels import MODALITIES
from DABSegLib.naming import TITLES

ROWS = ("sharp", "blurred", "pseudo-clear", "difference")
"""Kinds of image, from top to bottom."""

ROW_COLOURS = {"sharp": "#8FC7F0", "blurred": "#B9B9B9", "pseudo-clear": "#7FD6C2", "difference": "#CDB0E6"}
"""Of the bars above the views: light, because Slicer writes on them in black, and none of Slicer's own."""

FIRST_LAYOUT = 8430
"""Layout ids are this and the fifteen after it, one for each choice of rows."""

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


def view_name(row: str, modality: str) -> str:
    """Name of a view's slice node: "DABSegSharpT1". Without spaces, at which scene files part node ids."""
    return f"DABSeg{row.title().replace('-', '')}{TITLES[modality]}"


def compare_layout(rows: Sequence[str], columns: Sequence[str] = MODALITIES) -> str:
    """XML of a layout, as `vtkMRMLLayoutNode` takes it.

    Args:
        rows: Some of `ROWS`, from top to bottom.
        columns: Modalities, from left to right.
    """
    grid = ElementTree.Element("layout", type="vertical")
    for row in rows:
        line = ElementTree.SubElement(ElementTree.SubElement(grid, "item"), "layout", type="horizontal")
        for modality in columns:
            item = ElementTree.SubElement(line, "item")
            view = {"class": "vtkMRMLSliceNode", "singletontag": view_name(row, modality)}
            element = ElementTree.SubElement(item, "view", view)
            for name, value in _properties(row, modality).items():
                ElementTree.SubElement(element, "property", name=name, action="default").text = value
    return ElementTree.tostring(grid, encoding="unicode")


def register(scene: Any) -> None:
    """Make every layout of a comparison known to the scene, so that one saved while comparing opens as it was."""
    node = layout_node(scene)
    was_modifying = node.StartModify()  # Slicer lays out all views anew whenever this node changes
    for count in range(1, len(ROWS) + 1):
        for rows in combinations(ROWS, count):
            node.AddLayoutDescription(layout_id(rows), compare_layout(rows))  # does nothing if it is known
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


def _properties(row: str, modality: str) -> dict[str, str]:
    """What a new view is set to; once it exists, the user's changes stay."""
    return {
        "orientation": "Axial",
        "viewlabel": f"{TITLES[modality]} {row}",
        "viewcolor": ROW_COLOURS[row],
        "viewgroup": str(VIEW_GROUP),
    }
