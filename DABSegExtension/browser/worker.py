"""Worker: the process of one session, which shows it on a page and talks with the gateway that started it.

    python -m DABSegExtension.browser.worker FOLDER --case NAME=CASE_DIR     # as the gateway starts it
    python -m DABSegExtension.browser.worker FOLDER --alone --port 8500      # without one, for tests

FOLDER is the session's own, with `in`, `out` and `tmp`. Lines of JSON go both ways: from the worker on its standard
output, to it on its standard input, whose end is the end of the worker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from DABSegExtension.browser.process import remove
from DABSegExtension.browser.queueing import GatewayTurns, NoQueue

MEMORY_EVERY_S = 10.0

logger = logging.getLogger(__name__)


class Line:
    """The line to the gateway: JSON, one event a line.

    Args:
        out: What was the standard output when the process started.
        listen: Told every event of the gateway, on the event loop; the end of the input is told as its "bye".
    """

    def __init__(self, out: TextIO, listen: Callable[[dict[str, Any]], None]) -> None:
        self._out, self._listen = out, listen
        self.is_orphan = False
        """Whether the gateway ended without a goodbye."""

    def say(self, event: str, **values: Any) -> None:
        """Send one event; a gateway that is gone is noticed by the end of the input instead."""
        try:
            print(json.dumps({"event": event, **values}), file=self._out, flush=True)
        except BrokenPipeError:
            logger.info("no gateway hears %s", event)

    def hear(self, source: TextIO, loop: asyncio.AbstractEventLoop) -> None:
        """Read the gateway's events until there are no more, in a thread of its own, as reading waits."""
        for text in source:
            if text.strip():
                event = json.loads(text)
                loop.call_soon_threadsafe(self._listen, event)
                if event["event"] == "bye":
                    return
        self.is_orphan = True
        loop.call_soon_threadsafe(self._listen, {"event": "bye"})


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one session until the gateway says goodbye or ends."""
    options = _parse(argv)
    out = _claim_output()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _use_folder(options.folder)
    is_orphan = asyncio.run(_serve(options, out))
    if is_orphan:
        remove(options.folder)  # the gateway would have done it
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m DABSegExtension.browser.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="the session's own folder, with in, out and tmp")
    parser.add_argument("--case", action="append", default=[], metavar="NAME=CASE_DIR", help="may be opened by name")
    parser.add_argument("--weights", type=Path, help="checkpoint instead of the one that ships")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--max-upload-mib", type=int, default=512, help="told on the page; the gateway sees to it")
    parser.add_argument("--alone", action="store_true", help="without a gateway: no queue, ends with Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0 takes a free one")
    parser.add_argument(
        "--open", default="", metavar="QUERY", help="with --alone: the link's query, as virtual=5&run=1"
    )
    return parser.parse_args(argv)


def _claim_output() -> TextIO:
    """Keep the standard output for the gateway; what libraries print goes to the log instead."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _use_folder(folder: Path) -> None:
    """Make the session's folders, and the last of them what this process and its children take for temporary files."""
    for name in ("in", "out", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["TMPDIR"] = str((folder / "tmp").resolve())


async def _serve(options: argparse.Namespace, out: TextIO) -> bool:
    """Make the scene, the workbench and the page, and keep them going; returns whether the gateway left them alone."""
    from DABSegExtension.browser.server import Session  # slow imports, after the output is claimed

    over = asyncio.get_running_loop().create_future()
    session: Session | None = None

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "bye":
            over.done() or over.set_result(None)
        elif session is not None:
            session.hear(event)

    line = Line(out, listen)
    turns = NoQueue() if options.alone else GatewayTurns(line.say)
    session = Session(options, turns)
    port = await session.start(options.port)
    line.say("ready", port=port)
    if options.alone:
        session.hear({"event": "open", "query": _query(options.open)})
        print(f"http://127.0.0.1:{port}/", file=sys.stderr)
    else:
        threading.Thread(target=line.hear, args=(sys.stdin, asyncio.get_running_loop()), daemon=True).start()
    memory = asyncio.create_task(_tell_memory(line, session))
    try:
        await first_of(over, *session.loops)
    finally:
        memory.cancel()
        await session.stop()
    return line.is_orphan


async def first_of(*things: asyncio.Future[Any]) -> None:
    """Wait for the first to end, and raise what it raised: a page whose loop has ended would stand still for ever."""
    done, _ = await asyncio.wait(things, return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()


def _query(text: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(text))


async def _tell_memory(line: Line, session: Any) -> None:
    while True:
        line.say("memory", mib=session.memory_mib())
        await asyncio.sleep(MEMORY_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
