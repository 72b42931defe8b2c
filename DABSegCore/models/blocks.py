"""Blocks: the convolutions, norms and rearrangements that every part of the network shares.

Streams: the M modality streams of the encoder have their own weights but one shape, so they live in one tensor
[B, M*C, D, H, W] with the stream index slowest, and every layer below takes `streams` and does all of them at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.models.norm import GroupNorm


class Conv3d(nn.Conv3d):
    """3-D convolution that goes to the library that does it best.

    On a CPU that is oneDNN always: PyTorch leaves small float32 ones (batch 1, at most 20,480 numbers in C*D*H) to a
    path of its own that takes 2 to 5 times as long and returns its answer with channels outermost, so that all that
    follows is slow as well. On CUDA, grouped 1x1x1 ones are matrix products of a batch.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.groups > 1 and self.kernel_size == self.stride == (1, 1, 1):
            return grouped_pointwise(input, weight, bias, self.groups)
        if _left_to_the_slow_path(input, self.groups):
            return torch.mkldnn_convolution(input, weight, bias, self.padding, self.stride, self.dilation, self.groups)
        return super()._conv_forward(input, weight, bias)


def grouped_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Grouped 1x1x1 convolution of [B, groups*C, D, H, W] by [groups*O, C, 1, 1, 1], as suits the device."""
    if x.device.type == "cuda":
        return grouped_product(x, weight, bias, groups)
    return F.conv3d(x, weight, bias, groups=groups)


def grouped_product(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """The same as a batch of matrix products."""
    tokens = x.reshape(x.shape[0], groups, -1, x.shape[2:].numel())  # [B, groups, C, positions]
    y = torch.matmul(weight.reshape(groups, -1, weight.shape[1]), tokens)
    if bias is not None:
        y = y + bias.to(y.dtype).view(groups, -1, 1)
    return y.reshape(x.shape[0], -1, *x.shape[2:])


def _left_to_the_slow_path(x: Tensor, groups: int) -> bool:
    """Whether PyTorch would not hand this convolution of [B, C, D, H, W] to oneDNN, which is there and could."""
    if torch.compiler.is_compiling():  # which chooses for itself
        return False
    small = x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3] <= 20_480
    float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    here = x.device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return small and float32 and here and x.shape[0] == 1 and groups == 1


class ConvNormAct(nn.Sequential):
    """3-D convolution, GroupNorm and ReLU over M streams at once."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        streams: int = 1,
        depthwise: bool = False,
        norm_groups: int = 2,
        act: bool = True,
        bias: bool = False,
    ) -> None:
        """Channels are per stream; the tensors carry `streams` times as many."""
        groups = streams * (in_channels if depthwise else 1)
        layers: list[nn.Module] = [
            Conv3d(
                streams * in_channels,
                streams * out_channels,
                kernel_size,
                stride,
                padding=kernel_size // 2,
                groups=groups,
                bias=bias,
            ),
            GroupNorm(streams * norm_groups, streams * out_channels),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class StreamNorm(nn.Module):
    """LayerNorm over the channels of each stream, at every voxel: [B, M*C, D, H, W] -> same shape.

    With `shared=True` the M streams use one scale and shift (patch merging does).
    """

    def __init__(self, channels: int, streams: int = 1, shared: bool = False) -> None:
        super().__init__()
        self.channels, self.streams = channels, streams
        rows = 1 if shared else streams
        self.weight = nn.Parameter(torch.ones(rows, channels))
        self.bias = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.movedim(1, -1).unflatten(-1, (self.streams, self.channels))  # [B, D, H, W, M, C]
        tokens = F.layer_norm(tokens, (self.channels,)) * self.weight + self.bias
        return tokens.flatten(-2).movedim(-1, 1)


class SqueezeExcite(nn.Module):
    """Channel attention per stream: global mean, two 1x1x1 convolutions, sigmoid gate."""

    def __init__(self, channels: int, hidden: int, streams: int = 1) -> None:
        super().__init__()
        self.reduce = Conv3d(streams * channels, streams * hidden, 1, groups=streams)
        self.expand = Conv3d(streams * hidden, streams * channels, 1, groups=streams)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(F.relu(self.reduce(x.mean(dim=(2, 3, 4), keepdim=True))))
        return x * torch.sigmoid(gate)


class MBConv(nn.Module):
    """Convolutional feed-forward of a block: expand, mix in space, squeeze-excite, project back.

    `fused=True` replaces 1x1x1 + depthwise 3x3x3 by one dense 3x3x3 per stream: many times the arithmetic in about the
    same time, because depthwise 3-D convolutions run at a few per cent of the dense rate.
    """

    def __init__(self, channels: int, ratio: int, streams: int = 1, fused: bool = False, norm_groups: int = 2) -> None:
        super().__init__()
        hidden = ratio * channels
        common = {"streams": streams, "norm_groups": norm_groups}
        self.mix = (
            nn.Sequential(ConvNormAct(channels, hidden, 3, **common))
            if fused
            else nn.Sequential(
                ConvNormAct(channels, hidden, 1, **common),
                ConvNormAct(hidden, hidden, 3, depthwise=True, **common),
            )
        )
        self.excite = SqueezeExcite(hidden, hidden // 4, streams)
        self.project = ConvNormAct(hidden, channels, 1, act=False, **common)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.excite(self.mix(x)))


def drop_path(x: Tensor, streams: int, rate: float, training: bool) -> Tensor:
    """Stochastic depth: drop a residual branch per sample and stream, keeping its expectation."""
    if rate == 0.0 or not training:
        return x
    keep = torch.rand(x.shape[0], streams, 1, 1, 1, 1, device=x.device, dtype=x.dtype) >= rate
    return (x.unflatten(1, (streams, -1)) * (keep / (1.0 - rate))).flatten(1, 2)


def space_to_depth(x: Tensor, factor: int = 2) -> Tensor:
    """Fold every `factor`^3 cube of voxels into channels: [B, C, D, H, W] -> [B, C*f^3, D/f, H/f, W/f].

    On a CPU as a strided convolution with ones and zeros, which is as exact and five times as fast as copying (under
    autocast it also rounds to 16 bits, as the convolution that follows would).
    """
    b, c, d, h, w = x.shape
    f = factor
    if x.device.type == "cpu":
        pick = torch.eye(c * f**3, dtype=x.dtype).view(-1, c, f, f, f)
        return F.conv3d(x, pick, stride=f)
    x = x.reshape(b, c, d // f, f, h // f, f, w // f, f)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * f**3, d // f, h // f, w // f)


def depth_to_space(x: Tensor, factor: int = 2) -> Tensor:
    """Inverse of `space_to_depth`."""
    b, c, d, h, w = x.shape
    f = factor
    x = x.reshape(b, c // f**3, f, f, f, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // f**3, d * f, h * f, w * f)
