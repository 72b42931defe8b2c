"""Selection: numbers picked out of a comparison for its tables, figures and sentences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from DABSegCore.comparison import analysis
from DABSegCore.evaluation.figures import severities_of
from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.results import ALL_REGIONS

if TYPE_CHECKING:
    from DABSegCore.comparison.results import Comparison, MethodResult

Row = Mapping[str, Any]

ALPHA = 0.05
SHARP = 0
_USUAL = 2


def kinds(comparison: Comparison) -> list[str]:
    """The kinds of cases methods were judged on, real before virtual."""
    return sorted({row["kind"] for method in comparison.methods for row in _rows(method)})


def levels(comparison: Comparison, kind: str) -> list[Level]:
    """The severities any method was judged at, from no motion to the most."""
    return severities_of(row for method in comparison.methods for row in _rows(method) if row["kind"] == kind)


def moving_level(comparison: Comparison, kind: str) -> Level | None:
    """The severity that stands for motion: 2, or the highest there is; None where there was none but 0."""
    found = [level for level in levels(comparison, kind) if level != SHARP]
    return _USUAL if _USUAL in found else max(found, key=str, default=None)


def main_level(comparison: Comparison, kind: str) -> Level:
    """The severity to show where there is room for one: that of motion, where there was any."""
    level = moving_level(comparison, kind)
    return SHARP if level is None else level


def judged(comparison: Comparison, kind: str, level: Level | None = None) -> list[MethodResult]:
    """The methods that were judged on a kind of cases, at a severity if one is given, in the order of the plan."""
    return [
        method
        for method in comparison.methods
        if any(row["kind"] == kind and level in (None, row["severity"]) for row in _rows(method))
    ]


def entries(method: MethodResult, kind: str, level: Level) -> dict[tuple[str, str], Row]:
    """What sums a method up at a severity, by region ("mean": all of them) and metric."""
    if method.evaluation is None:
        return {}
    here = (row for row in method.evaluation.summary if (row["kind"], row["severity"]) == (kind, level))
    return {(row["region"], row["metric"]): row for row in here}


def differences(
    comparison: Comparison, method: MethodResult, kind: str, level: Level, region: str = ALL_REGIONS
) -> list[float]:
    """Dice of a method minus that of the reference, on each case that both were judged on."""
    first = reference(comparison)
    if first.evaluation is None or method.evaluation is None:
        return []
    pairs = analysis.differences(first.evaluation, method.evaluation, kind, level, region, "dice")
    # Rounded, so that 0.3 - 0.2 and 0.2 - 0.1 are the same difference.
    return [round(mine - theirs, 12) for theirs, mine in zip(pairs["reference"], pairs["other"], strict=True)]


def reference(comparison: Comparison) -> MethodResult:
    """The method all others are tested against."""
    return next(method for method in comparison.methods if method.name == comparison.reference)


def tested(comparison: Comparison, kind: str, level: Level) -> dict[tuple[str, str], Row]:
    """Tests of Dice at a severity, by method and region ("mean": all of them)."""
    return {
        (test["method"], test["region"]): test
        for test in comparison.tests
        if (test["kind"], test["severity"], test["metric"]) == (kind, level, "dice")
    }


def is_significant(test: Row | None) -> bool:
    """Whether a difference holds for all comparisons of its family together."""
    return test is not None and test["p_holm"] is not None and test["p_holm"] < ALPHA


def holm_family(comparison: Comparison, kind: str) -> int:
    """How many tests of the mean Dice are corrected together: those of all methods and severities."""
    tests = (test for test in comparison.tests if (test["kind"], test["region"]) == (kind, ALL_REGIONS))
    return sum(test["metric"] == "dice" and test["p"] is not None for test in tests)


def least_p(pairs: int) -> float:
    """The smallest two-sided p value that so many pairs can give: all differ in the same direction."""
    return min(1.0, 2.0 / 2**pairs)


def least_pairs(family: int) -> int:
    """The fewest pairs with which one of so many tests can be significant after Holm's correction."""
    return next(pairs for pairs in itertools.count(1) if family * least_p(pairs) < ALPHA)


def case_count(methods: Sequence[MethodResult], kind: str) -> int:
    """How many cases of a kind any of the methods was judged on."""
    return len({row["case_id"] for method in methods for row in _rows(method) if row["kind"] == kind})


def _rows(method: MethodResult) -> list[dict[str, Any]]:
    return [] if method.evaluation is None else method.evaluation.rows
