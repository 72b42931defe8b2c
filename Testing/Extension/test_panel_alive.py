"""Panel, alive: on images of full size no turn of the event loop keeps the user waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import slicer
from DABSegLib.nodes.bridge import world_affine
from DABSegLib.process.job import Job
from DABSegLib.work import follow
from panel_user import User, look_of, volumes_of
from PySide6 import QtCore
from standins.processes import children

from DABSegCore.labels import MODALITIES, REGIONS, labels_from_regions
from DABSegCore.volume import Volume, write_volume

LIMIT_S = 0.1
BLOCKED_S = 0.25
"""More than the disk takes on a busy machine, less than a wait that somebody has put into a step."""

TICK_MS = 10
DELAYS = Path("/proc/thread-self/schedstat")


def queued_s() -> float:
    """How long this thread has waited for a processor that others had; 0 where the system does not tell."""
    return int(DELAYS.read_text().split()[1]) / 1e9 if DELAYS.exists() else 0.0


class Watch:
    """The longest turn of the event loop while somebody waits.

    `worked_s` is what the thread computed in it, `blocked_s` what it slept or waited in it for a disk, a lock or a
    process, without the time in which other programs had the processor.
    """

    def __init__(self, user: User) -> None:
        self.user = user
        self.worked_s = self.blocked_s = 0.0
        self.where = ""
        self.ticks = 0
        self.begun = time.monotonic()
        self.timer = QtCore.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self._tick)
        self.timer.start()

    def _tick(self) -> None:
        self.ticks += 1

    def until(self, condition: Callable[[], bool], limit_s: float = 90.0) -> None:
        """Let the event loop turn until something is so."""
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "it takes too long"
            self.turn(slicer.app.processEvents)
            time.sleep(0.001)

    def turn(self, event: Callable[[], object]) -> None:
        """Let something happen, as a press of a button, that is one turn of the event loop."""
        wall, worked, queued = time.monotonic(), time.thread_time(), queued_s()
        event()
        worked_s = time.thread_time() - worked
        blocked_s = time.monotonic() - wall - worked_s - (queued_s() - queued)
        if worked_s > self.worked_s or blocked_s > self.blocked_s:
            self.where = self.user.reads("statusLabel")
        self.worked_s, self.blocked_s = max(self.worked_s, worked_s), max(self.blocked_s, blocked_s)

    @property
    def all_is_well(self) -> bool:
        """Whether no turn was too long."""
        return self.worked_s < LIMIT_S and self.blocked_s < BLOCKED_S

    def __str__(self) -> str:
        return f"{1e3 * self.worked_s:.0f} ms worked, {1e3 * self.blocked_s:.0f} ms blocked at {self.where!r}"


def test_the_panel_stays_alive_with_images_of_full_size(user, scene):
    watch = Watch(user)
    user.press("sampleButton")
    watch.until(lambda: not user.busy)
    watch.until(lambda: user.panel.volumes._looking is None)
    assert watch.all_is_well, f"loading the sample: {watch}"
    assert slicer.util.arrayFromVolume(user.parameters.t1).shape == (155, 240, 240)
    before = look_of(scene)
    watch = Watch(user)
    watch.turn(lambda: user.press("applyButton"))
    watch.until(lambda: user.reads("statusLabel").startswith("Restoring"))
    begun, ticks = time.monotonic(), watch.ticks
    watch.until(lambda: time.monotonic() > begun + 1.0)
    assert watch.ticks - ticks > 10, "other timers run, too"
    watch.turn(lambda: user.press("applyButton"))
    watch.until(lambda: not user.busy)
    assert watch.all_is_well, f"segmenting and cancelling: {watch}"
    assert look_of(scene) == before
    assert children() == set()


def test_results_of_full_size_are_taken_up_in_small_steps(user, scene, tmp_path, monkeypatch):
    """All but the network, which would take minutes: a fake one delivers the truth and the sharp volumes."""
    told: list[str] = []

    def presses(name: str) -> None:
        watch = Watch(user)
        watch.turn(lambda: user.press(name))
        watch.until(lambda: not user.busy)
        watch.until(lambda: user.panel.volumes._looking is None)
        watch.until(lambda: time.monotonic() > watch.begun + 1.0)  # a timer may have something to say
        told.append(f"{name}: {watch}")
        assert watch.all_is_well, told

    presses("sampleButton")
    results = results_of(user, tmp_path / "results")
    presses("simulateButton")
    assert user.volumes()[0] == "Virtual_005_t1_motion"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def start(arguments: list[str], folder: Path) -> Job:
        fake = ["fake_child", "results", str(results)] if arguments[0] == "DABSegCore.segment" else []
        return Job([*fake, *arguments], folder)

    monkeypatch.setattr(follow, "Job", start)
    presses("applyButton")  # and what follows by itself: tables, views, measuring
    assert [row[2] for row in user.table("regionTable")] == ["1.000"] * 3
    presses("differenceCheck")
    watch = Watch(user)
    watch.turn(lambda: user.press("compareButton"))  # not while anything is computed: a click that takes half a second
    assert watch.worked_s + watch.blocked_s < 3, f"comparing: {watch}"
    print(*told, sep="\n")


def results_of(user: User, folder: Path) -> Path:
    """What a perfect network would write."""
    folder.mkdir()
    volumes = user.panel.volumes.chosen()
    affine = world_affine(volumes["t1ce"])
    for modality, node in volumes.items():
        array = slicer.util.arrayFromVolume(node)
        write_volume(folder / f"Virtual_005_{modality}_pseudo-clear.nii", Volume(array.astype(np.float32), affine))
    truth = slicer.util.getNode("Virtual_005 truth")
    masks = [slicer.util.arrayFromSegmentBinaryLabelmap(truth, name, volumes["t1ce"]) > 0 for name in REGIONS]
    write_volume(folder / "Virtual_005_seg.nii", Volume(labels_from_regions(np.stack(masks)), affine))
    inputs = {modality: {"sha256": ""} for modality in MODALITIES}
    weights = {"preset": "none", "sha256": "0" * 64}
    facts = {"inputs": inputs, "device": "cpu", "version": "0", "weights": weights, "outputs": {}}
    (folder / "Virtual_005_report.json").write_text(json.dumps(facts))
    return folder


def _sleep() -> None:
    time.sleep(0.3)


def _compute() -> None:
    end = time.thread_time() + 1.5 * LIMIT_S
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize("slow", [_sleep, _compute], ids=["waits", "computes"])
def test_a_step_that_takes_long_is_noticed(user, scene, a_small_patient, monkeypatch, slow):
    volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.can("applyButton"))
    user.settle()
    once, poll = [slow], Job.poll

    def slow_once(job: Job):
        if once:
            once.pop()()
        return poll(job)

    monkeypatch.setattr(Job, "poll", slow_once)
    watch = Watch(user)
    user.press("applyButton")
    watch.until(lambda: not once)
    user.stops("applyButton")
    assert not watch.all_is_well
