"""Observing: widgets listen to MRML, and may be gone before the scene is."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6

_CALLBACKS: list[Callable[[Any, str], None]] = []
"""Kept for good: a scene that the garbage collector takes still calls its observers, and VTK crashes if one is gone."""


def observe(subject: Any, event: Any, method: Callable[..., None]) -> int:
    """Call a method at an event for as long as its owner lives."""
    weak = weakref.WeakMethod(method)

    def call(caller: Any, name: str) -> None:
        alive = weak()
        if alive is not None and shiboken6.isValid(alive.__self__):
            alive(caller, name)

    _CALLBACKS.append(call)
    return subject.AddObserver(event, call)
