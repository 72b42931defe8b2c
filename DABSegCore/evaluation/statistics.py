"""Statistics: a few numbers for many, how sure the mean is, and whether two methods differ on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from DABSegCore.errors import packages_for

RESAMPLES = 5000
"""Bootstrap means an interval is read from; more of them change it by less than a hundredth of its width."""

CONFIDENCE = 0.95

_AT_ONCE = 500_000  # numbers drawn in one go


@dataclass(frozen=True)
class Summary:
    """A few numbers for many.

    Attributes:
        n: How many values there were, the undefined and infinite ones not counted.
        left_out: How many were undefined or infinite.
        mean: None where n is 0, and so is the median.
        sd: Standard deviation of a sample (n - 1 in the denominator); None for n < 2.
        median: The middle value.
        low: Lower end of the 95 % bootstrap interval of the mean; None for n < 2, where nothing tells the spread.
        high: Its upper end.
    """

    n: int
    left_out: int
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same cases.

    Attributes:
        n: Pairs that differ, which alone can tell.
        ties: Pairs that do not.
        left_out: Pairs of which a value is undefined or infinite.
        median_difference: Of all pairs with two values, second minus first; None where there are none.
        p: Two-sided p value; 1 where no pair differs, None where there are no pairs.
    """

    n: int
    ties: int
    left_out: int
    median_difference: float | None
    p: float | None


def summary(values: Sequence[float | None], seed: int = 0) -> Summary:
    """Mean, spread, middle and interval of values; those that are None, NaN or infinite are counted and left out.

    Args:
        values: One per case; their order does not matter.
        seed: Of the bootstrap.
    """
    known = _finite(values)
    n, left_out = len(known), len(values) - len(known)
    if n == 0:
        return Summary(0, left_out)
    mean, median = float(known.mean()), float(np.median(known))
    if n == 1:
        return Summary(1, left_out, mean, None, median)
    low, high = bootstrap_interval(known, seed)
    return Summary(n, left_out, mean, float(known.std(ddof=1)), median, low, high)


@packages_for("bootstrap intervals")
def bootstrap_interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean by bootstrap, bias-corrected and accelerated (BCa; Efron 1987).

    Dice and distances are skewed, so plain percentiles would lie too far to one side; BCa moves them. With fewer than
    ten or so cases any bootstrap interval is too narrow.

    Args:
        values: At least two finite numbers; their order does not matter.
        seed: Of the draws.

    Returns:
        Lower and upper end; both the value itself where all are the same.

    Raises:
        ValueError: For fewer than two values.
    """
    sample = np.sort(np.asarray(values, np.float64))
    n = len(sample)
    if n < 2:
        raise ValueError(f"an interval needs two values at least, not {n}")
    if np.isclose(sample[0], sample[-1], rtol=1e-12, atol=1e-12):  # equal but for the last digits
        return float(sample[0]), float(sample[0])
    from scipy import stats

    drawn = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(_AT_ONCE // n, 1),
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)


def paired_test(first: Sequence[float | None], second: Sequence[float | None]) -> Comparison:
    """Wilcoxon's signed-rank test of two methods on the same cases, two-sided and exact, also with ties.

    Pairs without a difference are dropped (Wilcoxon 1945); equal differences share the mean of their ranks. The p value
    is the share of all 2^n ways to deal out signs whose rank sum is as far from the middle, counted. SciPy counts
    only where no two differences are equal and approximates otherwise, and Dice ties are common.

    Args:
        first: One value per case.
        second: The other method's, in the same order.

    Raises:
        ValueError: If they are not as many.
    """
    pairs = [pair for pair in zip(first, second, strict=True) if all(map(_is_finite, pair))]
    left_out = len(first) - len(pairs)
    if not pairs:
        return Comparison(0, 0, left_out, None, None)
    # Rounded, so that 0.3 - 0.2 and 0.2 - 0.1 are the same difference.
    differences = np.array([round(b - a, 12) for a, b in pairs])
    median = float(np.median(differences))
    moved = differences[differences != 0]
    ties = len(differences) - len(moved)
    if not len(moved):
        return Comparison(0, ties, left_out, median, 1.0)
    doubled = _doubled_ranks(np.abs(moved))
    return Comparison(len(moved), ties, left_out, median, _signed_rank_p(doubled, int(doubled[moved > 0].sum())))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979): p values that hold for all comparisons of a family together, in the order given.

    Args:
        p_values: None where there was nothing to compare: it stays None and does not count as a comparison.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for passed, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - passed) * p))
        adjusted[i] = highest
    return adjusted


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _finite(values: Sequence[float | None]) -> np.ndarray:
    """The values that are numbers, sorted, float64 [n]."""
    return np.sort(np.array([value for value in values if _is_finite(value)], np.float64))


def _doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the rank of every number, equal ones sharing the mean of theirs, which doubled is whole; int [n]."""
    _, place, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts + 1)[place]


def _signed_rank_p(doubled: np.ndarray, positive: int) -> float:
    """Two-sided p of a sum of doubled ranks with a positive sign, among all ways to deal out the signs."""
    total = int(doubled.sum())
    chances = np.zeros(total + 1)  # of every sum
    chances[0] = 1.0
    for rank in doubled.tolist():
        chances[rank:] = (chances[rank:] + chances[: total + 1 - rank]) / 2
        chances[:rank] /= 2
    return min(1.0, 2 * float(chances[: min(positive, total - positive) + 1].sum()))
