"""Windows: how a token grid is cut into attention windows, and who may look at whom inside one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

APART = -100.0
"""Added to the score of two tokens that must not see each other (the published value; exp(-100) is 0)."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Windows:
    """One cut of a grid of tokens [D, H, W] into windows of `window` tokens, after rolling it by `shift`."""

    grid: Triple
    window: Triple
    shift: Triple
    mask_padding: bool

    @staticmethod
    def cut(grid: Triple, largest: int, shifted: bool, rule: str) -> Windows:
        """Choose window and shift for a grid.

        Args:
            grid: Tokens per axis [D, H, W].
            largest: Largest window per axis.
            shifted: Whether windows straddle those of the unshifted block before.
            rule: `published` clips the window to short axes and pads the others; `fit` takes the fewest windows
                per axis that respect `largest` and makes them as equal as whole tokens allow.
        """
        if rule == "fit":
            counts = [math.ceil(n / largest) for n in grid]
            window = tuple(math.ceil(n / c) for n, c in zip(grid, counts, strict=True))
        else:
            window = tuple(min(n, largest) for n in grid)
        shift = tuple(w // 2 if shifted and n > w else 0 for n, w in zip(grid, window, strict=True))
        return Windows(grid, window, shift, mask_padding=rule == "fit")

    @property
    def padded(self) -> Triple:
        """Grid after padding each axis to whole windows."""
        return tuple(math.ceil(n / w) * w for n, w in zip(self.grid, self.window, strict=True))

    def lay_out(self, x: Tensor) -> Tensor:
        """Zero-pad [B, C, D, H, W] at the far end of each axis to whole windows, then roll it by the shift."""
        extra = [p - n for p, n in zip(self.padded, self.grid, strict=True)]
        x = F.pad(x, (0, extra[2], 0, extra[1], 0, extra[0])) if any(extra) else x
        return torch.roll(x, [-s for s in self.shift], dims=(2, 3, 4)) if any(self.shift) else x

    def split(self, x: Tensor, streams: int = 1, parts: int = 1, heads: int = 1) -> Tensor:
        """What attention reads: [B, S*P*h*d, D, H, W], laid out -> [P, B*windows, S*h, N, d].

        Windows, parts (queries, keys, values) and heads come apart in one copy.
        """
        cells = [side for p, w in zip(self.padded, self.window, strict=True) for side in (p // w, w)]
        # [B, S, P, h, d, nD, wD, nH, wH, nW, wW]
        x = x.reshape(x.shape[0], streams, parts, heads, x.shape[1] // (streams * parts * heads), *cells)
        x = x.permute(2, 0, 5, 7, 9, 1, 3, 6, 8, 10, 4)
        return x.reshape(parts, -1, streams * heads, math.prod(self.window), x.shape[-1])

    def join(self, tokens: Tensor) -> Tensor:
        """Inverse of `lay_out` and `split` of one part: [B*windows, heads, N, d] -> [B, heads*d, D, H, W]."""
        counts = [p // w for p, w in zip(self.padded, self.window, strict=True)]
        x = tokens.unflatten(2, self.window).unflatten(0, (-1, *counts))  # [B, nD, nH, nW, heads, wD, wH, wW, d]
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(-1, *self.padded, tokens.shape[1] * tokens.shape[3])
        x = x.movedim(-1, 1)
        x = torch.roll(x, self.shift, dims=(2, 3, 4)) if any(self.shift) else x
        return x[:, :, : self.grid[0], : self.grid[1], : self.grid[2]]

    def mask(self, device: torch.device) -> Tensor | None:
        """Additive score mask [windows, 1, N, N], or None where everyone may see everyone."""
        key = ("mask", self.grid, self.window, self.shift, self.mask_padding, str(device))
        return TABLES[key] if key in TABLES else _kept(key, _mask(self, str(device)))


TABLES: dict[tuple, Tensor | None] = {}
"""Masks and indices by what they depend on, the last `MOST_TABLES`. A compiler looks them up here; `lru_cache` it would
trace through, and put their making into every forward."""

MOST_TABLES = 64


def _kept(key: tuple, table: Tensor | None) -> Tensor | None:
    if len(TABLES) >= MOST_TABLES:
        del TABLES[next(iter(TABLES))]
    TABLES[key] = table
    return table


# Tensors made in inference mode can never be trained with, and these outlive the call that made them.


@torch.inference_mode(False)
def _mask(windows: Windows, device: str) -> Tensor | None:
    """Tokens see each other if they were neighbours before the roll wrapped round, and padding sees only padding."""
    padding_shows = windows.mask_padding and windows.padded != windows.grid
    if not any(windows.shift) and not padding_shows:
        return None
    region = torch.zeros(windows.padded, dtype=torch.long)
    for axis, (size, window, shift) in enumerate(zip(windows.padded, windows.window, windows.shift, strict=True)):
        if shift:
            position = torch.arange(size)
            part = (position >= size - window).long() + (position >= size - shift).long()
            region = region * 3 + part.reshape([-1 if a == axis else 1 for a in range(3)])
    if padding_shows:
        real = torch.zeros(windows.padded, dtype=torch.bool)
        real[: windows.grid[0], : windows.grid[1], : windows.grid[2]] = True
        real = torch.roll(real, [-s for s in windows.shift], dims=(0, 1, 2))
        region[~real] = -1
    still = Windows(windows.grid, windows.window, (0, 0, 0), windows.mask_padding)
    ids = still.split(region[None, None].float())[0, :, 0, :, 0]  # [windows, N]
    apart = ids[:, None, :, None] != ids[:, None, None, :]
    return torch.where(apart, APART, 0.0).to(device)


def relative_index(window: Triple, largest: int, rule: str, device: str) -> Tensor:
    """Row of the position-bias table for every (query, key) pair of a window, flat [N*N].

    The table has one row per offset in (-largest, largest)^3. Rule `published` slices the index of the largest
    window, which for clipped windows confuses offsets; it is needed to reproduce published checkpoints.
    """
    key = ("index", window, largest, rule, device)
    return TABLES[key] if key in TABLES else _kept(key, _relative_index(window, largest, rule, device))


@torch.inference_mode(False)
def _relative_index(window: Triple, largest: int, rule: str, device: str) -> Tensor:
    n = math.prod(window)
    basis = (largest,) * 3 if rule == "published" else window
    axes = torch.meshgrid(*(torch.arange(w) for w in basis), indexing="ij")
    position = torch.stack([a.flatten() for a in axes])[:, :n]  # [3, N]
    offset = position[:, :, None] - position[:, None, :] + largest - 1  # [3, N, N]
    span = 2 * largest - 1
    return ((offset[0] * span + offset[1]) * span + offset[2]).flatten().to(device)
