"""RMR losses: what the autoencoder and the fusion of RMR-Fusion learn by (equations 3 to 5, and 7).

Weights are the released code's over 10, which there is the weight of the Dice loss; ours is 1, and all gradients are
clipped together. (Of the paper's, delta = 0.08 is the code's 1/12 and alpha = 1 its 1, but eta = 0.1 is not its 10/12.)
Means are over voxels and modalities, where the source sums modalities: so two and four weigh alike.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARES, VARIATION, UNLIKENESS = 4.0, 2.0, 0.1
"""Weights of MSE, TV and 1 - SSIM in the distance Q."""

INTENSITIES, EDGES = 1.2, 0.1
"""Weights of the two terms of visual fusion."""

WINDOW, SIGMA = 11, 1.5
"""Voxels of SSIM's Gaussian window (Wang et al. 2004)."""

K1, K2 = 0.01, 0.03


def total_variation(difference: Tensor) -> Tensor:
    """Mean squared step from voxel to voxel [B, C, D, H, W], summed over the three axes (Hou et al. 2020)."""
    steps = (difference.diff(dim=axis) for axis in (2, 3, 4))
    return torch.stack([step.square().mean() for step in steps]).sum()


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM of volumes [B, C, D, H, W] on the scale [0, 1], over windows of 11^3 that lie within them.

    The released code has a Gaussian that is wider by a root of 1.5, and constants for a range of 2; these are Wang's.
    On an axis shorter than the window that is cut to fit.
    """
    both = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 2)  # [5*B*C, D, H, W]
    for axis in (1, 2, 3):
        both = _smooth(both, axis)
    mean_x, mean_y, xx, yy, xy = both.unflatten(0, (5, -1))
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    likeness = (2 * product + K1**2) * (2 * (xy - product) + K2**2)
    return (likeness / ((squares + K1**2) * (xx + yy - squares + K2**2))).mean()


def _smooth(x: Tensor, axis: int) -> Tensor:
    """Gaussian-weighted mean [N, D, H, W] along an axis, which gets shorter by the window less one.

    As the product with a band matrix: convolutions of one channel are slow on every device.
    """
    length = x.shape[axis]
    width = min(WINDOW, length)
    offset = torch.arange(length, device=x.device)[:, None] - torch.arange(length - width + 1, device=x.device)
    weights = torch.exp(-0.5 * ((offset - (width - 1) / 2) / SIGMA).square())
    weights = torch.where((offset >= 0) & (offset < width), weights, 0)  # [length, length - width + 1]
    return (x.movedim(axis, -1) @ (weights / weights.sum(0)).to(x.dtype)).movedim(-1, axis)


def image_refinement(made: Tensor, sharp: Tensor) -> Tensor:
    """Distance Q of volumes [B, M, D, H, W] (equation 3): MSE, TV and SSIM."""
    return feature_refinement(made, sharp) + UNLIKENESS * (1 - similarity(made, sharp))


def feature_refinement(of_degraded: Tensor, of_sharp: Tensor) -> Tensor:
    """Distance Q of features [B, M*C, D, H, W] (equation 4): MSE and TV; for SSIM they have no scale."""
    difference = of_degraded - of_sharp
    return SQUARES * difference.square().mean() + VARIATION * total_variation(difference)


def sobel(x: Tensor) -> Tensor:
    """Sum of the absolute responses of the three Sobel kernels [1, 2, 1] x [1, 2, 1] x [1, 0, -1]: [B, C, D, H, W].

    Beyond the border the nearest voxel goes on; zeros, as in the released code, would draw an edge there.
    """
    padded = F.pad(x, (1,) * 6, mode="replicate")
    responses = []
    for steep in (2, 3, 4):
        response = padded
        for axis in (2, 3, 4):
            before, here, after = (response.narrow(axis, k, response.shape[axis] - 2) for k in range(3))
            response = before - after if axis == steep else before + 2 * here + after
        responses.append(response.abs())
    return torch.stack(responses).sum(0)


def visual_fusion(fused: Tensor, sharp: Tensor, salient: Tensor) -> Tensor:
    """Intensities of the salient modality and the steepest edge of any, as L1 distances (equation 7).

    Args:
        fused: [B, 1, D, H, W].
        sharp: All modalities that were fused [B, M, D, H, W].
        salient: One of them [B, 1, D, H, W].
    """
    steepest = sobel(sharp).amax(dim=1, keepdim=True)
    return INTENSITIES * F.l1_loss(fused, salient) + EDGES * F.l1_loss(sobel(fused), steepest)
