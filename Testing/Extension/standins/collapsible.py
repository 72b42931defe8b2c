"""CTK's collapsible button: a section of a panel with a head to click on."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from standins.flavour import Control
from standins.loader import widget


@widget
class ctkCollapsibleButton(Control, QtWidgets.QAbstractButton):
    """Children are shown while it is expanded, and then only those that would be visible by themselves."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        self._own, self._forcing = {}, False
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._head_height(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._apply)

    def _head_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _get_collapsed(self) -> bool:
        return not self.checked

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _get_collapsed, setCollapsed)

    def _apply(self, expanded: bool) -> None:
        """Hide or show the children, without forgetting which of them wanted to be hidden."""
        self.setMaximumHeight(16777215 if expanded else self._head_height())
        for child in self._own:
            self._show_child(child)
        self.contentsCollapsed.emit(not expanded)

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        """Show a child that wants it if this is expanded; hiding it is not to look like its own wish."""
        self._forcing = True
        child.setVisible(self.checked and self._own[child])
        if self._own[child]:
            child.setAttribute(QtCore.Qt.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """Watch what a new child wants, once it is complete."""
        child = event.child()
        if event.type() == QtCore.QEvent.ChildPolished and isinstance(child, QtWidgets.QWidget):
            self._own[child] = not child.testAttribute(QtCore.Qt.WA_WState_ExplicitShowHide) or not child.isHidden()
            child.installEventFilter(self)
            self._show_child(child)
        elif event.type() == QtCore.QEvent.ChildRemoved:
            self._own.pop(child, None)
        super().childEvent(event)

    def eventFilter(self, child: Any, event: QtCore.QEvent) -> bool:
        """A child was shown or hidden by somebody else."""
        if not self._forcing and child in self._own:
            if event.type() == QtCore.QEvent.ShowToParent:
                self._own[child] = True
                self._show_child(child)
            elif event.type() == QtCore.QEvent.HideToParent:
                self._own[child] = False
        return False

    def setVisible(self, visible: bool) -> None:
        """Children that come and go with this do not do so by themselves."""
        self._forcing = True
        super().setVisible(visible)
        self._forcing = False

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """Only the head is a button."""
        return position.y() < self._head_height()

    def sizeHint(self) -> QtCore.QSize:
        """Head and contents."""
        inside = self.layout().sizeHint() if self.layout() and self.checked else QtCore.QSize(0, self._head_height())
        return inside.expandedTo(QtCore.QSize(120, self._head_height()))

    def minimumSizeHint(self) -> QtCore.QSize:
        """Head and contents, as small as they go."""
        inside = self.layout().minimumSize() if self.layout() and self.checked else QtCore.QSize(0, 0)
        return inside.expandedTo(QtCore.QSize(120, self._head_height()))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """A flat head across the whole width with an arrow and the title, and a frame around the contents."""
        painter = QtGui.QPainter(self)
        head = QtCore.QRect(0, 0, self.width, self._head_height())
        palette = self.palette
        painter.fillRect(head, palette.button().color().darker(112))
        painter.setPen(palette.button().color().darker(135))
        painter.drawRect(self.rect.adjusted(0, 0, -1, -1))
        middle, arrow = head.center().y(), QtGui.QPolygon()
        corners = [(8, -3), (16, -3), (12, 3)] if self.checked else [(9, -5), (15, 0), (9, 5)]
        for x, y in corners:
            arrow.append(QtCore.QPoint(x, middle + y))
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(palette.buttonText())
        painter.drawPolygon(arrow)
        painter.setPen(palette.buttonText().color())
        painter.drawText(head.adjusted(24, 0, 0, 0), QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, self.text)
        painter.end()
