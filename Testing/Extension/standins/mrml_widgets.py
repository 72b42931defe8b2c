"""Slicer's own widgets: the panel that knows the scene, and views of a table and of a segmentation."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from standins.flavour import Control, stored
from standins.loader import widget
from standins.observing import observe


@widget
class qMRMLWidget(Control, QtWidgets.QWidget):
    """Hands the scene on to what is in it."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class NodeView(Control, QtWidgets.QTableView):
    """A table that follows a node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node, self._tag, self._scene = None, None, None
        self.setModel(QtGui.QStandardItemModel(self))

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """A node of another scene is not shown any longer."""
        self._scene = scene
        if self._node is not None and self._node.GetScene() is not scene:
            self._follow(None)

    def _follow(self, node: Any) -> None:
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        self._tag = observe(node, "ModifiedEvent", self._fill) if node is not None else None
        self._fill()

    def _fill(self, *_: Any) -> None:
        heads, rows = self._contents() if self._node is not None else ([], [])
        model = self.model()
        model.clear()
        model.setHorizontalHeaderLabels(heads)
        for row in rows:
            items = [QtGui.QStandardItem(str(value)) for value in row]
            for item in items:
                item.setEditable(self._is_editable())
            model.appendRow(items)

    def _is_editable(self) -> bool:
        """Whether a double click on a cell changes the node."""
        return False


@widget
class qMRMLTableView(NodeView):
    """The cells of a vtkMRMLTableNode."""

    firstRowLocked = stored(bool, False)

    def setMRMLTableNode(self, node: Any) -> None:
        self._follow(node)

    def mrmlTableNode(self) -> Any:
        return self._node

    def _is_editable(self) -> bool:
        return not self._node.GetLocked()

    def setFirstRowLocked(self, locked: bool) -> None:
        self.firstRowLocked = locked

    def _contents(self) -> tuple[list[str], list[list[str]]]:
        columns, rows = self._node.GetNumberOfColumns(), self._node.GetNumberOfRows()
        heads = [self._node.GetColumnName(column) for column in range(columns)]
        return heads, [[self._node.GetCellText(row, column) for column in range(columns)] for row in range(rows)]


@widget
class qMRMLSegmentsTableView(NodeView):
    """The segments of a segmentation by name."""

    def setSegmentationNode(self, node: Any) -> None:
        self._follow(node)

    def segmentationNode(self) -> Any:
        return self._node

    def _contents(self) -> tuple[list[str], list[list[str]]]:
        segmentation = self._node.GetSegmentation()
        names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
        return ["Name"], [[name] for name in names]


def install_widgets() -> None:
    """Put the widgets where the application has them."""
    from standins.node_selector import qMRMLNodeComboBox

    for cls in (qMRMLWidget, qMRMLTableView, qMRMLSegmentsTableView, qMRMLNodeComboBox):
        setattr(slicer, cls.__name__, cls)
