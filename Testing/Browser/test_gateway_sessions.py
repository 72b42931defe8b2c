"""Sessions: each has a worker, a folder and an end of its own; nothing of one reaches another."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time

import pytest

from DABSegExtension.browser import process, sessions


async def facts(server, path: str) -> dict:
    return json.loads((await server.get(path))[2])


def test_every_tab_is_a_session_with_a_worker_of_its_own(a_gateway):
    async def story():
        async with a_gateway() as server:
            first, second = await server.new_page(), await server.new_page()
            assert first != second
            assert len(first.split("/")[2]) >= 22  # 6 bits a letter: 128 and more
            one, two = server.session(first).worker, server.session(second).worker
            assert one.folder != two.folder
            assert one.port != two.port
            assert (await facts(server, first))["folder"] == str(one.folder)
            assert (await facts(server, second))["folder"] == str(two.folder)

    asyncio.run(story())


def test_loading_it_again_is_the_same_session(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page("?case=A")
            first = await facts(server, path)
            assert (await facts(server, f"{path}?case=B"))["folder"] == first["folder"]
            assert len(server.sessions._open) == 1
            _, headers, _ = await server.get(f"{path[:-1]}?case=A")
            assert headers["Location"] == f"{path}?case=A"

    asyncio.run(story())


def test_the_links_query_comes_to_the_worker_and_stays_in_the_address(a_gateway):
    async def story():
        async with a_gateway() as server:
            query = "?case=K%C3%B6ln+1&severity=2&run=1"
            _, headers, _ = await server.get(f"/{query}")
            assert headers["Location"].endswith(f"/{query}")
            path = headers["Location"].partition("?")[0]
            assert await server.session(path).worker.ready()
            await asyncio.sleep(0.2)
            heard = (await facts(server, path))["heard"]
            assert heard == [{"event": "open", "query": {"case": "Köln 1", "severity": "2", "run": "1"}}]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("query", "wanted"),
    [("", "virtual=7"), ("?severity=2", "virtual=7&severity=2"), ("?case=A", "case=A"), ("?virtual=1", "virtual=1")],
)
def test_an_address_that_names_no_case_opens_the_first(a_gateway, query, wanted):
    async def story():
        async with a_gateway(first={"virtual": "7"}) as server:
            _, headers, _ = await server.get(f"/{query}")
            assert headers["Location"].partition("?")[2] == wanted

    asyncio.run(story())


def test_the_folder_is_private_and_is_where_the_worker_puts_its_temporary_files(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            folder = server.session(path).worker.folder
            assert sorted(part.name for part in folder.iterdir()) == ["in", "out", "tmp"]
            assert all(stat.S_IMODE(part.stat().st_mode) == 0o700 for part in folder.iterdir())
            with open(f"/proc/{server.session(path).worker._process.pid}/environ", encoding="utf-8") as file:
                assert f"TMPDIR={folder}/tmp" in file.read().split("\0")

    asyncio.run(story())


def test_a_spare_is_kept_and_given_to_the_next_page(a_gateway):
    async def story():
        async with a_gateway() as server:
            await server.until(lambda: server.sessions._spare and server.sessions._spare.worker.was_ready)
            spare = server.sessions._spare
            path = await server.new_page()
            assert server.session(path) is spare
            await server.until(lambda: server.sessions._spare not in (None, spare))

    asyncio.run(story())


def test_no_spare_is_kept_that_nobody_could_get(a_gateway):
    async def story():
        async with a_gateway(most=1) as server:
            await server.new_page()
            await asyncio.sleep(0.5)
            assert server.sessions._spare is None
            assert len(list(server.sessions.folder.iterdir())) == 1

    asyncio.run(story())


def test_a_page_is_told_that_its_worker_starts_and_then_waits_for_it(a_gateway, monkeypatch):
    monkeypatch.setenv("FAKE_START_S", "0.7")

    async def story():
        async with a_gateway() as server:
            _, headers, _ = await server.get("/")
            path = headers["Location"]
            _, _, text = await server.get(path)
            assert 'http-equiv="refresh"' in text
            started = time.monotonic()
            assert "folder" in (await server.get(path))[2]
            assert time.monotonic() - started > 0.2

    asyncio.run(story())


def test_a_worker_that_does_not_start_is_told_of_and_not_tried_for_ever(a_gateway, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_FAILS", "No module named trame_slicer")

    async def story():
        async with a_gateway() as server:
            await server.until(lambda: not server.sessions._may_start)
            await asyncio.sleep(0.3)
            assert next(server.sessions._numbers) == 2
            _, headers, _ = await server.get("/?case=A")
            path = headers["Location"]
            await server.get(path)
            status, _, text = await server.get(path)
            assert status == 410
            assert "before it was ready" in text
            assert 'href="/?case=A"' in text

    asyncio.run(story())
    assert "No module named trame_slicer" in capfd.readouterr().err


@pytest.mark.parametrize(("code", "words"), [(137, "memory ran out"), (3, "by a fault")])
def test_a_worker_that_dies_ends_its_session_alone(a_gateway, code, words):
    async def story():
        async with a_gateway() as server:
            dying, living = await server.new_page(), await server.new_page()
            folder = server.session(dying).worker.folder
            async with server.socket(dying) as socket:
                await socket.send_json({"do": "die", "code": code})
                await socket.receive(timeout=5)
            await server.until(lambda: not folder.exists())
            status, _, text = await server.get(f"{dying}?case=A&seed=3")
            assert status == 410
            assert words in text
            assert 'href="/?case=A&amp;seed=3"' in text
            assert (await server.get(living))[0] == 200

    asyncio.run(story())


def test_a_request_on_its_way_when_the_worker_dies_is_told_so(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            os.kill(server.session(path).worker._process.pid, 9)
            status, _, text = await server.get(f"{path}echo/")
            assert status == 410
            assert "memory" in text

    asyncio.run(story())


def test_an_unknown_session_is_no_session_and_its_link_is_kept(a_gateway):
    async def story():
        async with a_gateway() as server:
            for path in ("/s/unknown/", "/s/unknown/ws", "/s/unknown/files/a", "/s/unknown/assets/a.js"):
                status, _, text = await server.get(f"{path}?virtual=3")
                assert status == 410
                assert 'href="/?virtual=3"' in text
            assert server.sessions._open == {}

    asyncio.run(story())


def test_a_session_without_a_page_ends_and_its_files_are_gone(a_gateway):
    async def story():
        async with a_gateway() as server:
            left, used = await server.new_page(), await server.new_page()
            folder = server.session(left).worker.folder
            async with server.socket(used):
                server.sessions.idle_s = 0.3
                await server.until(lambda: not folder.exists())
                await asyncio.sleep(0.5)
                assert server.sessions.get(used.split("/")[2]) is not None
                assert "page was closed" in (await server.get(left))[2]

    asyncio.run(story())


def test_a_full_house_says_so_and_a_closed_page_gives_its_seat(a_gateway, monkeypatch):
    async def story():
        async with a_gateway(most=2) as server:
            first, second = await server.new_page(), await server.new_page()
            async with server.socket(first), server.socket(second):
                status, _, text = await server.get("/")
                assert status == 503
                assert "2 sessions are open" in text
            assert (await server.get("/"))[0] == 503  # closed just now: may be loading again
            monkeypatch.setattr(sessions, "LEFT_S", 0.1)
            async with server.socket(second):
                await asyncio.sleep(0.2)
                third = await server.new_page()
                assert (await server.get(first))[0] == 410
                assert (await server.get(second))[0] == 200
                assert (await server.get(third))[0] == 200

    asyncio.run(story())


def test_one_heavy_job_at_a_time_and_the_others_know_their_place(a_gateway):
    async def story():
        async with a_gateway() as server:
            paths = [await server.new_page() for _ in range(3)]
            async with (
                server.listening(paths[0]) as a,
                server.listening(paths[1]) as b,
                server.listening(paths[2]) as c,
            ):
                for socket in (a, b, c):
                    await socket.send_json({"do": "say", "event": "want-turn", "wish": 3})
                    await asyncio.sleep(0.1)
                assert await a.receive_json(timeout=5) == {"event": "turn", "wish": 3}
                assert await b.receive_json(timeout=5) == {"event": "ahead", "wish": 3, "count": 1}
                assert await c.receive_json(timeout=5) == {"event": "ahead", "wish": 3, "count": 2}
                await a.send_json({"do": "say", "event": "end-turn"})
                assert await b.receive_json(timeout=5) == {"event": "turn", "wish": 3}
                assert await c.receive_json(timeout=5) == {"event": "ahead", "wish": 3, "count": 1}
                await b.send_json({"do": "die", "code": 1})  # with the turn
                assert await c.receive_json(timeout=5) == {"event": "turn", "wish": 3}

    asyncio.run(story())


def test_downloads_are_what_lies_in_the_sessions_own_folder(a_gateway, tmp_path):
    (tmp_path / "secret").write_text("secret")

    async def story():
        async with a_gateway() as server:
            path, other = await server.new_page(), await server.new_page()
            async with server.socket(path) as socket:
                await socket.send_json({"do": "write", "name": "a b (synthetic).txt", "text": "mine"})
                await socket.send_json({"do": "link", "name": "link", "to": str(tmp_path / "secret")})
                await socket.send_json({"do": "write", "name": "last", "text": ""})
                await server.until(lambda: (server.session(path).worker.folder / "out" / "last").exists())
            status, headers, text = await server.get(f"{path}files/a%20b%20(synthetic).txt")
            assert (status, text) == (200, "mine")
            assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%20b%20%28synthetic%29.txt"
            assert headers["Cache-Control"] == "no-store"
            for name in ("link", "nothing", "..", "..%2Fin", "%2E%2E%2F%2E%2E%2Fsecret", "a%00b"):
                status, _, text = await server.get(f"{path}files/{name}")
                assert "secret" not in text
                assert status == 404 or name == ".."
            assert (await server.get(f"{other}files/a%20b%20(synthetic).txt"))[0] == 404

    asyncio.run(story())


def test_the_end_of_the_gateway_ends_all_and_leaves_nothing(a_gateway):
    async def story():
        async with a_gateway() as server:
            await server.new_page()
            await server.new_page()
            await server.until(lambda: server.sessions._spare and server.sessions._spare.worker.was_ready)
            everyone = [*server.sessions._open.values(), server.sessions._spare]
            folder = server.sessions.folder
        assert all(session.worker.exit_code == 0 for session in everyone)
        assert list(folder.iterdir()) == []

    asyncio.run(story())


def test_a_worker_that_does_not_listen_is_killed(a_gateway, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.2)

    async def story():
        async with a_gateway(most=1) as server:
            path = await server.new_page()
            session = server.session(path)
            os.kill(session.worker._process.pid, 19)  # stopped: it hears nothing
        assert session.worker.exit_code == -9
        assert not session.worker.folder.exists()

    asyncio.run(story())


def test_the_log_tells_memory_but_no_secret(a_gateway, capfd):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.socket(path) as socket:
                server.sessions.idle_s = 0.3
                for mib in (100, 934, 700):
                    await socket.send_json({"do": "say", "event": "memory", "mib": mib})
                await server.until(lambda: server.session(path).most_mib == 934)
            await server.until(lambda: not server.sessions._open)
            return path.split("/")[2]

    secret = asyncio.run(story())
    told = capfd.readouterr().err
    assert "at most 934 MiB" in told
    assert secret not in told


def test_a_session_that_is_ended_no_longer_gets_into_the_queue(a_gateway):
    """It may have asked for a turn just before it heard of its end; kept, it would hold up all others for ever."""

    async def story():
        async with a_gateway() as server:
            ended = server.session(await server.new_page())
            server.sessions._drop(ended, "Because.")
            server.sessions._hear(ended, {"event": "want-turn"})
            assert server.sessions.turns.whose() is None

    asyncio.run(story())


def test_the_next_has_the_turn_when_the_ended_job_is_over_and_not_before(a_gateway, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.5)

    async def story():
        async with a_gateway() as server:
            first, second = await server.new_page(), await server.new_page()
            for path in (first, second):
                async with server.socket(path) as socket:
                    await socket.send_json({"do": "say", "event": "want-turn"})
                    await server.until(lambda path=path: server.session(path).id in server.sessions.turns._told)
            ending = server.session(first)
            os.kill(ending.worker._process.pid, 19)  # stopped: hears no goodbye
            server.sessions._drop(ending, "Because.")
            await asyncio.sleep(0.1)
            assert server.sessions.turns.whose() == ending.id
            await server.until(lambda: server.sessions.turns.whose() == server.session(second).id)
            assert ending.worker.ended.is_set()

    asyncio.run(story())


def test_what_a_worker_started_ends_with_it(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            worker = server.session(path).worker
            async with server.socket(path) as socket:
                await socket.send_json({"do": "start"})
                child = int(await socket.receive_str(timeout=5))
            os.kill(worker._process.pid, 9)
            await worker.ended.wait()
            await server.until(lambda: is_over(child))

    asyncio.run(story())


def is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its exit code."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_spare_that_dies_leaves_no_folder(a_gateway):
    async def story():
        async with a_gateway() as server:
            await server.until(lambda: server.sessions._spare and server.sessions._spare.worker.was_ready)
            spare = server.sessions._spare
            os.kill(spare.worker._process.pid, 9)
            await server.until(lambda: not spare.worker.folder.exists())
            await server.until(lambda: server.sessions._spare not in (None, spare))

    asyncio.run(story())


def test_a_system_that_starts_no_more_programs_ends_nobodys_session(a_gateway, monkeypatch, capfd):
    async def refuse(*words, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            await server.until(lambda: server.sessions._spare)
            monkeypatch.setattr(process.asyncio, "create_subprocess_exec", refuse)
            await server.new_page()  # the spare; then there is no other
            await server.until(lambda: not server.sessions._may_start)
            status, _, text = await server.get("/")
            assert (status, "no room for one more program" in text) == (503, True)
            assert (await server.get(path))[0] == 200
            await server.until(lambda: len(list(server.sessions.folder.iterdir())) == 2)

    asyncio.run(story())
    assert "cannot be started: Resource temporarily unavailable" in capfd.readouterr().err


def test_no_session_begins_while_all_end(a_gateway):
    async def story():
        async with a_gateway() as server:
            await server.sessions.close()
            with pytest.raises(sessions.NoSeat):
                await server.sessions.take({})
            assert server.sessions._open == {}

    asyncio.run(story())
