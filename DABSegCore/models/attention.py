"""Attention: windowed self- and cross-modal attention over all modality streams at once.

Streams sit in the head dimension of one `scaled_dot_product_attention` call: [B*windows, M*heads, N, head_dim].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.blocks import Conv3d, MBConv, StreamNorm, drop_path, grouped_pointwise
from DABSegCore.models.windows import Windows, relative_index

PAIRS = 2
"""T1 with T1ce and T2 with FLAIR (`cross="pairs"`): streams that lie side by side."""


class PositionBias(nn.Module):
    """Learned score per head and relative position inside a window, plus the window mask.

    Streams, `shared_by` after each other, have one set of heads between them.
    """

    def __init__(self, heads: int, sets: int, largest: int, rule: str, shared_by: int = 1) -> None:
        super().__init__()
        self.heads, self.largest, self.rule, self.shared_by = heads, largest, rule, shared_by
        self.table = nn.Parameter(torch.empty((2 * largest - 1) ** 3, sets * heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, windows: Windows, batch: int, dtype: torch.dtype) -> Tensor:
        """Additive scores [1 or B*windows, sets*shared_by*heads, N, N]."""
        index = relative_index(windows.window, self.largest, self.rule, str(self.table.device))
        n = round(index.numel() ** 0.5)
        # Heads outermost in memory, too: a sum with the mask keeps its order, and attention would copy any other.
        bias = self.table.index_select(0, index).T.to(dtype).contiguous()
        bias = bias.unflatten(0, (-1, self.heads)).repeat_interleave(self.shared_by, 0).view(1, -1, n, n)
        mask = windows.mask(self.table.device)
        return bias if mask is None else bias + mask.to(dtype).repeat(batch, 1, 1, 1)


class SelfAttention(nn.Module):
    """Self-attention inside windows, own weights per stream.

    With `across=True` every stream also reads every other one with the same query and that stream's keys and
    values, and the M results are summed before the projection (equation 9, restricted to a window).
    """

    def __init__(self, channels: int, heads: int, streams: int, largest: int, rule: str, across: bool = False) -> None:
        super().__init__()
        self.heads, self.streams, self.across = heads, streams, across
        self.qkv = Conv3d(streams * channels, 3 * streams * channels, 1, groups=streams)
        self.proj = Conv3d(streams * channels, streams * channels, 1, groups=streams)
        self.bias = PositionBias(heads, streams * (streams if across else 1), largest, rule)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """Tokens laid out as `windows` has it [B, M*C, D, H, W] -> what they read, put back [B, M*C, D, H, W]."""
        q, k, v = windows.split(self.qkv(x), self.streams, 3, self.heads)  # [X, M*h, N, d]
        if self.across:
            m = (self.streams, self.heads)
            q = q.unflatten(1, m)[:, :, None].expand(-1, -1, m[0], -1, -1, -1).flatten(1, 3)  # query m, key m'
            k, v = (t.unflatten(1, m)[:, None].expand(-1, m[0], -1, -1, -1, -1).flatten(1, 3) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(windows, x.shape[0], q.dtype))
        if self.across:
            y = y.unflatten(1, (self.streams, self.streams, self.heads)).sum(2).flatten(1, 2)
        return self.proj(windows.join(y))


class PairAttention(nn.Module):
    """Cross-attention of the published network: T1 reads T1ce and back, T2 reads FLAIR and back.

    Both directions of a pair share their weights; the two pairs never meet here.
    """

    def __init__(self, channels: int, heads: int, largest: int, rule: str) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        self.qkv_weight = nn.Parameter(torch.empty(PAIRS, 3 * channels, channels))
        self.qkv_bias = nn.Parameter(torch.zeros(PAIRS, 3 * channels))
        self.proj_weight = nn.Parameter(torch.empty(PAIRS, channels, channels))
        self.proj_bias = nn.Parameter(torch.zeros(PAIRS, channels))
        self.bias = PositionBias(heads, PAIRS, largest, rule, shared_by=2)
        for weight in (self.qkv_weight, self.proj_weight):
            nn.init.kaiming_uniform_(weight.view(-1, channels), a=5**0.5)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """As `SelfAttention.forward`."""
        queries, others = self.qkv_weight.split([self.channels, 2 * self.channels], 1)
        query_bias, other_bias = self.qkv_bias.split([self.channels, 2 * self.channels], 1)
        (q,) = windows.split(_per_pair(x, queries, query_bias), 4, 1, self.heads)  # [X, 4*h, N, d]
        partners = x.unflatten(1, (-1, 2, self.channels)).flip(2).flatten(1, 3)
        k, v = windows.split(_per_pair(partners, others, other_bias), 4, 2, self.heads)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(windows, x.shape[0], q.dtype))
        return _per_pair(windows.join(y), self.proj_weight, self.proj_bias)


def _per_pair(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1x1 convolution of four streams whose pairs share weights [pairs, out, in]."""
    kernel = weight.repeat_interleave(2, 0).flatten(0, 1)[:, :, None, None, None]
    return grouped_pointwise(x, kernel, bias.repeat_interleave(2, 0).flatten(), 2 * len(weight))


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
        u = windows.lay_out(self.norm1(x))
        attended = self.attention(u, windows)
        if self.pair_attention is not None:
            attended = attended + self.pair_attention(u, windows)
        x = x + drop_path(attended, self.streams, self.drop, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), self.streams, self.drop, self.training)
