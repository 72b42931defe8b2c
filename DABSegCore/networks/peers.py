"""Peers: segmentation networks of MONAI, which ours are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from DABSegCore.config import check_fields
from DABSegCore.networks.bounds import COMMON

BOUNDS = COMMON | {"levels": (2, 6)}
"""Least and largest value of every number."""


@dataclass(frozen=True)
class PeerConfig:
    """A segmentation network of MONAI, which restores nothing.

    Attributes:
        preset: Its name.
        architecture: Which of MONAI's.
        width: Channels at full resolution.
        levels: Resolutions; SegResNet and SwinUNETR have their own number.
    """

    preset: str
    architecture: Literal["segresnet", "swinunetr", "dynunet"]
    width: int
    levels: int = 5
    modalities: int = 4
    regions: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: As `check_fields`, or if SwinUNETR's width does not divide into its heads.
        """
        check_fields(self, BOUNDS)
        if self.architecture == "swinunetr" and self.width % 12:
            raise ValueError(f"the width of swinunetr must be a multiple of 12, got {self.width}")
