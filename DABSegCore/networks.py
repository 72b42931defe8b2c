"""Networks: every network that can be trained, segmented with and compared, by name; standard library only.

A name stands for a frozen configuration; `models.build_model` makes the network of any. Ours come with and without the
stem (`dami-*`: the paper's ablation, and the control that shows what the stem is worth); peers are MONAI's, companions
the methods of other papers. Restorers outline nothing and go in front of a segmenter, as the paper's two-stage
comparison does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from DABSegCore.config import PRESETS, ModelConfig, check_fields, from_plain

BOUNDS: dict[str, tuple[float, float]] = {
    "modalities": (1, 16),
    "regions": (1, 16),
    "width": (4, 256),
    "levels": (2, 6),
    "encoder_blocks": (1, 64),
    "middle_blocks": (1, 64),
    "decoder_blocks": (1, 64),
    "multipliers": (1, 64),
    "res_blocks": (1, 8),
    "guide_width": (4, 256),
    "guide_most": (4, 1024),
    "attention": (0, 5),
    "grid": (8, 1024),
    "steps": (1, 1000),
    "samples": (1, 64),
}
"""Least and largest value of every number of the configurations here."""


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


RMR_BOUNDS = BOUNDS | {
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
"""The same for `RMRConfig`."""


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
        check_fields(self, RMR_BOUNDS)
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


AnyConfig = Union[ModelConfig, PeerConfig, NAFNetConfig, MedDeblurConfig, RMRConfig, BTSegDiffConfig, TwoStageConfig]  # noqa: UP007 (it is evaluated, also on 3.10)

FAMILIES: dict[str, type] = {
    "dabseg": ModelConfig,
    "peer": PeerConfig,
    "nafnet": NAFNetConfig,
    "meddeblur": MedDeblurConfig,
    "rmr": RMRConfig,
    "btsegdiff": BTSegDiffConfig,
    "two-stage": TwoStageConfig,
}
"""Kinds of network, by the name a checkpoint has for them."""


def _without_stem(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, preset=f"dami-{config.preset}", stem="none", stem_blocks=())


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

NETWORKS: dict[str, AnyConfig] = {
    config.preset: config
    for config in (
        *PRESETS.values(),
        *map(_without_stem, PRESETS.values()),
        PeerConfig("segresnet", "segresnet", 16),
        PeerConfig("segresnet-small", "segresnet", 8),
        PeerConfig("swinunetr", "swinunetr", 48),
        PeerConfig("swinunetr-small", "swinunetr", 12),
        PeerConfig("dynunet", "dynunet", 32),
        PeerConfig("dynunet-small", "dynunet", 16),
        NAFNetConfig("nafnet", 32, (1, 1, 2, 4), 2, (1, 1, 1, 1)),
        NAFNetConfig("nafnet-axial", 32, (1, 1, 1, 28), 1, (1, 1, 1, 1), form="axial"),
        NAFNetConfig("nafnet-small", 16, (1, 1, 2), 2, (1, 1, 1), fold=True),
        BTSegDiffConfig("btsegdiff", 32, (1, 2, 4, 8), 1, 16),
        BTSegDiffConfig("btsegdiff-small", 16, (1, 2, 4, 4), 1, 8),
        BTSEGDIFF_AXIAL,
        MedDeblurConfig("meddeblur", 16),
        MedDeblurConfig("meddeblur-axial", 32, form="axial", residual=False, every_scale=False),
        MedDeblurConfig("meddeblur-small", 16, fold=True),
        RMRConfig("rmr", window=4),
        RMRConfig("rmr-two", reads=(0, 3)),
        RMRConfig(
            "rmr-small", width=8, features=6, patch=4, heads=2, depths=(2,), window=4, head="segresnet", head_width=8
        ),
    )
}
"""Every network that `train --preset` knows."""


def family_of(config: AnyConfig) -> str:
    """Name of a configuration's kind."""
    return next(name for name, kind in FAMILIES.items() if isinstance(config, kind))


def as_plain(config: AnyConfig) -> dict[str, Any]:
    """A configuration in JSON's types; `config_from` makes it again."""
    if isinstance(config, TwoStageConfig):
        stages = {"restorer": config.restorer, "segmenter": config.segmenter}
        return {name: {"family": family_of(stage), **as_plain(stage)} for name, stage in stages.items()}
    return dataclasses.asdict(config)


def config_from(family: Any, values: Mapping[str, Any]) -> AnyConfig:
    """A configuration from what `as_plain` made of it.

    Args:
        family: Name of its kind.
        values: Its settings.

    Raises:
        ValueError: If there is no such kind, or as `from_plain`.
        TypeError: If a setting is missing.
    """
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"unknown kind of network {family!r:.40}")
    if FAMILIES[family] is not TwoStageConfig:
        return from_plain(FAMILIES[family], values)
    if set(values) != {"restorer", "segmenter"} or not all(isinstance(v, Mapping) for v in values.values()):
        raise ValueError(f"a two-stage network has a restorer and a segmenter, got {sorted(values)!r:.60}")
    stages = {name: dict(stage) for name, stage in values.items()}
    if any(stage.get("family") == "two-stage" for stage in stages.values()):  # as deep as a file likes, else
        raise ValueError("a two-stage network cannot be part of another one")
    return TwoStageConfig(**{name: config_from(stage.pop("family", None), stage) for name, stage in stages.items()})
