"""Attention: windowed self- and cross-modal attention over all modality streams at once.

Streams sit in the head dimension of one `scaled_dot_product_attention` call: [B*windows, M*heads, N, head_dim].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.blocks import MBConv, StreamNorm, drop_path
from DABSegCore.models.windows import Windows, relative_index

PAIR_OF_STREAM = (0, 0, 1, 1)
"""Which pair each of T1, T1ce, T2, FLAIR belongs to (`cross="pairs"`)."""
PARTNER_OF_STREAM = (1, 0, 3, 2)


class PositionBias(nn.Module):
    """Learned score per head and relative position inside a window, plus the window mask."""

    def __init__(self, heads: int, largest: int, rule: str) -> None:
        super().__init__()
        self.largest, self.rule = largest, rule
        self.table = nn.Parameter(torch.empty((2 * largest - 1) ** 3, heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, windows: Windows, batch: int, dtype: torch.dtype) -> Tensor:
        """Additive scores [1 or B*windows, heads, N, N]."""
        index = relative_index(windows.window, self.largest, self.rule, str(self.table.device))
        n = round(index.numel() ** 0.5)
        bias = self.table[index].T.reshape(1, -1, n, n)
        mask = windows.mask(self.table.device)
        if mask is not None:
            bias = bias + mask
            bias = bias.repeat(batch, 1, 1, 1) if batch > 1 else bias  # a copy of one batch took 19 % of a forward
        return bias.to(dtype)


class SelfAttention(nn.Module):
    """Self-attention inside windows, own weights per stream.

    With `across=True` every stream also reads every other one with the same query and that stream's keys and
    values, and the M results are summed before the projection (equation 9, restricted to a window).
    """

    def __init__(self, channels: int, heads: int, streams: int, largest: int, rule: str, across: bool = False) -> None:
        super().__init__()
        self.heads, self.streams, self.across = heads, streams, across
        self.qkv = nn.Conv3d(streams * channels, 3 * streams * channels, 1, groups=streams)
        self.proj = nn.Conv3d(streams * channels, streams * channels, 1, groups=streams)
        self.bias = PositionBias(heads * streams * (streams if across else 1), largest, rule)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        tokens = windows.partition(self.qkv(windows.pad(x)))  # [X, N, M*3*C]
        q, k, v = tokens.unflatten(-1, (self.streams, 3, self.heads, -1)).permute(3, 0, 2, 4, 1, 5)  # [X, M, h, N, d]
        if self.across:
            m = self.streams
            q = q[:, :, None].expand(-1, -1, m, -1, -1, -1).flatten(1, 3)  # stream-major: query m, key m'
            k, v = (t[:, None].expand(-1, m, -1, -1, -1, -1).flatten(1, 3) for t in (k, v))
        else:
            q, k, v = (t.flatten(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(windows, x.shape[0], q.dtype))
        if self.across:
            y = y.unflatten(1, (self.streams, self.streams, self.heads)).sum(2).flatten(1, 2)
        return self.proj(windows.merge(y.transpose(1, 2).flatten(2)))


class PairAttention(nn.Module):
    """Cross-attention of the published network: T1 reads T1ce and back, T2 reads FLAIR and back.

    Both directions of a pair share their weights; the two pairs never meet here.
    """

    def __init__(self, channels: int, heads: int, largest: int, rule: str) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        pairs = len(set(PAIR_OF_STREAM))
        self.qkv_weight = nn.Parameter(torch.empty(pairs, 3 * channels, channels))
        self.qkv_bias = nn.Parameter(torch.zeros(pairs, 3 * channels))
        self.proj_weight = nn.Parameter(torch.empty(pairs, channels, channels))
        self.proj_bias = nn.Parameter(torch.zeros(pairs, channels))
        self.bias = PositionBias(heads * pairs, largest, rule)
        for weight in (self.qkv_weight, self.proj_weight):
            nn.init.kaiming_uniform_(weight.view(-1, channels), a=5**0.5)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        tokens = windows.partition(_per_pair(windows.pad(x), self.qkv_weight, self.qkv_bias))
        q, k, v = tokens.unflatten(-1, (4, 3, self.heads, -1)).permute(3, 0, 2, 4, 1, 5)  # [X, 4, h, N, d]
        partner = list(PARTNER_OF_STREAM)
        q, k, v = q.flatten(1, 2), k[:, partner].flatten(1, 2), v[:, partner].flatten(1, 2)
        bias = self.bias(windows, x.shape[0], q.dtype)
        bias = bias.unflatten(1, (-1, self.heads))[:, list(PAIR_OF_STREAM)].flatten(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return _per_pair(windows.merge(y.transpose(1, 2).flatten(2)), self.proj_weight, self.proj_bias)


def _per_pair(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1x1 convolution of four streams whose pairs share weights [pairs, out, in]."""
    pair = list(PAIR_OF_STREAM)
    kernel = weight[pair].flatten(0, 1)[:, :, None, None, None]
    return F.conv3d(x, kernel, bias[pair].flatten(), groups=len(pair))


class Block(nn.Module):
    """Pre-norm transformer block over M streams: windowed attention, then MBConv, each a residual branch."""

    def __init__(
        self, config: ModelConfig, channels: int, heads: int, streams: int, *, cross: bool, shifted: bool,
        ratio: int, drop: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.streams, self.shifted, self.drop = streams, shifted, drop
        self.window, self.rule = config.window, config.window_rule
        self.norm1 = StreamNorm(channels, streams)
        across = cross and config.cross == "all"
        self.attention = SelfAttention(channels, heads, streams, config.window, config.window_rule, across)
        self.pair_attention = (
            PairAttention(channels, heads, config.window, config.window_rule)
            if cross and config.cross == "pairs"
            else None
        )
        self.norm2 = StreamNorm(channels, streams)
        fused = (
            config.mlp == "fused" and streams > 1
        )  # the bottleneck has few tokens and many channels: depthwise is cheaper
        self.mlp = MBConv(channels, ratio, streams, fused, config.norm_groups)

    def forward(self, x: Tensor) -> Tensor:
        windows = Windows.cut(tuple(x.shape[2:]), self.window, self.shifted, self.rule)
        u = self.norm1(x)
        attended = self.attention(u, windows)
        if self.pair_attention is not None:
            attended = attended + self.pair_attention(u, windows)
        x = x + drop_path(attended, self.streams, self.drop, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), self.streams, self.drop, self.training)
