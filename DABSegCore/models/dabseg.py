"""DABSeg: restore, encode, decode; `forward` reads as figure 1 of the paper."""

from __future__ import annotations

from torch import Tensor

from DABSegCore.config import ModelConfig
from DABSegCore.models.decoder import Decoder
from DABSegCore.models.encoder import Encoder
from DABSegCore.models.prediction import Network, Prediction, crop, pad_to_stride
from DABSegCore.models.stem import build_stem


class DABSeg(Network):
    """Degradation-aware blur-segmentation network; without a stem it is its trunk alone, DAMI.

    Args:
        config: The preset (`config.PRESETS`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.restores = config.stem != "none"
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
        size = self.check(corrupted)
        restored = self.stem(pad_to_stride(corrupted))
        skips, bottleneck = self.encoder(restored)
        logits, deep = self.decoder(skips, bottleneck, restored)
        return Prediction(crop(logits, size), crop(restored, size), deep)
