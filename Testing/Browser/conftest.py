"""Fixtures of the browser workbench: a gateway with stand-ins for workers, and where a browser is.

These tests have an environment of their own: make test-browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
for _folder in (str(REPOSITORY), str(REPOSITORY / "DABSegExtension")):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

import aiohttp  # noqa: E402
from aiohttp import web  # noqa: E402

from DABSegExtension.browser import sessions as sessions_module  # noqa: E402
from DABSegExtension.browser.access import Access  # noqa: E402
from DABSegExtension.browser.gateway import Gateway  # noqa: E402
from DABSegExtension.browser.sessions import Session, Sessions  # noqa: E402

FAKE_WORKER = "Testing.Browser.fake_worker"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@dataclass
class Server:
    """A gateway that serves, and a client that keeps no cookies and follows no redirections."""

    url: str
    port: int
    sessions: Sessions
    client: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of an answer; `path` may be a whole address."""
        async with self.client.get(self.url + path, allow_redirects=False, **options) as answer:
            return answer.status, dict(answer.headers), await answer.text(errors="replace")

    async def new_page(self, query: str = "") -> str:
        """The path of a new session, with its worker ready: "/s/ID/"."""
        _, headers, _ = await self.get(f"/{query}")
        path = headers["Location"].partition("?")[0]
        assert await self.session(path).worker.ready()
        return path

    def session(self, path: str) -> Session:
        """The session of a path."""
        session = self.sessions.get(path.split("/")[2])
        assert session is not None
        return session

    @contextlib.asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket that is told what the gateway says to the session's worker from now on."""
        async with self.socket(path) as socket:
            await socket.send_json({"do": "listen"})
            assert await socket.receive_json(timeout=5) == {"event": "listening"}
            yield socket

    @staticmethod
    async def until(condition: Callable[[], object], most_s: float = 10.0) -> None:
        """Wait until something is so, which it is to be before long."""
        end = time.monotonic() + most_s
        while not condition():
            assert time.monotonic() < end, "it did not come to be"
            await asyncio.sleep(0.01)

    def socket(self, path: str, **options: Any) -> Any:
        """A WebSocket of a session's page."""
        return self.client.ws_connect(f"{self.url}{path}ws", max_msg_size=0, **options)


@contextlib.asynccontextmanager
async def _serving(
    folder: Path,
    *,
    most: int = 4,
    idle_s: float = 1800.0,
    token: str | None = None,
    most_bytes: int = 1 << 20,
    first: dict[str, str] | None = None,
    spare_after_s: float = 0.0,
) -> AsyncIterator[Server]:
    sessions = Sessions(
        folder, ["--case=A=/cases/A"], most=most, idle_s=idle_s, module=FAKE_WORKER, spare_after_s=spare_after_s
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    gateway = Gateway(sessions, Access("127.0.0.1", port, token), most_bytes, first or {})
    runner = web.AppRunner(gateway.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    keeping = asyncio.create_task(sessions.run())
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
            yield Server(f"http://127.0.0.1:{port}", port, sessions, client)
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await sessions.close()
        await runner.cleanup()


@pytest.fixture
def a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """Starts a gateway with stand-ins for workers: `async with a_gateway(most=2) as server`."""
    monkeypatch.setattr(sessions_module, "LOOK_EVERY_S", 0.05)
    (tmp_path / "server").mkdir()
    return lambda **options: _serving(tmp_path / "server", **options)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program; tests that need one are skipped without it."""
    found = os.environ.get("DABSEG_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no {', '.join(BROWSERS)}; install one or set DABSEG_BROWSER to its program")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """It, running without a screen: a `playwright.sync_api.Browser` that asks nobody for anything by itself."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
