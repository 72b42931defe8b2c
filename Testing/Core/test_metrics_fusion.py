"""Fusion metrics: grey levels, edges and correlations worked out by hand, and an obvious loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from DABSegCore.metrics.fusion import average_gradient, entropy, fmi, scd


def noise(seed: int, shape: tuple[int, int, int] = (3, 9, 8)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def test_entropy_by_hand():
    image = np.zeros((2, 4, 4))
    assert entropy(image) == 0
    image[0] = 1
    assert entropy(image) == 1
    image[0, :2] = 100 / 255
    image[1, :2] = 100.4 / 255  # the same grey level
    assert entropy(image) == pytest.approx(0.5 * 1 + 2 * 0.25 * 2)
    assert entropy(np.arange(256).reshape(4, 8, 8) / 255) == 8


def test_average_gradient_by_hand():
    ramp = np.broadcast_to(np.arange(6) * 10 / 255, (4, 5, 6))
    assert average_gradient(ramp) == pytest.approx(10 / math.sqrt(3))
    assert average_gradient(ramp.T) == pytest.approx(10 / math.sqrt(3))
    step = np.zeros((3, 3, 3))
    step[1:] = 1  # a step of 255 under a third of the voxels, of which the last are not asked
    assert average_gradient(step) == pytest.approx(255 / math.sqrt(3) / 2)
    assert average_gradient(np.full((3, 3, 3), 0.7)) == 0


def test_scd_by_hand():
    a, b = noise(0), noise(1)
    assert scd(a + b, a, b) == pytest.approx(2)
    assert scd(-(a + b), a, b) < 0
    assert scd(a, a, np.zeros_like(a)) == 1  # what is left of it without the other is it; nothing without itself
    assert scd(a, a, b) == pytest.approx(np.corrcoef((a - b).ravel(), a.ravel())[0, 1])


def test_fmi_of_what_is_known():
    a, b = noise(2), noise(3)
    assert fmi(a, [a]) == pytest.approx(1)
    assert fmi(0.2 + 0.5 * a, [a, a]) == pytest.approx(1)  # edges have places, not heights
    assert 0 <= fmi(a, [b]) < 0.6 < fmi(a + 0.02 * b, [a])
    assert fmi(a, [a, b]) == pytest.approx((1 + fmi(a, [b])) / 2)
    assert fmi(np.ones_like(a), [a]) == pytest.approx(0, abs=1e-9)  # flat windows are like no others
    assert fmi(np.ones_like(a), [np.zeros_like(a)]) == 1
    assert fmi(a, [b]) == pytest.approx(fmi(b, [a]))
    with pytest.raises(ValueError, match="at least one source"):
        fmi(a, [])


def slowly(p: list[float], q: list[float]) -> float:
    """Mutual information of two distributions over places, as the metric's description has it."""

    def bits(values):
        return -sum(v * math.log2(v) for v in values if v > 0)

    n = len(p)
    c = np.corrcoef(p, q)[0, 1]
    fp, fq = ([sum(v[: k + 1]) for k in range(n)] for v in (p, q))

    def bound(i, j):
        if i < 0 or j < 0:
            return 0.0
        return min(fp[i], fq[j]) if c >= 0 else max(fp[i] + fq[j] - 1, 0.0)

    extreme = [
        [bound(i, j) - bound(i - 1, j) - bound(i, j - 1) + bound(i - 1, j - 1) for j in range(n)] for i in range(n)
    ]
    means = [sum(k * v[k] for k in range(n)) for v in (p, q)]
    covariance = sum(extreme[i][j] * (i - means[0]) * (j - means[1]) for i in range(n) for j in range(n))
    spreads = [math.sqrt(sum(v[k] * (k - m) ** 2 for k in range(n))) for v, m in zip((p, q), means, strict=True)]
    share = min(max(c * spreads[0] * spreads[1] / covariance, 0), 1)
    joint = [share * extreme[i][j] + (1 - share) * p[i] * q[j] for i in range(n) for j in range(n)]
    return 2 * (bits(p) + bits(q) - bits(joint)) / (bits(p) + bits(q))


def test_fmi_of_every_window_written_out():
    a, b = noise(4, (2, 5, 6)), noise(5, (2, 5, 6))
    found = []
    for k in range(2):
        steep = [np.hypot(*np.gradient(image[k])) for image in (a, b)]
        for j in range(3):
            for i in range(4):
                parts = [values[j : j + 3, i : i + 3].ravel() for values in steep]
                parts = [(values - values.min()) / (values.max() - values.min()) for values in parts]
                found.append(slowly(*[(values / values.sum()).tolist() for values in parts]))
    assert fmi(a, [b]) == pytest.approx(np.mean(found))


def test_a_mask_counts_its_voxels_alone():
    a, b, mask = noise(6), noise(7), np.zeros((3, 9, 8), bool)
    mask[1, 2:7, 2:6] = True
    other_a, other_b = (np.where(mask, image, noise(8)) for image in (a, b))
    assert entropy(a, mask) == entropy(other_a, mask)
    assert scd(a, b, b, mask) == pytest.approx(scd(other_a, other_b, other_b, mask))
    one = np.zeros_like(mask)
    one[1, 4, 4] = True
    steps = [a[2, 4, 4] - a[1, 4, 4], a[1, 5, 4] - a[1, 4, 4], a[1, 4, 5] - a[1, 4, 4]]
    assert average_gradient(a, one) == pytest.approx(255 * math.sqrt(sum(s * s for s in steps) / 3))
    assert fmi(a, [b], one) == pytest.approx(fmi(a[1:2, 2:7, 2:7], [b[1:2, 2:7, 2:7]], one[1:2, 2:7, 2:7]))


def test_in_an_empty_mask_all_are_nan():
    a, none = noise(9), np.zeros((3, 9, 8), bool)
    for value in (entropy(a, none), average_gradient(a, none), scd(a, a, a, none), fmi(a, [a], none)):
        assert math.isnan(value)
    assert math.isnan(fmi(a[:, :2], [a[:, :2]]))
    with pytest.raises(ValueError, match="must have one shape"):
        scd(a, a[1:], a)
