"""The window: a picture of the panel beside the views, as the application's main window has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets

PANEL_PX = 480
"""Width of the module panel in a Slicer window of a laptop."""

EDGE_PX = 6


def screenshot(widget: Any, path: Path, views: Any = None, width: int = PANEL_PX) -> Path:
    """Write a PNG to be looked at.

    Args:
        widget: A module's widget, or any Qt widget.
        path: Where to.
        views: `Views`, whose picture goes to the right of the panel; None for the panel alone.
        width: Of the panel in pixels; it gets the height it asks for.

    Raises:
        OSError: If the file was not written.
    """
    panel = picture_of(widget, width)
    if views is not None:
        panel = _beside(panel, _image(views.grab()))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not panel.save(str(path)):
        raise OSError(f"no picture was written to {path}")
    return path


def picture_of(widget: Any, width: int = PANEL_PX) -> QtGui.QImage:
    """What a widget looks like when it is shown at this width and all of its height."""
    shown = widget if isinstance(widget, QtWidgets.QWidget) else widget.parent
    if shown.isWindow():
        shown.show()
        _settle()
        shown.resize(width, _height_for(shown, width))
    _settle()
    return shown.grab().toImage()


def _height_for(widget: QtWidgets.QWidget, width: int) -> int:
    """Labels that wrap their words ask for less height the wider they are."""
    layout = widget.layout()
    wanted = widget.sizeHint().height()
    return layout.totalHeightForWidth(width) if layout is not None and layout.hasHeightForWidth() else wanted


def _settle() -> None:
    """Let layouts finish: each level of nesting takes a turn of the event loop."""
    for _ in range(4):
        QtWidgets.QApplication.sendPostedEvents()
        QtWidgets.QApplication.processEvents()


def _image(pixels: np.ndarray) -> QtGui.QImage:
    """uint8 [H, W, 3] as Qt has it."""
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels)
    return QtGui.QImage(data.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()


def _beside(left: QtGui.QImage, right: QtGui.QImage) -> QtGui.QImage:
    """Two pictures side by side, both at the top."""
    size = QtCore.QSize(left.width() + EDGE_PX + right.width(), max(left.height(), right.height()))
    whole = QtGui.QImage(size, QtGui.QImage.Format_RGB888)
    whole.fill(QtGui.QColor(239, 239, 239))
    painter = QtGui.QPainter(whole)
    painter.drawImage(0, 0, left)
    painter.drawImage(left.width() + EDGE_PX, 0, right)
    painter.end()
    return whole
