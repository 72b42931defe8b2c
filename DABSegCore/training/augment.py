"""Augmentation: one random transform for the corrupted patch, its sharp twin and its label, on their own device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_theta(generator: torch.Generator, rotation_deg: float = 15.0, scale: float = 0.2) -> Tensor:
    """A random rotation and isotropic scaling.

    Args:
        generator: Source of randomness (CPU).
        rotation_deg: Largest angle about each axis.
        scale: Largest relative change of size.

    Returns:
        [3, 3]: from an output offset to an input offset, in voxels, axis order (D, H, W).
    """
    draws = torch.rand(4, generator=generator) * 2 - 1
    matrix = torch.eye(3) / (1 + scale * draws[3])
    for axis, angle in enumerate((draws[:3] * math.radians(rotation_deg)).tolist()):
        a, b = [i for i in range(3) if i != axis]
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def sample_patch(volume: Tensor, center: Tensor, size: int, theta: Tensor, nearest: bool = False) -> Tensor:
    """A cubic patch of a volume under a linear map about its centre; 0 outside the volume.

    Args:
        volume: [C, D, H, W], floating point.
        center: Voxel position (d, h, w) of the patch centre.
        size: Edge of the patch in voxels.
        theta: As from `random_theta`.
        nearest: Nearest-neighbour sampling, for label maps.

    Returns:
        [C, size, size, size].
    """
    axis = torch.arange(size, dtype=torch.float32, device=volume.device) - (size - 1) / 2
    offset = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    position = offset @ theta.T.to(volume.device) + center.to(volume.device)
    extent = torch.tensor(volume.shape[1:], dtype=torch.float32, device=volume.device)
    grid = ((2 * position + 1) / extent - 1).flip(-1)  # grid_sample wants (x, y, z) = (W, H, D)
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(volume[None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]


def random_flips(generator: torch.Generator) -> list[int]:
    """Axes of a [C, D, H, W] patch to mirror, each with probability one half."""
    return [axis + 1 for axis in range(3) if torch.rand((), generator=generator) < 0.5]


def random_intensity(generator: torch.Generator, modalities: int, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Gamma and gain per modality, each left alone for half of the modalities.

    Returns:
        gamma [M] in [0.7, 1.4] and gain [M] in [0.85, 1.15] at strength 1.
    """
    draws = (torch.rand(2, modalities, generator=generator) * 2 - 1) * strength
    active = torch.rand(2, modalities, generator=generator) < 0.5
    draws = draws * active
    return torch.exp(draws[0] * math.log(1.4)), 1 + 0.15 * draws[1]


def change_intensity(volume: Tensor, gamma: Tensor, gain: Tensor) -> Tensor:
    """Apply gamma and gain to [M, D, H, W] in [0, 1]; 0 stays 0, so the background does too."""
    shape = (-1, 1, 1, 1)
    gamma, gain = gamma.to(volume.device), gain.to(volume.device)
    return (volume.clamp(min=0) ** gamma.view(shape) * gain.view(shape)).clamp(max=1)


def random_bias(
    generator: torch.Generator, modalities: int, size: int, device: torch.device | str = "cpu", strength: float = 0.5
) -> Tensor:
    """Smooth receive fields, as surface coils leave them: factors in exp(+-strength), half of the modalities flat.

    Returns:
        [M, size, size, size], interpolated from 3^3 random values per modality.
    """
    knots = (torch.rand(modalities, 3, 3, 3, generator=generator) * 2 - 1) * strength
    knots = knots * (torch.rand(modalities, 1, 1, 1, generator=generator) < 0.5)
    field = F.interpolate(knots.to(device)[None], size=(size, size, size), mode="trilinear", align_corners=True)[0]
    return field.exp()
