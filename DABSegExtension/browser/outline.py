"""Outline: which segmentation the views show, which of its regions, and how strongly they are filled."""

from __future__ import annotations

from typing import Any

from DABSegLib.nodes.regions import TUMOUR_REGIONS
from DABSegLib.nodes.segments import show_surface


class Outline:
    """The user's choices about outlines, kept while segmentations come and go."""

    def __init__(self) -> None:
        self.reference = False
        self.shown = dict.fromkeys(TUMOUR_REGIONS, True)
        self.visible = True
        self.fill = 0.0
        self._is_truth = False
        self._node: Any | None = None
        self._surface_of: Any | None = None

    def choose(self, found: Any | None, truth: Any | None) -> Any | None:
        """The segmentation to show: the reference where it is wanted or the only one, else what was found.

        Args:
            found: What the network found, or None.
            truth: The reference, or None.
        """
        self._is_truth = truth is not None and (self.reference or found is None)
        self._node = truth if self._is_truth else found
        return self._node

    def apply(self) -> None:
        """Show the segmentation as chosen; after the comparison has set it to outlines."""
        display = self._display()
        if display is None:
            return
        was_modifying = display.StartModify()
        for name, shown in self.shown.items():
            display.SetSegmentVisibility(name, shown)
        display.SetVisibility2DFill(self.fill > 0)
        display.SetOpacity2DFill(self.fill)
        display.SetVisibility2D(self.visible)
        display.EndModify(was_modifying)

    def show_surface(self, on: bool, view: Any) -> None:
        """Show the segmentation in the 3D view, and nothing else.

        Args:
            on: Whether it is wanted.
            view: The 3D view.
        """
        node = self._node if on else None
        if self._surface_of is not None and self._surface_of is not node and self._surface_of.GetScene() is not None:
            show_surface(self._surface_of, False)
        fresh = node is not self._surface_of
        self._surface_of = node
        if node is not None and fresh:
            show_surface(node, True)
            view.reset_view()

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "reference": self._is_truth,
            "shown": dict(self.shown),
            "visible": self.visible,
            "fill": self.fill,
            "there": self._node is not None,
        }

    def _display(self) -> Any | None:
        return self._node.GetDisplayNode() if self._node is not None else None
