"""Two-stage: restore with a frozen network, then segment what it restored; the comparison of the paper's table 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DABSegCore.models.prediction import Network, Prediction
from DABSegCore.networks import TwoStageConfig


class TwoStage(Network):
    """A restorer that learns no more, and a segmenter.

    Args:
        config: Both.
        stages: The networks of its two configurations; only the second is trained.
    """

    def __init__(self, config: TwoStageConfig, restorer: nn.Module, segmenter: nn.Module) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.restorer = restorer.requires_grad_(False)
        self.segmenter = segmenter
        self.outlines = segmenter.outlines

    def train(self, mode: bool = True) -> TwoStage:
        """As of any module, except that the restorer stays as it was when it was done."""
        super().train(mode)
        self.restorer.eval()
        return self

    def forward(self, corrupted: Tensor) -> Prediction:
        """[B, M, D, H, W] of any size -> the segmenter's logits for what the restorer made of it, and that."""
        with torch.no_grad():
            restored = self.restorer(corrupted).restored.clamp(0, 1)
        said = self.segmenter(restored)
        return Prediction(said.logits, restored, said.deep)
