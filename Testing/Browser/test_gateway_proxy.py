"""Proxy: what a worker serves comes through as it is, and what is between gateway and worker stays there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

import pytest

from DABSegExtension.browser import gateway
from DABSegExtension.browser.access import KEY_HEADER


def test_the_first_page_is_the_workers(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            status, headers, text = await server.get(path)
            assert status == 200
            assert headers["Content-Type"].startswith("application/json")
            assert json.loads(text)["folder"] == str(server.session(path).worker.folder)
            assert "Set-Cookie" not in headers  # sessions of one browser share its cookies

    asyncio.run(story())


@pytest.mark.parametrize("rest", ["echo/a", "echo/a%2Fb/c%20d", "echo/?a=1&b=%C3%A4", "echo/a+b?c+d"])
def test_addresses_come_through_as_they_were_written(a_gateway, rest):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET {path}{rest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = (await reader.read()).decode()
            writer.close()
            assert json.loads(answer.partition("\r\n\r\n")[2].split("\r\n")[0])["path"] == f"/{rest}"

    asyncio.run(story())


def test_a_worker_sees_neither_cookies_nor_the_name_the_server_is_called_by(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            sent = {"Cookie": "dabseg-1=secret", "Accept-Language": "de", "Host": "localhost:1", KEY_HEADER: "mine"}
            _, _, text = await server.get(f"{path}echo/", headers=sent)
            seen = json.loads(text)["headers"]
            assert seen["Accept-Language"] == "de"
            assert seen["Host"].startswith("127.0.0.1:")
            assert seen[KEY_HEADER] == server.session(path).worker.key
            assert "secret" not in text

    asyncio.run(story())


def test_large_answers_come_whole(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            _, headers, text = await server.get(f"{path}bytes?count=5000001")
            assert (len(text), headers["Content-Length"]) == (5_000_001, "5000001")

    asyncio.run(story())


def test_only_reading_is_handed_on(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                async with server.client.request(method, f"{server.url}{path}echo/") as answer:
                    assert answer.status == 405

    asyncio.run(story())


@pytest.mark.parametrize("count", [0, 1, 125, 126, 65536, 6 << 20])
def test_messages_come_back_as_they_were_sent(a_gateway, count):
    async def story():
        data = os.urandom(count)
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.socket(path) as socket:
                await socket.send_bytes(data)
                assert await socket.receive_bytes(timeout=10) == data

    asyncio.run(story())


def test_messages_come_in_their_order(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.socket(path) as socket:
                for number in range(200):
                    await socket.send_bytes(str(number).encode())
                assert [int(await socket.receive_bytes()) for _ in range(200)] == list(range(200))

    asyncio.run(story())


def test_a_page_that_does_not_read_slows_its_worker_and_not_the_gateways_memory(a_gateway):
    """100 MB are on their way to a page that looks away; they wait at the worker, and come when it looks again."""

    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.socket(path) as slow, server.socket(path) as quick:
                before = memory_mb()
                await slow.send_json({"do": "frames", "count": 100, "bytes": 1_000_000})
                for _ in range(50):
                    await quick.send_bytes(b"still there")
                    assert await quick.receive_bytes(timeout=5) == b"still there"
                    await asyncio.sleep(0.01)
                assert memory_mb() - before < 50
                assert sum([len(await slow.receive_bytes(timeout=5)) for _ in range(100)]) == 100_000_000

    asyncio.run(story())


def memory_mb() -> float:
    """What this process, the gateway's, holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_when_the_worker_goes_the_page_is_told(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.socket(path) as socket:
                await socket.send_json({"do": "die", "code": 1})
                assert (await socket.receive(timeout=5)).type.name in {"CLOSE", "CLOSED", "CLOSING"}

    asyncio.run(story())


@pytest.mark.parametrize("rest", ["%0d%0aX:y", "a%00", "%2f%2fevil.example", "..%2f..%2fetc"])
def test_an_address_without_its_slash_is_redirected_as_it_was_written(a_gateway, rest):
    async def story():
        async with a_gateway() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET /s/{rest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = (await reader.read()).decode()
            writer.close()
            assert f"\r\nLocation: /s/{rest}/\r\n" in answer

    asyncio.run(story())


def test_an_answer_that_breaks_off_breaks_off_and_has_no_page_within(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET {path}bytes?count=80000000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            os.kill(server.session(path).worker._process.pid, 9)
            body = bytearray()
            with contextlib.suppress(ConnectionError):
                while piece := await asyncio.wait_for(reader.read(1 << 20), 5):
                    body += piece
            writer.close()
            assert len(body) < 80_000_000
            assert not body.strip(b"\0")

    asyncio.run(story())


def test_a_page_that_leaves_amid_an_answer_is_no_fault(a_gateway, caplog, monkeypatch):
    monkeypatch.setattr(gateway, "DYING_S", 0.0)

    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET {path}bytes?count=80000000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            assert (await server.get(path))[0] == 200
            await asyncio.sleep(0.3)

    asyncio.run(story())
    assert not caplog.records
