"""Augmentation: geometry by hand, and one transform for everything that belongs together."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage

from DABSegCore.training.augment import (
    change_intensity,
    random_bias,
    random_flips,
    random_intensity,
    random_theta,
    sample_patch,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_identity_sampling_is_a_crop():
    volume = torch.rand(2, 12, 10, 14)
    patch = sample_patch(volume, torch.tensor([5.5, 4.5, 6.5]), 4, torch.eye(3))
    torch.testing.assert_close(patch, volume[:, 4:8, 3:7, 5:9])


def test_sampling_agrees_with_scipy_on_a_volume_with_three_different_sides():
    volume = torch.rand(1, 20, 24, 28)
    theta, center = random_theta(generator(3)), torch.tensor([9.0, 12.0, 14.0])
    patch = sample_patch(volume, center, 6, theta)
    offset = center.numpy() - theta.numpy() @ [2.5, 2.5, 2.5]
    expected = ndimage.affine_transform(volume[0].numpy(), theta.numpy(), offset, output_shape=(6, 6, 6), order=1)
    torch.testing.assert_close(patch[0], torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


def test_outside_the_volume_is_zero():
    patch = sample_patch(torch.ones(1, 4, 4, 4), torch.tensor([-20.0, 0.0, 0.0]), 4, torch.eye(3))
    assert not patch.any()


def test_theta_is_a_rotation_times_a_scale_within_bounds():
    for seed in range(50):
        theta = random_theta(generator(seed), rotation_deg=15, scale=0.2)
        size = torch.det(theta).abs() ** (1 / 3)
        assert 1 / 1.2 - 1e-6 <= size <= 1 / 0.8 + 1e-6
        turn = theta / size
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
        angle = math.degrees(math.acos(min(1.0, float((turn.trace() - 1) / 2))))
        assert angle <= 15 * math.sqrt(3) + 0.5


def test_flips_happen_half_of_the_time_on_each_axis():
    draws = generator()
    counts = torch.zeros(4)
    for _ in range(2000):
        counts[random_flips(draws)] += 1
    assert counts[0] == 0
    assert ((counts[1:] / 2000 - 0.5).abs() < 0.05).all()


def test_intensity_keeps_black_black_and_order():
    gamma, gain = random_intensity(generator(1), 4)
    ramp = torch.linspace(0, 1, 32).expand(4, 1, 1, 32)
    changed = change_intensity(ramp, gamma, gain)
    assert (changed[..., 0] == 0).all()
    assert (changed.diff(dim=-1) >= 0).all()
    assert changed.max() <= 1


def test_intensity_by_hand():
    changed = change_intensity(torch.full((2, 1, 1, 1), 0.25), torch.tensor([0.5, 2.0]), torch.tensor([1.0, 4.0]))
    assert changed.flatten().tolist() == pytest.approx([0.5, 0.25])


def test_bias_is_smooth_bounded_and_flat_for_half_of_the_modalities():
    draws, flat = generator(2), 0
    for _ in range(100):
        bias = random_bias(draws, 4, 16, strength=0.3)
        assert bias.shape == (4, 16, 16, 16)
        assert (bias.log().abs() <= 0.3 + 1e-6).all()
        for axis in (1, 2, 3):  # between knots 7.5 voxels apart the logarithm changes by 0.6 at most
            assert bias.log().diff(dim=axis).abs().max() <= 0.6 / 7.5 + 1e-6
        flat += sum(bool((field == 1).all()) for field in bias)
    assert 160 <= flat <= 240
