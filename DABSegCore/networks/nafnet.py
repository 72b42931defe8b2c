"""NAFNet: its settings (Chen et al., ECCV 2022); the network is in `models.companions.nafnet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from DABSegCore.config import check_fields
from DABSegCore.networks.bounds import COMMON

BOUNDS = COMMON | {
    "encoder_blocks": (1, 64),
    "middle_blocks": (1, 64),
    "decoder_blocks": (1, 64),
}
"""Least and largest value of every number."""


@dataclass(frozen=True)
class NAFNetConfig:
    """NAFNet as a restorer of four modalities at once.

    Attributes:
        preset: Its name.
        width: Channels at the finest resolution.
        encoder_blocks: Blocks by level, finest first.
        middle_blocks: Blocks at the coarsest resolution.
        decoder_blocks: Blocks by level, coarsest first.
        form: Volumes; or axial slices one by one, which is the published 2-D network.
        fold: Work at half resolution with 2x2x2 voxels as channels: depthwise convolutions on a CPU are slow.
    """

    preset: str
    width: int
    encoder_blocks: tuple[int, ...]
    middle_blocks: int
    decoder_blocks: tuple[int, ...]
    form: Literal["volume", "axial"] = "volume"
    fold: bool = False
    modalities: int = 4
    regions: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: As `check_fields`, or if encoder and decoder differ in levels.
        """
        check_fields(self, BOUNDS)
        if len(self.encoder_blocks) != len(self.decoder_blocks) or not 1 <= len(self.encoder_blocks) <= 5:
            raise ValueError(
                f"NAFNet needs 1 to 5 levels, as many up as down, got {self.encoder_blocks} and {self.decoder_blocks}"
            )
        if self.width % 2:
            raise ValueError(f"the width of NAFNet must be even, got {self.width}")
