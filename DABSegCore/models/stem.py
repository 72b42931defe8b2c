"""Stem: FDMDS and its multi-scale successor, which turn corrupted volumes into pseudo-clear ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.blocks import Conv3d, ConvNormAct, depth_to_space, space_to_depth
from DABSegCore.models.norm import GroupNorm


class FDMDS(nn.Module):
    """Feature-domain motion-deblurring stem of the paper (equations 1-5).

    Equation 3 prints W2 * V_blur, but text and released code cascade: H2 comes from H1. We cascade.
    The last convolution starts at zero, so an untrained stem returns its input; as published it would start by
    replacing the input (residual ten times the signal).
    """

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv3d(modalities, width, 3, padding=1, bias=False)
        self.norm1 = GroupNorm(width, width)  # instance norm
        self.conv2 = Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = GroupNorm(width, width)
        self.conv3 = _zeroed(Conv3d(width, modalities, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, M, D, H, W] corrupted -> [B, M, D, H, W] restored."""
        h1 = F.leaky_relu(self.norm1(self.conv1(x)))  # equation 2
        h2 = F.leaky_relu(self.norm2(self.conv2(h1)))  # equation 3
        return F.leaky_relu(self.conv3(h2) + x)  # equations 4, 5


class PyramidStem(nn.Module):
    """Multi-scale residual restorer that works at half resolution and below.

    Motion leaves ghosts many voxels away from their source, so three 3x3x3 convolutions see too little. A small
    U-shape sees further, and folding 2x2x2 voxels into channels keeps every voxel while doing an eighth of the work.
    Starts as identity (the last convolution is zero) and leaves voxels outside the brain, where all modalities
    are exactly 0, untouched.
    """

    def __init__(self, modalities: int, width: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        folded = 8 * modalities
        widths = [width * 2**level for level in range(len(blocks))]
        self.fold = Conv3d(folded, width, 1)
        self.encode = nn.ModuleList(_residual_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        self.down = nn.ModuleList(Conv3d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decode = nn.ModuleList(_residual_blocks(w, n) for w, n in zip(widths[:-1], blocks[:-1], strict=True))
        self.unfold = _zeroed(Conv3d(width, folded, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, M, D, H, W] corrupted -> [B, M, D, H, W] restored; sizes must be multiples of 2^levels."""
        h = self.fold(space_to_depth(x))
        levels = []
        for encode, down in zip(self.encode, self.down, strict=False):
            levels.append(encode(h))
            h = down(levels[-1])
        h = self.encode[-1](h)
        for level, up, decode in zip(reversed(levels), reversed(self.up), reversed(self.decode), strict=True):
            h = decode(up(h) + level)
        correction = depth_to_space(self.unfold(h)).to(x.dtype)
        inside = (x != 0).any(dim=1, keepdim=True)
        return x + correction * inside


class _Residual(nn.Module):
    """y = x + Conv3(ConvNormAct(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNormAct(width, width, norm_groups=4), Conv3d(width, width, 3, padding=1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _residual_blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(width) for _ in range(count)))


def _zeroed(conv: nn.Conv3d) -> nn.Conv3d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def build_stem(config: ModelConfig) -> nn.Module:
    """The restorer a preset asks for; none leaves its input as it is."""
    if config.stem == "none":
        return nn.Identity()
    if config.stem == "fdmds":
        return FDMDS(config.modalities, config.stem_width)
    return PyramidStem(config.modalities, config.stem_width, config.stem_blocks)
