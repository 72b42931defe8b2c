"""Compared: a made-up comparison of methods, whose numbers one knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluated import an_evaluation, together

from DABSegCore.comparison.analysis import against
from DABSegCore.comparison.results import Comparison, MethodResult
from DABSegCore.evaluation.records import Level

REFERENCE = "DABSeg small"
METHODS = {REFERENCE: 0.5, "DAMI, sharp only": 0.3, "SegResNet small": 0.55}
"""Dice of TC of the first case at S2: each next case has 0.02 more, WT 0.1 more, ET 0.1 less; S0 0.2 more."""


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
    fields: Mapping[str, Any] = {"tests": tests_against(chosen, reference), "meta": meta} | more
    return Comparison("A comparison", chosen, reference, **fields)


def tests_against(methods: Sequence[MethodResult], reference: str) -> list[dict[str, Any]]:
    """Tests of every other method against the reference."""
    found = {method.name: method.evaluation for method in methods if method.evaluation is not None}
    return against(reference, found) if reference in found else []
