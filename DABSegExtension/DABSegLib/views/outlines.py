"""Outlines: one segmentation as lines over all images, so that what is below can be seen, and no other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer

THICKNESS_PX = 2
AS_OUTLINES = {
    "Visibility": True,
    "Visibility2D": True,
    "Visibility2DFill": False,
    "Visibility2DOutline": True,
    "Opacity2DOutline": 1.0,
    "SliceIntersectionThickness": THICKNESS_PX,
}
"""Properties of a segmentation's display node."""


class Outlines:
    """Shows a segmentation as outlines until it is told to put back how every segmentation was shown.

    Args:
        scene: Other segmentations of it are not shown in slices meanwhile.
        segmentation: vtkMRMLSegmentationNode, or None to show none.
        view_ids: Ids of the slice nodes it is to be seen in.
    """

    def __init__(self, scene: Any, segmentation: Any | None, view_ids: Iterable[str]) -> None:
        self._before: list[tuple[Any, dict[str, Any]]] = []
        self._views: list[tuple[Any, str]] = []
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene):
            if node is not segmentation and node.GetDisplayNode() is not None:
                self._set(node.GetDisplayNode(), {"Visibility2D": False})
        if segmentation is not None:
            if segmentation.GetDisplayNode() is None:
                segmentation.CreateDefaultDisplayNodes()
            self._set(segmentation.GetDisplayNode(), AS_OUTLINES)
            self._admit(segmentation.GetDisplayNode(), view_ids)

    def restore(self) -> None:
        """Show every segmentation as before; may be called twice, and after they left the scene."""
        before, self._before = self._before, []
        for display, values in before:
            _apply(display, values)
        views, self._views = self._views, []
        for display, view_id in views:
            display.RemoveViewNodeID(view_id)

    def _set(self, display: Any, values: dict[str, Any]) -> None:
        self._before.append((display, {name: getattr(display, f"Get{name}")() for name in values}))
        _apply(display, values)

    def _admit(self, display: Any, view_ids: Iterable[str]) -> None:
        """Where a display node names the views it is seen in, ours are among them; without names it is seen in all."""
        if display.GetNumberOfViewNodeIDs() == 0:
            return
        for view_id in view_ids:
            if not display.IsViewNodeIDPresent(view_id):
                display.AddViewNodeID(view_id)
                self._views.append((display, view_id))


def _apply(display: Any, values: dict[str, Any]) -> None:
    was_modifying = display.StartModify()
    for name, value in values.items():
        getattr(display, f"Set{name}")(value)
    display.EndModify(was_modifying)
