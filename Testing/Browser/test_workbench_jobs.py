"""Jobs: tasks follow one another, the heavy ones of all sessions one at a time, and none outlives a cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from DABSegLib.work.runner import Cancelled, Status

from DABSegCore.errors import InputError
from DABSegExtension.browser.jobs import Jobs, Task


class Queue:
    """First come, first served; who is first has the turn."""

    def __init__(self) -> None:
        self.waiting: list[str] = []


class Turns:
    def __init__(self, queue: Queue, name: str) -> None:
        self.queue, self.name = queue, name

    def want(self) -> None:
        assert self.name not in self.queue.waiting, "asked for twice"
        self.queue.waiting.append(self.name)

    def end(self) -> None:
        self.queue.waiting.remove(self.name)

    def is_mine(self) -> bool:
        return self.queue.waiting[:1] == [self.name]

    def ahead(self) -> int:
        return self.queue.waiting.index(self.name)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def a_session(queue: Queue, faults: list[str]) -> Callable[[str], Jobs]:
    return lambda name: Jobs(Turns(queue, name), lambda: None, lambda fault: faults.append(fault.cause))


def a_task(
    done: list[str], name: str, *, steps: int = 2, fault: str = "", slow_end: bool = False, **options: Any
) -> Task:
    """A task that notes its begin, each step and its end."""

    def generator() -> Any:
        try:
            for number in range(steps):
                done.append(f"{name}{number}")
                yield Status(name, number / steps, 7.0)
            if fault:
                raise InputError(f"{fault}; try again", "bad-input")
        except Cancelled:
            if slow_end:  # as a process that has to end first
                done.append(f"{name} stops")
                yield Status("Stopping")
            raise
        done.append(f"{name} done")

    return Task(name, generator, **options)


def finish(*sessions: Jobs) -> None:
    for _ in range(200):
        for jobs in sessions:
            jobs.tick()
    assert not any(jobs.busy for jobs in sessions)


def test_tasks_follow_one_another(a_session: Callable[[str], Jobs]) -> None:
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x"), a_task(done, "y", steps=1)])
    assert (jobs.busy, jobs.doing) == (True, "x")
    finish(jobs)
    assert done == ["x0", "x1", "x done", "y0", "y done"]
    assert (jobs.busy, jobs.doing, jobs.status) == (False, "", Status(""))


def test_one_heavy_task_at_a_time_over_all_sessions(a_session: Callable[[str], Jobs], queue: Queue) -> None:
    done: list[str] = []
    a, b, c = (a_session(name) for name in "ABC")
    for jobs, name in ((a, "a"), (b, "b"), (c, "c")):
        jobs.start([a_task(done, name, steps=3, heavy=True)])
        jobs.tick()
    assert queue.waiting == ["A", "B", "C"]
    assert (a.ahead, b.ahead, c.ahead) == (None, 1, 2)
    assert c.status.stage == "Waiting for 2 others"
    finish(c, b, a)
    assert done == [f"{name}{step}" for name in "abc" for step in ("0", "1", "2", " done")]
    assert queue.waiting == []


def test_light_tasks_wait_for_nobody(a_session: Callable[[str], Jobs], queue: Queue) -> None:
    queue.waiting.append("somebody")
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x")])
    finish(jobs)
    assert done[-1] == "x done"


def test_tasks_in_one_turn_let_nobody_in_between(a_session: Callable[[str], Jobs]) -> None:
    done: list[str] = []
    a, b = a_session("A"), a_session("B")
    a.start(
        [a_task(done, "x", heavy=True), a_task(done, "y", heavy=True, same_turn=True), a_task(done, "z", heavy=True)]
    )
    a.tick()
    b.start([a_task(done, "b", heavy=True)])
    finish(a, b)
    assert [line for line in done if line.endswith("done")] == ["x done", "y done", "b done", "z done"]


def test_who_cancels_while_waiting_leaves_the_queue(a_session: Callable[[str], Jobs], queue: Queue) -> None:
    queue.waiting.append("somebody")
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x", heavy=True)])
    jobs.tick()
    assert queue.waiting == ["somebody", "A"]
    jobs.cancel()
    assert (queue.waiting, jobs.busy, done) == (["somebody"], False, [])


def test_a_cancelled_task_takes_those_after_it_along(a_session: Callable[[str], Jobs], queue: Queue) -> None:
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x", heavy=True, slow_end=True), a_task(done, "y")])
    jobs.tick()
    jobs.tick()
    jobs.tick()
    jobs.cancel()
    assert jobs.busy, "its process has not ended yet"
    assert queue.waiting == ["A"], "the turn is kept until it has"
    finish(jobs)
    assert done == ["x0", "x stops"]
    assert queue.waiting == []


def test_a_fault_is_told_and_ends_all(a_session: Callable[[str], Jobs], faults: list[str], queue: Queue) -> None:
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x", fault="the head is a cat", heavy=True), a_task(done, "y")])
    finish(jobs)
    assert faults == ["The head is a cat."]
    assert (done, queue.waiting) == (["x0", "x1"], [])


def test_a_new_wish_begins_when_the_old_one_has_ended(a_session: Callable[[str], Jobs]) -> None:
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x", slow_end=True)])
    jobs.tick()
    jobs.tick()
    jobs.start([a_task(done, "y", steps=1)])
    jobs.start([a_task(done, "z", steps=1)])  # of two wishes the last one counts
    finish(jobs)
    assert done == ["x0", "x stops", "z0", "z done"]


def test_progress_is_that_of_the_whole(a_session: Callable[[str], Jobs]) -> None:
    jobs = a_session("A")
    jobs.start([a_task([], "x", low=0.5, high=0.9)])
    jobs.tick()
    assert jobs.status.stage == "Starting"
    jobs.tick()
    jobs.tick()
    assert jobs.status.fraction == pytest.approx(0.5 + 0.4 * 1 / 2)
    assert jobs.status.left_s == 7.0


def test_closed_it_is_idle_and_stays_so(a_session: Callable[[str], Jobs], queue: Queue) -> None:
    done: list[str] = []
    jobs = a_session("A")
    jobs.start([a_task(done, "x", heavy=True, slow_end=True)])
    for _ in range(3):
        jobs.tick()
    jobs.close()
    jobs.start([a_task(done, "y")])
    finish(jobs)
    assert (done, queue.waiting) == (["x0"], [])
