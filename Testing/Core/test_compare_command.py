"""Compare: a whole comparison on tiny cases, where only training is a stand-in; what it leaves is what was measured."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from pathlib import Path

import pytest
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore import compare, evaluate
from DABSegCore.comparison import cost
from DABSegCore.comparison.child import Ended
from DABSegCore.comparison.work import Workshop
from DABSegCore.errors import InputError
from DABSegCore.evaluation.results import load
from DABSegCore.progress import Progress

PLAN = """
title = "Two and what is on disk"
[protocol]
data = "data"
validation = ["a", "b"]
severities = [0, 1]
reference = "one"
calibration = "two"
[train]
preset = "small"
steps = 7
[[method]]
name = "helper"
judged = false
train = { preset = "nafnet-small" }
[[method]]
name = "one"
note = "the first"
[[method]]
name = "two"
restorer = "helper"
[[method]]
name = "truth"
predictions = "truth"
[[method]]
name = "broken"
train = { steps = 1 }
"""


def run(words: list[str], name: str, progress: Progress) -> Ended:
    """`evaluate` as it is, in this process; of `train` only the weights it leaves."""
    if words[0] == "DABSegCore.evaluate":
        return Ended(evaluate.main([*words[1:], "--progress", "quiet"]), "", 1.0, 1000.0)
    folder = Path(words[words.index("--out") + 1])
    if name == "broken":
        return Ended(2, "no memory", 1.0, None)
    tiny_weights(folder / "last.pt", step=int(words[words.index("--steps") + 1]), elapsed_s=90.0)
    return Ended(0, "", 1.0, 3000.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison in `out`; not to be changed."""
    root = tmp_path_factory.mktemp("compared")
    images, label = tiny_patient()
    for name, end in (("a", 48), ("b", 40), ("c", 48)):  # the second is cut off: another case
        write_case(root / "data" / name, name, images[:, :, :end], label[:, :end], AFFINE)
    (root / "truth").mkdir()
    for name in "ab":
        shutil.copy(root / "data" / name / f"{name}_seg.nii.gz", root / "truth" / f"{name}.nii.gz")
    (root / "plan.toml").write_text(PLAN, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "gflop", lambda model: 12.0)
        patch.setattr(compare, "Workshop", functools.partial(Workshop, run=run))
        words = [str(root / "plan.toml"), "--out", str(root / "out"), "--device", "cpu", "--progress", "quiet"]
        assert compare.main(words) == 1  # the broken one
    return root


def facts(root: Path) -> dict:
    return json.loads((root / "out" / "comparison.json").read_text(encoding="utf-8"))


def test_the_numbers_are_those_of_the_evaluations(made: Path) -> None:
    with (made / "out" / "methods.csv").open(encoding="utf-8", newline="") as file:
        table = {(r["method"], r["severity"], r["region"], r["metric"]): r for r in csv.DictReader(file)}
    assert {name for name, *_ in table} == {"one", "two", "truth"}
    for row in load(made / "out" / "evaluations" / "two").summary:
        mean = table["two", str(row["severity"]), row["region"], row["metric"]]["mean"]
        assert mean == ("" if row["mean"] is None else str(row["mean"]))


def test_label_maps_on_disk_count_at_their_level(made: Path) -> None:
    tests = {(t["method"], t["severity"], t["region"]): t for t in facts(made)["tests"]}
    assert {severity for name, severity, _ in tests if name == "truth"} == {0}
    ours = {
        r["case_id"]: r["dice"]
        for r in load(made / "out" / "evaluations" / "one").rows
        if r["region"] == "WT" and r["severity"] == 0
    }
    gained = sorted(1 - dice for dice in ours.values())
    assert tests["truth", 0, "WT"]["median_difference"] == pytest.approx(sum(gained) / 2)
    assert tests["truth", 0, "WT"]["p"] == 0.5  # of two pairs


def test_cost_counts_the_restorer_and_what_is_not_known_is_null(made: Path) -> None:
    found = {method["name"]: method["cost"] for method in facts(made)["methods"]}
    assert (found["one"]["training_minutes"], found["one"]["training_steps"]) == (1.5, 7)
    assert (found["two"]["training_minutes"], found["two"]["training_steps"]) == (3.0, 14)
    assert found["one"]["gflop"] == 12.0
    assert found["one"]["peak_memory_mb"] == 1000.0  # of segmenting, not of training
    assert found["one"]["total_s"] > found["one"]["network_s"] > 0
    assert set(found["truth"].values()) == {None}
    assert found["broken"] == {}


def test_what_failed_and_what_was_not_equal_is_told(made: Path) -> None:
    found = facts(made)
    faults = {method["name"]: method["fault"] for method in found["methods"]}
    assert faults == {"one": None, "two": None, "truth": None, "broken": "its training failed (no memory)"}
    assert found["unequal"] == [
        "two trains for 14 steps, one for 7 steps",
        "broken trains for 1 steps, one for 7 steps",
        "truth: not trained here, so for how long and on what is not known here",
    ]
    assert found["protocol"]["cases"] == {"real": ["a", "b"], "virtual": []}


def test_the_control_is_measured_against_its_sharp_images(made: Path) -> None:
    found = facts(made)["calibration"]
    assert found["method"] == "two"
    assert [row["severity"] for row in found["rows"]] == [0, 1]
    assert found["rows"][0]["loss_points"] == 0


def test_there_is_a_page_that_needs_no_network(made: Path) -> None:
    page = (made / "out" / "report.html").read_text(encoding="utf-8")
    assert "Two and what is on disk" in page
    assert "its training failed (no memory)" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there must be one plan"),
        (["plan.toml", "--plan", "cpu"], "there must be one plan"),
        (["--plan", "cpu"], "give --data FOLDER"),
        (["--plan", "cpu", "--data", "x", "--draw", "--split", "s"], "give one of them"),
        (["nowhere.toml"], "nowhere.toml does not exist"),
    ],
)
def test_bad_words_are_refused_before_anything_is_made(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        compare.main([*words, "--out", "out"])
    assert list(tmp_path.iterdir()) == []


def test_the_options_take_the_place_of_what_the_plan_says_of_cases(tmp_path: Path) -> None:
    args = compare._parse(["--plan", "cpu", "--data", str(tmp_path), "--draw"])
    ours = compare._plan(args).protocol
    assert (ours.draw, ours.validation, ours.choose, ours.data) == (True, (), (), tmp_path)
