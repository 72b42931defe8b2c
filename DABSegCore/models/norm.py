"""Norm: group norm that keeps its input's number format on a GPU, and its precision over large volumes on a CPU."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE = 2**17
"""Positions from which on PyTorch's sums over channels-innermost volumes lose too much: 3e-4 of a standard deviation at
48^3 and 2e-3 at 128^3 where the mean is three of them, 4e-2 where it is seventeen."""

ROWS = 2**14
"""Positions summed in float32 before float64 takes over."""


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, without two of its faults.

    On CPUs it adds millions of squares up in one float32 number where channels lie innermost; here large float32
    volumes are summed in parts. On CUDA autocast makes its answer, and so all that follows until the next convolution,
    float32: twice the memory to move for digits that the convolution drops again.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] -> same shape."""
        if _loses_digits(input):
            return _Careful.apply(input, self.weight, self.bias, self.num_groups, self.eps)
        if input.device.type == "cuda":
            (batch, channels), positions = input.shape[:2], math.prod(input.shape[2:])
            scale, shift = self.weight.to(input.dtype), self.bias.to(input.dtype)
            sizes = (batch, channels, positions, self.num_groups)
            return torch.native_group_norm(input, scale, shift, *sizes, self.eps)[0]
        return super().forward(input)


def _loses_digits(x: Tensor) -> bool:
    """Whether PyTorch would sum up [B, C, D, H, W] carelessly."""
    large = x.device.type == "cpu" and x.ndim == 5 and math.prod(x.shape[2:]) > LARGE and x.dtype == torch.float32
    return large and not torch.compiler.is_compiling() and x.is_contiguous(memory_format=torch.channels_last_3d)


class _Careful(torch.autograd.Function):
    """Group norm of a channels-innermost float32 volume [B, C, D, H, W], summed in parts."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        channels = x.shape[1] // groups
        answers, means, scales = [], [], []
        for image in x.split(1):
            mean, variance = (value.float() for value in _moments(image, groups))
            each = (value.repeat_interleave(channels) for value in (mean, variance))
            answers.append(F.batch_norm(image, *each, weight, bias, eps=eps))
            means.append(mean)
            scales.append((variance + eps).rsqrt())
        ctx.save_for_backward(x, torch.stack(means), torch.stack(scales), weight)
        ctx.groups = groups
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        sizes = (x.shape[0], x.shape[1], math.prod(x.shape[2:]), ctx.groups)
        # It reads the gradient as if it lay in memory as x does, whether or not it does.
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        wanted = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.native_group_norm_backward(gradient, x, mean, scale, weight, *sizes, wanted)
        return *found, None, None


def _moments(image: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance by group of an image [1, C, D, H, W], float64 [G]."""
    depth, positions = image.shape[2], image.shape[3] * image.shape[4]
    parts = image.split(max(1, ROWS // positions), dim=2)
    means, variances = zip(*(torch.batch_norm_update_stats(part, None, None, 0.0) for part in parts), strict=True)
    share = torch.tensor([part.shape[2] / depth for part in parts], dtype=torch.float64)[:, None, None]
    mean_of = torch.stack(means).double().unflatten(1, (groups, -1))  # [parts, G, C/G]
    variance_of = torch.stack(variances).double().unflatten(1, (groups, -1))
    mean = (share * mean_of).sum(0).mean(1)
    variance = (share * (variance_of + (mean_of - mean[:, None]).square())).sum(0).mean(1)
    return mean, variance
