"""Process: the worker of one session, its private folder, and the line of events between it and the gateway.

What gateway and worker have agreed on:

    python -m DABSegExtension.browser.worker DIR --case NAME=CASE_DIR ... --device D --max-upload-mib N [--weights F]

* DIR has in/ (uploads), out/ (only files in it may be downloaded) and tmp/, which is TMPDIR of worker and children.
* The worker serves on 127.0.0.1 at a port of its own choice, and only requests whose header `access.KEY_HEADER` is the
  environment variable `access.KEY_VARIABLE`, since any page in the user's browser can reach a loopback port:
      `server.controller.add("on_server_bind")(lambda s: s.app.middlewares.append(process.only_the_gateway()))`
* Events are JSON objects with "event", one a line. Its stdout belongs to them: the worker keeps a copy of it for itself
  and sends file 1 to stderr first, since libraries and children print. Other lines count as log all the same.
* To the gateway: ready (port), want-turn (wish), end-turn, memory (mib). To the worker: ahead (wish, count), turn
  (wish), open (query), upload (files), bye. `open` comes once, when the session is given to a page, even before it is
  ready; `ahead` is never 0, as that is `turn`; both bear the number of the wish they answer.
* stdin ends when the gateway does, however that came. The worker then ends within `GRACE_S`, and if no `bye` came
  before that, removes DIR, for nobody else will.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from DABSegExtension.browser import REPOSITORY
from DABSegExtension.browser.access import KEY_HEADER, KEY_VARIABLE, new_secret

GRACE_S = 5.0
"""How long a worker may take to end by itself."""

LOG_LINES = 40
"""Last lines of a worker's log that are kept."""

LONGEST_LINE = 1 << 20

PARTS = ("in", "out", "tmp")
ON_WINDOWS = os.name == "nt"


def only_the_gateway() -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware for the worker's server: answers who shows the key, and nobody else."""
    key = os.environ[KEY_VARIABLE]

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get(KEY_HEADER) != key:
            raise web.HTTPForbidden(text="this port answers the gateway alone")
        return await handler(request)

    return middleware


class Worker:
    """A worker process and its folder.

    Args:
        module: What runs; its folder and the options follow.
        options: All but the folder.
        folder: Its own, which is made.
        hear: Called with each event it sends but `ready`, in the gateway's loop.
    """

    def __init__(
        self, module: str, options: Sequence[str], folder: Path, hear: Callable[[dict[str, Any]], None]
    ) -> None:
        self.folder = folder
        self.arguments = ["-m", module, str(folder), *options]
        self.hear = hear
        self.key = new_secret()
        self.port: int | None = None
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.ended = asyncio.Event()
        self._ready = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._early: list[bytes] = []  # sent before it had a stdin

    async def start(self) -> None:
        """Make the folder and start the process; `ready` waits for it."""
        for part in PARTS:
            (self.folder / part).mkdir(parents=True, mode=0o700)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env=self._environment(),
            limit=LONGEST_LINE,
            start_new_session=not ON_WINDOWS,  # Ctrl-C in the terminal is the gateway's
        )
        self._watch = asyncio.create_task(self._look_after())
        for line in self._early:
            self._process.stdin.write(line)

    async def ready(self) -> bool:
        """Wait until it serves; False if it ended first."""
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, self.ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        return self._ready.is_set() and not self.ended.is_set()

    @property
    def was_ready(self) -> bool:
        """Whether it has ever served."""
        return self._ready.is_set()

    @property
    def exit_code(self) -> int | None:
        """How it ended, below 0 by a signal; None while it runs."""
        return None if self._process is None else self._process.returncode

    def send(self, event: str, **fields: Any) -> None:
        """Tell it something; what is said to one that has ended is lost."""
        line = json.dumps({"event": event, **fields}).encode() + b"\n"
        if self._process is None:
            self._early.append(line)
        elif not self.ended.is_set():
            with contextlib.suppress(ConnectionError, RuntimeError):  # it is about to end
                self._process.stdin.write(line)

    async def end(self) -> None:
        """Say goodbye, wait a while, then kill it; its folder is gone afterwards."""
        if self._process is not None and not self.ended.is_set():
            self.send("bye")
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.close()
            try:  # one that is not ready has nothing to put away, and does not listen yet
                await asyncio.wait_for(self.ended.wait(), GRACE_S if self.was_ready else 0)
            except asyncio.TimeoutError:
                self._kill()
                await self.ended.wait()
        if self._watch is not None:
            await self._watch
        await asyncio.to_thread(remove, self.folder)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if ON_WINDOWS:
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _environment(self) -> Mapping[str, str]:
        temporary = str(self.folder / "tmp")
        return {
            **os.environ,
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary),
            KEY_VARIABLE: self.key,
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "WSLINK_READY_MSG": "",  # would be written to stdout without an end of line
            "WSLINK_WS_COMPRESS": "0",  # pictures are packed already, and the way is short
        }

    async def _look_after(self) -> None:
        """Read all it says until it ends; what it leaves behind may keep the pipes open, and is not waited for."""
        readers = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_log())]
        await self._process.wait()
        self._kill()  # what it started and left behind, so that its job is over when it is
        _, still_open = await asyncio.wait(readers, timeout=1)
        for reader in still_open:
            reader.cancel()
        self.ended.set()

    async def _read_events(self) -> None:
        async for text in _lines(self._process.stdout):
            event = _event(text)
            if event is None:
                self.log.append(text)
            elif event["event"] == "ready":
                self.port = int(event["port"])
                self._ready.set()
            else:
                self.hear(event)

    async def _read_log(self) -> None:
        async for text in _lines(self._process.stderr):
            self.log.append(text)


def remove(folder: Path) -> None:
    """Remove a folder with all in it; what processes that are about to end still write goes a little later.

    Raises:
        OSError: If something cannot be removed.
    """
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)
    shutil.rmtree(folder)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Its lines until it ends; one that is too long is left out."""
    while not stream.at_eof():
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if text := line.decode(errors="replace").rstrip():
            yield text


def _event(text: str) -> dict[str, Any] | None:
    """The event of a line, or None for one that goes to the log."""
    with contextlib.suppress(ValueError):
        event = json.loads(text)
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            return event
    return None
