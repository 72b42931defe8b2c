"""Worker: what it says to its gateway, and how it ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("trame_slicer")

from DABSegExtension.browser.access import KEY_HEADER, KEY_VARIABLE  # noqa: E402

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that the gateway would have started, in the folder `session`."""
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "DABSegExtension.browser.worker", str(tmp_path / "session")],
        cwd=REPOSITORY,
        env={**environment, KEY_VARIABLE: "secret"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with worker:
        yield worker
        worker.kill()


def ask(port: int, key: str) -> int:
    """Status of the page's first file for somebody with a key."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/index.html", headers={KEY_HEADER: key})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_it_is_ready_answers_the_gateway_only_and_leaves_its_folder_to_it(
    worker: subprocess.Popen[str], tmp_path: Path
) -> None:
    ready = json.loads(worker.stdout.readline())
    assert ready["event"] == "ready"
    assert ask(ready["port"], "secret") == 200
    assert ask(ready["port"], "guess") == 403
    memory = json.loads(worker.stdout.readline())
    assert memory["event"] == "memory"
    assert memory["mib"] > 50
    assert sorted(path.name for path in (tmp_path / "session").iterdir()) == ["in", "out", "tmp"]
    worker.stdin.write('{"event": "bye"}\n')
    worker.stdin.flush()
    assert worker.wait(10) == 0
    assert (tmp_path / "session").is_dir()


def test_without_a_gateway_it_ends_and_removes_its_folder(worker: subprocess.Popen[str], tmp_path: Path) -> None:
    assert json.loads(worker.stdout.readline())["event"] == "ready"
    worker.stdin.write('{"event": "open", "query": {"virtual": "3"}}\n')
    worker.stdin.flush()
    worker.stdin.close()
    assert worker.wait(10) == 0
    assert not (tmp_path / "session").exists()


def test_a_session_whose_page_cannot_go_on_ends_instead_of_standing_still(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from DABSegExtension.browser import worker, workbench
        def fail(self):
            raise RuntimeError("a bug of ours")
        workbench.Workbench.tick = fail
        sys.exit(worker.main(sys.argv[1:]))
    """
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "session")],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,  # stays open: it does not end because of its gateway
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        try:
            assert worker.wait(60) != 0
        finally:
            worker.kill()
        assert "a bug of ours" in worker.stderr.read()
