"""BTSegDiff: its settings; the network is in `models.companions.btsegdiff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from DABSegCore.config import check_fields
from DABSegCore.networks.bounds import COMMON

BOUNDS = COMMON | {
    "multipliers": (1, 64),
    "res_blocks": (1, 8),
    "guide_width": (4, 256),
    "guide_most": (4, 1024),
    "attention": (0, 5),
    "grid": (8, 1024),
    "steps": (1, 1000),
    "samples": (1, 64),
}
"""Least and largest value of every number."""


@dataclass(frozen=True)
class BTSegDiffConfig:
    """BTSegDiff: a segmenter that finds masks in noise, guided by the images.

    Attributes:
        preset: Its name.
        width: Channels of the denoiser at its finest level.
        multipliers: Its channels by level, finest first, in widths.
        res_blocks: Its residual blocks at every level.
        guide_width: Channels of the guide at its finest level; they double with every level.
        guide_most: Most channels of the guide.
        attention: Levels of the denoiser with attention, beside its middle.
        form: Volumes at half resolution; or axial slices one by one, which is the published 2-D network.
        predicts: What the denoiser says: the masks, which are then the answer; or the noise, and the guide answers.
        fusion: How the denoiser's features steer the guide: the paper's equations, or the released code's product.
        grid: Edge in voxels of the images that have one spectral weight per frequency; others interpolate.
        steps: DDIM steps of one sample.
        samples: How many masks are sampled (S).
    """

    preset: str
    width: int
    multipliers: tuple[int, ...]
    res_blocks: int
    guide_width: int
    guide_most: int = 480
    attention: tuple[int, ...] = ()
    form: Literal["volume", "axial"] = "volume"
    predicts: Literal["mask", "noise"] = "mask"
    fusion: Literal["affinity", "highway"] = "affinity"
    grid: int = 64
    steps: int = 10
    samples: int = 3
    modalities: int = 4
    regions: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: As `check_fields`, or if levels, widths or grid do not go together.
        """
        check_fields(self, BOUNDS)
        halvings = len(self.multipliers) - (self.form == "axial")  # volumes are folded first
        if len(self.multipliers) < 3 or halvings > 5:  # the guide is told from the second level down
            raise ValueError(
                f"BTSegDiff needs 3 levels or more and 5 halvings at most, got multipliers {self.multipliers}"
            )
        if any(width % 4 for width in (*self.widths, self.guide_width, self.guide_most)):
            raise ValueError(f"the widths of BTSegDiff must be multiples of 4, got {self}")
        if self.grid % 2**halvings:
            raise ValueError(f"the grid must be a multiple of {2**halvings}, got {self.grid}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the denoiser by level, finest first."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)


BTSEGDIFF_AXIAL = BTSegDiffConfig(
    "btsegdiff-axial",
    128,
    (1, 1, 2, 2, 4, 4),
    2,
    32,
    attention=(4,),
    form="axial",
    predicts="noise",
    fusion="highway",
    grid=256,
)
"""The published network: 256x256 slices, attention at 16x16."""
