"""Losses, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from DABSegCore.losses import Objective, joint_loss, reconstruction_loss, segmentation_loss, soft_dice
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
    for batch_dice in (True, False):
        loss, dice = segmentation_loss(logits, target, Objective(batch_dice=batch_dice))
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert dice.tolist() == pytest.approx([1, 1, 1])


def test_region_weights_are_relative():
    """ET missed, TC and WT perfect: Dice (s, 1, 1) with s = 1/65 from smoothing; weights 2, 1, 1 give (2s + 2) / 4."""
    target = half_filled(8).repeat(1, 3, 1, 1, 1)
    logits = torch.where(target > 0, SURE, -SURE)
    logits[:, 0] = -SURE
    small = 1 / (256 + 1)
    for weights in ((2, 1, 1), (4, 2, 2)):
        loss, dice = segmentation_loss(logits, target, Objective(weights, bce=False))
        assert loss.item() == pytest.approx(1 - (2 * small + 2) / 4, abs=1e-5)
        assert dice.tolist() == pytest.approx([small, 1, 1], abs=1e-5)


def test_cross_entropy_of_ignorance_is_log_2():
    target = half_filled()
    zero = torch.zeros_like(target)
    with_bce, without = (segmentation_loss(zero, target, Objective((1,), bce=b))[0].item() for b in (True, False))
    assert with_bce - without == pytest.approx(math.log(2), abs=1e-6)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ"):
        segmentation_loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4), Objective())
    with pytest.raises(ValueError, match="2 weights differ"):
        segmentation_loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4), Objective((1, 1)))


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
    objective = Objective(lambda_rec=0.5)
    loss, parts = joint_loss(Prediction(perfect, sharp + 0.1, deep), target, sharp, brain, objective)
    coarse, middle = (
        segmentation_loss(d, target[..., :: 8 // n, :: 8 // n, :: 8 // n], objective)[0]
        for d, n in zip(deep, (2, 4), strict=True)
    )
    expected = (0.5 * middle + 0.25 * coarse) / 1.75
    assert parts["seg"] == pytest.approx(expected.item(), abs=1e-5)
    assert parts["rec"] == pytest.approx(0.1, abs=1e-6)
    assert parts["dice"].tolist() == pytest.approx([1, 1, 1])
    assert loss.item() == pytest.approx(parts["seg"].item() + 0.5 * 0.1, abs=1e-5)
    assert not any(part.requires_grad for part in parts.values())


def test_reconstruction_may_count_the_whole_crop_as_the_paper_does():
    """Off by 0.5 in the half that is brain: 0.5 there, 0.25 over the crop."""
    target, brain = half_filled().repeat(1, 3, 1, 1, 1), half_filled()
    sharp = torch.zeros(1, 4, 4, 4, 4)
    prediction = Prediction(torch.zeros_like(target), sharp + 0.5 * brain, ())
    found = [
        joint_loss(prediction, target, sharp, brain, Objective(brain_only=inside))[1]["rec"].item()
        for inside in (True, False)
    ]
    assert found == pytest.approx([0.5, 0.25])


def test_the_papers_objective_by_hand():
    """Ignorant logits: Dice 2 * 16 / (32 + 32) = 1/2 in every region, whatever its weight; no cross-entropy."""
    target, brain = half_filled().repeat(1, 3, 1, 1, 1), torch.ones(1, 1, 4, 4, 4)
    sharp = torch.zeros(1, 4, 4, 4, 4)
    paper = Objective((2, 1, 1), lambda_rec=0.1, batch_dice=False, bce=False, brain_only=False)
    loss, _ = joint_loss(Prediction(torch.zeros_like(target), sharp + 0.2, ()), target, sharp, brain, paper)
    assert loss.item() == pytest.approx(0.5 + 0.1 * 0.2, abs=1e-6)


def test_features_count_by_their_squares_and_steps_and_only_where_asked():
    """Apart by 1 in the first half along D: mean square 1/2, and 1 of 3 steps along D is 1; so 4 * 1/2 + 2 * 1/3."""
    target, brain = half_filled().repeat(1, 3, 1, 1, 1), torch.ones(1, 1, 4, 4, 4)
    sharp, of_restored = torch.zeros(1, 4, 4, 4, 4), (3 + half_filled()).requires_grad_()
    prediction = Prediction(torch.zeros_like(target), sharp, (), features=(of_restored, torch.full_like(brain, 3.0)))
    without, parts = joint_loss(prediction, target, sharp, brain, Objective())
    assert "feat" not in parts
    loss, parts = joint_loss(prediction, target, sharp, brain, Objective(lambda_feat=0.5))
    assert parts["feat"].item() == pytest.approx(2 + 2 / 3, abs=1e-6)
    assert (loss - without).item() == pytest.approx(1 + 1 / 3, abs=1e-6)
    loss.backward()
    assert of_restored.grad.sum() > 0
    with pytest.raises(ValueError, match="not told the truth"):
        joint_loss(prediction._replace(features=None), target, sharp, brain, Objective(lambda_feat=0.5))


def random_batch(size: int) -> tuple[Prediction, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `joint_loss` takes, by chance: prediction (logits, restored, deep), target, sharp and brain."""
    draws = torch.Generator().manual_seed(7)

    def noise(channels: int, n: int) -> torch.Tensor:
        return torch.randn(size, channels, n, n, n, generator=draws)

    prediction = Prediction(noise(3, 8), noise(4, 8), (noise(3, 2), noise(3, 4)))
    brain = torch.zeros(size, 1, 8, 8, 8)
    for i in range(size):
        brain[i, :, : 2 * i + 1] = 1  # not as many voxels in every patch
    return prediction, (noise(3, 8) > 1).float(), noise(4, 8), brain


def halves(
    batch: tuple[Prediction, torch.Tensor, torch.Tensor, torch.Tensor], first: int
) -> list[tuple[Prediction, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """A batch as two processes see it, the one with the `first` patches and the one with the others."""
    prediction, *others = batch
    return [
        (
            Prediction(prediction.logits[s], prediction.restored[s], tuple(deep[s] for deep in prediction.deep)),
            *(tensor[s] for tensor in others),
        )
        for s in (slice(first), slice(first, None))
    ]


@pytest.mark.parametrize("brain_only", [True, False])
def test_two_processes_that_add_their_sums_have_the_loss_and_the_gradient_of_the_whole_batch(brain_only):
    objective = Objective(lambda_rec=3.0, bce=False, brain_only=brain_only)
    batch = random_batch(4)
    watched = [batch[0].logits, batch[0].restored, *batch[0].deep]
    for tensor in watched:
        tensor.requires_grad_()
    whole, expected = joint_loss(*batch, objective)
    gradients = torch.autograd.grad(whole, watched)

    mine, others = halves(batch, first=1)
    sums: list[torch.Tensor] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        sums.append(tensor.detach())
        return tensor

    lonely, _ = joint_loss(*others, objective, remember)
    assert abs(lonely.item() - whole.item()) > 0.01  # else the halves would prove nothing
    waiting = iter(sums)
    loss, parts = joint_loss(*mine, objective, lambda tensor: tensor + next(waiting))
    assert next(waiting, None) is None
    assert loss.item() == pytest.approx(whole.item(), abs=1e-5)
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)
    for found, whole_gradient in zip(torch.autograd.grad(loss, watched), gradients, strict=True):
        torch.testing.assert_close(found[:1], whole_gradient[:1])
        assert whole_gradient[:1].any()


def test_without_batch_dice_processes_share_nothing_but_the_reconstruction():
    """The mean over patches needs no sums: equal halves have it as their mean."""
    objective = Objective(lambda_rec=3.0, batch_dice=False)
    batch = random_batch(4)
    _, expected = joint_loss(*batch, objective)
    calls: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(tensor.numel())
        return tensor

    parts = [joint_loss(*half, objective, count)[1] for half in halves(batch, first=2)]
    assert calls == [2, 2]
    for name in ("seg", "dice"):
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, expected[name])
