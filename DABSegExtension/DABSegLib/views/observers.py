"""Observers: the events a part of the module listens to, to be let go of all at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Observers:
    """A list of observed VTK objects, which do not keep those alive that listen to them.

    A listener that VTK objects kept alive would be part of a circle; Python takes circles apart in any order, and an
    event in between would find half a listener.
    """

    def __init__(self) -> None:
        self._observed: list[tuple[Any, int]] = []

    def watch(self, subject: Any, event: int | str, method: Callable[[Any, Any], object]) -> None:
        """Call a method of a listener with the subject and the event's name whenever it happens.

        Args:
            subject: VTK object.
            event: One of its events.
            method: A bound method; nothing is called any more once its object is gone.
        """
        listener = weakref.WeakMethod(method)

        def call(caller: Any, name: str) -> None:
            alive = listener()
            if alive is not None:
                alive(caller, name)

        self._observed.append((subject, subject.AddObserver(event, call)))

    def clear(self) -> None:
        """Listen no more; may be called twice, and after the objects left their scene."""
        observed, self._observed = self._observed, []
        for subject, tag in observed:
            subject.RemoveObserver(tag)
