"""Targets: what a run of the benchmark says of them, from rows made up by hand."""

from __future__ import annotations

from Testing.benchmarks.targets import Target, verdicts

ROWS = [
    {"part": "forward", "form": "paper", "median_s": 0.030, "ratio": 1.9},
    {"part": "forward", "form": "paper, recorded", "median_s": 0.020, "ratio": 2.5},
    {"part": "step", "form": "paper", "median_s": 0.010, "ratio": 9.0},
]


def test_the_best_form_of_the_part_counts() -> None:
    (line,) = verdicts(ROWS, [Target("forward", ("paper", "paper, recorded"), "median_s", 0.025)])
    assert line == "met     forward: paper, recorded, median_s 0.020, asked at most 0.025"


def test_a_ratio_has_to_be_large() -> None:
    targets = [Target("forward", ("paper",), "ratio", 2.0), Target("forward", ("paper, recorded",), "ratio", 2.0)]
    assert [line.split()[0] for line in verdicts(ROWS, targets)] == ["MISSED", "met"]


def test_what_did_not_run_has_no_verdict() -> None:
    assert verdicts(ROWS, [Target("motion", ("S2",), "median_s", 1.0)]) == []
