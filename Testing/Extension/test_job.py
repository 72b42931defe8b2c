"""Job: events come whole and in order, and nothing a job started outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from DABSegLib import home
from DABSegLib.process import process_tree, scratch
from DABSegLib.process.job import Job

HERE = Path(__file__).parent
on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals: a process there is killed at once")


@pytest.fixture(autouse=True)
def _finds_the_fake_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Starts fake children, and ends them."""
    jobs: list[Job] = []

    def start(*arguments: str) -> Job:
        folder = tmp_path / f"job{len(jobs)}"
        folder.mkdir()
        jobs.append(Job(["fake_child", *arguments], folder))
        return jobs[-1]

    yield start
    for started in jobs:
        started.close()


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """What the condition gives as soon as it gives something."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def first_log(job: Job) -> str:
    return until(job.poll)[0]["message"]


def test_half_a_line_waits_and_what_is_no_event_goes_to_the_log(job, tmp_path):
    child = job("halves")
    until(lambda: (tmp_path / "job0" / "events.jsonl").stat().st_size)
    assert child.poll() == []
    assert child.returncode is None
    (tmp_path / "job0" / "go").touch()
    events: list[dict] = []
    until(lambda: events.extend(child.poll()) or child.returncode is not None)
    assert [event["event"] for event in events] == ["log", "done"]  # the last one has no line end
    assert events[0]["message"] == "whole"
    assert child.returncode == 0
    assert child.log() == "no event\n[1]\n"
    assert child.poll() == []


def test_no_event_is_missed_between_the_last_look_and_the_end(job, tmp_path):
    child = job("halves")
    (tmp_path / "job0" / "go").touch()
    until(lambda: child.has_ended)
    assert child.returncode is None, "its events are still to be read"
    assert [event["event"] for event in child.poll()] == ["log", "done"]
    assert child.returncode == 0


def test_the_log_is_what_went_to_stderr(job):
    child = job("die", "7")
    until(lambda: child.poll() or child.returncode is not None)
    assert child.returncode == 7
    assert child.log().splitlines() == ["first line", "last words"]
    assert 0 < child.seconds < 20


@pytest.mark.parametrize("grace_s", [0.0, 5.0])
def test_a_stopped_job_ends_and_so_does_what_it_started(job, grace_s):
    child = job("family")
    grandchild = int(first_log(child))
    assert lives(grandchild)
    began = time.perf_counter()
    child.stop(grace_s)
    child.stop(grace_s)
    assert time.perf_counter() - began < 0.05, "stopping does not wait"
    until(lambda: child.poll() or child.returncode is not None, 4.0)
    assert child.returncode != 0
    until(lambda: not lives(grandchild), 2.0)


@on_posix
def test_what_a_job_left_behind_is_killed_when_it_ends(job):
    child = job("family", "leave")
    grandchild = int(first_log(child))
    until(lambda: child.has_ended)
    until(lambda: not lives(grandchild), 2.0)
    child.stop()


@on_posix
def test_a_job_that_is_asked_to_end_puts_its_files_away(job, tmp_path):
    child = job("tidy")
    first_log(child)
    child.stop(grace_s=10.0)
    until(lambda: child.poll() or child.returncode is not None, 5.0)
    assert (tmp_path / "job0" / "tidied").exists()
    assert child.returncode == 130


@on_posix
def test_a_job_that_will_not_end_is_killed_after_its_grace(job):
    child = job("stubborn")
    first_log(child)
    child.stop(grace_s=0.3)
    time.sleep(0.1)
    child.poll()
    assert not child.has_ended
    until(lambda: child.poll() or child.returncode is not None, 4.0)
    assert child.returncode == -signal.SIGKILL
    assert child.seconds > 0.3


def test_a_closed_job_has_ended_and_may_be_closed_again(job):
    child = job("stubborn")
    first_log(child)
    child.close()
    assert not lives(child.pid)
    child.close()
    child.stop()
    assert child.poll() == []


@on_posix
def test_a_job_is_less_urgent_than_the_window(job):
    child = job("sleep")
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(process_tree.NICENESS, 19)


@on_posix
def test_a_job_ends_when_its_parent_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from DABSegLib.process.job import Job\n"
        "child = Job(['fake_child', 'tidy'], Path(sys.argv[1]))\n"
        "while not child.poll(): time.sleep(0.01)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    path = os.pathsep.join([str(HERE), str(home.LIBRARY.parent), str(home.CORE)])
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as parent:
        child = int(parent.stdout.readline())
        assert lives(child)
        parent.kill()
    until(lambda: not lives(child), 2.5)  # sooner than it would without putting its files away
    assert (tmp_path / "tidied").exists()


def test_folders_of_crashed_sessions_go_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "temporary_root", lambda: tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with scratch.scratch_folder() as mine:
        host = mine.name.split("-")[1]
        names = [f"dabseg-{host}-{ended.pid}-abc", f"dabseg-elsewhere-{ended.pid}-abc", "dabseg-results"]
        for name in names:
            (tmp_path / name).mkdir()
        (tmp_path / names[0] / "t1.nii").write_bytes(b"0")
        assert scratch.sweep() == [tmp_path / names[0]]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, *names[1:]])
    assert not mine.exists()


def test_a_scratch_folder_goes_when_its_work_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "temporary_root", lambda: tmp_path)

    def fail() -> None:
        with scratch.scratch_folder() as folder:
            (folder / "file").touch()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert list(tmp_path.iterdir()) == []
