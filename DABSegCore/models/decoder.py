"""Decoder: gated skips, upsampling, and the tail that turns features into region logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.blocks import Conv3d, ConvNormAct, depth_to_space, space_to_depth
from DABSegCore.models.norm import GroupNorm


class SkipGate(nn.Module):
    """Coordinate attention: profiles of skip and decoder along each axis gate the skip along that axis."""

    def __init__(self, channels: int, norm: str, reduction: int = 4) -> None:
        super().__init__()
        hidden = channels // reduction
        self.squeeze_decoder = nn.Sequential(Conv3d(channels, hidden, 1), _gate_norm(hidden, norm), nn.ReLU())
        self.squeeze_skip = nn.Sequential(Conv3d(channels, hidden, 1), _gate_norm(hidden, norm), nn.ReLU())
        self.excite = nn.ModuleList(Conv3d(hidden, channels, 1) for _ in range(3))

    def forward(self, decoded: Tensor, skip: Tensor) -> Tensor:
        """Gate `skip` [B, C, D, H, W] with `decoded` of the same shape."""
        summary = (self.squeeze_skip(_profiles(skip)) + self.squeeze_decoder(_profiles(decoded))) / 2
        sizes = skip.shape[2:]
        for axis, (profile, excite) in enumerate(zip(summary.split(list(sizes), dim=2), self.excite, strict=True)):
            skip = skip * torch.sigmoid(excite(profile)).movedim(2, 2 + axis)
        return skip


def _gate_norm(channels: int, norm: str) -> nn.Module:
    return nn.BatchNorm3d(channels) if norm == "batch" else GroupNorm(1, channels)


def _profiles(x: Tensor) -> Tensor:
    """Means over the two other axes, laid end to end: [B, C, D, H, W] -> [B, C, D+H+W, 1, 1]."""
    d = x.mean(dim=(3, 4))
    h = x.mean(dim=(2, 4))
    w = x.mean(dim=(2, 3))
    return torch.cat([d, h, w], dim=2)[..., None, None]


class Level(nn.Module):
    """Upsample, gate and join the skip, convolve twice (equation 12)."""

    def __init__(self, config: ModelConfig, below: int, skip: int, width: int, gated: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(below, width, 2, stride=2)
        self.fuse = ConvNormAct(skip, width, 1, norm_groups=config.norm_groups) if config.fuse else None
        self.gate = SkipGate(width, config.gate_norm) if gated else None
        joined = 2 * width if config.fuse else skip + width
        common = {"norm_groups": config.norm_groups, "bias": True}
        self.convs = nn.Sequential(ConvNormAct(joined, width, **common), ConvNormAct(width, width, **common))

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        decoded = self.up(below)
        if self.fuse is not None:
            skip = self.fuse(skip)  # equation 11
        if self.gate is not None:
            skip = self.gate(decoded, skip)
        return self.convs(torch.cat([skip, decoded], dim=1))


class FullTail(nn.Module):
    """The published last level: convolutions on the restored volume and the features, both at full resolution."""

    def __init__(self, config: ModelConfig, below: int) -> None:
        super().__init__()
        width = config.tail_width
        common = {"norm_groups": config.norm_groups, "bias": True}
        self.up = nn.ConvTranspose3d(below, width, 2, stride=2)
        self.image = nn.Sequential(
            ConvNormAct(config.modalities, width // 2, **common), ConvNormAct(width // 2, width, **common)
        )
        self.convs = nn.Sequential(ConvNormAct(2 * width, width, **common), ConvNormAct(width, width, **common))
        self.head = Conv3d(width, config.regions, 1)

    def forward(self, below: Tensor, restored: Tensor) -> Tensor:
        return self.head(self.convs(torch.cat([self.image(restored), self.up(below)], dim=1)))


class HalfTail(nn.Module):
    """Last level at half resolution: each position predicts the logits of its 2x2x2 voxels.

    The restored volume enters folded (2x2x2 voxels as channels), so full-resolution detail is there, but nothing
    with more than R channels ever exists at full size, which is where the time and memory of `FullTail` go.
    """

    def __init__(self, config: ModelConfig, below: int) -> None:
        super().__init__()
        width = config.tail_width
        self.conv = ConvNormAct(below + 8 * config.modalities, width, norm_groups=config.norm_groups, bias=True)
        self.head = Conv3d(width, 8 * config.regions, 1)
        # The eight voxels of a cube start with one and the same predictor: no checkerboard to unlearn.
        with torch.no_grad():
            self.head.weight.copy_(self.head.weight[::8].repeat_interleave(8, dim=0))
            self.head.bias.zero_()

    def forward(self, below: Tensor, restored: Tensor) -> Tensor:
        joined = torch.cat([below, space_to_depth(restored).to(below.dtype)], dim=1)
        return depth_to_space(self.head(self.conv(joined)))


class Decoder(nn.Module):
    """DAMI's decoding half: from the bottleneck back to full resolution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        streams, dim = config.modalities, config.embed_dim
        below = streams * dim * 2 ** len(config.depths)
        skips = [streams * dim * 2**i for i in reversed(range(len(config.depths)))] + [streams * dim // 2]
        self.levels = nn.ModuleList()
        for skip, width in zip(skips, config.decoder_dims, strict=True):
            gated = skip != skips[-1]  # the stem's half-resolution features join ungated, as published
            self.levels.append(Level(config, below, skip, width, gated))
            below = width
        self.tail = (FullTail if config.tail == "full" else HalfTail)(config, below)
        deep = config.decoder_dims[-1 - config.deep_supervision : -1]
        self.deep_heads = nn.ModuleList(Conv3d(width, config.regions, 1) for width in deep)

    def forward(self, skips: list[Tensor], bottleneck: Tensor, restored: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Region logits [B, R, D, H, W], and while training those of the coarser levels, coarse to fine."""
        x, features = bottleneck, []
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(x, skip)
            features.append(x)
        deep: tuple[Tensor, ...] = ()
        if self.training and len(self.deep_heads):
            coarse = features[-1 - len(self.deep_heads) : -1]
            deep = tuple(head(f) for head, f in zip(self.deep_heads, coarse, strict=True))
        return self.tail(x, restored), deep
