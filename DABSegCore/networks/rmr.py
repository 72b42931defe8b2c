"""RMR-Fusion: its settings; the network is in `models.companions.rmr`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from DABSegCore.config import check_fields
from DABSegCore.networks.bounds import COMMON
from DABSegCore.networks.peers import PeerConfig

BOUNDS = COMMON | {
    "reads": (0, 15),
    "salient": (0, 15),
    "features": (4, 16),
    "patch": (1, 8),
    "heads": (1, 64),
    "depths": (1, 32),
    "window": (1, 16),
    "head_width": (4, 256),
    "head_levels": (2, 6),
}
"""Least and largest value of every number."""


@dataclass(frozen=True)
class RMRConfig:
    """RMR-Fusion: an autoencoder that removes degradations, a fusion of its features, and a network that outlines.

    Attributes:
        preset: Its name.
        reads: The modalities it fuses, by index.
        salient: The one whose intensities the fused volume shall keep (FLAIR shows lesions).
        width: Channels of the windowed attention; half of it that of the first and last convolutions.
        features: Channels an encoder gives, and the fusion.
        patch: Voxels along an edge of an attention token.
        heads: Of the attention.
        depths: Attention blocks by layer; every second one in a layer shifts its windows.
        window: Largest attention window, in tokens per axis.
        head: Network that outlines, of MONAI.
        head_width: Its width.
        head_levels: Its levels, if it is `dynunet`.
    """

    preset: str
    reads: tuple[int, ...] = (0, 1, 2, 3)
    salient: int = 3
    width: int = 48
    features: int = 16
    patch: int = 2
    heads: int = 6
    depths: tuple[int, ...] = (3, 3)
    window: int = 7
    head: Literal["segresnet", "swinunetr", "dynunet"] = "swinunetr"
    head_width: int = 48
    head_levels: int = 5
    modalities: int = 4
    regions: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: As `check_fields` and `PeerConfig`, or if two numbers do not go together.
        """
        check_fields(self, BOUNDS)
        distinct = len(set(self.reads)) == len(self.reads) >= 2
        if not distinct or max(self.reads) >= self.modalities or self.salient not in self.reads:
            raise ValueError(
                f"reads must name two or more of {self.modalities} modalities, salient among them, each once, got "
                f"{self.reads} and {self.salient}"
            )
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"the width of RMR must be even and a multiple of its {self.heads} heads, got {self.width}"
            )
        if self.patch not in (1, 2, 4, 8) or not self.depths:
            raise ValueError(f"RMR needs a patch of 1, 2, 4 or 8 and a depth, got {self.patch} and {self.depths}")
        self.head_config()

    def head_config(self) -> PeerConfig:
        """Configuration of the network that outlines: it reads the fused features."""
        return PeerConfig(
            f"{self.preset}-head", self.head, self.head_width, self.head_levels, self.features, self.regions
        )
