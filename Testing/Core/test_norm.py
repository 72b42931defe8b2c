"""Norm: group norm over large volumes against the same in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from DABSegCore.models.norm import LARGE, GroupNorm, moments_by_sums, normalised


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_moments_of_a_gpus_sums_are_those_of_float64(dtype: torch.dtype, mean: float) -> None:
    """What CUDA runs, on the CPU: numbers of 16 bits are added up in 32."""
    x = (a_volume(2, 4, 40, 41, 42).contiguous() - 5 + mean).to(dtype)
    grouped = x.double().reshape(2, 2, -1)
    found = moments_by_sums(x, 2)
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(found[0].double(), grouped.mean(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1].double(), grouped.var(-1, unbiased=False), atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_volumes_are_normalised_image_by_image(layout: torch.memory_format) -> None:
    norm, x = a_norm(2, 4), a_volume(3, 4, 5, 6, 7) * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None, None]
    found = normalised(x.contiguous(memory_format=layout), *moments_by_sums(x, 2), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(found.double(), in_float64(x, norm), atol=1e-4, rtol=0)
