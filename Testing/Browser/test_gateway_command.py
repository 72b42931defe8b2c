"""Command line: what is refused in a sentence, the address it prints, and nothing left whatever ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from DABSegCore.errors import InputError
from DABSegCore.phantom import write_patient
from DABSegExtension.browser.command import find_named, main

REPOSITORY = Path(__file__).parents[2]
FAKE_WORKER = "Testing.Browser.fake_worker"
COMMAND = (sys.executable, "-m", "DABSegExtension.browser", "--no-open", "--worker", FAKE_WORKER)
Started = tuple["subprocess.Popen[str]", str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts the command with stand-ins for workers; returns the process and the address that it printed."""
    begun = []

    def started(*words: str | Path) -> Started:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "DABSegExtension.browser", "--port=0", "--no-open", "--worker", FAKE_WORKER),
                *words,
            ],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process, re.search(r"http://\S+", process.stdout.readline())[0]

    yield started
    for process in begun:
        process.kill()
        process.communicate()


def page(address: str) -> dict:
    """What the stand-in of a new session says of itself, and where it is."""
    with urllib.request.urlopen(address) as answer:
        text, place = answer.read(), answer.url
    if b"refresh" in text:
        with urllib.request.urlopen(place) as answer:
            text = answer.read()
    return {**json.loads(text), "address": place}


def no_folders_left(folder: Path, most_s: float = 10.0) -> bool:
    """Whether the temporary folders of the server go before long."""
    end = time.monotonic() + most_s
    while found := list(folder.glob("dabseg-*/*")):
        if time.monotonic() > end:
            raise AssertionError(found)
        time.sleep(0.05)
    return True


def test_help_tells_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in ("--virtual", "--host", "--port", "--token", "--no-open", "--weights", "--device"):
        assert option in told
    assert "--worker" not in told


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, f"--port={port}"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: 127.0.0.1, port {port}, cannot be listened on \(.*\); end .*\n", done.stderr)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--max-sessions=0"], "bad-argument"),
        (["--idle-minutes=0"], "bad-argument"),
        (["--virtual=-1"], "bad-argument"),
        (["--weights=nowhere.pt"], "no-file"),
        (["--token=short"], "bad-token"),
        (["--host=256.0.0.1"], "cannot-listen"),
        (["--host=a..b"], "cannot-listen"),
        (["--port=65536"], "bad-argument"),
        (["--idle-minutes=nan"], "bad-argument"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(words, code):
    with pytest.raises(InputError) as told:
        main(["--worker", FAKE_WORKER, "--no-open", "--port=0", *words])
    assert told.value.code == code


def test_cases_are_found_by_name(tmp_path, a_small_patient):
    for name in ("P1", "P2"):
        write_patient(tmp_path / "all" / name, a_small_patient, name)
    assert find_named([tmp_path / "all"]) == {name: tmp_path / "all" / name for name in ("P1", "P2")}
    assert find_named([tmp_path / "all" / "P2"]) == {"P2": tmp_path / "all" / "P2"}
    assert find_named([tmp_path / "all", tmp_path / "all" / "P1"]) == find_named([tmp_path / "all"])
    assert find_named([]) == {}


def test_an_incomplete_case_is_left_out_of_many_and_refused_alone(tmp_path, a_small_patient, capsys):
    for name in ("P1", "P2"):
        write_patient(tmp_path / name, a_small_patient, name)
    next((tmp_path / "P2").glob("*flair*")).unlink()
    assert list(find_named([tmp_path])) == ["P1"]
    assert "P2 has no flair image" in capsys.readouterr().err
    with pytest.raises(InputError):
        find_named([tmp_path / "P2"])


def test_a_name_that_a_worker_would_misread_is_refused(tmp_path, a_small_patient):
    write_patient(tmp_path / "P=1", a_small_patient, "P=1")
    with pytest.raises(InputError) as told:
        find_named([tmp_path / "P=1"])
    assert told.value.code == "bad-name"


def test_two_cases_of_one_name_are_refused(tmp_path, a_small_patient):
    for place in ("a", "b"):
        write_patient(tmp_path / place, a_small_patient, "P1")
    with pytest.raises(InputError) as told:
        find_named([tmp_path])
    assert told.value.code == "same-case-twice"


def test_one_case_is_opened_at_once_and_the_worker_is_told_where_it_is(start, a_case_folder):
    _, address = start(a_case_folder, "--device", "cpu")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    seen = page(address)
    assert seen["address"].endswith("/?case=Virtual_003")
    assert f"--case=Virtual_003={a_case_folder}" in seen["options"]
    assert "--device=cpu" in seen["options"]


def test_a_virtual_patient_is_opened_at_once(start):
    _, address = start("--virtual=12")
    assert page(address)["address"].endswith("/?virtual=12")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_it_leaves_nothing(start, tmp_path, number):
    process, address = start()
    folder = Path(page(address)["folder"])
    assert folder.is_dir()
    assert folder.parent.parent == tmp_path
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert not folder.parent.exists()


def test_killed_it_leaves_no_worker_and_no_images(start, tmp_path):
    process, address = start()
    folder = Path(page(address)["folder"])
    (folder / "in" / "image").write_text("private")
    process.kill()
    process.wait()
    assert no_folders_left(tmp_path)


def test_others_need_the_token_that_is_printed(start):
    _, address = start("--host=0.0.0.0")
    root, _, token = address.partition("?token=")
    assert len(token) >= 22
    root = re.sub(r"//[^:]+:", "//127.0.0.1:", root)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(root)
    assert refused.value.code == 401
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert "/s/" in opener.open(f"{root}?token={token}").url


def test_started_again_it_knows_no_session_of_before_but_opens_its_link(start):
    process, address = start("--virtual=5")
    path = page(address)["address"].removeprefix(address)
    process.kill()
    process.wait()
    _, again = start("--virtual=5")
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(again + path)
    assert gone.value.code == 410
    assert 'href="/?virtual=5"' in gone.value.read().decode()


def test_the_gateway_loads_neither_torch_nor_slicers_libraries():
    program = (
        "import sys, DABSegExtension.browser.command; print({'torch', 'vtk', 'slicer', 'trame'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_aiohttp_it_says_what_to_install():
    program = "import sys; sys.modules['aiohttp'] = None; from DABSegExtension.browser.__main__ import main; main([])"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "the browser workbench needs the package aiohttp, which is not installed" in done.stderr
