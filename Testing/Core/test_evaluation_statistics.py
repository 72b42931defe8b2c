"""Statistics: against numbers worked out by hand, SciPy, and a count of all possibilities."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest

from DABSegCore.evaluation.statistics import Summary, bootstrap_interval, holm, paired_test, summary

stats = pytest.importorskip("scipy.stats")

SKEWED = [0.02, 0.41, 0.55, 0.62, 0.71, 0.74, 0.80, 0.83, 0.88, 0.91, 0.93, 0.95]


def counted_p(differences: list[float]) -> float:
    """Two-sided p by trying all ways to deal out the signs."""
    ranks = stats.rankdata(np.abs(differences))
    seen = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    far = sum(abs(s - sum(ranks) / 2) >= abs(seen - sum(ranks) / 2) - 1e-9 for s in sums)
    return far / len(sums)


def test_a_summary_by_hand():
    found = summary([1.0, 2.0, 6.0, 7.0])
    assert (found.n, found.left_out, found.mean, found.median) == (4, 0, 4.0, 4.0)
    assert found.sd == pytest.approx(math.sqrt((9 + 4 + 4 + 9) / 3))
    assert 1 < found.low < 4 < found.high < 7


def test_the_order_of_the_values_does_not_matter():
    assert summary(SKEWED) == summary(SKEWED[::-1])
    assert summary(SKEWED, seed=1) != summary(SKEWED)


def test_of_one_value_there_is_no_interval_and_of_none_nothing():
    assert summary([0.5]) == Summary(1, 0, 0.5, None, 0.5)
    assert summary([None, math.nan]) == Summary(0, 2)
    with pytest.raises(ValueError, match="two values"):
        bootstrap_interval([0.5])


def test_what_is_undefined_or_infinite_is_counted_and_left_out():
    known = summary(SKEWED)
    found = summary([None, *SKEWED, math.inf, math.nan, -math.inf])
    assert found.left_out == 4
    assert (found.n, found.mean, found.low, found.high) == (known.n, known.mean, known.low, known.high)


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_interval([0.7, 0.7, 0.7]) == (0.7, 0.7)
    last_digits = [0.3 - 0.5, 0.32 - 0.52, 0.34 - 0.54, 0.36 - 0.56]
    assert len(set(last_digits)) > 1
    assert bootstrap_interval(last_digits) == pytest.approx((-0.2, -0.2))


def test_the_interval_is_that_of_scipy_and_not_the_plain_percentiles():
    ours = bootstrap_interval(SKEWED)
    chance = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # by its version
    options = {"n_resamples": 40_000, chance: 3}
    theirs, plain = (
        stats.bootstrap((SKEWED,), np.mean, method=method, **options).confidence_interval
        for method in ("BCa", "percentile")
    )
    assert ours == pytest.approx(theirs, abs=0.01)
    assert abs(ours[0] - plain[0]) > 0.015


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(generator.normal(size=25))
        hits += low <= 0 <= high
    assert 176 <= hits <= 198  # 93 % are expected at n = 25


@pytest.mark.parametrize("n", [1, 2, 5, 12, 30])
def test_without_ties_the_test_is_scipys_exact_one(n):
    generator = np.random.default_rng(n)
    first, second = generator.normal(size=n), generator.normal(0.4, size=n)
    found = paired_test(first.tolist(), second.tolist())
    assert found.n == n
    assert found.p == pytest.approx(stats.wilcoxon(second - first, method="exact").pvalue, abs=1e-9)
    assert found.median_difference == pytest.approx(np.median(second - first), abs=1e-9)


@pytest.mark.parametrize("differences", [[1, 1, -1, 2, 2, 3], [1, 1, 1, 1, 1], [0.1, -0.1, 0.2, 0.2, 0.2, -0.3, 0.5]])
def test_with_ties_it_is_the_count_of_all_signs(differences):
    assert paired_test([0.0] * len(differences), differences).p == pytest.approx(counted_p(differences), abs=1e-12)


def test_five_of_five_better_is_a_sixteenth():
    assert paired_test([1, 2, 3, 4, 5], [2, 4, 6, 8, 10]).p == pytest.approx(2 / 2**5)


def test_pairs_that_are_equal_or_not_known_are_dropped_and_counted():
    found = paired_test([0.1, 0.2, 0.3, None, 0.5, math.inf], [0.2, 0.2, 0.5, 0.7, None, 0.1])
    assert (found.n, found.ties, found.left_out) == (2, 1, 3)
    assert found.p == pytest.approx(0.5)  # two of two: 2 / 2^2
    assert found.median_difference == pytest.approx(0.1)


def test_nothing_that_differs_is_no_evidence_and_no_pair_no_answer():
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p == 1
    assert paired_test([None], [1.0]).p is None
    with pytest.raises(ValueError, match="zip"):
        paired_test([1.0], [])


def test_differences_equal_but_for_rounding_are_ties():
    pairs = [(0.1, 0.2), (0.2, 0.3), (0.7, 0.6)]  # which differ by 0.1 each, a few last bits apart
    first, second = zip(*pairs, strict=True)
    assert paired_test(first, second).p == paired_test([0, 0, 1], [1, 1, 0]).p == pytest.approx(1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.6, 0.02]) == [1.0, None, 1.0, pytest.approx(0.06)]
    assert holm([]) == []
