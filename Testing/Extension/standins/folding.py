"""Folding: a widget that hides what is in it, and remembers which of it wanted to be hidden anyway."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

NO_LIMIT_PX = 16777215
"""Qt's own word for a widget that may be as high as it likes."""


class Folding:
    """Mixed into CTK's collapsible widgets before their Qt class; they say `_is_open` and `_head_height`."""

    _forcing = False

    def _fold(self, is_open: bool) -> None:
        """Hide or show the children."""
        self.setMaximumHeight(NO_LIMIT_PX if is_open else self._head_height())
        for child in self._own:
            self._show_child(child)
        self.updateGeometry()

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        """Show a child that wants it if this is open; hiding it is not to look like its own wish."""
        self._forcing = True
        child.setVisible(self._is_open() and self._own[child])
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

    def _draw_title(self, painter: QtGui.QPainter, head: QtCore.QRect, title: str) -> None:
        """An arrow, down when open, and the title."""
        middle, arrow = head.center().y(), QtGui.QPolygon()
        for x, y in [(8, -3), (16, -3), (12, 3)] if self._is_open() else [(9, -5), (15, 0), (9, 5)]:
            arrow.append(QtCore.QPoint(x, middle + y))
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(self.palette.buttonText())
        painter.drawPolygon(arrow)
        painter.setPen(self.palette.buttonText().color())
        painter.drawText(head.adjusted(24, 0, 0, 0), QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, title)
