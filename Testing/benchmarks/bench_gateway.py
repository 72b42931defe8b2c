"""Benchmark of the workbench's gateway: what it adds to a frame, and how long a page waits for its worker.

    .venv-browser/bin/python Testing/benchmarks/bench_gateway.py            # with the real worker; --fast leaves it out

Frames are of the size the page sends (8 views in one JPEG of 40 kB, and a large one of 400 kB); the worker is a
stand-in that sends as fast as it can. "Direct" is the same client on the worker's own port.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY)]

import aiohttp  # noqa: E402
from aiohttp import web  # noqa: E402

from DABSegExtension.browser.access import KEY_HEADER, Access  # noqa: E402
from DABSegExtension.browser.gateway import Gateway  # noqa: E402
from DABSegExtension.browser.sessions import Sessions  # noqa: E402

FAKE_WORKER = "Testing.Browser.fake_worker"
WORKER = "DABSegExtension.browser.worker"
FRAME_BYTES = (40_000, 400_000)
ECHOES, FRAMES = 500, 2000


@asynccontextmanager
async def a_gateway(module: str, spare_after_s: float = 0.0) -> AsyncIterator[tuple[str, Sessions]]:
    """Address and sessions of a gateway on a free port."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = Sessions(Path(folder), ["--device=cpu"], module=module, spare_after_s=spare_after_s)
        runner = web.AppRunner(Gateway(sessions, Access("127.0.0.1", 0, None), 1 << 20, {}).app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1).start()
        keeping = asyncio.create_task(sessions.run())
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", sessions
        finally:
            keeping.cancel()
            await sessions.close()
            await runner.cleanup()


async def echo_ms(socket: aiohttp.ClientWebSocketResponse, count: int) -> float:
    """Median time of a message there and back, in ms."""
    data, times = bytes(count), []
    for _ in range(ECHOES):
        started = time.perf_counter()
        await socket.send_bytes(data)
        await socket.receive_bytes()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def stream(socket: aiohttp.ClientWebSocketResponse, count: int) -> tuple[float, float]:
    """Frames/s that come through at the most, and ms of this process's processor time for each."""
    await socket.send_json({"do": "frames", "count": FRAMES, "bytes": count})
    started, used = time.perf_counter(), processor_s()
    for _ in range(FRAMES):
        await socket.receive_bytes()
    return FRAMES / (time.perf_counter() - started), (processor_s() - used) * 1000 / FRAMES


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def frames() -> None:
    """Direct and through the gateway, which runs in this process as the client does."""
    async with a_gateway(FAKE_WORKER) as (url, sessions), aiohttp.ClientSession() as client:
        session = await sessions.take({})
        assert await session.worker.ready()
        places = {
            "direct": (f"http://127.0.0.1:{session.worker.port}/ws", {KEY_HEADER: session.worker.key}),
            "gateway": (f"{url}/s/{session.id}/ws", {}),
        }
        for count in FRAME_BYTES:
            for name, (place, headers) in places.items():
                async with client.ws_connect(place, headers=headers, max_msg_size=0, compress=0) as socket:
                    echo = await echo_ms(socket, count)
                    rate, each = await stream(socket, count)
                    print(
                        f"{count:7d} bytes {name:8s} there and back {echo:6.2f} ms, at most {rate:7.0f} frames/s = "
                        f"{rate * count / 1e6:6.0f} MB/s, processor {each:5.2f} ms each"
                    )


async def start() -> None:
    """From the request for a page to a worker that is ready: cold, and with the spare warm."""
    async with a_gateway(WORKER, spare_after_s=1e9) as (url, sessions), aiohttp.ClientSession() as client:
        while sessions._spare is None:
            await asyncio.sleep(0.01)
        for name in ("cold", "warm"):
            if name == "warm":
                sessions._spare_due = 0.0
                while sessions._spare is None or not sessions._spare.worker.was_ready:
                    await asyncio.sleep(0.1)
            started = time.perf_counter()
            async with client.get(f"{url}/") as answer:  # by way of the redirection
                await answer.read()
                place = answer.url
            async with client.get(place) as answer:
                assert answer.status == 200
                await answer.read()
            print(f"first page, {name}: {time.perf_counter() - started:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="frames only")
    asyncio.run(frames())
    if not parser.parse_args().fast:
        asyncio.run(start())


if __name__ == "__main__":
    main()
