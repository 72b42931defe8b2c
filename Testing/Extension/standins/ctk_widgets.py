"""The module `ctk`: the few widgets of the Common Toolkit that modules put into their panels."""

from __future__ import annotations

import re
import types
from typing import Any

from PySide6 import QtCore, QtWidgets

from standins import dialogs
from standins.collapsible import ctkCollapsibleButton, ctkCollapsibleGroupBox
from standins.flavour import Control, qt_class, stored
from standins.loader import widget


@widget
class ctkComboBox(Control, QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText = stored(str, "")


@widget
class ctkFittedTextBrowser(Control, QtWidgets.QTextBrowser):
    """A text browser as high as its text."""


@widget
class ctkSliderWidget(Control, QtWidgets.QWidget):
    """A slider and a number beside it; the number is the truth, the slider shows where it is in the range."""

    valueChanged = QtCore.Signal(float)
    STEPS = 1000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._spin = qt_class("QSlider")(QtCore.Qt.Horizontal), qt_class("QDoubleSpinBox")()
        self._slider.setRange(0, self.STEPS)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._spin)
        self._spin.valueChanged.connect(self._on_number)
        self._slider.sliderMoved.connect(self._on_slider)
        self.setRange(0, 99)

    def _on_number(self, value: float) -> None:
        self._show(value)
        self.valueChanged.emit(value)

    def _on_slider(self, position: int) -> None:
        low, high, step = self.minimum, self.maximum, self.singleStep
        self._spin.value = low + round(position / self.STEPS * (high - low) / step) * step

    def _show(self, value: float) -> None:
        span = self.maximum - self.minimum
        self._slider.setValue(round((value - self.minimum) / span * self.STEPS) if span else 0)

    def setRange(self, low: float, high: float) -> None:
        self._spin.setRange(low, high)
        self._show(self._spin.value)

    def slider(self) -> Any:
        return self._slider

    def spinBox(self) -> Any:
        return self._spin

    def setValue(self, value: float) -> None:
        self._spin.value = value

    def setMinimum(self, low: float) -> None:
        self.setRange(low, max(low, self.maximum))

    def setMaximum(self, high: float) -> None:
        self.setRange(min(high, self.minimum), high)

    value = QtCore.Property(float, lambda self: self._spin.value, setValue)
    minimum = QtCore.Property(float, lambda self: self._spin.minimum, setMinimum)
    maximum = QtCore.Property(float, lambda self: self._spin.maximum, setMaximum)
    singleStep = QtCore.Property(float, lambda self: self._spin.singleStep, lambda self, v: self._spin.setSingleStep(v))
    decimals = QtCore.Property(int, lambda self: self._spin.decimals, lambda self, v: self._spin.setDecimals(v))
    prefix = QtCore.Property(str, lambda self: self._spin.prefix, lambda self, v: self._spin.setPrefix(v))
    suffix = QtCore.Property(str, lambda self: self._spin.suffix, lambda self, v: self._spin.setSuffix(v))
    pageStep = stored(float, 10.0)
    tracking = stored(bool, True)


@widget
class ctkPathLineEdit(Control, QtWidgets.QWidget):
    """A path one can type, and a button that browses for one.

    A path that is not valid, an empty one among them, is not told as a change.
    """

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    Dirs, Files, Readable, Writable, Executable = 0x001, 0x002, 0x010, 0x020, 0x040

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit, self._browse = qt_class("QComboBox")(), qt_class("QToolButton")()
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._browse.setText("...")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._edit)
        row.addWidget(self._browse)
        self._valid = False
        self._edit.editTextChanged.connect(self._on_text)
        self._browse.clicked.connect(lambda: self.browse())

    def _on_text(self, path: str) -> None:
        before, self._valid = self._valid, self._accepts(path)
        if self._valid:
            self.currentPathChanged.emit(path)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def _accepts(self, path: str) -> bool:
        """Whether the name ends as a filter says, its last letter or not; "*" says nothing, as if it were not there."""
        endings = [ending for text in self.nameFilters for ending in re.findall(r"\*\.(\w+)", text)]
        return path.endswith(tuple(f".{e[:n]}" for e in endings for n in (None, -1))) if endings else bool(path)

    def browse(self) -> None:
        """Ask for a file or, where the filters allow directories only, for a folder."""
        folder_only = self.filters & self.Dirs and not self.filters & self.Files
        ask = dialogs.QFileDialog.getExistingDirectory if folder_only else dialogs.QFileDialog.getOpenFileName
        path = ask(self, self.toolTip)
        if path:
            self.setCurrentPath(path)

    def comboBox(self) -> Any:
        return self._edit

    def addCurrentPathToHistory(self) -> None:
        self._edit.addItem(self.currentPath)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setEditText(path)

    currentPath = QtCore.Property(str, lambda self: self._edit.currentText, setCurrentPath)
    filters = stored(int, Dirs | Files)
    nameFilters = stored("QStringList", ())
    settingKey = stored(str, "")
    label = stored(str, "")
    showHistoryButton = stored(bool, True)


def ctk_module() -> types.ModuleType:
    """A module of these classes."""
    module = types.ModuleType("ctk", "Widgets of the Common Toolkit.")
    for cls in (ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkComboBox, ctkFittedTextBrowser, ctkSliderWidget):
        setattr(module, cls.__name__, cls)
    module.ctkPathLineEdit, module.ctkMessageBox = ctkPathLineEdit, dialogs.ctkMessageBox
    return module
