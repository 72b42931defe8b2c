"""Turns: one heavy job at a time over all sessions, first come, first served."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """The queue for the processor; who stands at its head has the turn.

    Args:
        tell: Called with (who, how many stand before it) each time that number is new to somebody; 0: its turn.
    """

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self._tell = tell
        self._told: dict[str, int] = {}  # in the order of arrival

    def want(self, who: str) -> None:
        """Stand at the end of the queue; who stands in it already keeps the place, and is told it again."""
        ahead = list(self._told).index(who) if who in self._told else len(self._told)
        self._told[who] = ahead
        self._tell(who, ahead)

    def end(self, who: str) -> None:
        """Leave the queue, with the turn or before it came; nothing where one does not stand in it."""
        self._told.pop(who, None)
        moved = {waiting: ahead for ahead, waiting in enumerate(self._told) if self._told[waiting] != ahead}
        self._told |= moved
        for waiting in moved:
            if waiting in self._told:  # who was told before may have left on it
                self._tell(waiting, self._told[waiting])

    def whose(self) -> str | None:
        """Who has the turn, if anybody."""
        return next(iter(self._told), None)

    def __len__(self) -> int:
        return len(self._told)
