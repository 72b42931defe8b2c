"""Proxy: hand a request or a WebSocket on to a session's worker, and its answer back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from DABSegExtension.browser.access import KEY_HEADER
from DABSegExtension.browser.process import Worker

LARGEST_MESSAGE = 16 << 20
"""Bytes of a message that a page may send; those of a worker have no bound."""

HEARTBEAT_S = 20.0
"""How often a page is asked whether it is still there; one that was closed without a word has no session for long."""

NOT_HANDED_ON = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"),
    *("upgrade", "host", "origin", "cookie", "set-cookie", "content-length"),
    KEY_HEADER.lower(),
}
"""Headers that concern one hop only, or the gateway only: a worker sees no token, and sets nobody's cookies."""

FIRST_PAGE = "index.html"
"""What "" is: without a redirect to it, the address of a session stays short."""


def new_client() -> aiohttp.ClientSession:
    """For all requests to workers: it waits for as long as they take, unpacks nothing and keeps no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


async def hand_on(request: web.Request, path: str, client: aiohttp.ClientSession, worker: Worker) -> web.StreamResponse:
    """Answer a request by what the worker answers, piece by piece.

    Args:
        request: As it came; GET or HEAD.
        path: Of the request within the session, as it was written in the URL.
        client: To ask the worker with.
        worker: One that is ready.

    Raises:
        aiohttp.ClientError: If the worker does not begin to answer.
    """
    url = _url(worker, path or FIRST_PAGE, request.rel_url.raw_query_string)
    headers = _kept(request.headers)
    headers[KEY_HEADER] = worker.key
    async with client.request(request.method, url, headers=headers, allow_redirects=False) as answer:
        response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
        response.content_length = answer.content_length
        try:
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, ConnectionError):  # no page fits behind half an answer: break off, which tells it
            if request.transport is not None:
                request.transport.abort()
        return response


async def hand_on_socket(
    request: web.Request, path: str, client: aiohttp.ClientSession, worker: Worker
) -> web.WebSocketResponse:
    """Join a page's WebSocket with the worker's until one of them closes; a slow page slows its worker down.

    Raises:
        aiohttp.ClientError: If the worker does not answer.
    """
    url = _url(worker, path, request.rel_url.raw_query_string)
    async with client.ws_connect(url, headers={KEY_HEADER: worker.key}, max_msg_size=0, compress=0) as inner:
        outer = web.WebSocketResponse(max_msg_size=LARGEST_MESSAGE, compress=False, heartbeat=HEARTBEAT_S)
        await outer.prepare(request)
        ways = [asyncio.create_task(_pump(outer, inner)), asyncio.create_task(_pump(inner, outer))]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await outer.close()
        return outer


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    """Hand on what comes until there is no more, or nobody to take it."""
    with contextlib.suppress(ConnectionError):
        async for message in source:
            if message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await target.send_str(message.data)


def _url(worker: Worker, path: str, query: str) -> URL:
    return URL(f"http://127.0.0.1:{worker.port}/{path}" + (f"?{query}" if query else ""), encoded=True)


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers that are handed on."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in NOT_HANDED_ON)
