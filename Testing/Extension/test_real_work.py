"""Real work: the true commands, on a virtual patient small enough to wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DABSegLib.nodes import bridge, links, segments
from DABSegLib.process import scratch
from DABSegLib.work import (
    Inputs,
    Work,
    folder_steps,
    run_to_end,
    sample_steps,
    score_steps,
    segment_steps,
    simulate_steps,
)
from nodes import roi_node
from standins.mrml import fresh_scene

from DABSegCore.labels import MODALITIES

SMALL = {"shape": (54, 64, 56), "spacing_mm": 3.0}


@pytest.fixture(scope="module", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where temporary folders go; empty in the end."""
    root = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "temporary_root", lambda: root)
        yield root
    assert list(root.iterdir()) == []


@pytest.fixture(scope="module")
def a_scene() -> Any:
    return fresh_scene()


@pytest.fixture(scope="module")
def sample(a_scene: Any) -> Any:
    return run_to_end(Work(sample_steps(a_scene, 3, **SMALL)))


@pytest.fixture(scope="module")
def blurred(a_scene: Any, sample: Any) -> Any:
    return run_to_end(Work(simulate_steps(a_scene, Inputs(sample.volumes), severity=3, seed=1)))


@pytest.fixture(scope="module")
def segmented(a_scene: Any, blurred: Any) -> Any:
    return run_to_end(Work(segment_steps(a_scene, Inputs(blurred.motion), device="cpu")))


def test_a_sample_is_the_patient_of_its_seed(sample, a_small_patient):
    assert {m: node.GetName() for m, node in sample.volumes.items()} == {m: f"Virtual_003_{m}" for m in MODALITIES}
    for m, node in enumerate(sample.volumes.values()):
        np.testing.assert_allclose(bridge.voxels(node), a_small_patient.images[m], atol=0.51)  # stored as whole numbers
        np.testing.assert_allclose(bridge.world_affine(node), a_small_patient.affine, atol=1e-4)
    assert sample.truth.GetName() == "Virtual_003 truth"
    ml = np.count_nonzero(a_small_patient.label) * 27 / 1000
    assert segments.volumes_ml(sample.truth)["WT"] == pytest.approx(ml, rel=1e-4)


def test_a_blurred_volume_remembers_what_made_it(a_scene, sample, blurred):
    for modality, node in blurred.motion.items():
        sharp = sample.volumes[modality]
        assert node.GetName() == f"Virtual_003_{modality}_motion"
        assert links.sharp_of(node) is sharp
        assert links.trajectory_of(node) == blurred.record
        assert (node.GetAttribute(links.KIND), node.GetAttribute(links.MODALITY)) == ("motion", modality)
        assert not np.array_equal(bridge.voxels(node), bridge.voxels(sharp))
    assert links.sharp_of(sample.volumes["t1"]) is None


def test_the_motion_can_be_repeated_from_its_record(a_scene, sample, blurred):
    heard: list[Any] = []
    steps = simulate_steps(
        a_scene, Inputs(sample.volumes), replay=blurred.record, on_log=lambda *line: heard.append(line)
    )
    again = run_to_end(Work(steps))
    for modality, node in again.motion.items():
        assert node is not blurred.motion[modality]
        np.testing.assert_array_equal(bridge.voxels(node), bridge.voxels(blurred.motion[modality]))
    assert [level for level, _ in heard] == ["info"], "the images are those of the record"


def test_only_the_modalities_asked_for_are_blurred(a_scene, sample):
    nodes = a_scene.GetNumberOfNodes()
    steps = simulate_steps(a_scene, Inputs(sample.volumes), severity=1, axis=1, modalities=["flair"])
    result = run_to_end(Work(steps))
    kept = {m: node for m, node in result.motion.items() if node is sample.volumes[m]}
    assert set(kept) == {"t1", "t1ce", "t2"}
    assert a_scene.GetNumberOfNodes() == nodes + 2, "a volume and how it is displayed"
    assert result.record["modalities"]["flair"]["trajectory"]["axis"] == 1


def test_the_shipped_weights_find_the_tumour(sample, segmented, a_scene, blurred):
    assert segmented.segmentation.GetName() == "Virtual_003 tumour"
    assert segmented.report["device"] == "cpu"
    assert len(segmented.report["weights"]["sha256"]) == 64
    steps = score_steps(
        a_scene,
        segmented.segmentation,
        sample.truth,
        sample.volumes,
        blurred.motion,
        segmented.pseudo_clear,
        blurred.motion["t1ce"],
    )
    scores = run_to_end(Work(steps))
    assert set(scores["regions"]) == {"ET", "TC", "WT"}
    assert scores["regions"]["WT"]["dice"] > 0.8
    assert scores["regions"]["WT"]["predicted_ml"] == pytest.approx(segmented.report["volumes_ml"]["WT"], rel=1e-4)
    for modality in MODALITIES:
        psnr = scores["images"][modality]["psnr_db"]
        recorded = blurred.record["modalities"][modality]["psnr_db"]
        assert psnr["corrupted"] == pytest.approx(recorded, abs=0.01)


def test_any_part_of_a_comparison_may_be_absent(a_scene, sample, segmented, blurred):
    reference = blurred.motion["t1ce"]
    nothing = run_to_end(Work(score_steps(a_scene, segmented.segmentation, None, {}, {}, {}, reference)))
    assert nothing == {"regions": {}, "images": {}}
    one = {"t2": sample.volumes["t2"]}
    steps = score_steps(a_scene, None, None, one, blurred.motion, segmented.pseudo_clear, reference)
    scores = run_to_end(Work(steps))
    assert (scores["regions"], set(scores["images"])) == ({}, {"t2"})


def test_a_region_of_interest_limits_the_segments(a_scene, sample, blurred):
    reference = blurred.motion["t1ce"]
    array, affine = bridge.voxels(reference), bridge.world_affine(reference)
    k, j, i = np.argwhere(array).mean(axis=0)
    place = np.eye(4)
    place[:3, 3] = (affine @ [i, j, k, 1])[:3]
    roi = roi_node(a_scene, (60, 60, 60), place)
    result = run_to_end(Work(segment_steps(a_scene, Inputs(blurred.motion), device="cpu", roi=roi)))
    d0, d1, h0, h1, w0, w1 = bridge.box_of_roi(roi, reference)
    outside = np.ones(array.shape, bool)
    outside[d0:d1, h0:h1, w0:w1] = False
    clear = bridge.voxels(result.pseudo_clear["t1ce"])
    np.testing.assert_allclose(clear[outside], array[outside], atol=1e-3)
    assert not np.allclose(clear[~outside], array[~outside], atol=1e-3)
    assert 0 < result.report["volumes_ml"]["WT"] < np.count_nonzero(~outside) * 27 / 1000


def test_a_fault_of_the_command_is_told_in_the_names_of_the_scene(a_scene, sample):
    twice = {**sample.volumes, "t2": sample.volumes["t1"]}
    before = a_scene.GetNumberOfNodes()
    work = Work(segment_steps(a_scene, Inputs(twice), device="cpu"))
    while not work.finished:
        time.sleep(0 if work.advance().busy else 0.05)
    assert work.fault.code == "same-file-twice"
    assert work.fault.cause.count('"Virtual_003_t1"') == 2
    assert ".nii" not in work.fault.cause
    assert a_scene.GetNumberOfNodes() == before


def test_a_folder_is_segmented_case_by_case(a_case_folder: Path, tmp_path: Path):
    bad = a_case_folder.parent / "Bad"
    bad.mkdir()
    (bad / "Bad_t1.nii").write_bytes(b"no image")
    heard: list[tuple[str, str]] = []
    steps = folder_steps(a_case_folder.parent, tmp_path / "out", device="cpu", on_log=lambda *line: heard.append(line))
    result = run_to_end(Work(steps))
    assert (result.cases, result.failures) == (2, 1)
    assert (tmp_path / "out" / "summary.csv").is_file()
    assert [line for level, line in heard if level == "error"][0].startswith("Bad: ")
    assert any(line.startswith("Virtual_003: ET") for level, line in heard)
