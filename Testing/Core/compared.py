"""Compared: a made-up comparison of methods, whose numbers one knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluated import an_evaluation, together

from DABSegCore.comparison.results import Comparison, MethodResult
from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.results import case_means
from DABSegCore.evaluation.statistics import holm, paired_test
from DABSegCore.labels import REGIONS

REFERENCE = "DABSeg small"
METHODS = {REFERENCE: 0.6, "DAMI, sharp only": 0.4, "SegResNet small": 0.65}
"""Dice at S2 of the first case, by method: each next case has 0.02 more, WT 0.1 more and ET 0.1 less."""

OF_SHARP = 0.2
"""More at S0, and 0.05 less for the reference and what is like it."""


def a_method(
    name: str,
    level: float,
    cases: int = 4,
    severities: Sequence[Level] = (0, 2),
    *,
    kinds: Sequence[str] = ("real",),
    **more: Any,
) -> MethodResult:
    """A method with a known Dice at every case, severity and region.

    Args:
        name: Of it.
        level: Dice of TC of the first case at S2.
        cases: Of each kind.
        severities: It is judged at.
        kinds: Of cases.
        more: Other fields.
    """

    def dice(case: int, severity: Level, region: str) -> float:
        of_motion = 0.1 * (2 - severity) if isinstance(severity, int) else 0.0
        return min(max(level + 0.02 * case + {"ET": -0.1, "TC": 0.0, "WT": 0.1}[region] + of_motion, 0.0), 1.0)

    found = together(*(an_evaluation(cases, severities, dice, None, kind=kind) for kind in kinds))
    cost = {"parameters": 2.9e6, "gflop": 64.0, "network_s": 1.5, "total_s": 2.5, "training_minutes": 4.0}
    cost |= {"training_steps": 240, "peak_memory_mb": None}
    return MethodResult(name, name.lower().replace(" ", "-"), **({"evaluation": found, "cost": cost} | more))


def a_comparison(methods: Sequence[MethodResult] = (), *, reference: str = REFERENCE, **more: Any) -> Comparison:
    """A comparison with its tests.

    Args:
        methods: By default those of `METHODS` on 4 real cases.
        reference: Name of one of them.
        more: Other fields.
    """
    chosen = tuple(methods) or tuple(a_method(name, level) for name, level in METHODS.items())
    meta = {"plan": "plan.toml", "command": "python -m DABSegCore.compare plan.toml", "unequal": []}
    fields: Mapping[str, Any] = {"tests": tests_of(chosen, reference), "meta": meta} | more
    return Comparison("A comparison", chosen, reference, **fields)


def tests_of(methods: Sequence[MethodResult], reference: str) -> list[dict[str, Any]]:
    """Tests of every other method against the reference; Holm over all of one kind."""
    first = next(method for method in methods if method.name == reference)
    rows = []
    for other in (method for method in methods if method is not first and method.evaluation and first.evaluation):
        keys = dict.fromkeys((row["kind"], row["severity"]) for row in other.evaluation.rows)
        rows += [_test(other, first, *key, region) for key in keys for region in ("mean", *REGIONS)]
    for kind in {row["kind"] for row in rows}:
        family = [row for row in rows if row["kind"] == kind]
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
    return rows


def _test(other: MethodResult, first: MethodResult, kind: str, severity: Level, region: str) -> dict[str, Any]:
    mine, theirs = (
        case_means(
            [r for r in method.evaluation.rows if (r["kind"], r["severity"]) == (kind, severity)],
            "dice",
            lambda row: region in ("mean", row["region"]),
        )
        for method in (other, first)
    )
    both = sorted(mine.keys() & theirs.keys())
    found = paired_test([theirs[case] for case in both], [mine[case] for case in both])
    begin = {"method": other.name, "kind": kind, "severity": severity, "metric": "dice", "region": region}
    numbers = {"n": found.n, "pairs": len(both), "median_difference": found.median_difference, "p": found.p}
    return {**begin, **numbers, "p_holm": None}
