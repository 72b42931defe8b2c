"""DABSeg: restore, encode, decode; `forward` reads as figure 1 of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from DABSegCore.config import ModelConfig
from DABSegCore.models.decoder import Decoder
from DABSegCore.models.encoder import Encoder
from DABSegCore.models.prediction import Network, Prediction, Truth, crop, pad_to_stride
from DABSegCore.models.stem import build_stem


class DABSeg(Network):
    """Degradation-aware blur-segmentation network; without a stem it is its trunk alone, DAMI.

    Args:
        config: The preset (`config.PRESETS`).
    """

    shows_features = True
    steady = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.restores = config.stem != "none"
        self.stem = build_stem(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, corrupted: Tensor, truth: Truth | None = None) -> Prediction:
        """Restore and segment.

        Args:
            corrupted: Four modalities in [0, 1], 0 outside the brain [B, M, D, H, W]; any size, any batch.
            truth: While training, if features are to be compared with those of the sharp volumes.

        Returns:
            A `Prediction` of the input's size.

        Raises:
            ValueError: If the input is not 5-D or has another number of modalities.
        """
        size = self.check(corrupted)
        restored = self.stem(pad_to_stride(corrupted))
        skips, bottleneck = self.encoder(restored)
        logits, deep = self.decoder(skips, bottleneck, restored)
        # Last: autocast keeps the weights it first converts, and those converted without gradient would learn nothing.
        features = None if truth is None else (skips[0], self._sharp_features(truth.sharp))
        return Prediction(crop(logits, size), crop(restored, size), deep, features=features)

    @torch.no_grad()
    def _sharp_features(self, sharp: Tensor) -> Tensor:
        """What the encoder's first convolutions see in sharp volumes: the aim, which does not move towards the rest."""
        return self.encoder.stem(pad_to_stride(sharp))[0]
