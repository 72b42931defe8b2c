"""Losses, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from DABSegCore.losses import joint_loss, reconstruction_loss, segmentation_loss, soft_dice
from DABSegCore.models import Prediction

SURE = 30.0
"""A logit whose sigmoid is 0 or 1 to float precision."""


def half_filled(n: int = 4) -> torch.Tensor:
    """[1, 1, n, n, n] mask whose first half along D is 1."""
    mask = torch.zeros(1, 1, n, n, n)
    mask[:, :, : n // 2] = 1
    return mask


def test_dice_of_a_half_overlap():
    """Prediction everywhere (64 voxels), truth in half (32): 2 * 32 / (64 + 32) = 2/3."""
    dice = soft_dice(torch.full((1, 1, 4, 4, 4), SURE), half_filled(), over_batch=False)
    assert dice.item() == pytest.approx(2 / 3, abs=1e-6)


def test_batch_dice_sums_before_dividing():
    """One sample hit, one missed, 32 voxels each: batch (2*32+1)/(32+64+1); the mean of samples is (1 + 0)/2."""
    target = half_filled().repeat(2, 1, 1, 1, 1)
    logits = torch.where(target > 0, SURE, -SURE)
    logits[1] = -SURE
    assert soft_dice(logits, target).item() == pytest.approx(65 / 97, abs=1e-6)
    assert soft_dice(logits, target, over_batch=False).item() == pytest.approx(0.5, abs=1e-6)


def test_a_region_absent_from_both_costs_nothing():
    logits, target = torch.full((1, 3, 4, 4, 4), -SURE), torch.zeros(1, 3, 4, 4, 4)
    assert segmentation_loss(logits, target, (1, 1, 1)).item() == pytest.approx(0, abs=1e-6)


def test_region_weights_are_relative():
    """ET missed, TC and WT perfect: Dice (s, 1, 1) with s = 1/65 from smoothing; weights 2, 1, 1 give (2s + 2) / 4."""
    target = half_filled(8).repeat(1, 3, 1, 1, 1)
    logits = torch.where(target > 0, SURE, -SURE)
    logits[:, 0] = -SURE
    small = 1 / (256 + 1)
    for weights in ((2, 1, 1), (4, 2, 2)):
        loss = segmentation_loss(logits, target, weights, bce=False).item()
        assert loss == pytest.approx(1 - (2 * small + 2) / 4, abs=1e-5)


def test_cross_entropy_of_ignorance_is_log_2():
    target = half_filled()
    zero = torch.zeros_like(target)
    with_bce, without = (segmentation_loss(zero, target, (1,), bce=b).item() for b in (True, False))
    assert with_bce - without == pytest.approx(math.log(2), abs=1e-6)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ"):
        segmentation_loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4), (1, 1, 1))
    with pytest.raises(ValueError, match="2 weights differ"):
        segmentation_loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4), (1, 1))


def test_reconstruction_counts_the_brain_only():
    """Off by 0.5 in the brain's half for one of two modalities: mean 0.25; what is outside does not matter."""
    sharp, brain = torch.zeros(1, 2, 4, 4, 4), half_filled()
    restored = torch.full((1, 2, 4, 4, 4), 9.0)
    restored[:, :, :2] = 0
    restored[:, 0, :2] = 0.5
    assert reconstruction_loss(restored, sharp, brain).item() == pytest.approx(0.25)
    assert reconstruction_loss(restored, sharp, torch.zeros_like(brain)).item() == 0


def test_the_joint_loss_adds_its_parts_and_weighs_coarser_levels_less():
    """Levels 1, 1/2, 1/4 of the weight: full-size logits perfect, coarser ones ignorant."""
    target = half_filled(8).repeat(1, 3, 1, 1, 1)
    perfect = torch.where(target > 0, SURE, -SURE)
    sharp, brain = torch.zeros(1, 4, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    deep = (torch.zeros(1, 3, 2, 2, 2), torch.zeros(1, 3, 4, 4, 4))
    loss, parts = joint_loss(Prediction(perfect, sharp + 0.1, deep), target, sharp, brain, lambda_rec=0.5)
    coarse, middle = (
        segmentation_loss(d, target[..., :: 8 // n, :: 8 // n, :: 8 // n], (1, 1, 1))
        for d, n in zip(deep, (2, 4), strict=True)
    )
    expected = (0.5 * middle + 0.25 * coarse) / 1.75
    assert parts["seg"] == pytest.approx(expected.item(), abs=1e-5)
    assert parts["rec"] == pytest.approx(0.1, abs=1e-6)
    assert loss.item() == pytest.approx(parts["seg"] + 0.5 * 0.1, abs=1e-5)
