"""Fourier fusion: the diffusion's features join the image's by way of their frequencies, where noise is easy to weaken.

BTSegDiff's dynamic conditional guidance and its Fourier-domain feature fusion; both ways of joining share one filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AXES = (2, 3, 4)


class SpectralFilter(nn.Module):
    """A complex weight for every channel and frequency: [B, C, D, H, W] -> same shape, float32.

    What differs from the released code: it starts near 1 rather than near 0, where the next norm's epsilon would
    swallow the features; and it reads its weights as a function of frequency, so it takes grids of any even size.

    Args:
        channels: C.
        grid: Even edges [D, H, W] (or 1) of the grid that has one weight per frequency.
    """

    def __init__(self, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        # Real and imaginary part, as five axes: the moving average wants real parameters, channels_last_3d five axes.
        start = 0.02 * torch.randn(2, channels, self.grid[0], self.grid[1], self.grid[2] // 2 + 1)
        start[0] += 1
        self.weight = nn.Parameter(start)

    def at(self, size: Sequence[int]) -> Tensor:
        """Weights for a grid [D, H, W]: complex [C, D, H, W/2 + 1], linear between the frequencies there are."""
        if tuple(size) == self.grid:
            return torch.complex(*self.weight)
        table = torch.fft.fftshift(self.weight, dim=(2, 3))  # frequencies -1/2 .. just under 1/2 cycles a voxel
        for axis in (2, 3):  # and 1/2, which is -1/2
            table = torch.cat([table, table.narrow(axis, 0, 1)], dim=axis)
        wanted = (size[0] + 1, size[1] + 1, size[2] // 2 + 1)
        table = F.interpolate(table, wanted, mode="trilinear", align_corners=True)[:, :, :-1, :-1]
        return torch.complex(*torch.fft.ifftshift(table, dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        spectrum = torch.fft.rfftn(x.float(), dim=AXES, norm="ortho") * self.at(size)  # no FFT knows bfloat16
        return torch.fft.irfftn(spectrum, s=size, dim=AXES, norm="ortho")


class Highway(nn.Module):
    """The released way: the image's features times a map and times channel means of the filtered diffusion features.

    Args:
        features: Channels of the diffusion's features.
        channels: Channels of the image's.
        grid: As for `SpectralFilter`.
    """

    def __init__(self, features: int, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Conv3d(features, channels, 1)
        self.filter = SpectralFilter(channels, grid)
        self.to_map = nn.Conv3d(channels, 1, 1)

    def forward(self, image: Tensor, diffusion: Tensor) -> Tensor:
        """[B, C, D, H, W] and [B, F, D, H, W] -> [B, C, D, H, W]."""
        h = self.filter(self.project(diffusion))
        return image * self.to_map(h) * h.mean(AXES, keepdim=True)


class Affinity(nn.Module):
    """The paper's way: A = LN(m_x) + LN(m_I), times the affinity map of the two.

    The paper's map is F^-1[sigmoid(F[m_x] W + F[m_I] W)]. With one W the sum is F[m_x + m_I] W, one filter; and as
    nobody defines a sigmoid of complex numbers, ours follows the inverse transform, where it is a gate in (0, 1).

    Args:
        features: Channels of the diffusion's features.
        channels: Channels of the image's.
        grid: As for `SpectralFilter`.
    """

    def __init__(self, features: int, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Conv3d(features, channels, 1)
        self.norm_diffusion, self.norm_image = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.filter = SpectralFilter(channels, grid)

    def forward(self, image: Tensor, diffusion: Tensor) -> Tensor:
        """[B, C, D, H, W] and [B, F, D, H, W] -> [B, C, D, H, W]."""
        joined = self.norm_diffusion(self.project(diffusion)) + self.norm_image(image)
        return joined * torch.sigmoid(self.filter(joined))
