"""Analysis: tests and corrections one can do by hand, the level at which points are lost, and what a network costs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from compared import a_method
from evaluated import an_evaluation, together
from torch import nn

from DABSegCore.comparison.analysis import against, calibration, level_of
from DABSegCore.comparison.cost import gflop, median_seconds
from DABSegCore.comparison.results import Comparison, write_comparison
from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.results import Evaluation
from DABSegCore.labels import REGIONS


def better_by(points: float, cases: int = 5, **more: object) -> Evaluation:
    """Dice of 0.5, and more by some points at every case, growing a little from case to case."""
    return an_evaluation(cases, (0, 2), lambda case, s, r: 0.5 + points * (1 + 0.01 * case) / 100, None, **more)


def the_test(tests: list[dict], method: str, severity: Level, region: str = "mean", kind: str = "real") -> dict:
    (test,) = [
        t for t in tests if (t["method"], t["severity"], t["region"], t["kind"]) == (method, severity, region, kind)
    ]
    return test


def test_five_pairs_in_one_direction_have_the_smallest_p_there_is() -> None:
    tests = against("ours", {"ours": better_by(0), "better": better_by(10)})
    test = the_test(tests, "better", 2)
    assert test["p"] == pytest.approx(2 / 2**5)
    assert test["median_difference"] == pytest.approx(0.102)  # the third of five
    assert (test["n"], test["pairs"]) == (5, 5)


def test_a_family_is_all_methods_and_severities_of_a_kind_and_region() -> None:
    tests = against("ours", {"ours": better_by(0), "a": better_by(1), "b": better_by(2), "same": better_by(0)})
    assert len(tests) == 3 * 2 * (1 + len(REGIONS))
    # In a family of six, four have 2/32 and two, where nothing differs, 1: 6 * 2/32 and 1.
    assert the_test(tests, "a", 0)["p_holm"] == pytest.approx(6 * 2 / 32)
    assert the_test(tests, "b", 2, "ET")["p_holm"] == pytest.approx(6 * 2 / 32)
    assert the_test(tests, "same", 2)["p_holm"] == 1.0
    assert the_test(tests, "same", 2)["n"] == 0


def test_real_and_virtual_cases_are_families_of_their_own() -> None:
    def both(points: float) -> Evaluation:
        return together(better_by(points), better_by(points, 3, kind="virtual"))

    tests = against("ours", {"ours": both(0), "better": both(5)})
    assert the_test(tests, "better", 2)["p_holm"] == pytest.approx(2 * 2 / 2**5)
    assert the_test(tests, "better", 2, kind="virtual")["p_holm"] == pytest.approx(2 * 2 / 2**3)


def test_only_cases_and_levels_that_both_have_are_compared() -> None:
    wide = an_evaluation(6, (0, 2, 4), lambda case, s, r: 0.9, None)
    tests = against("ours", {"ours": better_by(0, 4), "wide": wide})
    assert {test["severity"] for test in tests} == {0, 2}
    assert {test["pairs"] for test in tests} == {4}


def test_a_case_without_a_number_is_left_out_of_its_own_tests_only() -> None:
    ours, other = better_by(0), better_by(5)
    other.rows[0]["dice"] = None  # case 0, S0, ET
    tests = against("ours", {"ours": ours, "other": other})
    assert the_test(tests, "other", 0, "ET")["pairs"] == 4
    assert the_test(tests, "other", 0)["pairs"] == 4
    assert the_test(tests, "other", 0, "WT")["pairs"] == 5


# ---------------------------------------------------------------- calibration

LOST = {0: 0.0, 1: 0.05, 2: 0.25, 3: 0.20, 4: 0.60}


def losing(cases: int = 2, kind: str = "real", severities: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Evaluation:
    return an_evaluation(cases, severities, lambda case, s, r: 0.8 + 0.1 * case - LOST[s], None, kind=kind)


def test_the_level_is_where_twenty_points_are_lost_first() -> None:
    found = calibration("sharp", losing())
    assert [(row["severity"], row["loss_points"], row["n"]) for row in found["rows"]] == [
        *((0, 0.0, 2), (1, 5.0, 2), (2, 25.0, 2), (3, 20.0, 2), (4, 60.0, 2)),
    ]
    assert found["rows"][1]["dice"] == pytest.approx(0.8)  # (0.75 + 0.85) / 2
    assert found["level_of_20_points"] == 1.75  # 15 of the 20 points between levels 1 and 2
    assert (found["method"], found["kind"]) == ("sharp", "real")


def test_real_cases_decide_where_there_are_any() -> None:
    both = together(losing(kind="virtual"), losing(severities=(0, 1)))
    found = calibration("sharp", both)
    assert found["kind"] == "real"
    assert found["level_of_20_points"] is None  # five points at most
    assert {row["kind"] for row in found["rows"]} == {"real", "virtual"}
    assert calibration("sharp", losing(kind="virtual"))["level_of_20_points"] == 1.75


def test_without_sharp_images_there_is_nothing_to_lose_from() -> None:
    assert calibration("sharp", losing(severities=(1, 2))) is None


def test_a_loss_of_exactly_so_many_points_is_at_that_level() -> None:
    rows = [{"severity": s, "loss_points": 10.0 * s} for s in (2, 0, 1)]
    assert level_of(rows) == 2.0
    assert level_of(rows, points=5.0) == 0.5
    assert level_of(rows, points=20.1) is None


# ---------------------------------------------------------------- cost


def test_the_arithmetic_of_a_convolution_is_what_one_counts_by_hand() -> None:
    # 8^3 voxels, 3^3 taps, 4 inputs, 5 outputs, a multiplication and an addition each.
    assert gflop(nn.Conv3d(4, 5, 3, padding=1), edge=8) == pytest.approx(8**3 * 27 * 4 * 5 * 2 / 1e9)


def test_a_network_that_must_see_numbers_has_no_count() -> None:
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.sum().item() else x

    assert gflop(Odd(), edge=8) is None


def test_the_time_of_a_case_is_without_what_only_an_evaluation_does() -> None:
    once = {"read": 1.0, "simulate": 50.0, "network": 2.0, "outline": 0.5, "score": 70.0}
    found = median_seconds([once, {**once, "network": 4.0}, {**once, "network": 9.0}])
    assert found == {"network_s": 4.0, "total_s": 5.5}
    assert median_seconds([{"read": 1.0, "score": 1.0}]) == {"network_s": None, "total_s": None}


# ---------------------------------------------------------------- files


def test_what_is_written_holds_every_number(tmp_path: Path) -> None:
    methods = (a_method("one", 0.6), a_method("two", 0.5), a_method("gone", 0.1, evaluation=None, fault="it broke"))
    tests = against("one", {m.name: m.evaluation for m in methods[:2]})
    write_comparison(tmp_path, Comparison("All", methods, "one", tests, None, {"device": ["cpu"]}))
    with (tmp_path / "methods.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"one", "two"}
    (row,) = [r for r in rows if (r["method"], r["severity"], r["region"], r["metric"]) == ("one", "2", "TC", "dice")]
    assert float(row["mean"]) == pytest.approx(0.63)  # 0.60, 0.62, 0.64, 0.66
    assert int(row["n"]) == 4
    with (tmp_path / "tests.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(tests)
    facts = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert [(m["name"], m["fault"]) for m in facts["methods"]] == [("one", None), ("two", None), ("gone", "it broke")]
    assert facts["methods"][0]["cost"]["training_steps"] == 240
    assert facts["device"] == ["cpu"]
