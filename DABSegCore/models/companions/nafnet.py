"""NAFNet: a restorer without nonlinear activations (Chen et al., ECCV 2022), for volumes or axial slice by slice.

What differs from the publication: four modalities at once, three dimensions in the form `volume`, nothing changes
outside the brain, and it starts as identity as our stems do (the last convolution is zero).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.models.blocks import depth_to_space, space_to_depth
from DABSegCore.models.prediction import Network, Prediction, crop, no_outline, pad_to_stride
from DABSegCore.networks import NAFNetConfig


class ChannelNorm(nn.Module):
    """LayerNorm over the channels at every voxel: [B, C, D, H, W] -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6).movedim(-1, 1)


def gate(x: Tensor) -> Tensor:
    """SimpleGate: one half of the channels times the other, in place of an activation (equation 4 of NAFNet)."""
    first, second = x.chunk(2, dim=1)
    return first * second


class NAFBlock(nn.Module):
    """Depthwise convolution, gate and channel attention, then a gated feed-forward; both as residual branches.

    Args:
        channels: In and out.
        axial: Look within axial slices only.
    """

    def __init__(self, channels: int, axial: bool) -> None:
        super().__init__()
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if axial else ((3, 3, 3), (1, 1, 1))
        self.pooled = (3, 4) if axial else (2, 3, 4)
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.expand = nn.Conv3d(channels, 2 * channels, 1)
        self.mix = nn.Conv3d(2 * channels, 2 * channels, kernel, padding=padding, groups=2 * channels)
        self.attend = nn.Conv3d(channels, channels, 1)
        self.project = nn.Conv3d(channels, channels, 1)
        self.widen = nn.Conv3d(channels, 2 * channels, 1)
        self.narrow = nn.Conv3d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, D, H, W] -> same shape."""
        h = gate(self.mix(self.expand(self.norm1(x))))
        h = h * self.attend(h.mean(self.pooled, keepdim=True))
        y = x + self.beta * self.project(h)
        return y + self.gamma * self.narrow(gate(self.widen(self.norm2(y))))


class NAFNet(Network):
    """U-shape of `NAFBlock`s with a global residual; restores all modalities, outlines nothing.

    Args:
        config: Width, blocks by level and form.
    """

    outlines = False

    def __init__(self, config: NAFNetConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        axial = config.form == "axial"
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if axial else ((3, 3, 3), (1, 1, 1))
        half = (1, 2, 2) if axial else (2, 2, 2)
        folded = config.modalities * (8 if config.fold else 1)
        widths = [config.width * 2**level for level in range(len(config.encoder_blocks) + 1)]

        def blocks(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(NAFBlock(width, axial) for _ in range(count)))

        self.intro = nn.Conv3d(folded, config.width, kernel, padding=padding)
        self.encode = nn.ModuleList(map(blocks, widths, config.encoder_blocks))
        self.down = nn.ModuleList(nn.Conv3d(w, 2 * w, half, stride=half) for w in widths[:-1])
        self.middle = blocks(widths[-1], config.middle_blocks)
        # The same map as the published 1x1 convolution followed by a pixel shuffle, with as many weights in 2-D.
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(2 * w, w, half, stride=half, bias=False) for w in reversed(widths[:-1])
        )
        self.decode = nn.ModuleList(map(blocks, reversed(widths[:-1]), config.decoder_blocks))
        self.ending = nn.Conv3d(config.width, folded, kernel, padding=padding)
        nn.init.zeros_(self.ending.weight)
        nn.init.zeros_(self.ending.bias)

    def forward(self, corrupted: Tensor) -> Prediction:
        """[B, M, D, H, W] of any size -> restored of the same size, and logits that outline nothing.

        Raises:
            ValueError: As `Network.check`.
        """
        size = self.check(corrupted)
        x = pad_to_stride(corrupted, self.config.form == "axial")
        h = self.intro(space_to_depth(x) if self.config.fold else x)
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            skips.append(encode(h))
            h = down(skips[-1])
        h = self.middle(h)
        for up, decode, skip in zip(self.up, self.decode, reversed(skips), strict=True):
            h = decode(up(h) + skip)
        correction = self.ending(h)
        correction = depth_to_space(correction) if self.config.fold else correction
        inside = (x != 0).any(dim=1, keepdim=True)
        restored = crop(x + correction.to(x.dtype) * inside, size)
        return Prediction(no_outline(corrupted, self.config.regions), restored, ())
