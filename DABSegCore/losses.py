"""Losses: weighted region Dice, reconstruction inside the brain, and the joint objective (equations 14-16)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from DABSegCore.models import Prediction

DEEP_DECAY = 0.5
"""Weight of each coarser level against the next finer one (deep supervision)."""


def soft_dice(logits: Tensor, target: Tensor, over_batch: bool = True) -> Tensor:
    """Soft Dice overlap per region (equation 15).

    Args:
        logits: [B, R, D, H, W], before sigmoid.
        target: Region masks, or their local means at a coarser level, same shape.
        over_batch: Sum voxels over the batch before the ratio, which keeps patches without a region from scoring
            all or nothing; False is the paper's mean of per-sample ratios.

    Returns:
        [R] in [0, 1], 1 is perfect. A region absent from both scores 1.
    """
    p, g = torch.sigmoid(logits.float()), target.float()
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    smooth = 1.0 if over_batch else 1e-5
    dice = (2 * (p * g).sum(axes) + smooth) / (p.sum(axes) + g.sum(axes) + smooth)
    return dice if over_batch else dice.mean(0)


def segmentation_loss(logits: Tensor, target: Tensor, weights: Sequence[float], bce: bool = True) -> Tensor:
    """1 - weighted mean Dice (equation 16), plus voxelwise cross-entropy where asked.

    Args:
        logits: [B, R, D, H, W].
        target: Same shape, in [0, 1].
        weights: One per region; only ratios matter.
        bce: Add binary cross-entropy, whose gradient does not vanish where Dice's does.

    Raises:
        ValueError: If shapes differ or the number of weights is not R.
    """
    if logits.shape != target.shape or logits.shape[1] != len(weights):
        raise ValueError(f"logits {list(logits.shape)}, target {list(target.shape)} and {len(weights)} weights differ")
    w = torch.tensor(weights, device=logits.device)
    loss = 1 - (w * soft_dice(logits, target)).sum() / w.sum()
    if bce:
        loss = loss + F.binary_cross_entropy_with_logits(logits.float(), target.float())
    return loss


def reconstruction_loss(restored: Tensor, sharp: Tensor, brain: Tensor) -> Tensor:
    """Mean absolute difference inside the brain; the background is known to be 0 and would only dilute it.

    Args:
        restored: Pseudo-clear volumes [B, M, D, H, W].
        sharp: The same crop of the sharp volumes on the same intensity window.
        brain: Mask [B, 1, D, H, W].
    """
    difference = (restored.float() - sharp.float()).abs() * brain
    return difference.sum() / (brain.sum() * sharp.shape[1]).clamp(min=1)


def joint_loss(
    prediction: Prediction,
    target: Tensor,
    sharp: Tensor,
    brain: Tensor,
    *,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    lambda_rec: float = 0.1,
) -> tuple[Tensor, dict[str, float]]:
    """L = L_seg + lambda_rec * L_rec (equation 14), with deep supervision where the network offers it.

    Args:
        prediction: Output of the network in training mode.
        target: Region masks [B, R, D, H, W].
        sharp: Sharp volumes [B, M, D, H, W].
        brain: Mask [B, 1, D, H, W].
        weights: Region weights w_c.
        lambda_rec: Weight of the reconstruction term.

    Returns:
        The scalar loss, and its parts for the log.
    """
    target = target.float()
    seg, total, weight = segmentation_loss(prediction.logits, target, weights), 1.0, 1.0
    for logits in reversed(prediction.deep):
        weight *= DEEP_DECAY
        coarse = F.adaptive_avg_pool3d(target, logits.shape[2:])
        seg = seg + weight * segmentation_loss(logits, coarse, weights)
        total += weight
    seg = seg / total
    rec = reconstruction_loss(prediction.restored, sharp, brain)
    return seg + lambda_rec * rec, {"seg": seg.item(), "rec": rec.item()}
