"""PythonQt's flavour on PySide6: Qt properties are Python attributes, and signals can be connected by text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

LIBRARIES = (QtWidgets, QtGui, QtCore, QtUiTools)
SAME_NAMED_VIRTUALS = {"sizeHint", "minimumSizeHint"}
"""C++ calls these by name through Python, which would never come back from a property."""


def flavour_all() -> None:
    """Turn the properties of every Qt class into Python properties; the second time does nothing."""
    if getattr(QtCore.QObject, "flavoured", False):
        return
    for library in LIBRARIES:
        for name in dir(library):
            cls = getattr(library, name)
            if isinstance(cls, type) and issubclass(cls, QtCore.QObject):
                _flavour(cls)
    QtCore.QObject.name = vars(QtCore.QObject)["objectName"]
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.flavoured = True


def _flavour(cls: type) -> None:
    """Give one class Python properties for the Qt properties it adds to its base."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in SAME_NAMED_VIRTUALS:
            setattr(cls, name, Property(cls, name, meta.property(index).isWritable()))


class Property:
    """A Qt property as a Python attribute of instances; the class still has what it had under that name."""

    def __init__(self, cls: type, name: str, writable: bool) -> None:
        self.owner, self.name, self.writable = cls, name, writable
        self.original = getattr(cls, name, None)
        is_method = type(self.original).__name__ == "method_descriptor"
        self.getter = self.original if is_method else None  # it knows the Python type better than `property` does
        self.setter = getattr(cls, "set" + name[0].upper() + name[1:], None)

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        if instance is None:
            return self.original  # such as `QTimer.singleShot`, a property and a function
        return self.getter(instance) if self.getter else instance.property(self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.writable:
            raise AttributeError(f"{self.owner.__name__}.{self.name} cannot be set")
        if self.setter is not None:
            self.setter(instance, value)
        elif not instance.setProperty(self.name, value):
            raise TypeError(f"{self.owner.__name__}.{self.name} does not take {value!r}")


class Control:
    """Mixed into widgets that modules make and the loader returns: text connections, and no misspelt attributes."""

    def __init_subclass__(cls) -> None:
        """PySide6 finds its own `connect` before an inherited one, so every class gets these itself."""
        cls.connect, cls.disconnect = Control.connect, Control.disconnect

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """`w.connect("clicked(bool)", f)`, as PythonQt has it."""
        signal_named(self, signal).connect(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """Undo `connect`."""
        signal_named(self, signal).disconnect(slot)
        return True

    def __setattr__(self, name: str, value: Any) -> None:
        """PythonQt refuses what is no property of an object that C++ made; derived classes may hold anything."""
        if isinstance(value, QtCore.QObject) and value.objectName == name:
            return  # PySide6's loader hangs every child on the top widget, which PythonQt does not
        if vars(type(self)).get("made_by_cpp") and not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no property {name!r}")
        super().__setattr__(name, value)


def signal_named(sender: Any, signature: str) -> Any:
    """The signal such as "currentNodeChanged(vtkMRMLNode*)"; AttributeError when the sender has none of that name."""
    name = signature.split("(")[0]
    signal = getattr(sender, name)
    if not hasattr(signal, "connect"):
        raise AttributeError(f"{type(sender).__name__}.{name} is no signal")
    return signal


def control(cls: type) -> type:
    """The class as PythonQt shows it."""
    return type(cls)(cls.__name__, (Control, cls), {"made_by_cpp": True, "__module__": "qt"})


def stored(kind: type | str, default: Any) -> Any:
    """A Qt property that only holds a value; .ui files can set it."""
    key = f"_stored_{next(_COUNTER)}"
    return QtCore.Property(
        kind, lambda self: getattr(self, key, default), lambda self, value: setattr(self, key, value)
    )


_COUNTER = count()

_NAMES = """
    QAction QButtonGroup QCheckBox QComboBox QDialog QDialogButtonBox QDoubleSpinBox QFrame QGroupBox QLabel
    QLineEdit QListWidget QMenu QPlainTextEdit QProgressBar QProgressDialog QPushButton QRadioButton QScrollArea
    QSlider QSpinBox QSplitter QStackedWidget QTabWidget QTableView QTableWidget QTextBrowser QTextEdit QTimer
    QToolButton QTreeWidget
"""
CONTROLS = frozenset(_NAMES.split())
"""Classes that modules make. The others stay PySide6's own, so that `isinstance(w, qt.QWidget)` holds for all."""


@cache
def qt_class(name: str) -> Any:
    """One class or namespace of Qt by its name; AttributeError when Qt has none of that name."""
    for library in LIBRARIES:
        if hasattr(library, name):
            cls = getattr(library, name)
            return control(cls) if name in CONTROLS else cls
    raise AttributeError(f"module 'qt' has no attribute {name!r}")
