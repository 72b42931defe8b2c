"""Stand-in for the worker: as the gateway sees it, without scene, network or page; it does what its WebSocket says.

python -m Testing.Browser.fake_worker DIR [--case NAME=CASE_DIR ...] ...
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from DABSegExtension.browser.process import only_the_gateway

START_S = float(os.environ.get("FAKE_START_S", "0"))
FAILS = os.environ.get("FAKE_FAILS", "")


class FakeWorker:
    """Its folder, what it heard from the gateway, and the WebSockets it tells of it."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        self.folder, self.options = folder, options
        self.heard: list[dict[str, Any]] = []
        self.sockets: set[web.WebSocketResponse] = set()
        self.over = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[only_the_gateway()])
        app.router.add_get("/index.html", self.index)
        app.router.add_get("/bytes", self.some_bytes)
        app.router.add_get("/echo/{path:.*}", self.echo)
        app.router.add_get("/ws", self.socket)
        return app

    async def index(self, request: web.Request) -> web.Response:
        response = web.json_response({"folder": str(self.folder), "options": self.options, "heard": self.heard})
        response.set_cookie("mine", "1")
        return response

    async def some_bytes(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(int(request.query["count"])))

    async def echo(self, request: web.Request) -> web.Response:
        return web.json_response({"path": request.raw_path, "headers": dict(request.headers)})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Binary messages come back; texts are JSON, {"do": ...}; who listens is told what the gateway says."""
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is web.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                await self.do(socket, **json.loads(message.data))
        self.sockets.discard(socket)
        return socket

    async def do(self, socket: web.WebSocketResponse, do: str, **values: Any) -> None:
        """One order of a test."""
        if do == "listen":
            self.sockets.add(socket)
            await socket.send_json({"event": "listening"})
        elif do == "say":
            say(**values)
        elif do == "write":
            (self.folder / "out" / values["name"]).write_text(values["text"])
        elif do == "link":
            (self.folder / "out" / values["name"]).symlink_to(values["to"])
        elif do == "frames":
            for _ in range(values["count"]):
                await socket.send_bytes(bytes(values["bytes"]))
        elif do == "start":
            await socket.send_str(str(subprocess.Popen(["sleep", "60"]).pid))
        elif do == "die":
            os._exit(values["code"])

    def hear(self, event: dict[str, Any]) -> None:
        self.heard.append(event)
        if event["event"] == "bye":
            self.over.set()
        for socket in self.sockets:
            asyncio.get_running_loop().create_task(socket.send_json(event))


def say(event: str, **values: Any) -> None:
    os.write(OURS, json.dumps({"event": event, **values}).encode() + b"\n")


async def main() -> None:
    worker = FakeWorker(Path(sys.argv[1]), sys.argv[2:])
    print("a library prints this", flush=True)
    await asyncio.sleep(START_S)
    if FAILS:
        sys.exit(FAILS)
    runner = web.AppRunner(worker.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    say("ready", port=runner.addresses[0][1])
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(worker.hear, json.loads(line))
        loop.call_soon_threadsafe(worker.over.set)

    threading.Thread(target=listen, daemon=True).start()
    await worker.over.wait()
    if {"event": "bye"} not in worker.heard:
        shutil.rmtree(worker.folder)
    os._exit(0)


if __name__ == "__main__":
    OURS = os.dup(1)
    os.dup2(2, 1)
    asyncio.run(main())
