"""RMR autoencoder: one encoder per modality, that learns to give clean features, and the decoder they share.

"Degradation-robust Autoencoder" of RMR-Fusion (Zhang et al., AAAI 2024, figure 4) with the released code's sizes. The
modalities are streams of one tensor, as everywhere here, which computes what separate encoders would.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.models.attention import SelfAttention
from DABSegCore.models.blocks import StreamNorm
from DABSegCore.models.windows import Windows
from DABSegCore.networks import RMRConfig

PRELU = 0.25
"""Slope with which a PReLU begins."""

RATIO = 4
"""Hidden channels of an attention block's feed-forward, per channel."""


RULE = "published"
"""How windows are cut: as in the released code, and with a mask in shifted blocks alone; these masks take memory."""


class ConvPReLU(nn.Sequential):
    """3x3x3 convolution and PReLU, without norm: [B, M*C, D, H, W] -> [B, M*C', D, H, W].

    Weights are drawn so that signals keep their size. By PyTorch's rule, which the source has, each layer halves them:
    after the dozen up to a restored volume it hardly depends on the input, and long stays a constant.

    Args:
        before: C, channels in, per stream.
        after: C', channels out, per stream.
        streams: M.
    """

    def __init__(self, before: int, after: int, streams: int = 1) -> None:
        conv = nn.Conv3d(streams * before, streams * after, 3, padding=1, groups=streams)
        act = nn.PReLU(streams * after)
        nn.init.kaiming_normal_(conv.weight, a=PRELU, nonlinearity="leaky_relu")
        nn.init.zeros_(conv.bias)
        super().__init__(conv, act)


class DoubleConv(nn.Sequential):
    """Two `ConvPReLU`s; `channels` are in, between and out, per stream."""

    def __init__(self, channels: tuple[int, int, int], streams: int = 1) -> None:
        first, middle, last = channels
        super().__init__(ConvPReLU(first, middle, streams), ConvPReLU(middle, last, streams))


class SwinBlock(nn.Module):
    """Pre-norm block of attention in windows and a feed-forward, each a residual branch.

    Args:
        config: Width, heads and window.
        shifted: Whether its windows straddle those of the block before.
    """

    def __init__(self, config: RMRConfig, shifted: bool) -> None:
        super().__init__()
        width, streams = config.width, len(config.reads)
        self.window, self.shifted = config.window, shifted
        self.norm1, self.norm2 = StreamNorm(width, streams), StreamNorm(width, streams)
        self.attention = SelfAttention(width, config.heads, streams, config.window, RULE)
        self.mlp = nn.Sequential(
            nn.Conv3d(streams * width, streams * RATIO * width, 1, groups=streams),
            nn.GELU(),
            nn.Conv3d(streams * RATIO * width, streams * width, 1, groups=streams),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, M*C, D, H, W] -> same shape."""
        windows = Windows.cut(tuple(x.shape[2:]), self.window, self.shifted, RULE)
        x = x + self.attention(self.norm1(x), windows)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Convolutions, attention at a coarser scale beside them, convolutions (equation 1); own weights per modality.

    Args:
        config: All sizes.
    """

    def __init__(self, config: RMRConfig) -> None:
        super().__init__()
        width, patch, streams = config.width, config.patch, len(config.reads)
        self.streams = streams
        self.first = DoubleConv((1, width // 2, width), streams)
        self.embed = nn.Conv3d(streams * width, streams * width, patch, stride=patch, groups=streams)
        self.blocks = nn.Sequential(*(SwinBlock(config, k % 2 == 1) for depth in config.depths for k in range(depth)))
        self.grow = nn.ConvTranspose3d(
            streams * width, streams * width, patch, stride=patch, groups=streams, bias=False
        )
        self.last = DoubleConv((width, width // 2, config.features), streams)

    def forward(self, x: Tensor) -> Tensor:
        """Volumes [B, M, D, H, W], each side a multiple of the patch -> features [B, M*C, D, H, W]."""
        shallow = self.first(x)
        tokens = self.blocks(self.embed(shallow)).movedim(1, -1).unflatten(-1, (self.streams, -1))
        tokens = F.layer_norm(tokens, tokens.shape[-1:]).flatten(-2).movedim(-1, 1)
        return self.last(self.grow(tokens) + shallow)


class Decoder(nn.Sequential):
    """Features of any one modality, or fused ones, to a volume (equation 2): [B, C, D, H, W] -> [B, 1, D, H, W]."""

    def __init__(self, features: int) -> None:
        narrow = features // 2
        super().__init__(
            DoubleConv((features, narrow, narrow)), DoubleConv((narrow, narrow, narrow)), nn.Conv3d(narrow, 1, 1)
        )
