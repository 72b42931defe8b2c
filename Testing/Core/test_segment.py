from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore import pipeline, segment
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.pipeline import decide, window_of
from DABSegCore.progress import run_command
from DABSegCore.report import write_summary
from DABSegCore.volume import Volume, read_volume, write_volume

nib = pytest.importorskip("nibabel")

PLAIN = ["a.png", "a_flair_pseudo-clear.nii.gz", "a_report.json", "a_seg.nii.gz"]
PLAIN += [f"a_{modality}_pseudo-clear.nii.gz" for modality in ("t1", "t1ce", "t2")]


@pytest.fixture(scope="session")
def patient() -> tuple[np.ndarray, np.ndarray]:
    return tiny_patient()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", thresholds={"WT": 0.45})


@pytest.fixture
def case(tmp_path: Path, patient: tuple[np.ndarray, np.ndarray]) -> Path:
    return write_case(tmp_path / "cases" / "a", "a", *patient, AFFINE)


@pytest.fixture
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drawing: most of a tiny case's time."""
    monkeypatch.setattr("DABSegCore.pipeline.case_panel", lambda *_, **__: np.zeros((2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def one_result(tmp_path_factory: pytest.TempPathFactory, weights: Path, patient: tuple[np.ndarray, np.ndarray]) -> Path:
    """What a run on the case leaves."""
    folder = tmp_path_factory.mktemp("result")
    run("--case", write_case(folder / "a", "a", *patient, AFFINE), "--out", folder / "out", "--weights", weights)
    return folder / "out"


def run(*argv: object) -> int:
    """Exit code of the command."""
    with pytest.raises(SystemExit) as caught:
        run_command(segment.main, [str(word) for word in argv])
    return caught.value.code


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def report_of(out: Path) -> dict:
    return json.loads((out / "a_report.json").read_text(encoding="utf-8"))


def test_one_case_gives_the_promised_files_on_the_reference_grid(
    case: Path, tmp_path: Path, weights: Path, patient: tuple[np.ndarray, np.ndarray]
) -> None:
    out = tmp_path / "out"
    assert run("--case", case, "--out", out, "--weights", weights) == 0
    assert names(out) == sorted(PLAIN)
    reference = nib.load(case / "a_t1ce.nii.gz")
    for name in PLAIN:
        if name.endswith(".nii.gz"):
            image = nib.load(out / name)
            assert image.shape == reference.shape
            np.testing.assert_array_equal(image.affine, reference.affine)
    assert set(np.unique(nib.load(out / "a_seg.nii.gz").dataobj)) <= {0, 1, 2, 4}
    brain = (patient[0] != 0).any(axis=0)
    for image, modality in zip(patient[0], MODALITIES, strict=True):
        clear = read_volume(out / f"a_{modality}_pseudo-clear.nii.gz").array
        assert (clear[~brain] == 0).all()
        assert 0.5 < clear[brain].mean() / image[brain].mean() < 2  # scanner units, not 0..1
    assert (out / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_tells_what_can_be_checked_by_hand(
    case: Path, tmp_path: Path, weights: Path, patient: tuple[np.ndarray, np.ndarray], quick_picture: None
) -> None:
    out = tmp_path / "out"
    run("--case", case, "--out", out, "--weights", weights, "--seed", 7, "--device", "cpu", "--autocast", "off")
    report = report_of(out)
    for modality in MODALITIES:
        content = (case / f"a_{modality}.nii.gz").read_bytes()
        assert report["inputs"][modality]["sha256"] == hashlib.sha256(content).hexdigest()
    assert report["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "Research use only" in report["notice"]
    assert (report["seed"], report["device"], report["precision"]) == (7, "cpu", "float32")
    assert report["thresholds"] == {"ET": 0.5, "TC": 0.5, "WT": 0.45}
    assert set(report["timings_s"]) == {"read", "prepare", "network", "write", "quality"}
    assert all(seconds >= 0 for seconds in report["timings_s"].values())
    assert report["grid"] == {"shape": [32, 48, 40], "spacing_mm": [1.0, 1.0, 1.0]}
    label = read_volume(out / "a_seg.nii.gz").array
    for region, mask, truth in zip(REGIONS, regions_from_labels(label), regions_from_labels(patient[1]), strict=True):
        assert report["volumes_ml"][region] == pytest.approx(mask.sum() / 1000)
        assert report["dice"][region] == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=1e-4)
    assert sorted([*report["outputs"], "a_report.json"]) == names(out)


def test_masks_and_probabilities_on_request_agree_with_the_segmentation(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None
) -> None:
    out = tmp_path / "out"
    run("--case", case, "--out", out, "--weights", weights, "--save-regions", "--save-probabilities", "--no-restored")
    extra = [f"a_{region}.nii.gz" for region in REGIONS] + [f"a_probabilities_{r}.nii.gz" for r in REGIONS]
    assert names(out) == sorted(["a.png", "a_report.json", "a_seg.nii.gz", *extra])
    label = read_volume(out / "a_seg.nii.gz").array
    probabilities = {r: read_volume(out / f"a_probabilities_{r}.nii.gz").array for r in REGIONS}
    for region, mask in zip(REGIONS, regions_from_labels(label), strict=True):
        assert np.array_equal(read_volume(out / f"a_{region}.nii.gz").array, mask)
        assert 0 <= probabilities[region].min() <= probabilities[region].max() <= 1
    expected = (probabilities["WT"] >= 0.45) | (probabilities["TC"] >= 0.5) | (probabilities["ET"] >= 0.5)
    assert np.array_equal(label > 0, expected)
    assert 0 < expected.sum() < expected.size


def test_a_done_case_is_skipped_until_something_changes(
    case: Path,
    tmp_path: Path,
    weights: Path,
    quick_picture: None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"

    def again(*extra: object, weights: Path = weights) -> bool:
        """Whether the network ran."""
        capfd.readouterr()
        assert run("--case", case, "--out", out, "--weights", weights, *extra) == 0
        return "already done" not in capfd.readouterr().err

    assert again()
    assert not again()
    assert again("--overwrite")
    assert not again()
    (out / "a_seg.nii.gz").unlink()
    assert again()
    assert again(weights=tiny_weights(tmp_path / "other.pt", et_min_ml=0.5))
    assert again()
    assert again("--save-regions")
    assert (out / "a_ET.nii.gz").exists()
    assert again()
    assert names(out) == sorted(PLAIN)  # the masks of the earlier run went with its report
    moved = case.rename(case.with_name("moved"))
    assert run("--case", moved, "--out", out, "--weights", weights) == 0
    assert "already done" in capfd.readouterr().err  # the same bytes under another path
    case = moved.rename(case)
    write_volume(case / "a_t2.nii.gz", Volume(read_volume(case / "a_t2.nii.gz").array + 1, AFFINE))
    assert again()
    assert not again()
    (out / "a.png").write_bytes((out / "a.png").read_bytes()[:-1])  # cut short by a disk or a copy
    assert again()
    monkeypatch.setattr("DABSegCore.report.__version__", "another")
    assert again()


def test_another_case_of_the_same_name_is_not_overwritten_unawares(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None, capfd: pytest.CaptureFixture[str]
) -> None:
    out, common = tmp_path / "out", ("--out", tmp_path / "out", "--weights", weights, "--no-restored")
    other = write_case(tmp_path / "hospital 2" / "a", "a", *tiny_patient(5), AFFINE)
    assert run("--case", case, *common) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run("--case", other, *common) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert str(case) in said
    assert all(cure in said for cure in ("--overwrite", "--out", "--case-id"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    paths = [word for m in MODALITIES for word in (f"--{m}", other / f"a_{m}.nii.gz")]
    assert run(*paths, "--case-id", "b", *common) == 0
    assert run("--case", other, "--overwrite", *common) == 0
    assert report_of(out)["inputs"]["t1"]["path"] == str(other / "a_t1.nii.gz")
    assert len(names(out)) == 2 * len(before)


@pytest.mark.parametrize(
    "change",
    [
        {"dice": ...},
        {"dice": {"ET": 1}},
        {"outputs": ["a_seg.nii.gz", "a.png"]},
        {"outputs": {"a.png": 5}},
        {"outputs": {}},
        {"volumes_ml": {"ET": "x", "TC": 1, "WT": 1}},
        {"volumes_ml": {"ET": 10**400, "TC": 1, "WT": 1}},
        {"volumes_ml": {"ET": 1, "TC": 1, "WT": 1, "more": 1}},
        {"timings_s": 3},
        {"warnings": None},
        {"case_id": "b"},
        {"inputs": None},
        {"inputs": {}},
        {"weights": 1},
    ],
)
def test_an_odd_report_counts_as_none(
    case: Path, tmp_path: Path, weights: Path, one_result: Path, quick_picture: None, change: dict
) -> None:
    out = tmp_path / "out"
    shutil.copytree(one_result, out)
    report = {key: value for key, value in (report_of(out) | change).items() if value is not ...}
    (out / "a_report.json").write_text(json.dumps(report), encoding="utf-8")
    assert run("--data", case, "--out", out, "--weights", weights) == 0
    assert report_of(out)["dice"].keys() == set(REGIONS)
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done"]


def test_results_inside_the_data_are_no_cases(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None, capfd: pytest.CaptureFixture[str]
) -> None:
    twins = shutil.copytree(case, case.parent / "out" / "a")  # as `simulate --data D --out D/out` leaves them
    assert run("--data", case.parent, "--out", twins.parent, "--weights", weights, "--no-restored") == 0
    assert "case 1 of 1: a" in capfd.readouterr().err
    assert run("--data", case.parent, "--out", case.parent, "--weights", weights, "--no-restored") == 1
    assert (case.parent / "a_seg.nii.gz").is_file()  # the data folder itself may be the place for results


def test_runs_of_different_cases_share_a_folder(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run begins and ends while the network of the first one works."""
    out, infer = tmp_path / "out", pipeline._infer
    other = write_case(tmp_path / "b", "b", *tiny_patient(5), AFFINE)
    folders = [other, case]

    def interrupted(*args: object) -> object:
        if folders:
            assert run("--data", folders.pop(), "--out", out, "--weights", weights, "--no-restored") == 0
        return infer(*args)

    monkeypatch.setattr(pipeline, "_infer", interrupted)
    assert run("--data", folders.pop(0), "--out", out, "--weights", weights, "--no-restored") == 0
    cases = [f"{c}{end}" for c in "ab" for end in (".png", "_report.json", "_seg.nii.gz")]
    assert names(out) == sorted([*cases, "summary.csv"])
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [row["case_id"] for row in csv.DictReader(file)] == ["b"]


def test_a_summary_that_cannot_be_written_leaves_the_earlier_one(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.csv"
    write_summary(path, [{"case_id": "a", "status": "done"}])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        write_summary(path, [])
    assert path.read_bytes() == before


def test_what_a_killed_run_left_is_done_again(case: Path, tmp_path: Path, weights: Path, quick_picture: None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_seg.nii.gz").write_bytes(b"moved into place, but its report was not")
    assert run("--case", case, "--out", out, "--weights", weights) == 0
    assert names(out) == sorted(PLAIN)
    assert read_volume(out / "a_seg.nii.gz").shape == (32, 48, 40)


def test_the_same_case_gives_the_same_bytes(case: Path, tmp_path: Path, weights: Path) -> None:
    for out in ("first", "second"):
        run("--case", case, "--out", tmp_path / out, "--weights", weights)
    for name in PLAIN:
        if name != "a_report.json":
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_folder_goes_on_after_a_bad_case_and_says_so(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None, capfd: pytest.CaptureFixture[str]
) -> None:
    data, out = case.parent, tmp_path / "out"
    shutil.copytree(case, data / "b").joinpath("a_t2.nii.gz").unlink()
    shutil.copytree(case, data / "c")  # holds the files of case a once more
    truncated = write_case(data / "d", "d", *tiny_patient(4), AFFINE) / "d_flair.nii.gz"
    truncated.write_bytes(truncated.read_bytes()[:-200])
    write_case(data / "e", "e", *tiny_patient(5), AFFINE)
    assert run("--data", data, "--out", out, "--weights", weights, "--no-restored") == 3
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [line.split()[1] for line in errors] == ["b:", "c:", "d:"]
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["status"]) for row in rows] == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "failed"),
        ("d", "failed"),
        ("e", "done"),
    ]
    assert "no t2 image" in rows[1]["message"]
    assert float(rows[0]["WT_ml"]) == report_of(out)["volumes_ml"]["WT"]
    assert float(rows[0]["dice_ET"]) == report_of(out)["dice"]["ET"]
    cases = [f"{c}{end}" for c in "ae" for end in (".png", "_report.json", "_seg.nii.gz")]
    assert names(out) == sorted([*cases, "summary.csv"])
    assert run("--data", data, "--out", out, "--weights", weights, "--no-restored") == 3
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["skipped", "failed", "failed", "failed", "skipped"]


def test_a_bug_in_one_case_keeps_its_traceback_and_the_others(
    case: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("DABSegCore.pipeline.prepare", broken)
    out = tmp_path / "out"
    assert run("--data", case.parent, "--out", out, "--weights", weights) == 1
    assert "Traceback" in capfd.readouterr().err
    assert names(out) == ["summary.csv"]


def test_more_failures_than_an_exit_code_can_hold_are_125(tmp_path: Path, weights: Path) -> None:
    for number in range(130):
        folder = tmp_path / "data" / f"case{number}"
        folder.mkdir(parents=True)
        (folder / f"case{number}_t1.nii.gz").touch()
    assert (
        run("--data", tmp_path / "data", "--out", tmp_path / "out", "--weights", weights, "--progress", "quiet") == 125
    )


def test_progress_as_json_is_one_event_a_line(
    case: Path, tmp_path: Path, weights: Path, quick_picture: None, capfd: pytest.CaptureFixture[str]
) -> None:
    run("--case", case, "--out", tmp_path / "out", "--weights", weights, "--progress", "json", "--tta", "--window", 32)
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["weights", "read", "prepare", "network", "write"]
    steps = [event["step"] for event in events if event["event"] == "step"]
    (total,) = {event["total"] for event in events if event["event"] == "step"}
    assert steps == list(range(1, total + 1))
    assert total > 8  # eight mirror images of more than one window
    assert total % 8 == 0
    assert events[-1]["event"] == "done"
    assert Path(events[-1]["report"]).is_file()


def test_four_paths_of_different_formats_and_grids(
    tmp_path: Path, weights: Path, patient: tuple[np.ndarray, np.ndarray], quick_picture: None
) -> None:
    """T2 lies shifted by two voxels along i on a smaller grid: it is brought back by its header, and said so."""
    shifted = AFFINE.copy()
    shifted[:3, 3] += 2 * AFFINE[:3, 0]
    volumes = [Volume(image, AFFINE) for image in patient[0]]
    volumes[2] = Volume(np.ascontiguousarray(patient[0][2][:, :, 2:]), shifted)
    argv: list[object] = []
    for modality, suffix, volume in zip(MODALITIES, (".nrrd", ".mha", ".nii", ".nii.gz"), volumes, strict=True):
        path = tmp_path / "any names" / f"série {modality}{suffix}"
        path.parent.mkdir(exist_ok=True)
        write_volume(path, volume)
        argv += [f"--{modality}", path]
    out = tmp_path / "out"
    assert run(*argv, "--case-id", "patient", "--out", out, "--weights", weights) == 0
    report = json.loads((out / "patient_report.json").read_text(encoding="utf-8"))
    assert len(report["warnings"]) == 1
    assert "resampled by its header, not registered" in report["warnings"][0]
    assert report["dice"] is None
    np.testing.assert_allclose(read_volume(out / "patient_seg.nii.gz").affine, AFFINE)


def test_results_of_thick_slices_come_back_on_their_own_grid(
    tmp_path: Path, weights: Path, patient: tuple[np.ndarray, np.ndarray], quick_picture: None
) -> None:
    thick = AFFINE @ np.diag([1.0, 1.0, 3.0, 1.0])
    case = write_case(tmp_path / "a", "a", patient[0], patient[1], thick)
    out = tmp_path / "out"
    assert run("--case", case, "--out", out, "--weights", weights) == 0
    assert report_of(out)["grid"] == {"shape": [32, 48, 40], "spacing_mm": [1.0, 1.0, 3.0]}
    label = read_volume(out / "a_seg.nii.gz")
    assert label.shape == (32, 48, 40)
    np.testing.assert_allclose(label.affine, thick)
    assert report_of(out)["volumes_ml"]["WT"] == pytest.approx((label.array > 0).sum() * 3 / 1000)


def test_a_small_enhancing_tumour_is_not_believed() -> None:
    probabilities = np.zeros((3, 1, 1, 10), np.float32)
    probabilities[:, 0, 0, :3] = 0.9  # three voxels of all regions
    probabilities[2, 0, 0, 3:6] = 0.6
    thresholds = {"ET": 0.5, "TC": 0.5, "WT": 0.5}
    two_ml = 2.0
    assert decide(probabilities, thresholds, two_ml, 6.0).ravel().tolist() == [4, 4, 4, 2, 2, 2, 0, 0, 0, 0]
    assert decide(probabilities, thresholds, two_ml, 6.1).ravel().tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0, 0]
    assert decide(probabilities, {**thresholds, "WT": 0.7}, two_ml).ravel().tolist() == [4, 4, 4] + [0] * 7


def test_the_command_runs_as_a_process_with_unicode_paths(case: Path, tmp_path: Path, weights: Path) -> None:
    folder = case.rename(tmp_path / "Fall Müller 脳")
    out = tmp_path / "Ergebnis ü 1"
    command = [sys.executable, "-m", "DABSegCore.segment", "--case", folder, "--out", out, "--weights", weights]
    done = subprocess.run(command, cwd=Path(segment.__file__).parents[1], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert names(out) == sorted(PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BraTS20_Training_002", "BraTS-GLI-00000-000"])
def test_a_real_case_as_published(name: str, real_cases: Path, tmp_path: Path) -> None:
    assert run("--case", real_cases / "original" / name, "--out", tmp_path) == 0
    report = json.loads((tmp_path / f"{name}_report.json").read_text(encoding="utf-8"))
    assert report["grid"]["shape"] == [155, 240, 240]
    assert report["dice"]["WT"] > 0.3


def test_windows_are_those_asked_for_else_those_of_the_weights() -> None:
    assert [window_of({"window": 96}, asked) for asked in (None, 64, 0)] == [96, 64, None]
    assert [window_of({}, asked) for asked in (None, 64, 0)] == [None, 64, None]
