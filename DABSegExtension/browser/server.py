"""Server: one session's page on a port of this computer, with its scene, its workbench and the loops between them."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

os.environ.setdefault("WSLINK_WS_COMPRESS", "0")  # pictures are compressed already

from trame_rca import module as rca_module  # noqa: E402
from trame_server import Server  # noqa: E402

from DABSegExtension.browser import theme  # noqa: E402
from DABSegExtension.browser.access import KEY_VARIABLE  # noqa: E402
from DABSegExtension.browser.facts import memory_mib  # noqa: E402
from DABSegExtension.browser.frames import Frames  # noqa: E402
from DABSegExtension.browser.page import Page  # noqa: E402
from DABSegExtension.browser.process import only_the_gateway  # noqa: E402
from DABSegExtension.browser.views import Screen  # noqa: E402
from DABSegExtension.browser.workbench import Workbench  # noqa: E402


class Session:
    """All of one session.

    Args:
        options: The worker's command line.
        turns: The queue for heavy work, which also hears of it.
        bench: Makes the workbench; for tests.
    """

    def __init__(self, options: argparse.Namespace, turns: Any, bench: Any = Workbench) -> None:
        self._turns = turns
        self._server = new_server()
        self._frames = Frames(self._pending)
        self.screen = Screen(self._frames, self._register)
        self.bench = bench(
            self.screen.scene,
            options.folder,
            _named_cases(options.case),
            weights=options.weights,
            device=options.device,
            turns=turns,
            on_change=lambda: self.page.changed(),
        )
        self.page = Page(self._server, self.screen, self.bench, options.max_upload_mib)
        if KEY_VARIABLE in os.environ:
            self._server.controller.add("on_server_bind")(self._admit_only_the_gateway)
        self.loops: list[asyncio.Task[Any]] = []
        """What goes on as long as the session does, once it has started."""

    async def start(self, port: int) -> int:
        """Listen; returns the port."""
        ready = asyncio.get_running_loop().create_future()
        self._server.controller.on_server_ready.add(lambda **_: ready.done() or ready.set_result(None))
        serving = self._server.start(
            port=port,
            host=HOST,
            exec_mode="coroutine",
            open_browser=False,
            show_connection_info=False,
            disable_logging=True,
            timeout=0,
        )
        self._serving = asyncio.create_task(serving)  # a task that nobody holds may be forgotten
        await ready
        self.loops = [asyncio.create_task(loop) for loop in (self._frames.run(), self.page.run())]
        return int(self._server.port)

    async def stop(self) -> None:
        """End what is being done, and stop listening."""
        self.bench.close()
        for loop in self.loops:
            loop.cancel()
        await self._server.stop()

    def hear(self, event: dict[str, Any]) -> None:
        """An event of the gateway."""
        kind = event["event"]
        if kind == "open":
            self.page.open(event["query"])
        elif kind == "upload":
            self.bench.open_upload({modality: Path(path) for modality, path in event["files"].items()})
        else:
            self._turns.hear(event)

    def memory_mib(self) -> int:
        """Resident memory of this process."""
        return memory_mib()

    def _admit_only_the_gateway(self, web_app: Any) -> None:
        """Any page in the user's browser could reach this port."""
        web_app.app.middlewares.append(only_the_gateway())

    def _pending(self) -> int:
        """Messages on their way to the browser."""
        protocol = self._server.protocol
        return protocol.network_monitor.pending if protocol is not None else 0

    def _register(self, area: Any) -> None:
        """Areas can be registered once the server listens; earlier ones wait."""

        async def register() -> None:
            await self._server.ready
            self._server.controller.rc_area_register(area)

        asyncio.ensure_future(register())


def new_server() -> Server:
    """A trame server of its own, with the page's files."""
    server = Server("dabseg")
    server.client_type = "vue3"
    server.enable_module(rca_module)
    server.enable_module(theme.module())
    return server


def _named_cases(texts: list[str]) -> dict[str, Path]:
    """Name -> folder, of what the command line tells as NAME=CASE_DIR."""
    pairs = (text.partition("=") for text in texts)
    return {name: Path(folder) for name, _, folder in pairs}
