"""CTK's collapsible button and group box: sections of a panel with a head to click on."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from standins.flavour import Control
from standins.folding import Folding
from standins.loader import widget


@widget
class ctkCollapsibleButton(Folding, Control, QtWidgets.QAbstractButton):
    """A section across the whole width of a panel."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        self._own: dict[Any, bool] = {}
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._head_height(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, is_open: bool) -> None:
        self._fold(is_open)
        self.contentsCollapsed.emit(not is_open)

    def _is_open(self) -> bool:
        return self.checked

    def _head_height(self) -> int:
        return self.fontMetrics().height() + 10

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.checked, setCollapsed)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """Only the head is a button."""
        return position.y() < self._head_height()

    def sizeHint(self) -> QtCore.QSize:
        """Head and contents."""
        head = QtCore.QSize(120, self._head_height())
        return self.layout().totalSizeHint().expandedTo(head) if self.layout() and self.checked else head

    def minimumSizeHint(self) -> QtCore.QSize:
        """Head and contents, as small as they go."""
        head = QtCore.QSize(120, self._head_height())
        return self.layout().totalMinimumSize().expandedTo(head) if self.layout() and self.checked else head

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """A flat grey head and a frame."""
        painter = QtGui.QPainter(self)
        head = QtCore.QRect(0, 0, self.width, self._head_height())
        painter.fillRect(head, self.palette.button().color().darker(112))
        painter.setPen(self.palette.button().color().darker(135))
        painter.drawRect(self.rect.adjusted(0, 0, -1, -1))
        self._draw_title(painter, head, self.text)
        painter.end()


@widget
class ctkCollapsibleGroupBox(Folding, Control, QtWidgets.QGroupBox):
    """A part of a section."""

    def __init__(self, *arguments: Any) -> None:
        self._own: dict[Any, bool] = {}
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setContentsMargins(0, self._head_height(), 0, 0)
        self.toggled.connect(self._fold)

    def _is_open(self) -> bool:
        return self.checked

    def _head_height(self) -> int:
        return self.fontMetrics().height() + 6

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.checked, setCollapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """An arrow and the title, and a line around what is below when it is open."""
        painter = QtGui.QPainter(self)
        head = QtCore.QRect(0, 0, self.width, self._head_height())
        if self.checked:
            painter.setPen(self.palette.button().color().darker(125))
            painter.drawRect(self.rect.adjusted(0, head.height() // 2, -1, -1))
            wide = self.fontMetrics().horizontalAdvance(self.title) + 30
            painter.fillRect(QtCore.QRect(4, 0, wide, head.height()), self.palette.window())
        self._draw_title(painter, head, self.title)
        painter.end()
