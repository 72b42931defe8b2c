"""Denoiser: the U-Net of diffusion models (Ho et al., 2020, as Dhariwal and Nichol, 2021, arrange it), 2-D or 3-D."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.networks import BTSegDiffConfig

Triple = tuple[int, int, int]


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of at most 32 groups, with four channels or more in each."""
    return nn.GroupNorm(math.gcd(32, channels // 4), channels)


def conv(in_channels: int, out_channels: int, axial: bool, stride: int = 1) -> nn.Conv3d:
    """Convolution over 3 voxels along every axis; within the slice alone in the axial form."""
    kernel, padding = ((1, 3, 3), (0, 1, 1)) if axial else ((3, 3, 3), (1, 1, 1))
    return nn.Conv3d(in_channels, out_channels, kernel, stride if not axial else (1, stride, stride), padding)


def halves(axial: bool) -> Triple:
    """By what a level is coarser than the one above."""
    return (1, 2, 2) if axial else (2, 2, 2)


class TimeEmbedding(nn.Module):
    """What step it is: sines and cosines of t at many periods, then two linear layers: [B] -> [B, 4 C].

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels), nn.SiLU()
        )

    def forward(self, times: Tensor) -> Tensor:
        half = self.channels // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / half)
        angles = times[:, None].float() * rates
        return self.layers(torch.cat([angles.cos(), angles.sin()], dim=1))


class ResBlock(nn.Module):
    """Two convolutions around the step's embedding, as a residual branch that starts as nothing."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, axial: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(in_channels), conv(in_channels, out_channels, axial)
        self.time = nn.Linear(time_channels, out_channels)
        self.norm2, self.conv2 = norm(out_channels), conv(out_channels, out_channels, axial)
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv3d(in_channels, out_channels, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, C, D, H, W] and [B, T] -> [B, C', D, H, W]."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Every voxel looks at every other, as a residual branch that starts as nothing: [B, C, D, H, W] -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.qkv, self.project = nn.Conv3d(channels, 3 * channels, 1), nn.Conv3d(channels, channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).transpose(1, 2)[:, None] for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0]  # [B, D*H*W, C]
        return x + self.project(seen.transpose(1, 2).unflatten(2, x.shape[2:]))


class Block(nn.Module):
    """A residual block, and attention behind it at the levels that have it."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, axial: bool, attends: bool) -> None:
        super().__init__()
        self.block = ResBlock(in_channels, out_channels, time_channels, axial)
        self.attend = Attention(out_channels) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attend(self.block(x, time))


class Encoded(NamedTuple):
    """The denoiser half way."""

    features: Tensor
    """At the coarsest level [B, C, D, H, W]."""
    skips: list[Tensor]
    """All that its other half reads, finest first."""
    halved: list[Tensor]
    """Features just after each halving, finest first, for the guide."""
    time: Tensor
    """Embedding of the steps [B, T]."""


class Denoiser(nn.Module):
    """U-Net in two halves, so that the guide can step in between.

    Args:
        config: Width, multipliers, blocks, attention and form.
        in_channels: Image and state together.
        out_channels: What it says of the state.
    """

    def __init__(self, config: BTSegDiffConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        axial, time = config.form == "axial", 4 * config.width
        self.half = halves(axial)
        self.time = TimeEmbedding(config.width)
        self.intro = conv(in_channels, config.width, axial)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        width, skips = config.width, [config.width]
        for level, wanted in enumerate(config.widths):
            attends = level in config.attention
            stage = nn.ModuleList()
            for _ in range(config.res_blocks):
                stage.append(Block(width, wanted, time, axial, attends))
                width = wanted
                skips.append(width)
            self.encoder.append(stage)
            if level < len(config.widths) - 1:
                self.down.append(conv(width, width, axial, stride=2))
                skips.append(width)
        self.middle = nn.ModuleList([Block(width, width, time, axial, True), Block(width, width, time, axial, False)])
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        for level, wanted in reversed(list(enumerate(config.widths))):
            stage = nn.ModuleList()
            for _ in range(config.res_blocks + 1):
                stage.append(Block(width + skips.pop(), wanted, time, axial, level in config.attention))
                width = wanted
            self.decoder.append(stage)
            if level:
                self.up.append(conv(width, width, axial))
        self.ending = nn.Sequential(norm(width), nn.SiLU(), conv(width, out_channels, axial))
        nn.init.zeros_(self.ending[-1].weight)
        nn.init.zeros_(self.ending[-1].bias)

    def encode(self, x: Tensor, times: Tensor) -> Encoded:
        """First half.

        Args:
            x: Image and state [B, C, D, H, W].
            times: Step of each sample, 0 .. TIMES - 1 [B].
        """
        time = self.time(times)
        h = self.intro(x)
        skips, halved = [h], []
        for level, stage in enumerate(self.encoder):
            for block in stage:
                h = block(h, time)
                skips.append(h)
            if level < len(self.down):
                h = self.down[level](h)
                skips.append(h)
                halved.append(h)
        return Encoded(h, skips, halved, time)

    def decode(self, encoded: Encoded, embedding: Tensor) -> Tensor:
        """Second half.

        Args:
            encoded: What the first gave.
            embedding: What the guide adds before the middle, as `Encoded.features`.

        Returns:
            [B, out_channels, D, H, W].
        """
        h, skips, time = encoded.features + embedding, list(encoded.skips), encoded.time
        for block in self.middle:
            h = block(h, time)
        for level, stage in enumerate(self.decoder):
            for block in stage:
                h = block(torch.cat([h, skips.pop()], dim=1), time)
            if level < len(self.up):
                h = self.up[level](F.interpolate(h, scale_factor=[float(f) for f in self.half], mode="nearest"))
        return self.ending(h)
