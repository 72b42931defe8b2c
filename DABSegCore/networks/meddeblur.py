"""MedDeblur: its settings; the network is in `models.companions.meddeblur`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from DABSegCore.config import check_fields
from DABSegCore.networks.bounds import COMMON as BOUNDS


@dataclass(frozen=True)
class MedDeblurConfig:
    """MedDeblur as a restorer of four modalities at once; the published network is `axial` with the rest off.

    Attributes:
        preset: Its name.
        width: Channels at the finest resolution, doubled twice.
        form: Volumes; or axial slices one by one.
        fold: Work at half resolution with 2x2x2 voxels as channels, as for NAFNet; in volumes only.
        residual: Correct the input, by nothing at first, in place of making the image anew.
        every_scale: Learn from the answers of all three scales, not of the finest alone.
    """

    preset: str
    width: int
    form: Literal["volume", "axial"] = "volume"
    fold: bool = False
    residual: bool = True
    every_scale: bool = True
    modalities: int = 4
    regions: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: As `check_fields`, or if slices would be folded into each other.
        """
        check_fields(self, BOUNDS)
        if self.fold and self.form == "axial":
            raise ValueError("MedDeblur folds volumes, not axial slices, which would then see their neighbours")
