"""Workbench: a session's whole way on real MRML, with real processes, files and a real network that is quick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import slicer
import vtk
from workbench_user import (
    AFFINE,
    a_case,
    a_workbench,
    children,
    finish,
    mask,
    names,
    nodes,
    tiny_patient,
    tiny_weights,
)

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegExtension.browser import deeds, robustness
from DABSegExtension.browser.workbench import Workbench


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def a_bench(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench with two cases, of which one has no reference segmentation."""
    folder = tmp_path_factory.mktemp("bench")
    cases = {"Ann": a_case(folder / "cases"), "Bob": a_case(folder / "cases", "Bob", truth=False)}
    bench = a_workbench(folder / "session", cases, weights=weights)
    yield bench
    bench.close()


@pytest.fixture
def ann(a_bench: Workbench) -> Workbench:
    """It has just opened a case."""
    a_bench.open_case("Ann")
    finish(a_bench)
    assert a_bench.snapshot().fault == ""
    return a_bench


def dice_by_hand(bench: Workbench, region: str) -> float:
    a, b = (mask(node, region, bench) for node in (bench.segmentation, bench.truth))
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_case_is_opened(ann: Workbench) -> None:
    snapshot = ann.snapshot()
    assert (snapshot.title, snapshot.source, snapshot.has_truth) == ("Ann", "case", True)
    assert names(ann.rows()) == {"sharp": [f"Ann_{modality}" for modality in MODALITIES]}
    assert (snapshot.link, snapshot.view.plane, snapshot.view.offset_mm) == ("case=Ann", "Axial", None)
    assert (snapshot.can_simulate, snapshot.can_run, snapshot.can_download, snapshot.busy) == (True, True, False, False)
    assert not ann.truth.GetDisplayVisibility()
    for m, modality in enumerate(MODALITIES):
        node = ann.rows()["sharp"][modality]
        assert np.array_equal(slicer.util.arrayFromVolume(node), tiny_patient(3)[0][m])
        assert np.allclose(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node)), AFFINE)
    assert np.array_equal(mask(ann.truth, "WT", ann), tiny_patient(3)[1] > 0)


def _ijk_to_ras(node: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_what_is_shown_goes_into_json(ann: Workbench) -> None:
    assert json.loads(json.dumps(ann.snapshot().as_json()))["title"] == "Ann"


def test_the_whole_way(ann: Workbench) -> None:
    """Blur, run, measure; run again; and back to the sharp volumes, of which the scene is then as before."""
    before = nodes()
    ann.simulate(3, 7)
    finish(ann)
    assert names(ann.rows())["blurred"] == [f"Ann_{modality}_motion" for modality in MODALITIES]
    ann.run()
    finish(ann)
    ann.run()
    finish(ann)
    snapshot = ann.snapshot()
    assert (snapshot.fault, snapshot.severity, snapshot.seed) == ("", 3, 7)
    assert snapshot.link == "case=Ann&severity=3&seed=7&run=1"
    assert names(ann.rows())["pseudo-clear"][0] == "Ann_t1_motion_pseudo-clear (synthetic)"
    assert ann.segmentation.GetName() == "Ann tumour"
    assert [region.name for region in snapshot.regions] == list(REGIONS)
    for region in snapshot.regions:
        assert region.dice == pytest.approx(dice_by_hand(ann, region.name), abs=1e-4)
        voxels = mask(ann.segmentation, region.name, ann)
        assert region.ml == pytest.approx(np.count_nonzero(voxels) / 1000)
    assert [image.modality for image in snapshot.images] == list(MODALITIES)
    assert {"first", "network", "total"} <= dict(snapshot.timings_s).keys()
    ann.simulate(0, 7)
    finish(ann)
    assert (nodes(), ann.segmentation, list(ann.rows())) == (before, None, ["sharp"])
    assert ann.snapshot().regions == ()


def test_robustness_leaves_no_trace_and_agrees_with_a_run(ann: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "LEVELS", range(3))  # all five take as many seconds more
    ann.simulate(2, 5)
    finish(ann)
    ann.run()
    finish(ann)
    before, revision = nodes(), ann.snapshot().revision
    ann.measure_robustness()
    seen = []
    while ann.busy:
        finish(ann, lambda: len(ann.snapshot().robustness) > len(seen))
        seen.append(ann.snapshot().robustness)
    rows = ann.snapshot().robustness
    assert [(row.severity, row.kind) for row in rows] == [(level, "dice") for level in range(3)]
    assert [len(rows) for rows in seen][:3] == [1, 2, 3], "rows come as they are done"
    assert ann.snapshot().robustness_seed == 5
    dice = {region.name: region.dice for region in ann.snapshot().regions}
    assert {region: getattr(rows[2], region) for region in REGIONS} == dice
    assert (nodes(), ann.snapshot().revision) == (before, revision)


def test_robustness_without_a_reference_is_agreement_with_no_motion(a_bench: Workbench) -> None:
    a_bench.open_case("Bob")
    finish(a_bench)
    a_bench.measure_robustness()
    finish(a_bench, lambda: len(a_bench.snapshot().robustness) == 2)
    a_bench.cancel()
    finish(a_bench)
    first, second = a_bench.snapshot().robustness
    assert (first.kind, first.ET, first.TC, first.WT) == ("agreement", 1.0, 1.0, 1.0)
    assert second.WT < 1.0
    assert not a_bench.snapshot().has_truth


def test_cancel_leaves_all_as_it_was(ann: Workbench) -> None:
    before, others = nodes(), children()
    ann.run()
    finish(ann, lambda: bool(children() - others))
    ann.cancel()
    finish(ann)
    assert (nodes(), children() - others, ann.segmentation) == (before, set(), None)
    assert ann.snapshot().fault == ""
    assert ann.snapshot().can_run


def test_another_case_takes_the_place_of_the_first(ann: Workbench) -> None:
    ann.run()
    finish(ann)
    ann.prepare_downloads()
    finish(ann)
    count, out = len(nodes()), ann.snapshot().downloads
    assert out
    ann.open_case("Bob")
    finish(ann)
    assert len(nodes()) < count
    assert not [name for name in nodes().values() if "Ann" in name]
    assert ann.snapshot().downloads == ()
    assert ann.truth is None


def test_a_wish_to_open_ends_what_is_being_done(ann: Workbench) -> None:
    ann.run()
    finish(ann, lambda: (ann.snapshot().fraction or 0) > 0.1)
    ann.open_case("Bob")
    finish(ann)
    assert (ann.snapshot().title, ann.segmentation, ann.snapshot().fault) == ("Bob", None, "")


def test_a_wish_that_cannot_be_had_now_is_not_heard(ann: Workbench) -> None:
    ann.run()
    assert ann.snapshot().why_not_simulate == "Wait until it is done, or cancel."
    ann.simulate(2, 0)
    assert ann.snapshot().doing == "run"
    ann.cancel()
    finish(ann)


def test_a_mistake_of_ours_is_told_without_its_traceback(
    ann: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any, **_options: Any) -> Any:
        raise KeyError("/srv/secret/key")
        yield

    monkeypatch.setattr(deeds, "segment_steps", broken)
    ann.run()
    finish(ann)
    assert ann.snapshot().fault.startswith("The workbench made a mistake. Please tell")
    assert "/srv/secret/key" in caplog.text
    assert ann.snapshot().can_run


def test_difference_maps_come_and_go(ann: Workbench) -> None:
    ann.run()
    finish(ann)
    before = nodes()
    ann.make_maps()
    finish(ann)
    assert len(ann.rows()["difference"]) == len(MODALITIES)
    ann.drop_maps()
    assert "difference" not in ann.rows()
    assert nodes().keys() - before.keys() <= {"vtkMRMLColorTableNodeDABSegDifference"}, (
        "the colours stay for the next time"
    )


def test_nodes_leave_after_the_page_was_told(weights: Path, tmp_path: Path) -> None:
    told: list[tuple[bool, bool]] = []
    cases = {name: a_case(tmp_path, name) for name in ("Ann", "Bob")}
    bench = a_workbench(
        tmp_path / "session", cases, on_change=lambda: told.append(("Bob" in str(names(bench.rows())), _is_ann_there()))
    )

    def _is_ann_there() -> bool:
        return "Ann_t1" in nodes().values()

    bench.open_case("Ann")
    finish(bench)
    bench.open_case("Bob")
    finish(bench)
    assert (True, True) in told, "the new rows while the old nodes are there"
    assert told[-1] == (True, False)
    bench.close()


def test_a_link_is_followed_to_its_end(tmp_path: Path, weights: Path) -> None:
    bench = a_workbench(tmp_path / "session", {"A b": a_case(tmp_path, "A b")}, weights=weights)
    query = {"case": "A b", "severity": "1", "seed": "4", "run": "1", "plane": "Coronal", "offset": "3.5"}
    bench.open_link(query)
    finish(bench)
    snapshot = bench.snapshot()
    assert dict(parse_qsl(snapshot.link)) == query
    assert (snapshot.view.plane, snapshot.view.offset_mm) == ("Coronal", 3.5)
    assert bench._jobs._turns.said == ["want", "end"] * 2, "a turn for the motion, and one for all of the run"
    bench.look("Sagittal", -2.0)
    assert "plane=Sagittal&offset=-2" in bench.snapshot().link
    bench.open_link({"case": "A b", "severity": "17"})
    finish(bench)
    assert bench.snapshot().fault == 'The link says severity="17", but levels of motion are 0 to 4.'
    assert bench.snapshot().title == "A b"
    bench.close()


def test_a_virtual_patient_is_made(tmp_path: Path) -> None:
    bench = a_workbench(tmp_path / "session")
    bench.open_virtual(5)
    finish(bench)
    snapshot = bench.snapshot()
    assert (snapshot.title, snapshot.source, snapshot.link) == ("Virtual_005", "virtual", "virtual=5")
    assert snapshot.has_truth
    bench.open_virtual(-1)
    assert "numbered 0 to" in bench.snapshot().fault
    bench.close()
