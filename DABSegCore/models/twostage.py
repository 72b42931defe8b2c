"""Two-stage: restore with a frozen network, then segment what it restored; the comparison of the paper's table 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DABSegCore.models.prediction import Network, Prediction, Truth
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
        self.outlines, self.wants_truth = segmenter.outlines, segmenter.wants_truth
        self.shows_features = segmenter.shows_features

    def train(self, mode: bool = True) -> TwoStage:
        """As of any module, except that the restorer stays as it was when it was done."""
        super().train(mode)
        self.restorer.eval()
        return self

    def forward(self, corrupted: Tensor, *truth: Truth) -> Prediction:
        """[B, M, D, H, W] of any size -> the segmenter's answer to what the restorer made of it, and that."""
        with torch.no_grad():
            restored = self.restorer(corrupted).restored.clamp(0, 1)
        return self.segmenter(restored, *truth)._replace(restored=restored)
