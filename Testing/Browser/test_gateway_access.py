"""Access: tokens, and what a page of another site cannot do."""

from __future__ import annotations

import asyncio

import pytest

from DABSegCore.errors import InputError
from DABSegExtension.browser.access import Access, is_loopback, token_for

TOKEN = "a-token_of-22-letters!"[:-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    assert token_for(host, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "server.example.org"])
def test_anything_else_gets_one_that_nobody_guesses(host):
    first, second = token_for(host, None), token_for(host, None)
    assert first != second
    assert len(first) >= 22  # 6 bits a letter: 128 and more


@pytest.mark.parametrize("token", ["short", "blank in a longer token", "long-enough-but-&?#"])
def test_a_token_that_can_be_guessed_or_breaks_the_address_is_refused(token):
    with pytest.raises(InputError) as told:
        token_for("127.0.0.1", token)
    assert told.value.code == "bad-token"


@pytest.mark.parametrize(
    ("host", "header", "known"),
    [
        ("127.0.0.1", "127.0.0.1:8400", True),
        ("127.0.0.1", "localhost:9000", True),  # through a tunnel with a port of its own
        ("127.0.0.1", "[::1]:8400", True),
        ("127.0.0.1", "evil.example:8400", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8400", False),
        ("127.0.0.1", "192.168.1.7:8400", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "192.168.1.7:8400", True),
        ("0.0.0.0", "evil.example:8400", False),
        ("server.example.org", "server.example.org", True),
    ],
)
def test_only_our_names_are_answered(host, header, known):
    assert Access(host, 8400, None).knows_host(header) is known


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        (None, False),
        ("http://127.0.0.1:8400", False),
        ("http://127.0.0.1:3000", True),
        ("https://evil.example", True),
        ("null", True),
    ],
)
def test_other_sites_are_foreign(origin, foreign):
    headers = {"Host": "127.0.0.1:8400", **({"Origin": origin} if origin else {})}
    assert Access("127.0.0.1", 8400, None).is_foreign(headers) is foreign


def test_the_token_opens_the_door_and_leaves_the_address(a_gateway):
    async def story():
        async with a_gateway(token=TOKEN) as server:
            status, headers, text = await server.get("/?case=A")
            assert (status, "token" in text) == (401, True)
            assert "Set-Cookie" not in headers
            assert (await server.get("/?token=" + TOKEN[:-1] + "x"))[0] == 401

            status, headers, _ = await server.get(f"/?token={TOKEN}&case=A")
            assert (status, headers["Location"]) == (303, "/?case=A")
            cookie = headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKEN not in cookie

            sent = {"Cookie": cookie.partition(";")[0]}
            status, headers, _ = await server.get("/?case=A", headers=sent)
            assert status == 303
            page = headers["Location"]
            assert (await server.get(page))[0] == 401  # the session's id alone does not do
            assert (await server.get(page, headers=sent))[0] == 200

    asyncio.run(story())


def test_the_token_is_demanded_of_every_address(a_gateway):
    async def story():
        async with a_gateway(token=TOKEN) as server:
            for path in ("/", "/s/x", "/s/x/", "/s/x/files/a", "/s/x/ws", "/nothing"):
                assert (await server.get(path))[0] == 401
            async with server.client.post(f"{server.url}/s/x/upload") as answer:
                assert answer.status == 401

    asyncio.run(story())


def test_a_foreign_name_or_site_gets_no_session(a_gateway):
    async def story():
        async with a_gateway() as server:
            assert (await server.get("/", headers={"Host": f"evil.example:{server.port}"}))[0] == 421
            assert (await server.get("/", headers={"Origin": "https://evil.example"}))[0] == 403
            for wanted in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "image"}, {"Sec-Purpose": "prefetch"}):
                assert (await server.get("/", headers=wanted))[0] == 403
            assert (await server.get("/", headers={"Sec-Fetch-Dest": "document"}))[0] == 303
            async with server.client.head(f"{server.url}/") as answer:
                assert answer.status == 405

    asyncio.run(story())


def test_a_foreign_site_gets_no_websocket(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            status, _, _ = await server.get(
                f"{path}ws",
                headers={
                    **{"Origin": "https://evil.example", "Connection": "Upgrade", "Upgrade": "websocket"},
                    **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
                },
            )
            assert status == 403
            async with server.socket(path, headers={"Origin": server.url}) as socket:
                await socket.send_bytes(b"hello")
                assert (await socket.receive()).data == b"hello"

    asyncio.run(story())


def test_a_worker_answers_the_gateway_alone(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            port = server.session(path).worker.port
            async with server.client.get(f"http://127.0.0.1:{port}/index.html") as answer:
                assert answer.status == 403
            assert (await server.get(path))[0] == 200

    asyncio.run(story())


def test_every_answer_keeps_other_sites_out(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            for address in ("/", path, "/s/unknown/", "/nothing"):
                _, headers, _ = await server.get(address)
                assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
                assert headers["Referrer-Policy"] == "no-referrer"
                assert headers["Server"] == "DABSeg"

    asyncio.run(story())


@pytest.mark.parametrize(
    "head", [b"Host: [::1", b"Host: localhost\r\nOrigin: http://[", b"Host: localhost\r\nCookie: %s=\xff"]
)
def test_nonsense_in_headers_is_refused_and_no_fault_of_ours(a_gateway, head):
    async def story():
        async with a_gateway(token=TOKEN) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head_ = head.replace(b"%s", f"dabseg-{server.port}".encode())
            writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n" + head_ + b"\r\n\r\n")
            assert int((await reader.read()).split()[1]) in {401, 403, 421}
            writer.close()

    asyncio.run(story())
