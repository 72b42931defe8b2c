"""Degradation: a case spoilt by something other than motion, drawn from seed, case and level as motion is; replayable.

A volume in, one out: what `degrade` can do, at the strengths of `strengths`. Chance is one number per volume, kept with
the result, so that it can be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from DABSegCore import degrade
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.motion import case_generator
from DABSegCore.strengths import STRENGTHS


@dataclass(frozen=True)
class Degradation:
    """What was done to one volume.

    Attributes:
        kind: One of `STRENGTHS`.
        severity: Level 1..4.
        seed: All its chance: direction of a line, every voxel's noise.
        darken: Of `blur`: not to make up for the weight that the published kernel loses by turning.
    """

    kind: str
    severity: int
    seed: int
    darken: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: If there is no such kind or level, or only blur could darken.
        """
        if self.kind not in STRENGTHS:
            raise InputError(
                f"degradation {self.kind!r:.40} does not exist; choose one of {', '.join(STRENGTHS)}",
                code="unknown-degradation",
            )
        if self.severity not in range(1, len(STRENGTHS[self.kind])):
            raise InputError(
                f"severity {self.severity!r:.20} cannot be drawn; choose 1, 2, 3 or 4", code="unknown-severity"
            )
        if self.darken and self.kind != "blur":
            raise InputError(f"only blur may darken, but this is {self.kind}; leave --darken out", code="bad-argument")

    @property
    def strength(self) -> float:
        """How much of it, in the kind's unit."""
        return STRENGTHS[self.kind][self.severity]

    def to_json(self) -> dict[str, Any]:
        """As plain types."""
        return asdict(self)

    @staticmethod
    def from_json(values: Any) -> Degradation:
        """What `to_json` gave.

        Raises:
            InputError: If it is no such.
        """
        kinds = {"kind": str, "severity": int, "seed": int, "darken": bool}
        if not isinstance(values, Mapping) or {k: type(v) for k, v in values.items()} != kinds:
            raise InputError("a degradation of the record is none; make the twin anew", code="bad-trajectory")
        if not 0 <= values["seed"] < 2**63:
            raise InputError("the seed of a degradation of the record is none; make the twin anew", "bad-trajectory")
        return Degradation(**values)


def draw_degradation(
    kind: str, severity: int, case_id: str, modality: str, *, seed: int = 0, draw: int = 0, darken: bool = False
) -> Degradation:
    """What is done to one modality of a case; depends on nothing but the arguments, on any machine.

    Raises:
        InputError: As `Degradation`.
    """
    generator = case_generator(seed, case_id, f"{modality} {kind}", severity, draw)
    return Degradation(kind, severity, generator.initial_seed(), darken)


def degrade_volume(
    volume: Tensor, spacing_mm: Sequence[float], degradation: Degradation, *, brain: Tensor | None = None
) -> Tensor:
    """Spoil a volume.

    Args:
        volume: Sharp volume [D, H, W] >= 0, any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        degradation: What to do.
        brain: Mask [D, H, W] applied afterwards, as skull stripping would be.

    Returns:
        Magnitudes [D, H, W], float32, intensity scale kept (but for a blur that darkens).
    """
    generator = torch.Generator().manual_seed(degradation.seed)
    image = _OPERATORS[degradation.kind](volume.float(), spacing_mm, degradation, generator).abs()
    return image if brain is None else torch.where(brain != 0, image, 0.0)


def degrade_case(
    images: Tensor,
    spacing_mm: Sequence[float],
    kind: str,
    severity: int,
    case_id: str,
    *,
    seed: int = 0,
    draw: int = 0,
    modalities: Sequence[str] = MODALITIES,
) -> Tensor:
    """Spoil every modality of a case, each on its own (they are separate scans), as `motion.corrupt_case` moves them.

    Args:
        images: Sharp volumes on one grid [M, D, H, W], >= 0, any device.
        spacing_mm: Voxel edge lengths in (i, j, k) order.
        kind: One of `STRENGTHS`.
        severity: Level 0..4; 0 returns the images as they are.
        case_id: Part of the seed.
        seed: Global seed >= 0.
        draw: Counts repeated draws.
        modalities: Name of each channel, M of them; part of the seed.

    Returns:
        [M, D, H, W] on the same device and scale, zero where all modalities were zero.

    Raises:
        InputError: As `Degradation`.
    """
    if severity == 0:
        return images
    drawn = [draw_degradation(kind, severity, case_id, name, seed=seed, draw=draw) for name in modalities]
    brain = (images != 0).any(0)
    spoilt = [degrade_volume(image, spacing_mm, one, brain=brain) for image, one in zip(images, drawn, strict=True)]
    return torch.stack(spoilt)


def _blur(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    kernel = degrade.line_kernel(int(what.strength), degrade.draw_line(generator)[1], darken=what.darken)
    return degrade.correlate(volume, kernel)


def _streak(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    length_mm, direction = degrade.draw_streak(what.severity, generator)
    return degrade.correlate(volume, degrade.streak_kernel(length_mm, direction, spacing_mm))


def _noise(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    return degrade.add_noise(volume, what.strength * volume.max(), generator)


def _smooth(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    return degrade.smooth_slices(volume, what.strength)


def _structure(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    windows = degrade.draw_windows(volume.shape, generator)
    return degrade.break_structure(volume, windows, int(what.strength), generator)


def _bias(volume: Tensor, spacing_mm: Sequence[float], what: Degradation, generator: torch.Generator) -> Tensor:
    field = degrade.bias_field(volume.shape, degrade.draw_bias(generator))
    return volume * (1 + what.strength * field.to(volume.device))


_Operator = Callable[[Tensor, Sequence[float], Degradation, torch.Generator], Tensor]
_OPERATORS: dict[str, _Operator] = {
    "blur": _blur,
    "streak": _streak,
    "noise": _noise,
    "smooth": _smooth,
    "structure": _structure,
    "bias": _bias,
}
