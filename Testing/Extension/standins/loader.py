"""The loader of .ui files: makes the stand-ins for Slicer's and CTK's widgets, and connects what the file connects."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from standins.flavour import CONTROLS, qt_class, signal_named

CUSTOM: dict[str, type] = {}
"""Class name -> stand-in; filled by `widget`."""


def widget(cls: type) -> type:
    """Decorator: .ui files may hold this class."""
    cls.made_by_cpp = True
    CUSTOM[cls.__name__] = cls
    return cls


class QUiLoader(QtUiTools.QUiLoader):
    """As Qt's; but it fails where that one only prints."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """A stand-in, a widget in PythonQt's flavour, or Qt's own."""
        made = self._make(class_name, parent, name)
        made.setObjectName(name)
        return made

    def _make(self, class_name: str, parent: Any, name: str) -> Any:
        if class_name in CUSTOM:
            return CUSTOM[class_name](parent)
        if class_name in CONTROLS:
            return qt_class(class_name)(parent)
        if class_name not in self.availableWidgets():
            raise ValueError(f"the .ui file holds a {class_name}, which has no stand-in")
        return super().createWidget(class_name, parent, name)

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> QtWidgets.QWidget:
        """The widget of an open file. Qt cannot see signals declared in Python, so the connections are made here."""
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        top = super().load(buffer, parent)
        if top is None:
            raise ValueError(f"Qt does not understand the .ui file: {self.errorString()}")
        for connection in connections if connections is not None else ():
            _connect(top, connection)
        return top


def _connect(top: QtWidgets.QWidget, connection: ElementTree.Element) -> None:
    """Make one <connection>."""
    sender, signal, receiver, slot = (connection.findtext(key) for key in ("sender", "signal", "receiver", "slot"))
    signal_named(_child(top, sender), signal).connect(getattr(_child(top, receiver), slot.split("(")[0]))


def _child(top: QtWidgets.QWidget, name: str) -> Any:
    """The widget of that name."""
    child = top if top.objectName == name else top.findChild(QtCore.QObject, name)
    if child is None:
        raise ValueError(f"the .ui file connects {name!r}, which is not in it")
    return child
