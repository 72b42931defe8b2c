"""Frames: renders the views that changed and sends their pictures, the one under the pointer first.

All views of a page share one loop. A round takes no longer than a frame may, but for two views; what does not fit into
it comes in the next, longest waiting first, so scrolling stays quick however many views follow. Pictures are coarser
while things move and sent once more, finer, when they rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

FRAMES_PER_S = 30.0
REST_S = 0.25
"""Without a change for that long, a view is at rest."""

MOVING_QUALITY, RESTING_QUALITY = 75, 95
MAX_PENDING = 12
"""Pictures on their way to the browser, beyond which no more are made: a slow line gets fewer, not later ones."""


class Stream:
    """The pictures of one view, as trame's remote controlled area asks for them.

    Args:
        frames: The loop that serves it.
        name: Of the area on the page.
        window: What is rendered; `img_cols_rows` are its pixels.

    Attributes:
        before: Called before it is rendered, for what can wait until then.
    """

    def __init__(self, frames: Frames, name: str, window: Any) -> None:
        self.rca, self.name = window, name
        self.before: Callable[[], None] | None = None
        self.target_fps = FRAMES_PER_S
        self.visible = False
        self.wanted = self.coarse = False
        self.sent_s = 0.0
        self._frames = frames
        self._push: Callable[[bytes, dict[str, Any]], None] | None = None
        self._made = self._shown = 0

    def set_push_callback(self, callback: Callable[[bytes, dict[str, Any]], None]) -> None:
        """Who sends what was made."""
        self._push = callback

    def schedule_render(self) -> None:
        """Something has changed."""
        self.wanted = True
        self._frames.wake()

    def reset(self) -> None:
        """Every picture is whole, so nothing depends on those before."""

    async def close(self) -> None:
        """Nothing of its own runs."""

    def capture(self) -> tuple[np.ndarray, int]:
        """Render and take the pixels [height, width, 3], with the number of the picture."""
        self._made += 1
        return self.rca.img_cols_rows[0], self._made

    def send(self, number: int, picture: bytes, size: tuple[int, int], quality: int) -> None:
        """Send a picture, unless a later one was sent already."""
        if number > self._shown and self._push is not None:
            self._shown = number
            meta = {"type": "image/jpeg", "codec": "", "key": "key", "quality": quality}
            self._push(picture, {**meta, "w": size[0], "h": size[1], "st": time.time_ns() // 1_000_000})


class Frames:
    """The loop over all streams of a page.

    Args:
        pending: Tells how many messages are on their way to the browser.
    """

    def __init__(self, pending: Callable[[], int] = lambda: 0) -> None:
        self.focus = ""
        self.count = 0
        self._pending = pending
        self._cost_s = 0.0  # of a picture, on average
        self._streams: dict[str, Stream] = {}
        self._first: list[Callable[[], None]] = []
        self._woken = asyncio.Event()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="frames")

    def add(self, name: str, window: Any) -> Stream:
        """A stream of a new view."""
        stream = Stream(self, name, window)
        self._streams[name] = stream
        return stream

    def stream(self, name: str) -> Stream:
        """The stream of that name."""
        return self._streams[name]

    def wake(self) -> None:
        """There is something to render."""
        self._woken.set()

    def do_first(self, deed: Callable[[], None]) -> None:
        """Do something before the next round, once however often it is asked for."""
        if deed not in self._first:
            self._first.append(deed)
        self.wake()

    async def run(self) -> None:
        """Serve the streams until cancelled."""
        try:
            while True:
                started = time.monotonic()
                if not await self._round(started):
                    await self._rest()
                await asyncio.sleep(max(0.0, started + 1 / FRAMES_PER_S - time.monotonic()))
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _round(self, started: float) -> bool:
        """Render what fits into the time of a frame, at least two views; whether there was anything."""
        first, self._first = self._first, []
        for deed in first:
            deed()
        wanted = [stream for stream in self._streams.values() if stream.wanted and stream.visible]
        wanted.sort(key=lambda stream: (stream.name != self.focus, stream.sent_s))
        for place, stream in enumerate(wanted):
            spent_s = time.monotonic() - started
            if self._pending() > MAX_PENDING or (place > 1 and spent_s + self._cost_s > 1 / FRAMES_PER_S):
                break
            self._make(stream, MOVING_QUALITY)
            self._cost_s = 0.8 * self._cost_s + 0.2 * (time.monotonic() - started - spent_s)
            await asyncio.sleep(0)  # lets the pointer's next event in
        return bool(wanted or first)

    async def _rest(self) -> None:
        """Nothing moves: send finer pictures of what moved last, then wait for the next change."""
        self._woken.clear()  # nothing was asked for since the round, as nobody else had a turn
        coarse = [stream for stream in self._streams.values() if stream.coarse and stream.visible]
        try:
            await asyncio.wait_for(self._woken.wait(), REST_S if coarse else None)
        except asyncio.TimeoutError:
            for stream in coarse:
                self._make(stream, RESTING_QUALITY)
                await asyncio.sleep(0)
                if self._woken.is_set():
                    return

    def _make(self, stream: Stream, quality: int) -> None:
        """Render a view here, as VTK asks for it, and encode and send the picture elsewhere."""
        if stream.before is not None:
            stream.before()
        stream.wanted, stream.coarse = False, quality < RESTING_QUALITY
        stream.sent_s = time.monotonic()
        pixels, number = stream.capture()
        self.count += 1
        height, width = pixels.shape[:2]
        encoded = asyncio.get_running_loop().run_in_executor(self._pool, encode, pixels, quality)

        def send(done: asyncio.Future[bytes]) -> None:
            if not done.cancelled():
                stream.send(number, done.result(), (width, height), quality)

        encoded.add_done_callback(send)


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG of an image [height, width, 3]; at rest thin coloured outlines keep all of their colour."""
    file = BytesIO()
    subsampling = 0 if quality >= RESTING_QUALITY else 2
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()
