"""The module `qt`: PySide6's classes in PythonQt's flavour, made when they are asked for."""

from __future__ import annotations

import types

from PySide6 import QtCore

from standins import dialogs
from standins.flavour import flavour_all, qt_class
from standins.loader import QUiLoader


def qt_module() -> types.ModuleType:
    """A module whose attributes are Qt's classes."""
    flavour_all()
    module = types.ModuleType("qt", "Qt in PythonQt's flavour.")
    module.__getattr__ = qt_class
    module.QUiLoader = QUiLoader
    module.QMessageBox = dialogs.QMessageBox
    module.QFileDialog = dialogs.QFileDialog
    module.QInputDialog = dialogs.QInputDialog
    module.Signal, module.Slot = QtCore.Signal, QtCore.Slot
    return module
