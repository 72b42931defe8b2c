"""Degrade: kernels against lines that one can draw by hand, and degradations against what they are said to do."""

from __future__ import annotations

import math

import pytest
import torch

from DABSegCore.degrade import (
    DEGRADATIONS,
    add_noise,
    break_structure,
    correlate,
    draw_line,
    draw_streak,
    draw_windows,
    line_kernel,
    smooth_slices,
    streak_kernel,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_point_becomes_the_kernel_mirrored_about_its_anchor():
    image = torch.zeros(1, 7, 7, 7)
    image[0, 3, 3, 3] = 1
    kernel = torch.rand(3, 4, 1, generator=seeded())
    kernel[0, 1] = 0
    wanted = torch.zeros(7, 7, 7)
    for k in range(3):
        for j in range(4):
            wanted[3 - (k - 1), 3 - (j - 2), 3] = kernel[k, j, 0]
    torch.testing.assert_close(correlate(image, kernel)[0], wanted)


def test_beyond_the_border_the_nearest_voxel_goes_on():
    image = torch.arange(4.0).view(1, 1, 1, 4)
    assert correlate(image, torch.ones(1, 1, 5) / 5).flatten().tolist() == pytest.approx([0.6, 1.2, 1.8, 2.4])


def test_a_line_that_does_not_turn_is_the_diagonal_and_one_turned_by_45_degrees_lies_flat():
    torch.testing.assert_close(line_kernel(20, 0.0)[0], torch.eye(20) / 20)
    for turn, axis in ((45.0, 1), (-45.0, 0)):  # counter-clockwise the falling diagonal becomes a row
        along = line_kernel(21, turn)[0].sum(axis)
        assert along.gt(0).sum() <= 3
        assert along[10:12].sum() > 0.7


@pytest.mark.parametrize(
    ("turn", "least", "most"), [(0, 1.0, 1.0), (15, 0.80, 0.83), (30, 0.68, 0.77), (45, 0.68, 0.74)]
)
def test_the_published_kernel_darkens_more_the_more_it_turns_and_ours_does_not(turn, least, most):
    for length in (20, 33, 45):
        for sign in (-1, 1):
            assert least - 1e-5 <= line_kernel(length, sign * turn, darken=True).sum().item() <= most + 1e-5
            assert line_kernel(length, sign * turn).sum().item() == pytest.approx(1)


def test_lines_are_as_long_and_as_steep_as_the_published_ones_and_blur_slices_alone():
    lines = [draw_line(generator) for generator in [seeded()] for _ in range(300)]
    assert {length for length, _ in lines} == set(range(20, 46))
    assert -45 <= min(turn for _, turn in lines) < -40 < 40 < max(turn for _, turn in lines) <= 45
    images = torch.zeros(2, 3, 48, 48)
    images[:, 1, 24, 24] = 1
    blurred = correlate(images, line_kernel(*lines[0]))
    assert blurred.sum((2, 3)).flatten().tolist() == pytest.approx([0, 1, 0] * 2)
    with pytest.raises(ValueError, match="at least one pixel"):
        line_kernel(0, 0.0)


def test_a_streak_has_the_length_and_direction_asked_and_moves_nothing():
    kernel = streak_kernel(12.0, torch.tensor([0.0, 0.6, 0.8]), (1.0, 1.5, 2.0))
    assert kernel.shape[2] == 1
    assert kernel.sum().item() == pytest.approx(1)
    places = torch.stack(
        torch.meshgrid(*[torch.arange(n) - n // 2 for n in kernel.shape], indexing="ij"), dim=-1
    ) * torch.tensor([2.0, 1.5, 1.0])  # mm along (k, j, i)
    assert (places * kernel[..., None]).sum((0, 1, 2)).abs().max() < 1e-5
    spread = torch.einsum("dhw,dhwa,dhwb->ab", kernel, places, places)
    # A line's variance is length^2 / 12; splitting weights between voxels adds at most a quarter of a voxel squared.
    assert spread[0, 0].item() == pytest.approx((12 * 0.8) ** 2 / 12, abs=1.0)
    assert spread[1, 1].item() == pytest.approx((12 * 0.6) ** 2 / 12, abs=0.6)
    assert spread[0, 1].item() == pytest.approx(0.48 * 144 / 12, abs=0.2)


def test_streaks_point_anywhere_get_longer_with_severity_and_begin_with_nothing():
    drawn = torch.stack([draw_streak(4, generator)[1] for generator in [seeded()] for _ in range(400)])
    assert drawn.norm(dim=1).tolist() == pytest.approx([1] * 400)
    assert drawn.mean(0).abs().max() < 0.1
    assert drawn.square().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    assert streak_kernel(*draw_streak(0, seeded()), (1, 1, 1)).tolist() == [[[1.0]]]
    lengths = [draw_streak(severity, seeded())[0] for severity in range(5)]
    assert lengths == sorted(set(lengths))
    with pytest.raises(ValueError, match="severity must lie in 0..4, got 5"):
        draw_streak(5, seeded())
    with pytest.raises(ValueError, match="cannot be"):
        streak_kernel(4.0, torch.tensor([1.0, 0, 0]), (0.0, 1, 1))


def test_noise_is_as_strong_as_asked():
    noise = add_noise(torch.zeros(2, 20, 40, 40), 0.04, seeded())
    assert noise.std().item() == pytest.approx(0.04, rel=0.02)
    assert noise.mean().abs().item() < 1e-3


def test_smoothing_spreads_a_point_within_its_slice_as_a_gaussian_does():
    image = torch.zeros(1, 3, 41, 41)
    image[0, 1, 20, 20] = 1
    smooth, distance = smooth_slices(image, 2.0)[0], torch.arange(41.0) - 20
    assert smooth[[0, 2]].abs().max() == 0
    for axis in (0, 1):
        assert (smooth[1].sum(axis) * distance.square()).sum().item() == pytest.approx(4.0, rel=0.01)
    assert smooth[1, 20, 23].item() == pytest.approx(math.exp(-9 / 8) / (2 * math.pi * 4), rel=0.01)


def test_windows_are_an_eighth_at_most_and_only_they_lose_their_structure():
    size = (32, 64, 80)
    windows = draw_windows(size, seeded())
    assert len(windows) == 8
    for k, j, i in windows:
        assert 1 <= k.stop - k.start <= 4
        assert 4 <= j.stop - j.start <= 8
        assert 6 <= i.stop - i.start <= 10
        assert all(s.start >= 0 and s.stop <= n for s, n in zip((k, j, i), size, strict=True))
    images = torch.rand(2, *size, generator=seeded())
    inside = torch.zeros(size, dtype=torch.bool)
    for window in windows:
        inside[window] = True
    changed = break_structure(images, windows, 3, seeded()) != images
    assert not changed[:, ~inside].any()
    assert changed[:, inside].float().mean() > 0.99


def test_a_window_of_one_voxel_has_no_structure_to_lose():
    images = torch.rand(2, 3, 8, 8, generator=seeded())
    broken = break_structure(images, [(slice(1, 2), slice(4, 5), slice(6, 7))], 5, seeded())
    torch.testing.assert_close(broken, images)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_seed_decides_and_every_shape_of_batch_will_do(name):
    images = torch.rand(2, 4, 16, 32, 32, generator=seeded())
    before = images.clone()
    once, again, other = (DEGRADATIONS[name](images, seeded(seed)) for seed in (1, 1, 2))
    assert once.shape == images.shape
    assert once.dtype == images.dtype
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, images)
    assert torch.equal(images, before)
    assert DEGRADATIONS[name](images[0, 0], seeded()).shape == (16, 32, 32)
