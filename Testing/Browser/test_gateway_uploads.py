"""Uploads: four whole images or none, by a stranger who may send anything."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from DABSegLib.naming import TITLES

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import Volume, write_volume
from DABSegExtension.browser import uploads

HEAD = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def image(folder: Path, suffix: str = ".nii.gz") -> bytes:
    """A tiny image of that kind, as our own writer makes it."""
    path = folder / f"image{suffix}"
    write_volume(path, Volume(HEAD, np.eye(4)))
    return path.read_bytes()


def checked(folder: Path, name: str, data: bytes) -> None:
    """Let the check look at a file."""
    (folder / name).write_bytes(data)
    uploads.check(folder / name, "t1")


def refused(folder: Path, name: str, data: bytes) -> str:
    """The code a file is refused with."""
    with pytest.raises(InputError) as told:
        checked(folder, name, data)
    assert str(folder) not in str(told.value)
    return told.value.code


async def send(server, path: str, files: Mapping[str, tuple[str, bytes]]) -> tuple[int, dict]:
    """Send a form; field -> (file name, contents)."""
    form = aiohttp.FormData()
    for field, (name, data) in files.items():
        form.add_field(field, data, filename=name)
    async with server.client.post(f"{server.url}{path}upload", data=form) as answer:
        return answer.status, await answer.json()


def four(data: bytes, suffix: str = ".nii.gz") -> dict[str, tuple[str, bytes]]:
    return {modality: (f"my {modality}{suffix}", data) for modality in MODALITIES}


def left_in(server, path: str) -> list[str]:
    folder = server.session(path).worker.folder / "in"
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


@pytest.mark.parametrize("suffix", uploads.SUFFIXES)
def test_what_our_own_writer_makes_is_taken(tmp_path, suffix):
    checked(tmp_path, f"t1{suffix}", image(tmp_path, suffix))


@pytest.mark.parametrize("suffix", uploads.SUFFIXES)
@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\0" * 1000, b"\x1f\x8b", b"NRRD0004\n", b"ElementDataFile = LOCAL\n"]
)
def test_what_is_not_what_its_name_says_is_refused(tmp_path, suffix, data):
    assert refused(tmp_path, f"t1{suffix}", data) in {"bad-file-type", "too-large", "unreadable-file"}


def test_packed_under_the_name_of_unpacked_is_refused_and_the_other_way_round(tmp_path):
    packed = image(tmp_path)
    assert refused(tmp_path, "t1.nii", packed) == "bad-file-type"
    assert refused(tmp_path, "t1.nii.gz", gzip.decompress(packed)) == "bad-file-type"


def test_a_damaged_pack_is_refused(tmp_path):
    packed = bytearray(image(tmp_path))
    packed[len(packed) // 2] ^= 0xFF
    assert refused(tmp_path, "t1.nii.gz", bytes(packed)) == "bad-file-type"


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".nrrd", b"\nencoding", b"\ndata file: /etc/passwd\nencoding"),
        (".nrrd", b"\nencoding", b"\nDataFile: LIST\nencoding"),
        (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd"),
        (".mha", b"ElementDataFile = LOCAL", b"elementdatafile=../../2/in/1/t1.nii"),
    ],
)
def test_a_header_that_leads_to_another_file_is_refused(tmp_path, suffix, old, new):
    data = image(tmp_path, suffix)
    assert data.count(old) == 1
    assert refused(tmp_path, f"t1{suffix}", data.replace(old, new)) == "bad-file-type"


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [(".nrrd", b"sizes: 4 3 2", b"sizes: 4096 4096 4096"), (".mha", b"DimSize = 4 3 2", b"DimSize = 4096 4096 4096")],
)
def test_a_header_that_promises_too_much_is_refused(tmp_path, suffix, old, new):
    data = image(tmp_path, suffix)
    assert data.count(old) == 1
    assert refused(tmp_path, f"t1{suffix}", data.replace(old, new)) == "too-large"


def test_a_nifti_that_promises_too_much_is_refused(tmp_path):
    data = bytearray(image(tmp_path, ".nii"))
    data[42:48] = np.array([1024, 1024, 1024], "<i2").tobytes()
    assert refused(tmp_path, "t1.nii", bytes(data)) == "too-large"


def test_a_pack_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "UNPACKED_BYTES", 1 << 20)
    data = gzip.compress(gzip.decompress(image(tmp_path)) + bytes(5 << 20))
    assert len(data) < 10_000
    assert refused(tmp_path, "t1.nii.gz", data) == "too-large"


def test_four_images_come_to_the_worker_as_files_of_its_folder(a_gateway, tmp_path):
    async def story():
        data = image(tmp_path)
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.listening(path) as socket:
                assert await send(server, path, four(data)) == (200, {})
                event = await socket.receive_json(timeout=5)
            folder = server.session(path).worker.folder
            assert event["event"] == "upload"
            assert event["files"] == {m: str(folder / "in" / "1" / f"{m}.nii.gz") for m in MODALITIES}
            assert all(Path(file).read_bytes() == data for file in event["files"].values())

    asyncio.run(story())


def test_only_the_last_two_uploads_are_kept(a_gateway, tmp_path):
    async def story():
        data = image(tmp_path)
        async with a_gateway() as server:
            path = await server.new_page()
            for _ in range(4):
                assert await send(server, path, four(data)) == (200, {})
            folder = server.session(path).worker.folder / "in"
            assert sorted(place.name for place in folder.iterdir()) == ["3", "4"]

    asyncio.run(story())


@pytest.mark.parametrize("missing", MODALITIES)
def test_three_images_are_none(a_gateway, tmp_path, missing):
    async def story():
        files = four(image(tmp_path))
        del files[missing]
        async with a_gateway() as server:
            path = await server.new_page()
            status, told = await send(server, path, files)
            assert (status, told["code"]) == (400, "missing-modality")
            assert told["error"].startswith(f"{TITLES[missing]} missing")
            assert left_in(server, path) == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("field", "name", "code"),
    [
        ("flair", "flair.exe", "bad-file-type"),
        ("flair", "flair.png", "bad-file-type"),
        ("flair", "../../flair", "bad-file-type"),
        ("seg", "seg.nii.gz", "bad-upload"),
        ("../t1", "t1.nii.gz", "bad-upload"),
    ],
)
def test_one_bad_file_and_none_is_kept(a_gateway, tmp_path, field, name, code):
    async def story():
        data = image(tmp_path)
        files = four(data)
        del files["flair"]
        async with a_gateway() as server:
            path = await server.new_page()
            status, told = await send(server, path, {**files, field: (name, data)})
            assert (status, told["code"]) == (400, code)
            assert str(tmp_path) not in told["error"]
            assert left_in(server, path) == []

    asyncio.run(story())


def test_a_name_that_climbs_stays_in_the_folder(a_gateway, tmp_path):
    async def story():
        data = image(tmp_path)
        async with a_gateway() as server:
            path = await server.new_page()
            files = {modality: (f"../../../{modality}.nii.gz", data) for modality in MODALITIES}
            assert await send(server, path, files) == (200, {})
            assert left_in(server, path) == ["1", *(f"1/{m}.nii.gz" for m in sorted(MODALITIES))]

    asyncio.run(story())


def test_too_much_is_refused_while_it_arrives(a_gateway):
    """A sender that does not say how much there is, and would go on for ever."""

    async def story():
        sent = 0

        async def endless():
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="t1"; filename="t1.nii"\r\n\r\n'
            for _ in range(1000):
                sent += 1 << 20
                yield bytes(1 << 20)

        async with a_gateway(most_bytes=3 << 20) as server:
            path = await server.new_page()
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            async with server.client.post(f"{server.url}{path}upload", data=endless(), headers=headers) as answer:
                assert answer.status == 400
                assert (await answer.json())["code"] == "too-large"
            assert sent < 200 << 20
            assert left_in(server, path) == []
            assert not server.session(path).is_receiving

    asyncio.run(story())


def test_too_much_by_its_own_word_is_refused_at_once(a_gateway, tmp_path):
    async def story():
        async with a_gateway(most_bytes=1 << 20) as server:
            path = await server.new_page()
            status, told = await send(server, path, four(bytes(1 << 20)))
            assert (status, told["code"]) == (400, "too-large")
            assert "1 MiB" in told["error"]

    asyncio.run(story())


def test_a_sender_who_goes_away_leaves_nothing(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = '--b\r\nContent-Disposition: form-data; name="t1"; filename="t1.nii"\r\n\r\n'
            writer.write(
                f"POST {path}upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                f"Content-Type: multipart/form-data; boundary=b\r\n\r\n{head}abc".encode()
            )
            await writer.drain()
            await server.until(lambda: left_in(server, path))
            writer.close()
            await server.until(lambda: not left_in(server, path) and not server.session(path).is_receiving)

    asyncio.run(story())


def test_what_is_no_form_is_refused(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data"}):
                async with server.client.post(f"{server.url}{path}upload", data=b"x", headers=headers) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (400, "bad-upload")

    asyncio.run(story())


def test_another_site_cannot_send_files(a_gateway, tmp_path):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.client.post(
                f"{server.url}{path}upload", data=b"x", headers={"Origin": "https://evil.example"}
            ) as answer:
                assert answer.status == 403

    asyncio.run(story())


def test_the_answer_is_json_that_no_cache_keeps(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            async with server.client.post(f"{server.url}{path}upload", data=b"x") as answer:
                assert answer.headers["Cache-Control"] == "no-store"
                assert set(json.loads(await answer.text())) == {"error", "code"}

    asyncio.run(story())


def test_a_file_without_its_end_is_refused(tmp_path):
    packed = image(tmp_path)
    plain = gzip.decompress(packed)
    assert refused(tmp_path, "t1.nii.gz", packed[:-8]) == "bad-file-type"
    assert refused(tmp_path, "t1.nii.gz", gzip.compress(plain[:-1])) == "truncated-file"
    assert refused(tmp_path, "t1.nii", plain[:-1]) == "truncated-file"
    checked(tmp_path, "t1.nii", plain)


def test_a_pack_of_several_members_and_padding_is_whole(tmp_path):
    plain = gzip.decompress(image(tmp_path))
    checked(tmp_path, "t1.nii.gz", gzip.compress(plain[:100]) + gzip.compress(plain[100:]) + bytes(700))
    checked(tmp_path, "t1.nii.gz", gzip.compress(plain + bytes(3 * uploads.PIECE + 1)))


@pytest.mark.parametrize("sign", [b" = ", b": "])
def test_many_channels_are_many_voxels(tmp_path, sign):
    data = image(tmp_path, ".mha").replace(b"ElementType", b"ElementNumberOfChannels" + sign + b"99999999\nElementType")
    assert refused(tmp_path, "t1.mha", data) == "too-large"


def test_a_sender_who_goes_silent_does_not_keep_the_session(a_gateway, monkeypatch):
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.3)

    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = '--b\r\nContent-Disposition: form-data; name="t1"; filename="t1.nii"\r\n\r\n'
            writer.write(
                f"POST {path}upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                f"Content-Type: multipart/form-data; boundary=b\r\n\r\n{head}abc".encode()
            )
            await server.until(lambda: server.session(path).is_receiving)
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
            assert b'"stalled"' in answer
            assert left_in(server, path) == []
            assert not server.session(path).is_receiving
            writer.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "form",
    [
        b"--b\r\n" + b"X: a\r\n" * 1000,
        b"--b\r\nX: " + b"a" * 100_000,
        b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"u" * 50 + b"\r\n--b--\r\n",
    ],
)
def test_a_form_that_is_broken_is_refused_in_a_sentence(a_gateway, form):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            async with server.client.post(f"{server.url}{path}upload", data=form, headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "bad-upload")
            assert left_in(server, path) == []

    asyncio.run(story())


def test_a_disk_that_takes_no_folder_is_told_of(a_gateway):
    async def story():
        async with a_gateway() as server:
            path = await server.new_page()
            (server.session(path).worker.folder / "in").rmdir()
            status, told = await send(server, path, {"t1": ("t1.nii", b"x")})
            assert (status, told["code"]) == (400, "cannot-write")

    asyncio.run(story())
