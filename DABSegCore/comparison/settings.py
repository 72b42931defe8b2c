"""Settings: tables of a plan checked against what they may hold, and a training as words of a command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from DABSegCore.errors import InputError
from DABSegCore.training.config import TrainConfig, resolve

DECIDED = {
    **dict.fromkeys(("data", "split", "validation"), "[protocol] says which cases train"),
    "restorer": "the method's own key restorer names the method whose network it is",
    "device": "the option --device says where to compute",
    "max_minutes": "an interrupted comparison goes on by itself",
}
"""Settings of a training that a plan does not set, and why."""

LENGTHS = ("steps", "epochs", "total_minutes")
"""How long a training may be said to be; one of them."""

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", dict: "a table"}


def checked(table: Mapping[str, Any], hints: Mapping[str, Any], where: str, place: Path) -> dict[str, Any]:
    """The values of a table, of the types they must have.

    Args:
        table: As TOML has it.
        hints: Type by key: all keys there may be.
        where: What the table is, to begin sentences with.
        place: Folder that relative paths start from.

    Raises:
        InputError: If a key is unknown or a value of another type.
    """
    check_known(table, hints, where)
    values = {}
    for key, value in table.items():
        try:
            values[key] = _converted(hints[key], value, place)
        except TypeError as error:
            raise InputError(
                f"{where} has {key} = {value!r:.60}, but it must be {said(hints[key])}; correct the plan", "bad-plan"
            ) from error
    return values


def check_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names that are not known, with the nearest one that is."""
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            cure = f"perhaps it is {near[0]!r}" if near else f"known are {', '.join(known)}"
            raise InputError(f"{where} has {name!r}, which is not known; {cure}", code="bad-plan")


def training(table: Mapping[str, Any], where: str, place: Path) -> dict[str, Any]:
    """Settings of a training, checked one by one; as `checked`.

    Raises:
        InputError: If one is none, of another type, or decided elsewhere.
    """
    for name in table:
        if name in DECIDED:
            raise InputError(f"{where} has {name!r}, but {DECIDED[name]}; leave it out", code="bad-plan")
    hints = {name: kind for name, kind in get_type_hints(TrainConfig).items() if name not in DECIDED}
    return checked(table, hints, where, place)


def put_together(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings over the shared ones; its own length replaces theirs, whatever it is counted in."""
    if any(name in own for name in LENGTHS):
        shared = {name: value for name, value in shared.items() if name not in LENGTHS}
    return {**shared, **own}


def config_of(settings: Mapping[str, Any], where: str) -> TrainConfig:
    """The training that settings make, with all that they leave open.

    Raises:
        InputError: If they name no network or do not go together.
    """
    if "preset" not in settings and settings.get("recipe") != "paper":
        raise InputError(
            f"{where} names no network, and a plan must mean the same on every machine; add preset to its train",
            code="bad-plan",
        )
    try:
        return resolve(settings, on_gpu=False)
    except InputError as fault:
        raise InputError(f"{where} cannot be trained: {fault}", code="bad-plan") from fault


def length(config: TrainConfig) -> tuple[str, float]:
    """What a training is counted in (of `LENGTHS`), and how long it is."""
    return next((name, getattr(config, name)) for name in LENGTHS if getattr(config, name) is not None)


def words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of `python -m DABSegCore.train`."""
    said: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            said.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            said += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return said


def said(kind: Any) -> str:
    """A type in words."""
    arguments = [a for a in get_args(kind) if a not in (NoneType, ...)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(kind) is tuple:
        each = "values" if ... in get_args(kind) else f"{len(arguments)} values"
        return f"a list of {each}, each {said(arguments[0])}"
    return said(arguments[0]) if arguments and kind is not dict else _WORDS[kind]


def _converted(kind: Any, value: Any, place: Path) -> Any:
    """A value of TOML as the type that is wanted; TypeError where it is another."""
    arguments = [a for a in get_args(kind) if a not in (NoneType, ...)]
    if get_origin(kind) is Literal:
        if value in arguments:
            return value
    elif get_origin(kind) is tuple:
        if isinstance(value, list) and (... in get_args(kind) or len(value) == len(arguments)):
            return tuple(_converted(arguments[0], item, place) for item in value)
    elif arguments:  # optional
        return _converted(arguments[0], value, place)
    elif kind is Path:
        if isinstance(value, str) and value:
            return place / Path(value).expanduser()
    elif kind is float:
        if type(value) in (int, float):
            return float(value)
    elif type(value) is kind:
        return value
    raise TypeError(value)
