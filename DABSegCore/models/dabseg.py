"""DABSeg: restore, encode, decode; `forward` reads as figure 1 of the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.decoder import Decoder
from DABSegCore.models.encoder import Encoder
from DABSegCore.models.stem import build_stem

STRIDE = 32
"""Input sizes are padded to multiples of this: four halvings to the last stage and one to the bottleneck."""


class Prediction(NamedTuple):
    """What one forward pass gives."""

    logits: Tensor
    """Region logits before sigmoid [B, R, D, H, W], regions as in `labels.REGIONS`."""
    restored: Tensor
    """Pseudo-clear volumes [B, M, D, H, W] on the input's intensity scale."""
    deep: tuple[Tensor, ...]
    """While training: logits at coarser levels, coarse to fine; else empty."""


class DABSeg(nn.Module):
    """Degradation-aware blur-segmentation network.

    Args:
        config: The preset (`config.PRESETS`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = build_stem(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, corrupted: Tensor) -> Prediction:
        """Restore and segment.

        Args:
            corrupted: Four modalities in [0, 1], 0 outside the brain [B, M, D, H, W]; any size, any batch.

        Returns:
            A `Prediction` of the input's size.

        Raises:
            ValueError: If the input is not 5-D or has another number of modalities.
        """
        if corrupted.ndim != 5 or corrupted.shape[1] != self.config.modalities:
            raise ValueError(f"expected [B, {self.config.modalities}, D, H, W], got {list(corrupted.shape)}")
        size = corrupted.shape[2:]
        restored = self.stem(_pad_to_stride(corrupted))
        skips, bottleneck = self.encoder(restored)
        logits, deep = self.decoder(skips, bottleneck, restored)
        return Prediction(_crop(logits, size), _crop(restored, size), deep)


def _pad_to_stride(x: Tensor) -> Tensor:
    """Zero-pad the far end of each axis to a multiple of `STRIDE`."""
    extra = [-n % STRIDE for n in x.shape[2:]]
    return F.pad(x, (0, extra[2], 0, extra[1], 0, extra[0])) if any(extra) else x


def _crop(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x[:, :, : size[0], : size[1], : size[2]]
