"""Norm: group norm that is quick on GPUs with few groups, and exact over large volumes on CPUs."""

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
    """`nn.GroupNorm` with the same weights, from moments that PyTorch's other reductions find.

    On CUDA its own take one thread block for each group of each image (`RowwiseMomentsCUDAKernel`), so the published
    two groups leave all but two multiprocessors idle; a plain sum uses them all. Autocast would also make its answer,
    and all that follows until the next convolution, float32: twice the memory to move for digits it drops again.
    On CPUs it adds millions of squares up in one float32 number where channels lie innermost; here large float32
    volumes are summed in parts.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] -> same shape and number format."""
        if torch.compiler.is_compiling():  # a compiler writes a kernel of its own
            return super().forward(input)
        if input.device.type == "cuda" or _loses_digits(input):
            return _FromMoments.apply(input, self.weight, self.bias, self.num_groups, self.eps)
        return super().forward(input)


def _loses_digits(x: Tensor) -> bool:
    """Whether PyTorch would sum up [B, C, D, H, W] carelessly."""
    large = x.device.type == "cpu" and x.ndim == 5 and math.prod(x.shape[2:]) > LARGE and x.dtype == torch.float32
    return large and x.is_contiguous(memory_format=torch.channels_last_3d)


class _FromMoments(torch.autograd.Function):
    """Group norm of [B, C, ...] in three steps: moments, normalised volume, and backwards PyTorch's own."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        mean, variance = moments_by_parts(x, groups) if x.device.type == "cpu" else moments_by_sums(x, groups)
        ctx.save_for_backward(x, mean, (variance + eps).rsqrt(), weight)
        ctx.groups = groups
        return normalised(x, mean, variance, weight, bias, eps)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        on_cpu = x.device.type == "cpu"
        # On CPUs it reads the gradient as if it lay in memory as x does, whether or not it does.
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d) if on_cpu else gradient.contiguous()
        x = x if on_cpu else x.contiguous()
        mean, scale, weight = (value if on_cpu else value.to(x.dtype) for value in (mean, scale, weight))
        sizes = (x.shape[0], x.shape[1], math.prod(x.shape[2:]), ctx.groups)
        wanted = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.native_group_norm_backward(gradient, x, mean, scale, weight, *sizes, wanted)
        return *found, None, None


def normalised(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias in one pass.

    Args:
        x: [B, C, ...].
        mean: Float32, by group [B, G].
        variance: As `mean`.
        weight: By channel [C].
        bias: As `weight`.
        eps: Keeps the root from zero.
    """
    batch, channels = x.shape[:2]
    mean, variance = (value.repeat_interleave(channels // value.shape[1], dim=1) for value in (mean, variance))
    if x.is_contiguous():  # images side by side, as channels of one
        one, weight, bias = x.view(1, -1, *x.shape[2:]), weight.repeat(batch), bias.repeat(batch)
        return F.batch_norm(one, mean.flatten(), variance.flatten(), weight, bias, eps=eps).view(x.shape)
    images = [F.batch_norm(image, mean[i], variance[i], weight, bias, eps=eps) for i, image in enumerate(x.split(1))]
    return images[0] if batch == 1 else torch.cat(images)


def moments_by_sums(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance by group of [B, C, ...], float32 [B, G], from sums over all of a GPU's multiprocessors.

    Numbers are read in their own format and added up in float32, in a tree: a mean of 17 standard deviations costs the
    variance three digits of seven.
    """
    flat = x.reshape(x.shape[0], groups, -1)
    mean = flat.sum(-1, dtype=torch.float32) / flat.shape[-1]
    square = torch.linalg.vector_norm(flat, dim=-1, dtype=torch.float32).square() / flat.shape[-1]
    return mean, (square - mean.square()).clamp_min(0)


def moments_by_parts(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The same of a volume with channels innermost [B, C, D, H, W], summed in float32 by parts and then in float64."""
    pairs = [_moments_of_one(image, groups) for image in x.split(1)]
    mean, variance = (torch.stack(values).float() for values in zip(*pairs, strict=True))
    return mean, variance


def _moments_of_one(image: Tensor, groups: int) -> tuple[Tensor, Tensor]:
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
