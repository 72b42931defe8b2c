"""Asymmetric: residual dense blocks and spatial-asymmetric attention, the parts of MedDeblur (equations 3 to 7).

Slices and volumes: with `axial`, kernels are one voxel thick and nothing passes between slices, which is the published
two-dimensional form to the weight. In volumes a third asymmetric kernel looks along the slice axis, and every square
kernel of 9 becomes three of 7 in a row, one along each axis: 9x9x9 would be eighty times the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DENSE_BLOCKS = 3
"""Residual dense blocks before each attention."""

DENSE_LAYERS = 3
GROWTH = 8
"""Convolutions of a dense block, and the channels that each adds."""

REDUCTION = 16
"""Channels of the squeeze-and-excite by channels of its hidden layer, which has 2 at least."""


def convolution(inputs: int, outputs: int, size: int, axial: bool, *, stride: int = 1, bias: bool = True) -> nn.Conv3d:
    """Convolution with a cube of a kernel, or a square in axial slices, that keeps the size or divides by `stride`."""
    kernel, steps = ((1, size, size), (1, stride, stride)) if axial else ((size,) * 3, (stride,) * 3)
    return nn.Conv3d(inputs, outputs, kernel, steps, padding=tuple(n // 2 for n in kernel), bias=bias)


def wide_convolution(inputs: int, outputs: int, axial: bool) -> nn.Module:
    """The square convolution C_S and C_D of the attention: 9x9 in slices, 7 along each axis in volumes."""
    if axial:
        return convolution(inputs, outputs, 9, axial)
    return nn.Sequential(
        nn.Conv3d(inputs, inputs, (7, 1, 1), padding=(3, 0, 0)),
        nn.Conv3d(inputs, inputs, (1, 7, 1), padding=(0, 3, 0)),
        nn.Conv3d(inputs, outputs, (1, 1, 7), padding=(0, 0, 3)),
    )


class ResidualDense(nn.Module):
    """Convolutions that each see all before them, fused to as many channels as came in, and added to these.

    Args:
        channels: In and out.
        axial: Look within axial slices only.
    """

    def __init__(self, channels: int, axial: bool) -> None:
        super().__init__()
        self.grow = nn.ModuleList(
            convolution(channels + GROWTH * layer, GROWTH, 3, axial, bias=False) for layer in range(DENSE_LAYERS)
        )
        self.fuse = nn.Conv3d(channels + GROWTH * DENSE_LAYERS, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, D, H, W] -> same shape."""
        grown = x
        for grow in self.grow:
            grown = torch.cat([grown, F.relu(grow(grown))], dim=1)
        return x + self.fuse(grown)


class SpatialAsymmetricAttention(nn.Module):
    """A gate per voxel, summed over the directions, on channels that a squeeze-and-excite has weighed.

    The paper prints the gates and the descriptor (equations 4 to 7) but not how they meet: as in the released code they
    multiply the features of the square convolution, before a leaky ReLU.

    Args:
        channels: In and out.
        axial: Vertical and horizontal only, within axial slices.
    """

    def __init__(self, channels: int, axial: bool) -> None:
        super().__init__()
        directions = ((1, 3, 1), (1, 1, 3)) if axial else ((3, 1, 1), (1, 3, 1), (1, 1, 3))
        self.along = nn.ModuleList(
            nn.Conv3d(channels, channels, kernel, padding=tuple(n // 2 for n in kernel)) for kernel in directions
        )
        self.look = wide_convolution(2, 1, axial)
        self.square = wide_convolution(channels, channels, axial)
        hidden = max(2, channels // REDUCTION)
        self.squeeze = nn.Conv3d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv3d(hidden, channels, 1, bias=False)
        self.pooled = (3, 4) if axial else (2, 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, D, H, W] -> same shape."""
        gate = sum(self._gate(along(x)) for along in self.along)  # [B, 1, D, H, W], equation 6
        features = self.square(x)
        descriptor = features.mean(self.pooled, keepdim=True)
        weighed = features * torch.sigmoid(self.excite(F.relu(self.squeeze(descriptor))))  # equation 7
        return F.leaky_relu(weighed * gate, 0.2)

    def _gate(self, x: Tensor) -> Tensor:
        """Equations 4 and 5: one map [B, 1, D, H, W] in 0..1; the square convolution is the same for all directions."""
        return torch.sigmoid(self.look(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))


def refinement(channels: int, axial: bool) -> nn.Sequential:
    """RD-SAM (equation 3): residual dense blocks, then the attention."""
    blocks = [ResidualDense(channels, axial) for _ in range(DENSE_BLOCKS)]
    return nn.Sequential(*blocks, SpatialAsymmetricAttention(channels, axial))
