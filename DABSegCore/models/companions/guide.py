"""Guide: the U-Net of BTSegDiff that reads the images, sees the diffusion's features at every step, and answers them.

What differs from the released code: GroupNorm for BatchNorm and no dropout, as batches are small; and the layer that
fits its embedding to the denoiser is learned, where the released one is drawn anew in every forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.models.companions.denoiser import conv, halves, norm
from DABSegCore.models.companions.fourier import Affinity, Highway
from DABSegCore.networks import BTSegDiffConfig


def _two(in_channels: int, between: int, out_channels: int, axial: bool) -> nn.Sequential:
    """Two convolutions, each with norm and leaky ReLU."""
    layers: list[nn.Module] = []
    for wide, narrow in ((in_channels, between), (between, out_channels)):
        layers += [conv(wide, narrow, axial), norm(narrow), nn.LeakyReLU(0.01, inplace=True)]
    return nn.Sequential(*layers)


class Guide(nn.Module):
    """U-Net on the images alone, whose features the diffusion's gate after every halving but the last.

    Args:
        config: Widths, form, and how the two are joined.
        in_channels: Of the images.
        out_channels: Of the calibration masks.
    """

    def __init__(self, config: BTSegDiffConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        axial, pools = config.form == "axial", len(config.widths) - 1
        self.half = halves(axial)
        widths = [min(config.guide_width * 2**level, config.guide_most) for level in range(pools + 1)]
        self.encoder = nn.ModuleList(
            _two(before, width, width, axial)
            for before, width in zip([in_channels, *widths], widths[:-1], strict=False)
        )
        self.bottom = _two(widths[-2], widths[-1], widths[-2], axial)
        join = {"highway": Highway, "affinity": Affinity}[config.fusion]
        self.fusion = nn.ModuleList(
            join(config.widths[level], widths[level], _grid(config, level)) for level in range(pools - 1)
        )
        self.embed = nn.Conv3d(widths[-2], config.widths[-1], 1)
        self.decoder = nn.ModuleList(
            _two(2 * widths[level], widths[level], widths[max(level - 1, 0)], axial) for level in reversed(range(pools))
        )
        self.ending = nn.Conv3d(widths[0], out_channels, 1, bias=False)

    def forward(self, image: Tensor, halved: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Guide one step.

        Args:
            image: [B, C, D, H, W].
            halved: The denoiser's features after every halving, finest first.

        Returns:
            The embedding for the denoiser's middle, and logits of the masks it sees itself, the calibration
            [B, out_channels, D, H, W].
        """
        x, skips = image, []
        for level, encode in enumerate(self.encoder):
            skips.append(encode(x))
            x = F.max_pool3d(skips[-1], self.half)
            if level < len(self.fusion):
                x = self.fusion[level](x, halved[level])
        x = self.bottom(x)
        embedding = self.embed(x)
        scale = [float(factor) for factor in self.half]
        for decode in self.decoder:
            x = F.interpolate(x, scale_factor=scale, mode="trilinear", align_corners=False)
            x = decode(torch.cat([x, skips.pop()], dim=1))
        return embedding, self.ending(x)


def _grid(config: BTSegDiffConfig, level: int) -> tuple[int, int, int]:
    """Grid of a level's spectral weights: that of images of the size `config.grid`, after the halving."""
    edge = config.grid // 2 ** (level + 1)
    return (1, edge, edge) if config.form == "axial" else (edge // 2, edge // 2, edge // 2)  # volumes are folded
