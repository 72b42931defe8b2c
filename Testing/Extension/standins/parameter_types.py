"""Parameter types: what a parameter node can hold, written as strings and references as the application does."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer


class Validator:
    """A condition on a value."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


@dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} to {self.maximum}")


@dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass
class Choice(Validator):
    choices: typing.Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass
class Default:
    """The value a parameter starts with."""

    value: Any


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float


@dataclass
class TextType:
    """A type that is one string in the node."""

    kinds: type | tuple[type, ...]
    default: Any
    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]

    def takes(self, value: Any) -> bool:
        return isinstance(value, self.kinds)

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, self.to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


@dataclass
class NodeType:
    """A node: a reference, and an empty parameter of the same name that says it was set."""

    kind: type
    default: Any = None

    def takes(self, value: Any) -> bool:
        return value is None or isinstance(value, self.kind)

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


@dataclass
class UnionType:
    """One of several types, each under the name with its number. None is taken only where the union names it."""

    members: list[Any]
    default: Any = None

    def takes(self, value: Any) -> bool:
        return self._place(value) is not None

    def _place(self, value: Any) -> int | None:
        for place, member in enumerate(self.members):
            is_node_type = isinstance(member, NodeType)
            if member.takes(value) and not (is_node_type and value is None):
                return place
        return None

    def is_in(self, node: Any, name: str) -> bool:
        return any(member.is_in(node, f"{name}_{place}") for place, member in enumerate(self.members))

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            place = self._place(value)
            self.members[place].write(node, f"{name}_{place}", value)

    def read(self, node: Any, name: str) -> Any:
        for place, member in enumerate(self.members):
            if member.is_in(node, f"{name}_{place}"):
                return member.read(node, f"{name}_{place}")
        raise KeyError(name)

    def remove(self, node: Any, name: str) -> None:
        for place, member in enumerate(self.members):
            member.remove(node, f"{name}_{place}")


def storage_of(kind: Any) -> Any:
    """How a type is stored.

    Raises:
        TypeError: If the application has no way, or these stand-ins have none yet.
    """
    if typing.get_origin(kind) is typing.Union:
        return UnionType([storage_of(member) for member in typing.get_args(kind)])
    if not isinstance(kind, type):
        raise TypeError(f"a parameter cannot be of type {kind}")
    if kind is type(None):
        return TextType(type(None), None, lambda value: "True", lambda text: None)
    if kind is bool:
        return TextType(bool, False, str, lambda text: text == "True")
    if kind in (int, float):
        return TextType((int, float) if kind is float else int, 0, str, kind)
    if kind is str:
        return TextType(str, "", str, str)
    if issubclass(kind, pathlib.PurePath):
        return TextType(kind, kind(), str, kind)
    if issubclass(kind, enum.Enum):
        return TextType(kind, next(iter(kind)), lambda value: value.name, lambda text: kind[text])
    if issubclass(kind, slicer.vtkMRMLNode):
        return NodeType(kind)
    raise TypeError(f"a parameter cannot be of type {kind}")
