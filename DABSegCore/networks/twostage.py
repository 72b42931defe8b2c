"""Two stages: one network that restores, then one that outlines; and what any network's settings can be."""

from __future__ import annotations

from dataclasses import dataclass

from DABSegCore.config import ModelConfig
from DABSegCore.networks.btsegdiff import BTSegDiffConfig
from DABSegCore.networks.meddeblur import MedDeblurConfig
from DABSegCore.networks.nafnet import NAFNetConfig
from DABSegCore.networks.peers import PeerConfig
from DABSegCore.networks.rmr import RMRConfig


@dataclass(frozen=True)
class TwoStageConfig:
    """A restorer, frozen, and a segmenter that sees what it restored.

    Attributes:
        restorer: Configuration of the first.
        segmenter: Configuration of the second.
    """

    restorer: AnyConfig
    segmenter: AnyConfig

    def __post_init__(self) -> None:
        """Refuse a chain of more than two, or two that differ in their modalities.

        Raises:
            ValueError: If so.
        """
        if any(isinstance(config, TwoStageConfig) for config in (self.restorer, self.segmenter)):
            raise ValueError("a two-stage network cannot be part of another one")
        if self.restorer.modalities != self.segmenter.modalities:
            raise ValueError(f"restorer and segmenter must read the same modalities, got {self}")

    @property
    def preset(self) -> str:
        """Both names."""
        return f"{self.restorer.preset}+{self.segmenter.preset}"

    @property
    def modalities(self) -> int:
        """What it reads."""
        return self.restorer.modalities

    @property
    def regions(self) -> int:
        """What it outlines."""
        return self.segmenter.regions


AnyConfig = ModelConfig | PeerConfig | NAFNetConfig | MedDeblurConfig | RMRConfig | BTSegDiffConfig | TwoStageConfig
