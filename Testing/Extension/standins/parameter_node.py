"""The module `slicer.parameterNodeWrapper`: a class of annotated names becomes a view on a node, and on a panel."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

import slicer
from PySide6 import QtWidgets

from standins import parameter_types as kinds
from standins.connectors import connector_for

PROPERTY = "SlicerParameterName"


class Parameter:
    """One annotated name: how it is stored, what is allowed, what it starts with."""

    def __init__(self, name: str, annotation: Any, owner: type) -> None:
        self.name, self.annotation = name, annotation
        self.kind, *notes = typing.get_args(Annotated[annotation, None])[:-1]
        self.storage = kinds.storage_of(self.kind)
        self.validators = [note for note in notes if isinstance(note, kinds.Validator)]
        self.notes = notes
        given = [note.value for note in notes if isinstance(note, kinds.Default)]
        self.default = getattr(owner, name, given[0] if given else self.storage.default)

    def write(self, node: Any, value: Any) -> None:
        """Into the node; TypeError or ValueError when the value is not allowed."""
        if not self.storage.takes(value):
            raise TypeError(f"{self.name} is {self.kind}, not {value!r}")
        for validator in self.validators:
            validator.validate(value)
        self.storage.write(node, self.name, value)

    def read(self, node: Any) -> Any:
        """From the node, into which the default goes first when there is nothing."""
        if not self.storage.is_in(node, self.name):
            self.write(node, self.default)
        return self.storage.read(node, self.name)


class Wrapper:
    """What every decorated class can do."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, Any]] = {}
        self._tags: dict[int, int] = {}
        self._next, self._writing_gui = 0, False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def getValue(self, name: str) -> Any:
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            self.allParameters[name].write(self.parameterNode, value)

    def dataType(self, name: str) -> Any:
        return self.allParameters[name].annotation

    def default(self, name: str) -> kinds.Default:
        return kinds.Default(self.allParameters[name].default)

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets that carry a parameter's name: a panel's, or the attributes of `childWidgetVariables`."""
        is_widget = isinstance(gui, QtWidgets.QWidget)
        widgets = gui.findChildren(QtWidgets.QWidget) if is_widget else vars(gui).values()
        return self.connectParametersToGui({w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets to parameters, both ways; returns what `disconnectGui` wants."""
        unknown = [name for name in mapping if name not in self.allParameters]
        if unknown:
            raise ValueError(f"no such parameters: {unknown}")
        connectors = {name: connector_for(widget, self.allParameters[name]) for name, widget in mapping.items()}
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.listen(lambda name=name, connector=connector: self._from_gui(name, connector))
        self._tags[tag] = self.AddObserver("ModifiedEvent", lambda *_: self._to_gui())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.stop()

    def _from_gui(self, name: str, connector: Any) -> None:
        if not self._writing_gui:
            self.setValue(name, connector.read())

    def _to_gui(self) -> None:
        if self._writing_gui:
            return
        self._writing_gui = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._writing_gui = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> None:
        self.parameterNode.EndModify(was)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Decorator, with or without parentheses."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: Parameter(name, hint, cls) for name, hint in hints.items()}
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    reserved = [name for name in hints if hasattr(Wrapper, name)]
    if reserved:
        raise ValueError(f"reserved names: {reserved}")
    accessors = {name: _accessor(name) for name in parameters}
    return type(cls.__name__, (*cls.__bases__[:-1], Wrapper), {**own, **accessors, "allParameters": parameters})


def _accessor(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def wrapper_module() -> types.ModuleType:
    """A module of these names."""
    module = types.ModuleType("slicer.parameterNodeWrapper", "Typed parameters on a node.")
    module.parameterNodeWrapper, module.SlicerParameterNamePropertyName = parameterNodeWrapper, PROPERTY
    for cls in (kinds.Choice, kinds.Decimals, kinds.Default, kinds.Maximum, kinds.Minimum, kinds.SingleStep):
        setattr(module, cls.__name__, cls)
    module.Validator, module.WithinRange = kinds.Validator, kinds.WithinRange
    module.isParameterNodeWrapper = lambda thing: hasattr(thing, "allParameters")
    return module
