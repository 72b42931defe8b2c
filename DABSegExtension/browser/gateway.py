"""Gateway: the one server that browsers talk to; it gives each page a session with a worker of its own.

    /                   a new session (and a link's query with it), by redirection to its address
    /s/ID/              the page of the session, from its worker, and all else below it but
    /s/ID/upload        the four images of a case, as a form whose fields are named by modality; answered in JSON,
                        {} or {"error": sentence, "code": name}
    /s/ID/files/NAME    a file from the session's folder of downloads

It imports neither Slicer's libraries nor torch, and so starts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import web

from DABSegCore.errors import InputError
from DABSegExtension.browser import pages, proxy, uploads
from DABSegExtension.browser.access import Access
from DABSegExtension.browser.privacy import Privacy
from DABSegExtension.browser.sessions import CannotStart, NoSeat, Session, Sessions

HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "DABSeg",
}
"""With every answer: nothing is loaded from elsewhere, nothing is shown elsewhere, and no address is told elsewhere."""

NOT_KEPT = {"Cache-Control": "no-store"}

CLIENT = web.AppKey("client", aiohttp.ClientSession)

DYING_S = 2.0

FORM_BYTES = 1 << 16
"""What a form has beside its files, at most."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Gateway:
    """The server's answers.

    Args:
        sessions: All of them.
        access: Who may come in.
        most_bytes: Of an upload.
        first: Query for a page whose address names no case.
    """

    sessions: Sessions
    access: Access
    most_bytes: int
    first: dict[str, str]

    def app(self) -> web.Application:
        """The application for aiohttp's runner."""
        app = web.Application(middlewares=[self._guard])
        app.cleanup_ctx.append(_client)
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self.root, allow_head=False)
        app.router.add_get("/s/{id}", self.without_slash)
        app.router.add_post("/s/{id}/upload", self.upload)
        app.router.add_get("/s/{id}/files/{name}", self.download)
        app.router.add_get("/s/{id}/{path:.*}", self.page)
        return app

    async def root(self, request: web.Request) -> web.StreamResponse:
        """A new session."""
        query = dict(request.query)
        if query.keys().isdisjoint({"case", "virtual"}):
            query = {**self.first, **query}
        if request.headers.get("Sec-Purpose") or request.headers.get("Sec-Fetch-Dest", "document") != "document":
            return _html(pages.refused("The workbench opens in a tab of its own."), 403)
        try:
            session = await self.sessions.take(query)
        except NoSeat:
            return _html(pages.full(self.sessions.most), 503)
        except CannotStart:
            return _html(pages.cannot_start(), 503)
        return _redirect(_address(f"/s/{session.id}/", query))

    async def without_slash(self, request: web.Request) -> web.StreamResponse:
        """The address of a session with its last character lost."""
        return _redirect(_address(f"{request.rel_url.raw_path}/", request.query))

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Whatever a session's worker serves."""
        session = self._session(request)
        path = request.rel_url.raw_path.split("/", 3)[3]
        worker = session.worker
        if not worker.was_ready and not path and not session.was_told:
            session.was_told = True
            return _html(pages.starting())
        if not await worker.ready():
            raise self._gone(request)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                with _present(session):
                    return await proxy.hand_on_socket(request, path, request.app[CLIENT], worker)
            return await proxy.hand_on(request, path, request.app[CLIENT], worker)
        except aiohttp.ClientError as error:
            with contextlib.suppress(asyncio.TimeoutError):  # it takes a moment to be sure that a process has ended
                await asyncio.wait_for(worker.ended.wait(), DYING_S)
            if not worker.ended.is_set():
                raise
            raise self._gone(request) from error

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the four images of a case."""
        session = self._session(request)
        try:
            if session.is_receiving:
                raise InputError("files are on their way already; wait for them, then choose others", code="busy")
            if (request.content_length or 0) > self.most_bytes + FORM_BYTES:
                raise uploads.too_large(self.most_bytes)
            if request.content_type != "multipart/form-data":
                raise uploads.broken_form()
            session.is_receiving = True
            try:
                folder = session.worker.folder / "in"
                files = await uploads.receive(await request.multipart(), folder, self.most_bytes)
            finally:
                session.is_receiving = False
                session.touch()
        except ValueError as error:  # aiohttp's own, where a form is broken
            fault = error if isinstance(error, InputError) else uploads.broken_form()
            told = {"error": Privacy([session.worker.folder]).sentence(str(fault)), "code": fault.code}
            return web.json_response(told, status=400, headers=NOT_KEPT)
        session.worker.send("upload", files={modality: str(path) for modality, path in files.items()})
        return web.json_response({}, headers=NOT_KEPT)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """A file that lies in the session's folder of downloads, and in no other place."""
        session = self._session(request)
        name = request.match_info["name"]
        offered = {path.name: path for path in (session.worker.folder / "out").iterdir()}
        path = offered.get(name)
        if path is None or path.is_symlink() or not path.is_file():
            return _html(pages.missing(), 404)
        session.touch()
        as_file = f"attachment; filename*=UTF-8''{quote(name)}"
        return web.FileResponse(path, headers={"Content-Disposition": as_file, **NOT_KEPT})

    def _session(self, request: web.Request) -> Session:
        """The session that an address names.

        Raises:
            web.HTTPException: If there is none.
        """
        session = self.sessions.get(request.match_info["id"])
        if session is None:
            raise self._gone(request)
        session.touch()
        return session

    def _gone(self, request: web.Request) -> web.HTTPException:
        """The answer for a session that is no more; its link opens a new one."""
        self.sessions.get(request.match_info["id"])  # notes its end where that is new
        why = self.sessions.why_ended(request.match_info["id"])
        return web.HTTPGone(
            text=pages.ended(why, _address("/", request.query)), content_type="text/html", headers=NOT_KEPT
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may come in."""
        try:
            return self._stopped(request) or await handler(request)
        except web.HTTPNotFound:
            return _html(pages.missing(), 404)

    def _stopped(self, request: web.Request) -> web.StreamResponse | None:
        """The answer for a request that may not come in, or comes with the token; None lets it in."""
        if not self.access.knows_host(request.headers.get("Host", "")):
            return _html(pages.refused("This server is known by another name than the one it was called by."), 421)
        if self.access.is_foreign(request.headers):
            return _html(pages.refused("Another site asked for this; open the workbench in a tab of its own."), 403)
        if request.path == "/" and "token" in request.query:
            return self._with_token(request)
        return None if self.access.admits(request.cookies) else _html(pages.no_token(), 401)

    def _with_token(self, request: web.Request) -> web.StreamResponse:
        """Put the token's pass into a cookie and the token out of the address."""
        query = dict(request.query)
        if not self.access.opens(query.pop("token")):
            return _html(pages.no_token(), 401)
        response = _redirect(_address("/", query))
        response.set_cookie(self.access.cookie, self.access.pass_, httponly=True, samesite="Strict", path="/")
        return response


async def _client(app: web.Application) -> AsyncIterator[None]:
    """The client for requests to workers, while the server runs."""
    async with proxy.new_client() as app[CLIENT]:
        yield


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


@contextlib.contextmanager
def _present(session: Session) -> Iterator[None]:
    """While within, a page of the session is open."""
    session.sockets += 1
    try:
        yield
    finally:
        session.sockets -= 1
        session.touch()


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=NOT_KEPT)


def _redirect(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address, **NOT_KEPT})


def _address(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
