"""Queueing: how a session waits for its turn, as one heavy job is done at a time over all sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class GatewayTurns:
    """The gateway's queue, as one session sees it.

    Wishes are numbered, and the gateway's answers name the wish they are for: one to a wish that was dropped may still
    be on its way when the next is made.

    Args:
        say: Sends an event to the gateway.
    """

    def __init__(self, say: Callable[..., Any]) -> None:
        self._say = say
        self._wanted = self._mine = False
        self._ahead = self._wish = 0

    def want(self) -> None:
        """Ask for a turn, once."""
        if not self._wanted:
            self._wanted = True
            self._wish += 1
            self._say("want-turn", wish=self._wish)

    def end(self) -> None:
        """Give the turn back, or leave the queue."""
        if self._wanted:
            self._wanted = self._mine = False
            self._ahead = 0
            self._say("end-turn")

    def is_mine(self) -> bool:
        """Whether it is this session's turn."""
        return self._mine

    def ahead(self) -> int:
        """How many are before this session."""
        return self._ahead

    def hear(self, event: dict[str, Any]) -> None:
        """Take the gateway's word, unless it is for a wish that was dropped meanwhile."""
        if not self._wanted or event.get("wish") != self._wish:
            return
        if event["event"] == "ahead":
            self._ahead = int(event["count"])
        elif event["event"] == "turn":
            self._mine, self._ahead = True, 0


class NoQueue:
    """A session alone: it is always its turn."""

    def want(self) -> None:
        """Ask for a turn."""

    def end(self) -> None:
        """Give it back."""

    def is_mine(self) -> bool:
        """Whether it is this session's turn."""
        return True

    def ahead(self) -> int:
        """How many are before this session."""
        return 0

    def hear(self, event: dict[str, Any]) -> None:
        """There is nobody to hear."""
