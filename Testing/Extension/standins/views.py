"""Views: what Slicer's window shows in its current layout, drawn offscreen by the real displayable managers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import slicer
import vtk

from standins.colours import add_colours
from standins.view import SliceView, ThreeDView

GAP_PX = 2
GREY = 64

Box = tuple[int, int, int, int]
"""A rectangle of the window: left, top, width and height in pixels."""


class Views:
    """All views of a scene's current layout, as Slicer's central widget has them.

    Making one also makes the scene's layout node and its Red, Green and Yellow slice nodes, so it stands for
    `slicer.app.layoutManager()` as far as MRML goes.

    Args:
        scene: The scene to show.
        size: Width and height of the whole in pixels.
    """

    def __init__(self, scene: Any, size: tuple[int, int] = (1200, 900)) -> None:
        self.scene = scene
        self.size = size
        self._views: dict[str, SliceView | ThreeDView] = {}
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)  # the application does so when it starts
        self.application = _application_of(scene)
        add_colours(self.application, scene)
        self.logic = slicer.vtkMRMLLayoutLogic()
        self.logic.SetMRMLApplicationLogic(self.application)
        self.logic.SetMRMLScene(scene)

    def names(self) -> list[str]:
        """Names of the views on screen, by reading order."""
        return [element.get("singletontag", "") for element, _ in self._cells()]

    def view(self, name: str) -> SliceView | ThreeDView:
        """One view of those on screen."""
        self.arrange()
        return self._views[name]

    def arrange(self) -> list[tuple[SliceView | ThreeDView, Box]]:
        """Make the views of the current layout and give each its size, as the application does after a change."""
        placed = []
        for element, box in self._cells():
            view = self._view_of(element)
            if view is not None:
                view.resize(*box[2:])
                placed.append((view, box))
        return placed

    def grab(self) -> np.ndarray:
        """A picture of the whole: uint8 [H, W, 3]."""
        width, height = self.size
        picture = np.full((height, width, 3), GREY, dtype=np.uint8)
        for view, (left, top, w, h) in self.arrange():
            picture[top : top + h, left : left + w] = view.grab()
        return picture

    def close(self) -> None:
        """Let go of the scene; without it a later scene is drawn into old windows."""
        for view in self._views.values():
            view.close()
        self._views.clear()
        self.logic.SetMRMLScene(None)

    def _cells(self) -> Iterator[tuple[ElementTree.Element, Box]]:
        """The layout's views, each with its rectangle."""
        description = self.logic.GetLayoutNode().GetCurrentLayoutDescription()
        if description:
            yield from _divide(ElementTree.fromstring(description), (0, 0, *self.size))

    def _view_of(self, element: ElementTree.Element) -> SliceView | ThreeDView | None:
        """The view of an element of the layout; None for tables and plots, which stay grey."""
        name, kind = element.get("singletontag", ""), element.get("class", "")
        node = self.scene.GetSingletonNode(name, kind)
        makers = {"vtkMRMLSliceNode": SliceView, "vtkMRMLViewNode": ThreeDView}
        if node is None or kind not in makers:
            return None
        if name not in self._views:
            self._views[name] = makers[kind](self.application, node)
        return self._views[name]


def _divide(element: ElementTree.Element, box: Box) -> Iterator[tuple[ElementTree.Element, Box]]:
    """Share a rectangle among an element's views: rows, columns, the first tab or the first window."""
    if element.tag == "view":
        yield element, box
        return
    children = [child for child in element if child.tag in ("layout", "item", "view")]
    if element.tag in ("viewports", "item") or element.get("type") == "tab":
        children = children[:1]
    down = element.get("type", "horizontal") == "vertical"
    sizes = np.array([float(child.get("splitSize", 1)) for child in children])
    edges = np.concatenate([[0], np.cumsum(sizes) / sizes.sum()])
    left, top, width, height = box
    for child, start, end in zip(children, edges[:-1], edges[1:], strict=True):
        length = height if down else width
        first = round(start * length) + (GAP_PX if start > 0 else 0)
        extent = round(end * length) - first
        yield from _divide(child, (left, top + first, width, extent) if down else (left + first, top, extent, height))


def _application_of(scene: Any) -> Any:
    """The application logic that watches the scene, or a new one."""
    application = getattr(getattr(slicer.modules, "volumes", None), "application", None)
    if application is None or application.GetMRMLScene() is not scene:
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(scene)
    for getter, setter in (("GetSliceLogics", "SetSliceLogics"), ("GetViewLogics", "SetViewLogics")):
        if getattr(application, getter)() is None:
            getattr(application, setter)(vtk.vtkCollection())
    return application
