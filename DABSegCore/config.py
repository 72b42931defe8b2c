"""Configuration: what decides a network, as a frozen dataclass, and the three presets; standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")

BOUNDS: dict[str, tuple[float, float]] = {
    "modalities": (1, 16),
    "regions": (1, 16),
    "stem_width": (1, 512),
    "stem_blocks": (0, 16),
    "embed_dim": (4, 512),
    "depths": (1, 32),
    "heads": (1, 64),
    "window": (1, 16),
    "mlp_ratio": (1, 16),
    "drop_path": (0.0, 0.9),
    "bottleneck_depth": (0, 32),
    "bottleneck_heads": (1, 256),
    "bottleneck_ratio": (1, 16),
    "decoder_dims": (4, 4096),
    "norm_groups": (1, 64),
    "tail_width": (2, 512),
    "deep_supervision": (0, 3),
}
"""Least and largest value of every number of `ModelConfig`."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape of a network. A preset is a value of this class, never a subclass.

    Defaults are the paper's (section 3.2 and the published network); `base` and `small` override what they improve.
    """

    preset: str = "paper"
    modalities: int = 4
    regions: int = 3

    stem: Literal["fdmds", "pyramid", "none"] = "fdmds"
    """Restorer: the paper's three convolutions at full resolution, a multi-scale one at half resolution, or none at
    all, which leaves the trunk alone (the paper's DAMI)."""
    stem_width: int = 16
    """Channels of the stem (at half resolution for `pyramid`, doubling with each level)."""
    stem_blocks: tuple[int, ...] = ()
    """Residual blocks per level of the `pyramid` stem, from 1/2 resolution down."""

    embed_dim: int = 32
    """Channels per modality at 1/4 resolution; doubles with every stage."""
    depths: tuple[int, int, int] = (2, 2, 2)
    heads: tuple[int, int, int] = (2, 4, 8)
    window: int = 7
    """Largest attention window, in tokens per axis."""
    window_rule: Literal["published", "fit"] = "published"
    """`published`: zero padding takes softmax mass and clipped windows use a wrong bias index, as in the released
    code. `fit`: the window shrinks to divide the grid, what padding is left is masked, the bias index is exact."""
    cross: Literal["pairs", "all"] = "pairs"
    """Cross-modal attention: T1-T1ce and T2-FLAIR only, or every modality to every other (equation 9)."""
    mlp: Literal["depthwise", "fused"] = "depthwise"
    """Convolutional feed-forward: 1x1x1 + depthwise 3x3x3, or one dense 3x3x3 per modality."""
    mlp_ratio: int = 4
    drop_path: float = 0.1

    bottleneck_depth: int = 2
    bottleneck_heads: int = 16
    bottleneck_ratio: int = 4

    decoder_dims: tuple[int, int, int, int] = (512, 256, 128, 64)
    """Decoder channels at 1/16, 1/8, 1/4 and 1/2 resolution."""
    fuse: bool = False
    """Compress every skip with the 1x1x1 fusion of equation 11 (the published code concatenates)."""
    gate_norm: Literal["batch", "group"] = "batch"
    """Norm inside the skip gate; BatchNorm over 24..96 positions at batch 1 is noise, so only parity wants it."""
    norm_groups: int = 2
    """Groups of every GroupNorm outside the gate (per modality where streams are grouped)."""
    tail: Literal["full", "half"] = "full"
    """Last decoder level: convolutions at full resolution (60 % of the paper's FLOPs), or at half resolution with
    eight sub-voxel logits per position."""
    tail_width: int = 32
    deep_supervision: int = 0
    """How many coarser decoder levels also predict while training."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: If a value is of the wrong kind, out of bounds, or does not go with another.
        """
        check_fields(self, BOUNDS)
        if self.modalities != 4 and self.cross == "pairs":
            raise ValueError(f"cross='pairs' pairs 4 modalities, got {self.modalities}; use cross='all'")
        skips = tuple(self.modalities * self.embed_dim * factor // 2 for factor in (8, 4, 2))
        if not self.fuse and self.decoder_dims[:3] != skips:
            raise ValueError(
                f"without fuse the gated decoder_dims must be the skips' {skips}, got {self.decoder_dims[:3]}"
            )
        if self.embed_dim % 2:
            raise ValueError(f"embed_dim must be even, as the stem has half of it, got {self.embed_dim}")
        widths = [self.embed_dim * 2**stage for stage in range(3)] + [self.modalities * self.embed_dim * 8]
        for heads, width in zip((*self.heads, self.bottleneck_heads), widths, strict=True):
            if width % heads:
                raise ValueError(f"heads must divide their channels, but {width} channels have {heads} heads")
        if self.stem == "pyramid" and not 1 <= len(self.stem_blocks) <= 5:
            raise ValueError(f"the pyramid needs 1 to 5 levels, got {len(self.stem_blocks)} stem_blocks")

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelConfig:
        """Rebuild from `dataclasses.asdict` after a trip through JSON.

        Raises:
            ValueError: If a field is unknown (a file of a newer version), or as `__post_init__`.
        """
        return from_plain(ModelConfig, values)


def from_plain(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration from `dataclasses.asdict` after a trip through JSON.

    Raises:
        ValueError: If a field is unknown (a file of a newer version), or as the configuration's own check.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"unknown model setting {unknown[0]!r}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def check_fields(config: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Refuse settings of the wrong kind or out of bounds.

    Args:
        config: A configuration, that is a dataclass with annotated fields.
        bounds: Least and largest value by field.

    Raises:
        ValueError: If a setting is not of the annotated kind, or one of its numbers is out of bounds.
    """
    for name, kind in get_type_hints(type(config)).items():
        _check(name, getattr(config, name), kind, bounds)


def _check(name: str, value: Any, kind: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise a ValueError unless a setting is of the annotated kind and, number by number, within its bounds."""
    shown = f"{value!r:.60}"
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {shown}")
    elif get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, tuple) or (kinds[-1] is not Ellipsis and len(value) != len(kinds)):
            raise ValueError(f"{name} must be {'some' if ... in kinds else len(kinds)} numbers, got {shown}")
        for item in value:
            _check(name, item, kinds[0], bounds)
    elif not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {shown}")
    elif name in bounds and not bounds[name][0] <= value <= bounds[name][1]:
        raise ValueError(f"{name} must lie in {list(bounds[name])}, got {shown}")


PAPER = ModelConfig()
"""The published network to the number, minus the 54 tensors (235,340 parameters) its code never runs. Its stem starts
as identity like the others; published checkpoints overwrite that anyway."""

BASE = ModelConfig(
    preset="base",
    stem="pyramid",
    stem_width=24,
    stem_blocks=(0, 2, 2),
    window=4,
    window_rule="fit",
    cross="all",
    mlp="fused",
    mlp_ratio=2,
    drop_path=0.05,
    bottleneck_depth=2,
    bottleneck_heads=16,
    bottleneck_ratio=2,
    decoder_dims=(256, 128, 64, 24),
    fuse=True,
    gate_norm="group",
    tail="half",
    tail_width=24,
    deep_supervision=2,
)
"""For GPUs; no weights ship yet. 44.6 M parameters, 228 GFLOP at 4x128^3 against 885 of `paper`. What differs, and why;
times are of one forward in float32 at 4x64^3 on 2 busy CPU cores, all in one run of
`Testing/benchmarks/bench.py --parts variants --size 64`:

- stem `pyramid`: sees ghosts far from their source, starts as identity, leaves the outside of the brain alone; costs
  16 % more time than the paper's, whose receptive field is 7 voxels;
- windows of 4, which divide 32^3, 16^3 and 8^3: windows of 8 took 1.8 times as long; padding is masked and the
  bias index exact (`window_rule="fit"`);
- cross-attention of all modalities, as equation 9 says: at this window no slower than pairs (1.00);
- `fused` feed-forward: 0.84 of the speed of depthwise forward, but 1.10 times its speed in a bfloat16 training step
  (timed apart, no script here repeats it);
- tail at half resolution: the full-resolution one took 1.4 times as long;
- GroupNorm in the gates, fusion of skips (equation 11), deep supervision: measured by no one here yet."""

SMALL = ModelConfig(
    preset="small",
    stem="pyramid",
    stem_width=16,
    stem_blocks=(0, 1, 2),
    embed_dim=16,
    depths=(1, 1, 1),
    heads=(1, 2, 4),
    window=4,
    window_rule="fit",
    cross="all",
    mlp="fused",
    mlp_ratio=2,
    drop_path=0.0,
    bottleneck_depth=1,
    bottleneck_heads=8,
    bottleneck_ratio=1,
    decoder_dims=(96, 72, 40, 16),
    fuse=True,
    gate_norm="group",
    tail="half",
    tail_width=16,
    deep_supervision=2,
)
"""For CPUs and laptops: `base` with half the channels, one block per stage and narrow last levels. 5.9 M parameters
(11.9 MB as float16), 71 GFLOP at 4x128^3, a twelfth of `paper`."""

PRESETS: dict[str, ModelConfig] = {config.preset: config for config in (PAPER, BASE, SMALL)}
