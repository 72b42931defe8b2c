"""Work: results enter the scene all or none, whatever happens in between, and no step takes long."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DABSegLib.nodes import bridge, links, segments
from DABSegLib.process import scratch
from DABSegLib.process.job import Job
from DABSegLib.work import Inputs, Status, Work, folder_command, follow, run_to_end, segment_steps
from nodes import a_transform, a_volume_node, an_affine
from test_job import lives, until

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.phantom import VirtualPatient
from DABSegCore.volume import Volume, write_volume


@pytest.fixture
def inputs(scene: Any, a_small_patient: VirtualPatient) -> Inputs:
    """The small patient as four volumes of the scene, turned by a transform."""
    images = zip(MODALITIES, a_small_patient.images, strict=True)
    volumes = {m: a_volume_node(scene, image, a_small_patient.affine, f"Sam_{m}") for m, image in images}
    turned = a_transform(scene, an_affine((0, 20, 10), origin=(3, -4, 5)))
    for node in volumes.values():
        node.SetAndObserveTransformNodeID(turned.GetID())
    return Inputs(volumes)


@pytest.fixture
def results(tmp_path: Path, a_small_patient: VirtualPatient) -> Path:
    """What the command would write for it: the true tumour, volumes twice as bright, one fused, and much doubt."""
    folder = tmp_path / "results"
    folder.mkdir()
    write_volume(folder / "Sam_seg.nii", Volume(a_small_patient.label, a_small_patient.affine))
    for m, image in zip(MODALITIES, a_small_patient.images, strict=True):
        write_volume(folder / f"Sam_{m}_pseudo-clear.nii", Volume(2 * image, a_small_patient.affine))
    extras = {"fused": a_small_patient.images[0] / 1000}
    extras |= {f"uncertainty_{r}": np.full_like(a_small_patient.images[0], n / 10) for n, r in enumerate(REGIONS)}
    for name, array in extras.items():
        write_volume(folder / f"Sam_{name}.nii", Volume(array, a_small_patient.affine))
    read = {m: {"path": "/gone", "sha256": m * 2} for m in MODALITIES}
    report = {"case_id": "Sam", "inputs": read, "outputs": {f"Sam_{name}.nii": "" for name in extras}}
    (folder / "Sam_report.json").write_text(json.dumps({**report, "warnings": [], "device": "cpu"}))
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go; empty in the end."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr(scratch, "temporary_root", lambda: root)
    return root


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Job]]]:
    """`fake(behaviour, ...)`: all jobs are fake children from now on; gives the list of those that were started."""
    jobs: list[Job] = []

    def behave(*behaviour: str) -> list[Job]:
        def start(arguments: list[str], folder: Path) -> Job:
            jobs.append(Job(["fake_child", *behaviour, *arguments], folder))
            return jobs[-1]

        monkeypatch.setattr(follow, "Job", start)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        return jobs

    yield behave
    for job in jobs:
        job.close()


def look_of(scene: Any) -> list[tuple[str, int]]:
    """What a scene holds, and when each node was last changed."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [(node.GetID(), node.GetMTime()) for node in nodes]


def drive(work: Work, steps: int = 1_000_000) -> list[Status]:
    """Advance to the end, or as many times as said."""
    told = []
    while not work.finished and len(told) < steps:
        told.append(work.advance())
        time.sleep(0 if told[-1].busy or work.finished else 0.02)
    return told


def test_results_enter_the_scene_with_all_they_belong_to(scene, inputs, results, fake, temporary, a_small_patient):
    heard: list[tuple[str, str]] = []
    fake("results", str(results))
    work = Work(segment_steps(scene, inputs, on_log=lambda *line: heard.append(line)))
    told = drive(work)
    assert (work.outcome, work.fault) == ("done", None)
    result = work.result
    assert result.segmentation.GetName() == "Sam tumour"
    assert result.segmentation.GetScene() is scene
    voxel_ml = 27 / 1000
    masks = regions_from_labels(a_small_patient.label)
    true_ml = {region: mask.sum() * voxel_ml for region, mask in zip(REGIONS, masks, strict=True)}
    assert segments.volumes_ml(result.segmentation) == pytest.approx(true_ml, rel=1e-4)
    for modality, node in result.pseudo_clear.items():
        assert node.GetName() == f"Sam_{modality}_pseudo-clear (synthetic)"
        assert node.GetScene() is scene
        source = inputs.volumes[modality]
        np.testing.assert_array_equal(bridge.voxels(node), 2 * bridge.voxels(source))
        np.testing.assert_array_equal(bridge.world_affine(node), bridge.world_affine(source))
        assert (node.GetAttribute(links.KIND), node.GetAttribute(links.MODALITY)) == ("pseudo-clear", modality)
    assert links.connected(result.segmentation, "input") == dict(inputs.volumes)
    assert links.connected(result.segmentation, "pseudo-clear") == result.pseudo_clear
    (fused,) = result.extras["fused"].values()
    np.testing.assert_array_equal(bridge.voxels(fused), bridge.voxels(inputs.volumes["t1"]) / 1000)
    for number, (region, node) in enumerate(result.extras["uncertainty"].items()):
        assert np.unique(bridge.voxels(node)) == pytest.approx(number / 10)
        assert (node.GetName(), node.GetScene()) == (f"Sam_uncertainty_{region} (synthetic)", scene)
        np.testing.assert_array_equal(bridge.world_affine(node), bridge.world_affine(inputs.volumes["t1ce"]))
    assert {role: links.connected(result.segmentation, role) for role in result.extras} == result.extras
    report = links.report_of(result.segmentation)
    assert report == result.report
    assert report["inputs"]["t1"] == {"name": "Sam_t1", "sha256": "t1t1"}
    assert report["warnings"] == ["all is invented"]
    assert set(result.timings_s) == {"export", "start", "load", "network", "write", "import", "total"}
    parts = sum(seconds for name, seconds in result.timings_s.items() if name != "total")
    assert 0 < parts <= result.timings_s["total"] + 0.05
    assert result.timings_s["network"] == pytest.approx(0.05, abs=0.04)
    fractions = [status.fraction for status in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert "Restoring and segmenting" in {status.stage for status in told}
    assert heard == [("warning", "all is invented")]
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("temporary")
def test_weights_that_restore_nothing_leave_segments_alone(scene, inputs, results, fake):
    for path in results.glob("*_pseudo-clear.nii"):
        path.unlink()
    report = json.loads((results / "Sam_report.json").read_text())
    (results / "Sam_report.json").write_text(json.dumps({**report, "options": {"restored": False}}))
    fake("results", str(results))
    result = run_to_end(Work(segment_steps(scene, inputs)))
    assert result.pseudo_clear == {}
    assert result.segmentation.GetScene() is scene


def test_cancelled_at_any_step_nothing_remains(scene, inputs, results, fake, temporary):
    jobs = fake("results", str(results))
    before, steps, seen = look_of(scene), 0, set()
    while True:
        work = Work(segment_steps(scene, inputs))
        drive(work, steps)
        if work.outcome == "done":
            break
        seen.add(work.status.stage)
        work.cancel()
        drive(work)
        assert (work.outcome, work.result, work.fault) == ("cancelled", None, None)
        assert look_of(scene) == before, f"cancelled after {steps} steps"
        assert list(temporary.iterdir()) == []
        assert not any(lives(job.pid) for job in jobs)
        steps += 1
    assert {"Waiting", "Reading T1", "Starting", "Loading the segments", "Loading the other volumes"} <= seen
    assert "Showing the results" in seen
    assert look_of(scene) != before


def test_closed_in_the_middle_the_process_is_gone_at_once(scene, inputs, fake, temporary):
    before, jobs = look_of(scene), fake("family")
    pids: list[str] = []
    work = Work(segment_steps(scene, inputs, on_log=lambda level, line: pids.append(line)))
    while not pids:
        work.advance()
    work.close()
    assert work.outcome == "cancelled"
    assert not lives(jobs[0].pid)
    until(lambda: not lives(int(pids[0])), 2.0)
    assert (look_of(scene), list(temporary.iterdir())) == (before, [])
    work.close()
    work.cancel()
    assert work.advance().stage == "Cancelled"


def test_a_scene_that_is_closed_meanwhile_stays_empty(scene, inputs, fake, temporary):
    jobs = fake("sleep")
    work = Work(segment_steps(scene, inputs))
    while not jobs:
        work.advance()
    scene.Clear(False)
    before = look_of(scene)
    drive(work)
    assert work.fault.code == "inputs-gone"
    assert (look_of(scene), list(temporary.iterdir())) == (before, [])
    assert not lives(jobs[0].pid)


def test_a_volume_removed_while_results_are_read_leaves_nothing_behind(scene, inputs, results, fake, temporary):
    fake("results", str(results))
    work = Work(segment_steps(scene, inputs))
    while work.status.stage != "Showing the results":
        work.advance()
    scene.RemoveNode(inputs.volumes["flair"])
    before = look_of(scene)
    drive(work)
    assert work.fault.code == "inputs-gone"
    assert "FLAIR" in work.fault.cause
    assert look_of(scene) == before


def test_results_that_enter_only_in_part_are_taken_out_again(scene, inputs, results, fake, temporary, monkeypatch):
    fake("results", str(results))
    monkeypatch.setattr(links, "connect", lambda *_: (_ for _ in ()).throw(KeyError("late")))
    before = [node_id for node_id, _ in look_of(scene)]
    work = Work(segment_steps(scene, inputs))
    drive(work)
    assert (work.outcome, work.fault.code) == ("failed", "bug")
    assert "KeyError: 'late'" in work.fault.log
    assert [node_id for node_id, _ in look_of(scene)] == before
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        (("die", "3"), "child-failed", "exit code 3: first line / last words"),
        (("die", "0"), "child-failed", "without a result"),
        pytest.param(
            ("killed",), "killed", "memory", marks=pytest.mark.skipif(os.name == "nt", reason="exit code of POSIX")
        ),
    ],
)
def test_a_process_that_fails_is_a_fault(scene, inputs, fake, temporary, behaviour, code, words):
    fake(*behaviour)
    before = look_of(scene)
    work = Work(segment_steps(scene, inputs))
    drive(work)
    assert (work.outcome, work.fault.code) == ("failed", code)
    assert words in work.fault.cause
    assert (look_of(scene), list(temporary.iterdir())) == (before, [])


def test_an_error_of_the_command_names_the_nodes(scene, inputs, fake, temporary):
    fake("fault")
    work = Work(segment_steps(scene, inputs))
    drive(work)
    assert (work.fault.cause, work.fault.cure, work.fault.code) == ('"Sam_t2" is a cat.', "Choose a head.", "no-head")
    assert "is a cat" in work.fault.log


def test_an_incomplete_choice_is_refused(inputs):
    with pytest.raises(InputError, match="no volume is chosen for T2 and FLAIR"):
        Inputs({"t1": inputs.volumes["t1"], "t1ce": inputs.volumes["t1ce"], "flair": None})


def counting(until: int, done: list[str] | None = None) -> Generator[Status, None, int]:
    """Steps that need no scene."""
    try:
        for number in range(until):
            yield Status(f"step {number}", busy=True)
    finally:
        (done if done is not None else []).append("tidied")
    return until


def test_a_work_for_scripts_runs_to_its_end_or_raises():
    assert run_to_end(Work(counting(3))) == 3
    with pytest.raises(InputError, match="No brain") as caught:
        run_to_end(Work(_refusing()))
    assert caught.value.code == "no-brain"


def _refusing() -> Generator[Status, None, None]:
    yield Status("looking", busy=True)
    raise InputError("no brain; choose a head", code="no-brain")


def test_an_event_loop_within_a_step_does_not_disturb_it():
    works: list[Work] = []

    def steps() -> Generator[Status, None, str]:
        works[0].advance()  # as a timer would, while this step lets the event loop run
        yield Status("first", busy=True)
        works[0].cancel()
        yield Status("second", busy=True)
        return "never reached"

    works.append(Work(steps()))
    assert works[0].advance().stage == "first"
    works[0].advance()
    assert works[0].outcome == "cancelled"


def test_a_work_closed_before_or_in_the_middle_tidies_up():
    done: list[str] = []
    work = Work(counting(3, done))
    work.close()
    assert (work.outcome, done) == ("cancelled", [])
    work = Work(counting(3, done))
    work.advance()
    work.close()
    assert (work.outcome, done, work.result) == ("cancelled", ["tidied"], None)


def test_the_bar_of_many_cases_is_theirs():
    told = follow.Told({}, lambda *_: None)
    stamp = {"time": 100.0}
    told.note({"event": "stage", "stage": "weights", "total": None, **stamp})
    told.note({"event": "log", "message": "case 2 of 4: Ann", **stamp})
    told.note({"event": "stage", "stage": "network", "total": 4, **stamp})
    told.note({"event": "step", "step": 2, "total": 4, "eta_s": 8.0, **stamp})
    status = told.status(100.0)
    assert status.stage == "Case 2 of 4, Ann: restoring and segmenting"
    assert status.fraction == pytest.approx(0.15 + 0.85 * (1 + 0.525) / 4)


def test_time_left_runs_down_between_two_steps():
    told = follow.Told({}, lambda *_: None)
    told.note({"event": "stage", "stage": "network", "total": 4, "time": 100.0})
    assert told.status(105.0).left_s is None
    told.note({"event": "step", "step": 1, "total": 4, "eta_s": 15.0, "time": 105.0})
    now, later = told.status(105.0), told.status(107.0)
    assert (now.left_s, later.left_s) == (15.0, 13.0)
    assert pytest.approx(now.fraction) == 0.2 + 0.65 / 4
    assert now.fraction < later.fraction < 0.2 + 0.65 / 2


@pytest.mark.skipif(os.name == "nt", reason="quoting of POSIX shells")
def test_the_command_of_a_folder_can_be_typed(tmp_path):
    out = tmp_path / "my results"
    first, second = folder_command(tmp_path / "data", out, severity=2, tta=True).splitlines()
    assert first == (f"python -m DABSegCore.simulate --data {tmp_path}/data --out '{out}/motion' --severity 2")
    assert second == (f"python -m DABSegCore.segment --data '{out}/motion' --out '{out}' --device auto --tta")
