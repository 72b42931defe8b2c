"""Evaluate: what it leaves is true, a killed run goes on, what is bad is told, counted and passed over."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore import simulate
from DABSegCore.cases import find_case, load_case
from DABSegCore.errors import InputError
from DABSegCore.evaluate import main
from DABSegCore.evaluation.case import Network
from DABSegCore.evaluation.results import load
from DABSegCore.evaluation.run import run_method
from DABSegCore.evaluation.subjects import FIRST_VIRTUAL, Subject, find_subjects, virtual_subjects
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.metrics import dice, psnr
from DABSegCore.pipeline import Notebook, load_engine
from DABSegCore.preprocess import apply_windows, prepare
from DABSegCore.progress import Progress
from DABSegCore.training.processes import Processes
from DABSegCore.training.setup import FIRST_VIRTUAL as FIRST_TRAINED
from DABSegCore.training.setup import FIRST_VIRTUAL_VALIDATION
from DABSegCore.volume import Volume, read_labels, write_volume

LEVELS = (0, 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", thresholds={"WT": 0.45})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """Two cases in `data` and their evaluation in `out`; not to be changed."""
    root = tmp_path_factory.mktemp("evaluated")
    for case_id, seed in (("a", 3), ("b", 4)):
        write_case(root / "data" / case_id, case_id, *tiny_patient(seed), AFFINE)
    words = ["--weights", weights, "--severity", *LEVELS, "--save-segmentations"]
    assert evaluate("--data", root / "data", *words, "--out", root / "out") == 0
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the cases that go through the network, by name and severity."""
    count: Counter = Counter()
    judge = Network.judge

    def counted(self, loaded, level, notes):
        count[loaded.case.case_id, level] += 1
        return judge(self, loaded, level, notes)

    monkeypatch.setattr(Network, "judge", counted)
    return count


def evaluate(*words: object) -> int:
    """Exit code of the command."""
    return main([*map(str, words), "--progress", "quiet", "--no-report", "--device", "cpu"])


def again(root: Path, weights: Path, *words: object) -> int:
    """Exit code of the command that made the folder, with more words."""
    start = ["--data", root / "data", "--out", root / "out", "--weights", weights, "--severity", *LEVELS]
    return evaluate(*start, "--save-segmentations", *words)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def record_of(out: Path, name: str) -> dict:
    return json.loads((out / "records" / name).read_text(encoding="utf-8"))


def facts_of(out: Path) -> dict:
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- truth


def test_the_numbers_are_those_of_the_segmentation_that_was_judged(made: Path) -> None:
    table = {(row["case_id"], row["severity"], row["region"]): row for row in rows(made / "out" / "cases.csv")}
    assert set(table) == {(c, str(s), r) for c in "ab" for s in LEVELS for r in REGIONS}
    for case_id in "ab":
        truth = regions_from_labels(read_labels(made / "data" / case_id / f"{case_id}_seg.nii.gz").array)
        for severity in LEVELS:
            path = made / "out" / "segmentations" / f"S{severity}" / f"{case_id}_seg.nii.gz"
            found = regions_from_labels(read_labels(path).array)
            for region, mask, there in zip(REGIONS, found, truth, strict=True):
                row = table[case_id, str(severity), region]
                assert float(row["dice"]) == pytest.approx(dice(mask, there), abs=1e-6)
                assert float(row["predicted_ml"]) == pytest.approx(mask.sum() / 1000)
                assert float(row["reference_ml"]) == pytest.approx(there.sum() / 1000)


def test_the_network_sees_what_simulate_writes(made: Path, weights: Path, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "twins"), "--severity", "2", "--seed", "5", "--progress", "quiet"]
    simulate.main(["--case", str(made / "data" / "a"), *words])
    twin = load_case(find_case(tmp_path / "twins" / "a"))
    engine = load_engine(weights, torch.device("cpu"), Progress("quiet"))
    loaded = load_case(find_case(made / "data" / "a"))
    reading = Network(engine, (2,), seed=5).read(loaded, 2, Notebook(Progress("quiet")))
    assert np.array_equal(reading.prepared.native, twin.images)
    assert not np.array_equal(twin.images, loaded.images)


def test_the_gain_is_measured_in_the_brain_and_the_window_of_the_corrupted_image(made: Path, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "twins"), "--severity", "2", "--progress", "quiet"]
    simulate.main(["--case", str(made / "data" / "b"), *words])
    twin, sharp = load_case(find_case(tmp_path / "twins" / "b")), load_case(find_case(made / "data" / "b"))
    prepared = prepare(twin.images, twin.reference.affine)
    windowed = apply_windows(prepared.to_working(sharp.images), prepared.brain, prepared.windows)
    images = record_of(made / "out", "b_S2.json")["images"]
    for m, modality in enumerate(MODALITIES):
        before = psnr(prepared.image[m], windowed[m], prepared.brain)
        assert images[modality]["psnr_corrupted_db"] == pytest.approx(before, abs=1e-4)
        gain = images[modality]["psnr_restored_db"] - images[modality]["psnr_corrupted_db"]
        assert images[modality]["psnr_gain_db"] == pytest.approx(gain, abs=1e-5)
        assert images[modality]["psnr_gain_db"] != 0


def test_what_is_infinite_without_motion_is_counted_and_left_out(made: Path) -> None:
    assert record_of(made / "out", "a_S0.json")["images"]["t2"]["psnr_corrupted_db"] is None
    assert record_of(made / "out", "a_S0.json")["images"]["t2"]["ssim_corrupted"] == 1
    chosen = [row for row in rows(made / "out" / "summary.csv") if row["metric"] == "psnr_corrupted_db"]
    assert {row["severity"]: (row["n"], row["left_out"], bool(row["mean"])) for row in chosen} == {
        "0": ("0", "2", False),
        "2": ("2", "0", True),
    }


def test_the_facts_tell_what_was_run(made: Path, weights: Path) -> None:
    facts = facts_of(made / "out")
    assert facts["weights"]["path"] == str(weights)
    assert facts["cases"] == {"real": 2, "virtual": 0}
    assert facts["severities"] == list(LEVELS)
    assert "--save-segmentations" in facts["command"]
    assert set(facts["seconds"]) == {"read", "simulate", "prepare", "network", "outline", "score"}
    assert facts["failures"] == []
    assert facts["records"] == ["a_S0.json", "a_S2.json", "b_S0.json", "b_S2.json"]


def test_what_it_found_can_be_loaded_again(copied: Path) -> None:
    found = load(copied / "out")
    assert len(found.rows) == 2 * len(LEVELS) * len(REGIONS)
    assert len(found.images) == 2 * len(LEVELS) * len(MODALITIES)
    wanted = [row["dice"] for row in found.rows if (row["severity"], row["region"]) == (2, "WT")]
    wt = [r for r in found.summary if (r["severity"], r["region"], r["metric"]) == (2, "WT", "dice")]
    assert wt[0]["mean"] == pytest.approx(sum(wanted) / 2, abs=1e-6)
    whole = [row for row in found.summary if (row["severity"], row["region"], row["metric"]) == (2, "mean", "dice")]
    everything = [row["dice"] for row in found.rows if row["severity"] == 2]
    assert whole[0]["mean"] == pytest.approx(sum(everything) / 6, abs=1e-6)
    (copied / "out" / "records" / "a_S0.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="only what is missing"):
        load(copied / "out")
    with pytest.raises(InputError, match="no finished evaluation"):
        load(copied)


# ---------------------------------------------------------------- going on


def test_a_second_run_does_only_what_is_missing_and_ends_the_same(copied: Path, weights: Path, judged: Counter) -> None:
    tables = {path.name: path.read_bytes() for path in (copied / "out").glob("*.csv")}
    assert again(copied, weights) == 0
    assert not judged
    (copied / "out" / "records" / "a_S2.json").unlink()
    half = copied / "out" / "records" / "b_S0.json"
    half.write_bytes(half.read_bytes()[:300])
    assert again(copied, weights) == 0
    assert judged == {("a", 2): 1, ("b", 0): 1}
    assert {path.name: path.read_bytes() for path in (copied / "out").glob("*.csv")} == tables
    assert len(tables) == 3


def test_a_changed_case_or_a_lost_label_map_is_done_again(copied: Path, weights: Path, judged: Counter) -> None:
    write_case(copied / "data" / "a", "a", *tiny_patient(6), AFFINE)
    assert again(copied, weights) == 0
    assert judged == {("a", 0): 1, ("a", 2): 1}
    (copied / "out" / "segmentations" / "S2" / "b_seg.nii.gz").unlink()
    assert again(copied, weights) == 0
    assert judged == {("a", 0): 1, ("a", 2): 1, ("b", 2): 1}


def test_more_severities_add_to_what_is_there_and_fewer_leave_it_out(
    copied: Path, weights: Path, judged: Counter
) -> None:
    start = ["--data", copied / "data", "--weights", weights, "--out", copied / "out", "--severity"]
    assert evaluate(*start, 2, 1) == 0
    assert judged == {("a", 1): 1, ("b", 1): 1}
    assert {row["severity"] for row in rows(copied / "out" / "cases.csv")} == {"1", "2"}


@pytest.mark.parametrize("words", [["--tolerance-mm", 2], ["--seed", 1], ["--window", 32], ["--tta"]])
def test_another_way_of_judging_does_not_replace_what_is_there(copied: Path, weights: Path, words: list) -> None:
    before = record_of(copied / "out", "a_S0.json")
    with pytest.raises(InputError, match="another --out"):
        again(copied, weights, *words)
    assert record_of(copied / "out", "a_S0.json") == before


def test_nor_do_other_weights_unless_told_to(copied: Path, tmp_path: Path, judged: Counter) -> None:
    other = tiny_weights(tmp_path / "other.pt", thresholds={"WT": 0.6})
    with pytest.raises(InputError, match="another weights"):
        again(copied, other)
    assert not judged
    assert again(copied, other, "--overwrite") == 0
    assert len(judged) == 4


def test_two_processes_share_the_cases(made: Path, weights: Path, tmp_path: Path, judged: Counter) -> None:
    subjects, _ = find_subjects(made / "data", tmp_path)
    method = Network(load_engine(weights, torch.device("cpu"), Progress("quiet")), (0,))

    class Alone(Processes):
        def gather(self, item):
            return [item]

    for rank, name in enumerate("ab"):
        judged.clear()
        run_method(method, subjects, tmp_path, Alone(torch.device("cpu"), rank, 2), Progress("quiet"))
        assert judged == {(name, 0): 1}
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == ["a_S0.json", "b_S0.json"]


# ---------------------------------------------------------------- what is bad


def test_bad_cases_are_told_counted_and_passed_over(
    copied: Path, weights: Path, judged: Counter, capsys: pytest.CaptureFixture
) -> None:
    data = copied / "data"
    for name in "cdef":
        shutil.copytree(data / "a", data / name)
        for path in (data / name).iterdir():
            path.rename(path.with_name(path.name.replace("a_", f"{name}_", 1)))
    (data / "c" / "c_t2.nii.gz").unlink()
    (data / "d" / "d_seg.nii.gz").unlink()
    (data / "e" / "e_flair.nii.gz").write_bytes(b"no image")
    write_volume(data / "f" / "f_seg.nii.gz", Volume(np.full((32, 48, 40), 7, np.uint8), AFFINE))
    assert again(copied, weights) == 4
    assert not judged
    failures = {failure["case_id"]: failure["message"] for failure in facts_of(copied / "out")["failures"]}
    assert set(failures) == set("cdef")
    assert "no t2 image" in failures["c"]
    assert "no segmentation" in failures["d"]
    assert "value 7" in failures["f"]
    assert {row["case_id"] for row in rows(copied / "out" / "cases.csv")} == set("ab")
    said = capsys.readouterr().err
    assert all(f"error: {name}: " in said for name in "cdef")


def test_a_fault_at_one_severity_leaves_the_others(
    copied: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Network.judge

    def faulty(self, loaded, level, notes):
        if (loaded.case.case_id, level) == ("a", 2):
            raise InputError("it holds NaN")
        return judge(self, loaded, level, notes)

    monkeypatch.setattr(Network, "judge", faulty)
    assert again(copied, weights, "--overwrite") == 1
    assert facts_of(copied / "out")["failures"] == [{"case_id": "a", "severity": 2, "message": "it holds NaN"}]
    there = {(row["case_id"], row["severity"]) for row in rows(copied / "out" / "cases.csv")}
    assert there == {("a", "0"), ("b", "0"), ("b", "2")}  # not the record of a at S2 that the first run left


def test_only_bad_cases_are_a_refusal(made: Path, weights: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data" / "a", tmp_path / "data" / "a")
    (tmp_path / "data" / "a" / "a_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="no segmentation to compare with"):
        evaluate("--data", tmp_path / "data", "--weights", weights, "--out", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no case"):
        evaluate("--data", tmp_path / "empty", "--weights", weights, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no case to evaluate on"),
        (["--predictions", "p"], "no case to evaluate on"),
        (["--data", "d", "--predictions", "p", "--tta", "--severity", "1"], "--severity and --tta cannot go"),
        (["--data", "d", "--predictions", "p", "--virtual", "2"], "--virtual cannot go"),
        (["--virtual", "2", "--cases", "a"], "--data, which is missing"),
        (["--data", "d", "--part", "test"], "--split, which is missing"),
        (["--data", "d", "--split", "s", "--cases", "a"], "both choose"),
        (["--data", "d", "--seed", "-1"], "--seed -1 is out of bounds"),
        (["--data", "d", "--tolerance-mm", "nan"], "--tolerance-mm nan is out of bounds"),
        (["--data", "d", "--penalty-mm", "-3"], "--penalty-mm -3 is out of bounds"),
        (["--data", "d", "--overlap", "1"], "--overlap 1 is out of bounds; use 0 to 0.9"),
        (["--virtual", "20000"], "--virtual 20000 is out of bounds; use 0 to 10000"),
        (["--data", "d", "--window", "16"], "too small to see a tumour"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_anything_is_read(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(*words)


# ---------------------------------------------------------------- which cases


def test_cases_are_chosen_by_name_or_by_the_part_of_a_split(
    copied: Path, weights: Path, tmp_path: Path, judged: Counter
) -> None:
    start = ["--data", copied / "data", "--weights", weights, "--severity", 0, "--out"]
    assert evaluate(*start, tmp_path / "named", "--cases", "b") == 0
    assert judged == {("b", 0): 1}
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["b"], "Testing": ["a", "gone"]}), encoding="utf-8")
    judged.clear()
    assert evaluate(*start, tmp_path / "split", "--split", split) == 1
    assert judged == {("a", 0): 1}
    assert facts_of(tmp_path / "split")["failures"][0]["case_id"] == "gone"
    with pytest.raises(InputError, match=r"no case in a part 'validation', only train \(1\), test \(2\)"):
        evaluate(*start, tmp_path / "split", "--split", split, "--part", "validation")


def test_cases_that_the_weights_know_are_told(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights = tiny_weights(tmp_path / "run" / "best.pt", training={"validation": ("b",)})
    (tmp_path / "run" / "split.json").write_text('{"train": ["a"], "validation": ["b"]}', encoding="utf-8")
    evaluate("--data", copied / "data", "--weights", weights, "--severity", 0, "--out", tmp_path / "out")
    said = capsys.readouterr().err
    assert "trained on some of these cases (1 of 2)" in said
    assert "chosen by their scores on some of these cases (1 of 2)" in said
    assert len(facts_of(tmp_path / "out")["warnings"]) == 2


def test_virtual_patients_are_none_of_those_of_training() -> None:
    first, second = virtual_subjects(2)
    assert (first.case_id, second.seed, first.kind) == (f"Virtual_{FIRST_VIRTUAL}", FIRST_VIRTUAL + 1, "virtual")
    assert FIRST_TRAINED + 100_000 <= FIRST_VIRTUAL_VALIDATION + 1000 <= FIRST_VIRTUAL  # the most there can be of each


def test_a_virtual_patient_is_evaluated_beside_real_ones(made: Path, weights: Path, tmp_path: Path) -> None:
    subjects = [Subject("a", find_case(made / "data" / "a")), *virtual_subjects(1, shape=(48, 56, 56))]
    method = Network(load_engine(weights, torch.device("cpu"), Progress("quiet")), (1,))
    failures = run_method(method, subjects, tmp_path, Processes(torch.device("cpu")), Progress("quiet"))
    assert failures == []
    record = record_of(tmp_path, f"Virtual_{FIRST_VIRTUAL}_S1.json")
    assert record["kind"] == "virtual"
    assert record["identity"]["inputs"] == {"virtual_patient": FIRST_VIRTUAL, "shape": [48, 56, 56]}
    assert record["regions"]["WT"]["reference_ml"] > 0


def test_the_report_shows_the_cases_that_were_drawn_again(copied: Path, weights: Path) -> None:
    pytest.importorskip("matplotlib")
    start = ["--data", copied / "data", "--weights", weights, "--out", copied / "out", "--severity", *LEVELS]
    assert main([*map(str, start), "--progress", "quiet", "--device", "cpu"]) == 0
    page = (copied / "out" / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (copied / "out" / "panels").iterdir()) == [
        "best.png",
        "drawn.json",
        "worst.png",
    ]
    assert page.count("data:image/png;base64,") >= 4
    assert facts_of(copied / "out")["weights"]["sha256"] in page
