"""Losses: weighted region Dice, reconstruction inside the brain, and the joint objective (equations 14-16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from DABSegCore.models import Prediction
from DABSegCore.models.companions.rmr_losses import feature_refinement

DEEP_DECAY = 0.5
"""Weight of each coarser level against the next finer one (deep supervision)."""

Total = Callable[[Tensor], Tensor]
"""Adds a tensor of sums up over all processes that share a batch; with one process there is nothing to add."""


def of_one_process(sums: Tensor) -> Tensor:
    """The `Total` of a single process."""
    return sums


@dataclass(frozen=True)
class Objective:
    """What the joint loss is made of; the paper's is `Objective(batch_dice=False, bce=False, brain_only=False)`.

    Attributes:
        region_weights: Dice weights w_c of ET, TC, WT (equation 16); only ratios matter.
        lambda_rec: Weight of the reconstruction term (equation 14).
        batch_dice: Dice over the batch, which keeps patches without a region from scoring all or nothing, rather than
            the mean over patches (equation 15).
        bce: Add voxelwise cross-entropy, whose gradient does not vanish where Dice's does.
        brain_only: Compare restored with sharp inside the brain; the background is known to be 0 and would only dilute.
        lambda_feat: Weight of the feature-level refinement of RMR-Fusion (AAAI 2024, equation 4; none in the paper):
            what the segmenter sees in restored volumes shall be what it sees in sharp ones, whatever it looks for.
            There it makes an autoencoder robust; here it teaches stem and encoder, the sharp side being the aim.
    """

    region_weights: Sequence[float] = (1.0, 1.0, 1.0)
    lambda_rec: float = 0.1
    batch_dice: bool = True
    bce: bool = True
    brain_only: bool = True
    lambda_feat: float = 0.0


def soft_dice(logits: Tensor, target: Tensor, over_batch: bool = True, total: Total = of_one_process) -> Tensor:
    """Soft Dice overlap per region (equation 15).

    Args:
        logits: [B, R, D, H, W], before sigmoid.
        target: Region masks, or their local means at a coarser level, same shape.
        over_batch: Sum voxels over the batch before the ratio, which keeps patches without a region from scoring
            all or nothing; False is the paper's mean of per-sample ratios.
        total: Completes sums over the batch where several processes share one.

    Returns:
        [R] in [0, 1], 1 is perfect. A region absent from both scores 1.
    """
    p, g = torch.sigmoid(logits.float()), target.float()
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    smooth = 1.0 if over_batch else 1e-5
    sums = torch.stack([(p * g).sum(axes), p.sum(axes) + g.sum(axes)])
    overlap, size = total(sums) if over_batch else sums
    dice = (2 * overlap + smooth) / (size + smooth)
    return dice if over_batch else dice.mean(0)


def segmentation_loss(
    logits: Tensor, target: Tensor, objective: Objective, total: Total = of_one_process
) -> tuple[Tensor, Tensor]:
    """1 - weighted mean Dice (equation 16), plus voxelwise cross-entropy where asked.

    Args:
        logits: [B, R, D, H, W].
        target: Same shape, in [0, 1].
        objective: Region weights, kind of Dice, cross-entropy.
        total: As for `soft_dice`.

    Returns:
        The scalar loss, and the Dice of every region [R].

    Raises:
        ValueError: If shapes differ or the number of weights is not R.
    """
    weights = objective.region_weights
    if logits.shape != target.shape or logits.shape[1] != len(weights):
        raise ValueError(f"logits {list(logits.shape)}, target {list(target.shape)} and {len(weights)} weights differ")
    dice = soft_dice(logits, target, objective.batch_dice, total)
    # A tensor of the weights would make the GPU's queue run empty: copying it there waits for all before it.
    loss = 1 - sum(weight * value for weight, value in zip(weights, dice, strict=True)) / sum(weights)
    if objective.bce:
        loss = loss + F.binary_cross_entropy_with_logits(logits.float(), target.float())
    return loss, dice


def reconstruction_loss(restored: Tensor, sharp: Tensor, mask: Tensor, total: Total = of_one_process) -> Tensor:
    """Mean absolute difference inside a mask.

    Args:
        restored: Pseudo-clear volumes [B, M, D, H, W].
        sharp: The same crop of the sharp volumes on the same intensity window.
        mask: The brain, or ones [B, 1, D, H, W].
        total: As for `soft_dice`.
    """
    difference = (restored.float() - sharp.float()).abs() * mask
    error, voxels = total(torch.stack([difference.sum(), mask.sum() * sharp.shape[1]]))
    return error / voxels.clamp(min=1)


def joint_loss(
    prediction: Prediction,
    target: Tensor,
    sharp: Tensor,
    brain: Tensor,
    objective: Objective,
    total: Total = of_one_process,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L = L_seg + lambda_rec * L_rec (equation 14), with deep supervision where the network offers it.

    With a `lambda_feat`, plus that times the distance of the prediction's features.

    Args:
        prediction: Output of the network in training mode.
        target: Region masks [B, R, D, H, W].
        sharp: Sharp volumes [B, M, D, H, W].
        brain: Mask [B, 1, D, H, W].
        objective: What counts and how much.
        total: As for `soft_dice`; cross-entropy stays that of this process.

    Returns:
        The scalar loss, and its parts for the log, detached: seg, rec, and dice [R] of the finest level; and feat
        where it counts.

    Raises:
        ValueError: As `segmentation_loss`, or if features count and the prediction has none.
    """
    target = target.float()
    seg, dice = segmentation_loss(prediction.logits, target, objective, total)
    weight = weights = 1.0
    for logits in reversed(prediction.deep):
        weight *= DEEP_DECAY
        weights += weight
        coarse = F.adaptive_avg_pool3d(target, logits.shape[2:])
        seg = seg + weight * segmentation_loss(logits, coarse, objective, total)[0]
    seg = seg / weights
    mask = brain if objective.brain_only else torch.ones_like(brain)
    rec = reconstruction_loss(prediction.restored, sharp, mask, total)
    loss = seg + objective.lambda_rec * rec
    parts = {"seg": seg.detach(), "rec": rec.detach(), "dice": dice.detach()}
    if objective.lambda_feat:
        if prediction.features is None:
            raise ValueError("features count, but the prediction has none: the network was not told the truth")
        feat = feature_refinement(*(features.float() for features in prediction.features))
        loss, parts["feat"] = loss + objective.lambda_feat * feat, feat.detach()
    return loss, parts
