"""Analysis: whether methods differ on the same cases, and what motion costs a network that never saw any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from DABSegCore.evaluation.results import ALL_REGIONS, Evaluation, case_means
from DABSegCore.evaluation.statistics import holm, paired_test
from DABSegCore.labels import REGIONS

KINDS = ("real", "virtual")

LOSS_POINTS = 20.0
"""Loss of mean Dice, in points, at which the paper's level S2 is sought: about what its clean-trained network loses."""

Row = dict[str, Any]


def against(reference: str, evaluations: Mapping[str, Evaluation], metric: str = "dice") -> list[Row]:
    """Wilcoxon's signed-rank test of every other method against the reference, as `Comparison.tests`.

    Per kind of case, severity and region, and of the mean of a case over its regions; only cases both were judged on
    count. Holm's correction is over the family of all methods and severities, for one kind of case and one region (or
    the mean): that is the question "does any method differ from the reference in this, at any level?". The mean is
    what a comparison should be read by; regions explain it.

    Args:
        reference: Name of the method to test against.
        evaluations: By name, the reference's among them.
        metric: A column of `Evaluation.rows`.
    """
    tests = [
        _test(name, evaluations[reference], evaluation, kind, severity, region, metric)
        for kind in KINDS
        for region in (ALL_REGIONS, *REGIONS)
        for name, evaluation in evaluations.items()
        if name != reference
        for severity in _shared_levels(evaluations[reference], evaluation, kind)
    ]
    for family in {(test["kind"], test["region"]) for test in tests}:
        members = [test for test in tests if (test["kind"], test["region"]) == family]
        for test, p in zip(members, holm([test["p"] for test in members]), strict=True):
            test["p_holm"] = p
    return tests


def differences(reference: Evaluation, other: Evaluation, kind: str, severity: Any, region: str, metric: str) -> Row:
    """The values of two methods on the cases that both were judged on: `reference` and `other`, in one order."""
    first, second = (_values(one, kind, severity, region, metric) for one in (reference, other))
    shared = [case for case in first if case in second]
    return {"reference": [first[case] for case in shared], "other": [second[case] for case in shared]}


def calibration(name: str, evaluation: Evaluation) -> dict[str, Any] | None:
    """What motion costs a network that never saw any, as `Comparison.calibration`; None without S0 to start from.

    Args:
        name: Of the method.
        evaluation: Of it, at S0 and other levels.
    """
    rows = [row for kind in KINDS for row in _losses(evaluation, kind)]
    kind = next((kind for kind in KINDS if any(row["kind"] == kind for row in rows)), None)
    if kind is None:
        return None
    level = level_of([row for row in rows if row["kind"] == kind])
    return {"method": name, "kind": kind, "rows": rows, "level_of_20_points": level}


def level_of(rows: Sequence[Row], points: float = LOSS_POINTS) -> float | None:
    """The severity at which so many points are lost first, a straight line drawn between levels; None if at none.

    Args:
        rows: Of one kind of case, with severity and loss_points.
        points: How many.
    """
    ordered = sorted(rows, key=lambda row: row["severity"])
    for before, after in zip(ordered, ordered[1:], strict=False):
        low, high = before["loss_points"], after["loss_points"]
        if low < points <= high:
            step = after["severity"] - before["severity"]
            return round(before["severity"] + step * (points - low) / (high - low), 2)
    return None


def _test(
    name: str, reference: Evaluation, other: Evaluation, kind: str, severity: Any, region: str, metric: str
) -> Row:
    """One test; its corrected p value follows."""
    pairs = differences(reference, other, kind, severity, region, metric)
    found = paired_test(pairs["reference"], pairs["other"])
    return {
        "method": name,
        "kind": kind,
        "severity": severity,
        "metric": metric,
        "region": region,
        "n": found.n,
        "pairs": found.n + found.ties,
        "median_difference": found.median_difference,
        "p": found.p,
        "p_holm": None,
    }


def _values(evaluation: Evaluation, kind: str, severity: Any, region: str, metric: str) -> dict[str, float]:
    """A number a case, by case_id; cases without one are left out."""
    rows = [row for row in evaluation.rows if (row["kind"], row["severity"]) == (kind, severity)]
    if region == ALL_REGIONS:
        return case_means(rows, metric)
    return {row["case_id"]: row[metric] for row in rows if row["region"] == region and row[metric] is not None}


def _shared_levels(first: Evaluation, second: Evaluation, kind: str) -> list[Any]:
    """The severities at which both were judged on cases of a kind, mild before severe."""
    ours, theirs = ({row["severity"] for row in one.rows if row["kind"] == kind} for one in (first, second))
    return sorted(ours & theirs, key=str)


def _losses(evaluation: Evaluation, kind: str) -> list[Row]:
    """Mean Dice over regions by severity, of the cases that were judged at all of them, and its loss against S0."""
    levels = sorted({row["severity"] for row in evaluation.rows if row["kind"] == kind})
    by_level = {level: _values(evaluation, kind, level, ALL_REGIONS, "dice") for level in levels}
    shared = set.intersection(*map(set, by_level.values())) if by_level else set()
    if 0 not in levels or not shared:
        return []
    dice = {level: sum(values[case] for case in shared) / len(shared) for level, values in by_level.items()}
    return [
        {
            "kind": kind,
            "severity": level,
            "dice": round(dice[level], 6),
            "loss_points": round(100 * (dice[0] - dice[level]), 3),
            "n": len(shared),
        }
        for level in levels
    ]
