"""The layout manager of the application over `Views`, which has the views themselves."""

from __future__ import annotations

import types
from typing import Any

import slicer

from standins.views import Views


class LayoutManager:
    """`slicer.app.layoutManager()` as far as layouts, slice views and their logics go."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.views = Views(scene)
        node = self.layoutLogic().GetLayoutNode()
        self._observed = node, node.AddObserver("ModifiedEvent", lambda *_: self.views.arrange())
        if self.layout <= slicer.vtkMRMLLayoutNode.SlicerLayoutInitialView:
            self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def layoutLogic(self) -> Any:
        return self.views.logic

    @property
    def layout(self) -> int:
        return self.layoutLogic().GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, arrangement: int) -> None:
        self.layoutLogic().GetLayoutNode().SetViewArrangement(arrangement)

    def setLayout(self, arrangement: int) -> None:
        self.layout = arrangement

    def sliceViewNames(self) -> tuple[str, ...]:
        """Names of the slice views on screen."""
        return tuple(name for name in self.views.names() if self.scene.GetSingletonNode(name, "vtkMRMLSliceNode"))

    def sliceWidget(self, name: str) -> Any:
        """A slice view's widget, as far as its nodes and its logic go; None for a view that is not on screen."""
        if name not in self.sliceViewNames():
            return None
        logic = self.views.view(name).logic
        return types.SimpleNamespace(
            sliceLogic=lambda: logic,
            mrmlSliceNode=logic.GetSliceNode,
            mrmlSliceCompositeNode=logic.GetSliceCompositeNode,
            fitSliceToBackground=logic.FitSliceToBackground,
        )

    def mrmlSliceLogics(self) -> Any:
        """The logics of all slice views so far, as a collection."""
        return self.views.application.GetSliceLogics()

    def resetSliceViews(self) -> None:
        """Every slice view shows the whole of its volume."""
        for name in self.sliceViewNames():
            self.views.view(name).logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """The 3-D views of `Views` show all there is anyway."""

    def close(self) -> None:
        """Take the views away."""
        node, tag = self._observed
        node.RemoveObserver(tag)
        self.views.close()
