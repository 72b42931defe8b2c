"""Connectors: one widget shows and sets one parameter; only the pairs of classes the application knows."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer

from standins.ctk_widgets import ctkPathLineEdit, ctkSliderWidget
from standins.flavour import qt_class
from standins.node_selector import qMRMLNodeComboBox
from standins.parameter_types import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

Number = (qt_class("QDoubleSpinBox"), ctkSliderWidget)
Whole = (qt_class("QSlider"), qt_class("QSpinBox"))


class Connector:
    """Reads and writes one property of a widget and listens to one signal."""

    def __init__(self, widget: Any, attribute: str, signal: str) -> None:
        self.widget, self.attribute, self.signal = widget, attribute, getattr(widget, signal)
        self.slot: Callable[[], None] | None = None

    def read(self) -> Any:
        return getattr(self.widget, self.attribute)

    def write(self, value: Any) -> None:
        setattr(self.widget, self.attribute, value)

    def listen(self, callback: Callable[[], None]) -> None:
        self.slot = lambda *_: callback()
        self.signal.connect(self.slot)

    def stop(self) -> None:
        self.signal.disconnect(self.slot)


class NodeConnector(Connector):
    """A node selector, whose node types are set to the parameter's."""

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


class ItemConnector(Connector):
    """A combo box, whose items are replaced by the choices."""

    def __init__(self, widget: Any, labels: dict[str, Any]) -> None:
        super().__init__(widget, "currentIndex", "currentIndexChanged")
        self.values = list(labels.values())
        widget.clear()
        widget.addItems(list(labels))

    def read(self) -> Any:
        return self.values[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        self.widget.currentIndex = self.values.index(value)


class PathConnector(Connector):
    """A path edit and a `Path`; an empty path is shown as the dot it is."""

    def __init__(self, widget: Any, kind: type) -> None:
        super().__init__(widget, "currentPath", "currentPathChanged")
        self.kind = kind

    def read(self) -> Any:
        return self.kind(self.widget.currentPath)

    def write(self, value: Any) -> None:
        self.widget.currentPath = str(value)


def connector_for(widget: Any, parameter: Any) -> Connector:
    """The connector of a widget and a parameter; as in the application the class must be exactly the known one.

    Raises:
        RuntimeError: If the application could not connect the two.
    """
    kind, of = parameter.kind, type(widget)
    if kind is bool and of in (qt_class("QCheckBox"), qt_class("QPushButton")):
        return Connector(widget, "checked", "toggled")
    if (kind is int and of in Whole) or (kind is float and of in Number):
        _limit(widget, parameter.notes)
        return Connector(widget, "value", "valueChanged")
    if kind is str and of is qt_class("QLineEdit"):
        return Connector(widget, "text", "textChanged")
    if kind is str and of is qt_class("QTextEdit"):
        return Connector(widget, "plainText", "textChanged")
    if of is qt_class("QComboBox"):
        return ItemConnector(widget, _labels(kind, parameter.notes))
    if of is ctkPathLineEdit and isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return PathConnector(widget, kind)
    types = _node_types(kind)
    if of is qMRMLNodeComboBox and types:
        widget.nodeTypes = types
        return NodeConnector(widget, "currentNodeID", "currentNodeChanged")
    raise RuntimeError(f"Slicer cannot connect a {of.__name__} to a parameter of type {parameter.annotation}")


def _limit(widget: Any, notes: list[Any]) -> None:
    """Take the range of the parameter into the widget."""
    for note in notes:
        if isinstance(note, Decimals):
            widget.decimals = note.value
        if isinstance(note, SingleStep):
            widget.singleStep = note.value
    low = [note.minimum for note in notes if isinstance(note, (WithinRange, Minimum))]
    high = [note.maximum for note in notes if isinstance(note, (WithinRange, Maximum))]
    if not (low and high) and type(widget) in (qt_class("QSlider"), ctkSliderWidget):
        raise RuntimeError("a slider needs a parameter with both bounds")
    whole = type(widget) in Whole
    lowest, highest = (-(2**31), 2**31 - 1) if whole else (-1e300, 1e300)
    widget.setRange(low[0] if low else lowest, high[0] if high else highest)


def _labels(kind: Any, notes: list[Any]) -> dict[str, Any]:
    """What a combo box says -> the value it stands for."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda member: member.name)
        return {label(member): member for member in kind}
    choices = [note.choices for note in notes if isinstance(note, Choice)]
    if kind not in (int, float, str, bool) or not choices:
        raise RuntimeError("a combo box needs an Enum, or a number or text with a Choice")
    return {str(choice): choice for choice in choices[0]}


def _node_types(kind: Any) -> tuple[str, ...]:
    """Class names of a node type or of a union of node types, () for anything else."""
    members = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else (kind,)
    nodes = [m for m in members if m is not type(None)]
    if not all(isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode) for m in nodes):
        return ()
    return tuple(m().GetClassName() for m in nodes)
