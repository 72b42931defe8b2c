"""Norm: group norm over large volumes against the same in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from DABSegCore.models.norm import LARGE, GroupNorm


def in_float64(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    grouped = x.double().reshape(len(x), norm.num_groups, -1)
    mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, unbiased=False, keepdim=True)
    standard = ((grouped - mean) / (variance + norm.eps).sqrt()).reshape(x.shape)
    return standard * norm.weight.double().view(-1, 1, 1, 1) + norm.bias.double().view(-1, 1, 1, 1)


def a_norm(groups: int, channels: int) -> GroupNorm:
    norm = GroupNorm(groups, channels)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, channels))
        norm.bias.copy_(torch.linspace(0.5, -0.5, channels))
    return norm


def a_volume(batch: int, channels: int, *size: int) -> Tensor:
    """Innermost channels that lie far from zero, as those behind a convolution of intensities do."""
    generator = torch.Generator().manual_seed(3)
    x = 0.3 * torch.randn(batch, channels, *size, generator=generator) + 5
    return x.contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(("batch", "groups", "size"), [(1, 4, (64, 50, 41)), (2, 1, (3, 200, 220))])
def test_it_is_as_exact_over_large_volumes_as_over_small_ones(batch: int, groups: int, size: tuple[int, ...]) -> None:
    norm, x = a_norm(groups, 4), a_volume(batch, 4, *size)
    torch.testing.assert_close(norm(x).double(), in_float64(x, norm), atol=1e-4, rtol=0)


def test_pytorchs_own_is_not_or_ours_were_superfluous() -> None:
    norm, x = a_norm(4, 4), a_volume(1, 4, 64, 64, 64)
    assert x[0, 0].numel() > LARGE
    plain = nn.GroupNorm.forward(norm, x).double()
    assert (plain - in_float64(x, norm)).abs().max() > 1e-3


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_are_those_of_float64(batch: int) -> None:
    norm, x = a_norm(2, 4), a_volume(batch, 4, 52, 52, 52).requires_grad_()
    slope = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    ours = torch.autograd.grad((norm(x) * slope).sum(), [x, norm.weight, norm.bias])
    theirs = torch.autograd.grad((in_float64(x, norm) * slope).sum(), [x, norm.weight, norm.bias])
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found.double(), expected.double(), atol=2e-3 * expected.abs().max().item(), rtol=0)


def test_what_needs_no_gradient_gets_none() -> None:
    norm, x = a_norm(2, 4), a_volume(1, 4, 52, 52, 52)
    norm(x).sum().backward()
    assert norm.weight.grad is not None
    assert x.grad is None
