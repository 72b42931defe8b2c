"""Sessions: which worker belongs to which page, from the first request to the end, and one spare that is warm.

A session is its random id: who knows it is let in. What worker and gateway tell each other is in `process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DABSegLib.process.messages import KILLED as KILLED_CODES

from DABSegExtension.browser.access import new_secret
from DABSegExtension.browser.process import Worker
from DABSegExtension.browser.turns import Turns

LOOK_EVERY_S = 1.0
"""How often to look for sessions that nobody needs any more."""

LEFT_S = 60.0
"""A page that has been closed for so long gives its seat to another one, where there is none left."""

REMEMBERED = 200
"""Ended sessions whose reason is still known."""

CLOSED = "Its page was closed a while ago, and its files are removed."
SEAT_GIVEN = "Its page was closed, another one needed its seat, and its files are removed."
KILLED = "Its program was ended by the system, most likely because memory ran out; its files are removed."
FAILED = "Its program ended by a fault, which the terminal of the server tells; its files are removed."
NOT_STARTED = "Its program ended before it was ready; the terminal of the server tells why."
UNKNOWN = "It is not known here, as after a restart of the server; whatever it held is removed."


@dataclass(eq=False)
class Session:
    """One page's session.

    Args:
        worker: Its process.
        id: The secret part of its address.
        number: For the log, which must not tell the id.
        sockets: Open WebSockets of its pages.
        seen: When it last had one, or was asked for anything, on the monotonic clock.
        was_told: Whether its page shows already that it is starting.
        most_mib: Most memory its worker had.
        is_receiving: Whether an upload is on its way.
        wish: Number of its last wish for a turn, which the answers to it bear.
    """

    worker: Worker
    id: str = field(default_factory=new_secret)
    number: int = 0
    sockets: int = 0
    seen: float = field(default_factory=time.monotonic)
    was_told: bool = False
    most_mib: float = 0.0
    is_receiving: bool = False
    wish: int | None = None

    def touch(self) -> None:
        """Note that somebody is there."""
        self.seen = time.monotonic()

    def idle_s(self) -> float:
        """For how long nobody has been there."""
        return 0.0 if self.sockets or self.is_receiving else time.monotonic() - self.seen


class NoSeat(Exception):
    """No more sessions may be opened now."""


class CannotStart(Exception):
    """The system starts no program for a session; the log says why."""


class Sessions:
    """All sessions of a server.

    Args:
        folder: Private to this server; each session gets one in it.
        options: For the workers, all but the folder.
        most: How many sessions may be open.
        idle_s: After how long without a page a session ends.
        module: What the workers run.
        spare_after_s: How long after a session was given out the next spare is started; its imports would take the
            processor from the page that is just opening.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        *,
        most: int = 4,
        idle_s: float = 1800.0,
        module: str = "DABSegExtension.browser.worker",
        spare_after_s: float = 10.0,
    ) -> None:
        self.folder, self.options, self.module = folder, list(options), module
        self.most, self.idle_s, self.spare_after_s = most, idle_s, spare_after_s
        self.turns = Turns(self._tell_place)
        self._open: dict[str, Session] = {}
        self._why_ended: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._spare: Session | None = None
        self._spare_due = 0.0
        self._may_start = True  # until one does not start: the next would not either
        self._ending: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._taking = asyncio.Lock()

    async def run(self) -> None:
        """Keep a spare, and end what nobody needs, until cancelled."""
        while True:
            for session in list(self._open.values()):
                if session.worker.ended.is_set():
                    self._drop(session, self._why_died(session))
                elif session.idle_s() > self.idle_s:
                    self._drop(session, CLOSED)
            self._bury_spare()
            wanted = self._spare is None and self._may_start and len(self._open) < self.most
            if wanted and time.monotonic() >= self._spare_due:
                async with self._taking:
                    if self._spare is None:
                        with contextlib.suppress(CannotStart):
                            self._spare = await self._new()
                        self._may_start = self._spare is not None
            await asyncio.sleep(LOOK_EVERY_S)

    async def take(self, query: Mapping[str, str]) -> Session:
        """A session for a new page.

        Args:
            query: Of its link.

        Raises:
            NoSeat: If as many as may be are open, each with a page.
            CannotStart: If the system has no room for it.
        """
        async with self._taking:
            self._make_seat()
            self._bury_spare()
            session = self._spare or await self._new()
            self._may_start = True
            self._spare, self._spare_due = None, time.monotonic() + self.spare_after_s
            self._open[session.id] = session
        session.touch()
        session.worker.send("open", query=dict(query))
        return session

    def get(self, session_id: str) -> Session | None:
        """The session of that id, if it is open and its worker alive."""
        session = self._open.get(session_id)
        if session is not None and session.worker.ended.is_set():
            self._drop(session, self._why_died(session))
            return None
        return session

    def why_ended(self, session_id: str) -> str:
        """Why there is no session of that id, one sentence."""
        return self._why_ended.get(session_id, UNKNOWN)

    async def close(self) -> None:
        """End all of them, at once, and wait until their files are gone."""
        async with self._taking:  # who is being given one has it by then
            self._is_over = True
            waiting = [*self._open.values(), *([self._spare] if self._spare else [])]
            self._open, self._spare = {}, None
        await asyncio.gather(*(session.worker.end() for session in waiting), *self._ending)

    async def _new(self) -> Session:
        """Start a worker; it is not ready yet.

        Raises:
            CannotStart: If the system does not.
        """
        number = next(self._numbers)
        worker = Worker(self.module, self.options, self.folder / str(number), lambda event: self._hear(session, event))
        session = Session(worker, number=number)
        try:
            await worker.start()
        except OSError as error:
            note(f"the program of session {number} cannot be started: {error.strerror or error}")
            await worker.end()
            raise CannotStart from error
        return session

    def _bury_spare(self) -> None:
        """Have no spare where it has died."""
        if self._spare is not None and self._spare.worker.ended.is_set():
            self._why_died(self._spare)
            self._in_background(self._spare.worker.end())
            self._spare = None

    def _make_seat(self) -> None:
        """End the session whose page has been closed for longest, where one must go."""
        if self._is_over:
            raise NoSeat
        if len(self._open) < self.most:
            return
        left = max(self._open.values(), key=Session.idle_s)
        if left.idle_s() < LEFT_S:
            raise NoSeat
        self._drop(left, SEAT_GIVEN)

    def _drop(self, session: Session, why: str) -> None:
        """End a session in the background and remember why."""
        del self._open[session.id]
        self._why_ended[session.id] = why
        if len(self._why_ended) > REMEMBERED:
            del self._why_ended[next(iter(self._why_ended))]
        note(f"session {session.number} ended (at most {session.most_mib:.0f} MiB of memory): {why}")
        self._in_background(session.worker.end())
        self._in_background(self._free_turn(session))

    async def _free_turn(self, session: Session) -> None:
        """Give its turn to the next, once its job is over: two at a time may be more than the memory holds."""
        if self.turns.whose() == session.id:
            await session.worker.ended.wait()
        self.turns.end(session.id)

    def _in_background(self, ending: Coroutine[Any, Any, None]) -> None:
        """Do what belongs to the end of a session; the server's end waits for it."""
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _why_died(self, session: Session) -> str:
        """Why a worker is gone that nobody asked to end; its last words go to the terminal."""
        worker = session.worker
        self._may_start = worker.was_ready
        note(f"the program of session {session.number} ended with the exit code {worker.exit_code}; its last lines:")
        for line in worker.log:
            note(f"  {line}")
        if not worker.was_ready:
            return NOT_STARTED
        return KILLED if worker.exit_code in KILLED_CODES else FAILED

    def _hear(self, session: Session, event: dict[str, Any]) -> None:
        """What a worker says."""
        if event["event"] == "want-turn":
            if session.id in self._open:  # one that is being ended would keep its place for ever
                session.wish = event.get("wish")
                self.turns.want(session.id)
        elif event["event"] == "end-turn":
            self.turns.end(session.id)
        elif event["event"] == "memory":
            session.most_mib = max(session.most_mib, float(event["mib"]))

    def _tell_place(self, session_id: str, ahead: int) -> None:
        """Tell a worker its place in the queue."""
        session = self._open.get(session_id)
        if session is not None:
            words = {"count": ahead} if ahead else {}
            session.worker.send("ahead" if ahead else "turn", wish=session.wish, **words)


def note(text: str) -> None:
    """One line for whoever runs the server."""
    print(text, file=sys.stderr, flush=True)
