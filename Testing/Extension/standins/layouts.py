"""The layout manager: keeps the layout of the scene and the slice logics that its views need."""

from __future__ import annotations

import types
from typing import Any

import slicer
import vtk


class LayoutManager:
    """`slicer.app.layoutManager()` as far as layouts, slice views and their logics go."""

    _current: LayoutManager | None = None

    def __init__(self, scene: Any, application: Any) -> None:
        self.scene = scene
        self._application = application
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._slice_logics: dict[str, Any] = {}

    @classmethod
    def of(cls, scene: Any, application: Any) -> LayoutManager:
        """The one of that scene."""
        if cls._current is None or cls._current.scene is not scene:
            cls._current = cls(scene, application)
        return cls._current

    def layoutLogic(self) -> Any:
        return self._logic

    @property
    def layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, arrangement: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(arrangement)
        self._update_slice_logics()

    def setLayout(self, arrangement: int) -> None:
        self.layout = arrangement

    def _slice_nodes(self) -> dict[str, Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", self.scene)
        return {node.GetLayoutName(): node for node in nodes if node.IsMappedInLayout()}

    def _update_slice_logics(self) -> None:
        """The application has one logic for each slice view."""
        collection = vtk.vtkCollection()
        for name, node in self._slice_nodes().items():
            if name not in self._slice_logics:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._application)
                logic.AddSliceNode(node)
                self._slice_logics[name] = logic
        for logic in self._slice_logics.values():
            collection.AddItem(logic)
        self._application.SetSliceLogics(collection)

    def sliceViewNames(self) -> tuple[str, ...]:
        self._update_slice_logics()
        return tuple(self._slice_nodes())

    def sliceWidget(self, name: str) -> Any:
        """A slice view's widget, as far as its nodes and its logic go."""
        self._update_slice_logics()
        logic = self._slice_logics.get(name)
        if logic is None:
            return None
        return types.SimpleNamespace(
            sliceLogic=lambda: logic,
            mrmlSliceNode=logic.GetSliceNode,
            mrmlSliceCompositeNode=logic.GetSliceCompositeNode,
            fitSliceToBackground=logic.FitSliceToBackground,
        )

    def resetSliceViews(self) -> None:
        self._update_slice_logics()
        for logic in self._slice_logics.values():
            logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Cameras are the views' own."""
