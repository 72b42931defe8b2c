"""Degradation: what every kind does to volumes whose answer is known, by level, and that a seed repeats it."""

from __future__ import annotations

import math

import pytest
import torch

from DABSegCore.degradation import Degradation, degrade_case, degrade_volume, draw_degradation
from DABSegCore.degrade import bias_field, draw_bias, line_kernel
from DABSegCore.errors import InputError
from DABSegCore.strengths import STRENGTHS

SPACING = (1.0, 1.0, 2.0)


def flat(value: float = 100.0) -> torch.Tensor:
    return torch.full((6, 40, 44), value)


def busy() -> torch.Tensor:
    return 50 + 50 * torch.rand(12, 40, 44, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_noise_is_a_share_of_the_brightest(severity):
    noisy = degrade_volume(flat(), SPACING, Degradation("noise", severity, 5))
    assert noisy.std().item() == pytest.approx(100 * 0.025 * severity, rel=0.03)
    assert noisy.mean().item() == pytest.approx(100, abs=0.3)


@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_bias_changes_intensities_by_its_strength_at_most_and_somewhere(severity):
    biased = degrade_volume(flat(), SPACING, Degradation("bias", severity, 5)) / 100
    assert (biased - 1).abs().max().item() == pytest.approx(0.1 * severity, abs=1e-5)
    assert (biased > 1).any()
    assert (biased < 1).any()
    assert biased.diff(dim=2).abs().max() < 0.1 * severity * math.pi * 2 / 44 * 3  # of three waves, the steepest


def test_a_bias_field_of_one_wave_is_that_cosine():
    weights = torch.zeros(3, 3, 3)
    weights[0, 1, 0] = -4.0
    field = bias_field((2, 5, 3), weights)
    wave = [-math.cos(math.pi * (j + 0.5) / 5) / math.cos(math.pi / 10) for j in range(5)]
    torch.testing.assert_close(field, torch.tensor(wave).view(1, 5, 1).expand(2, 5, 3))
    assert bias_field((2, 5, 3), torch.zeros(3, 3, 3)).abs().max() == 0
    assert draw_bias(torch.Generator())[0, 0, 0] == 0


def test_a_blur_keeps_what_is_flat_and_darkens_it_only_as_its_published_kernel_does():
    kept, dark = (degrade_volume(flat(), SPACING, Degradation("blur", 4, 5, darken)) for darken in (False, True))
    torch.testing.assert_close(kept, flat())
    assert dark.max() - dark.min() < 1e-3
    share = dark.mean().item() / 100
    turns = [line_kernel(45, turn, darken=True).sum().item() for turn in range(-45, 46)]
    assert min(turns) - 1e-3 <= share < 0.99
    torch.testing.assert_close(degrade_volume(flat(), SPACING, Degradation("streak", 4, 5)), flat())


def test_a_blur_is_a_line_within_slices_and_a_streak_one_in_space():
    """A point lights up 45 places or so of its own slice, or those of 22 mm about it in its direction."""
    point = torch.zeros(21, 101, 101)
    point[10, 50, 50] = 1000.0
    blurred = degrade_volume(point, (1.0, 1.0, 1.0), Degradation("blur", 4, 5))
    assert (blurred != 0).nonzero()[:, 0].unique().tolist() == [10]
    assert 40 < (blurred > 1).sum() < 150
    streaked = degrade_volume(point, (1.0, 1.0, 1.0), Degradation("streak", 4, 5))
    reach = (streaked > 0).nonzero() - torch.tensor([10, 50, 50])
    assert 10 < reach.double().norm(dim=1).max() < 11 + math.sqrt(3)
    assert (streaked != 0).nonzero()[:, 0].unique().numel() > 1


@pytest.mark.parametrize("kind", ["blur", "streak", "noise", "smooth", "bias"])
def test_every_level_is_farther_from_sharp_than_the_one_before(kind):
    sharp = busy()
    away = [(degrade_volume(sharp, SPACING, Degradation(kind, s, 5)) - sharp).abs().mean().item() for s in (1, 2, 3, 4)]
    assert 0 < away[0] < away[1] < away[2] < away[3]


@pytest.mark.parametrize("kind", STRENGTHS)
def test_a_case_is_spoilt_within_its_brain_modality_by_modality_and_again_the_same(kind):
    images = torch.stack([busy()] * 4)
    images[:, :, :5] = 0
    images[1, :, :8] = 0  # what another modality shows there is brain
    first, again = (degrade_case(images, SPACING, kind, 4, "case", seed=2) for _ in range(2))
    assert torch.equal(first, again)
    assert (first.shape, first.dtype, first.min() >= 0) == (images.shape, torch.float32, True)
    assert first[:, :, :5].abs().max() == 0
    assert all(not torch.equal(after, before) for after, before in zip(first, images, strict=True))
    if kind != "smooth":  # which has no chance
        assert not torch.equal(first[2], first[3])
        assert not torch.equal(degrade_case(images, SPACING, kind, 4, "case", seed=2, draw=1), first)
    assert degrade_case(images, SPACING, kind, 0, "case") is images


def test_chance_depends_on_every_word_and_survives_json():
    words = ("noise", 2, "a", "t1")
    other = [("bias", 2, "a", "t1"), ("noise", 3, "a", "t1"), ("noise", 2, "b", "t1"), ("noise", 2, "a", "t2")]
    drawn = [draw_degradation(*some) for some in (words, *other)]
    drawn += [draw_degradation(*words, seed=1), draw_degradation(*words, draw=1)]
    assert len({one.seed for one in drawn}) == 7
    assert draw_degradation(*words) == drawn[0]
    assert Degradation.from_json(drawn[0].to_json()) == drawn[0]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (("fog", 2, 0), "unknown-degradation"),
        (("noise", 5, 0), "unknown-severity"),
        (("noise", 0, 0), "unknown-severity"),
        (("noise", 2, 0, True), "bad-argument"),
    ],
)
def test_what_cannot_be_is_refused(given, code):
    with pytest.raises(InputError) as fault:
        Degradation(*given)
    assert fault.value.code == code


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 2**63}, {"seed": 1.5}, {"more": 1}, {"darken": 0}])
def test_a_record_that_is_none_is_refused(change):
    with pytest.raises(InputError) as fault:
        Degradation.from_json(Degradation("noise", 2, 7).to_json() | change)
    assert fault.value.code == "bad-trajectory"
    with pytest.raises(InputError, match="is none"):
        Degradation.from_json([1])
