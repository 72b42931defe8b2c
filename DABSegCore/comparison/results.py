"""Results: what a comparison found, as it is kept in a file and shown in tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DABSegCore.evaluation.results import Evaluation
from DABSegCore.evaluation.tables import csv_text
from DABSegCore.files import write_bytes

COMPARISON, METHODS, TESTS = "comparison.json", "methods.csv", "tests.csv"

COLUMNS = {
    METHODS: ("method", "kind", "severity", "region", "metric", "n", "mean", "sd", "median", "low", "high"),
    TESTS: ("method", "kind", "severity", "metric", "region", "n", "pairs", "median_difference", "p", "p_holm"),
}

Row = dict[str, Any]


@dataclass(frozen=True)
class MethodResult:
    """What became of one method.

    Attributes:
        name: As the plan calls it.
        slug: Name of its folders.
        note: What the plan says of it.
        paper: The row of the published tables that it corresponds to, if there is one.
        evaluation: How it was judged; None for what failed.
        cost: parameters, gflop (one forward at 4x128^3), network_s and total_s (median seconds of a case at one level),
            training_minutes and training_steps (the restorer's included), peak_memory_mb; None where not measured.
        fault: Why it failed, or failed in part, in one sentence; None if it did not.
    """

    name: str
    slug: str
    note: str = ""
    paper: str | None = None
    evaluation: Evaluation | None = None
    cost: Mapping[str, float | None] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        title: Of the plan.
        methods: Those that were to be judged, in the order of the plan.
        reference: Name of the method that all others are tested against.
        tests: Wilcoxon's signed-rank test of every other method, per kind of case, severity and region ("mean": of a
            case over its regions): method, kind, severity, metric, region, n (pairs that differ), pairs (all),
            median_difference (method minus reference), p, p_holm.
        calibration: What motion costs a network that never saw any, or None: method, kind (of the cases that give
            `level_of_20_points`: real ones where there are any), rows (kind, severity, dice, loss_points, n) and
            level_of_20_points, the severity, interpolated, at which 20 Dice points are lost (None: at none).
        meta: plan, command, versions, device, protocol, unequal (sentences on what was not equal among the methods).
    """

    title: str
    methods: tuple[MethodResult, ...]
    reference: str
    tests: list[Row] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def write_comparison(out: Path, comparison: Comparison) -> None:
    """Write comparison.json, methods.csv and tests.csv; None is an empty field there.

    Raises:
        InputError: If one cannot be written.
    """
    rows = [
        {"method": method.name, **{name: row[name] for name in COLUMNS[METHODS][1:]}}
        for method in comparison.methods
        if method.evaluation is not None
        for row in method.evaluation.summary
    ]
    write_bytes(out / METHODS, csv_text(COLUMNS[METHODS], rows).encode())
    write_bytes(out / TESTS, csv_text(COLUMNS[TESTS], comparison.tests).encode())
    facts = {
        "title": comparison.title,
        "reference": comparison.reference,
        "methods": [_facts(method) for method in comparison.methods],
        "tests": comparison.tests,
        "calibration": comparison.calibration,
        **comparison.meta,
    }
    write_bytes(out / COMPARISON, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def _facts(method: MethodResult) -> dict[str, Any]:
    """A method without its many numbers, which are in `methods.csv` and in its evaluation's folder."""
    names = ("name", "slug", "note", "paper", "fault")
    return {**{name: getattr(method, name) for name in names}, "cost": dict(method.cost)}
