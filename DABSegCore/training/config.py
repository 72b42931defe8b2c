"""Config: everything that decides a training, the two recipes, and what may differ when a run is resumed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from DABSegCore.errors import InputError
from DABSegCore.networks import NETWORKS
from DABSegCore.strengths import MOTION, STRENGTHS

RecipeName = Literal["best", "paper"]


def _setting(default: Any, group: str, help: str, choices: Iterable[str] = ()) -> Any:
    """A field that is also a flag of the command line, with its group, help and choices there."""
    return field(default=default, metadata={"group": group, "help": help, "choices": tuple(choices)})


@dataclass(frozen=True)
class TrainConfig:
    """One training run; every field is a flag of `python -m DABSegCore.train`, with `_` as `-`."""

    data: Path | None = _setting(None, "data", "folder of BraTS cases (names of 2020 or 2023), split or not")
    split: Path | None = _setting(
        None, "data", "JSON with the lists train, validation and test, as split.json of a run"
    )
    validation: tuple[str, ...] = _setting((), "data", "cases to validate with, by name; all others train")
    virtual: int = _setting(0, "data", "virtual patients to train on; they make up at most half of the draws")
    virtual_validation: int = _setting(0, "data", "the same to validate with; without --data: 2")

    preset: str | None = _setting(
        None, "network", "which network (default: base on a GPU, small without)", choices=NETWORKS
    )
    restorer: Path | None = _setting(
        None, "network", "checkpoint of a restorer to put in front and leave as it is: two stages"
    )
    init: Path | None = _setting(None, "network", "checkpoint to start from instead of fresh weights")

    recipe: RecipeName = _setting("best", "recipe", "what all below default to: ours, or the paper's")
    patch: int = _setting(128, "recipe", "patch edge in voxels, a multiple of 32")
    batch: int = _setting(2, "recipe", "patches per step, over all processes")
    accumulate: int = _setting(1, "recipe", "parts a step's patches are run in, one after the other, to save memory")
    severities: tuple[int, ...] = _setting(
        (0, 1, 2, 2, 3, 3), "recipe", "motion levels, drawn uniformly from this list"
    )
    degrade: tuple[str, ...] = _setting(
        (MOTION,),
        "recipe",
        f"what spoils images, drawn uniformly from this list: {MOTION}, {', '.join(STRENGTHS)} (validation: motion)",
    )
    fresh_motion: bool = _setting(True, "recipe", "draw new motion every time, not one motion per case for ever")
    pool: int = _setting(16, "recipe", "blurred volumes held at a time")
    patches_per_twin: int = _setting(16, "recipe", "patches cut from a blurred volume before a fresh one replaces it")
    tumour_share: float = _setting(0.6, "recipe", "share of patches centred near ET, TC or WT, each as often")
    aligned: bool = _setting(
        True, "recipe", "compare restored and sharp at one place; not, as the published code: at two drawn apart"
    )
    augment: bool = _setting(True, "recipe", "flips, rotation, scaling, gamma, gain and bias fields")
    optimiser: Literal["adamw", "adam"] = _setting("adamw", "recipe", "adam: with amsgrad and L2, as the paper's code")
    learning_rate: float = _setting(5e-4, "recipe", "at its highest")
    last_learning_rate: float = _setting(0.0, "recipe", "where the cosine ends")
    weight_decay: float = _setting(1e-4, "recipe", "of the optimiser")
    # On `small`, the same 230 patches of 96: 10 steps of warm-up had a segmentation loss of 0.81, 100 steps 0.90.
    warm_up_steps: int = _setting(20, "recipe", "steps of a linear start")
    lambda_rec: float = _setting(30.0, "recipe", "weight of the reconstruction term (equation 14)")
    lambda_feat: float = _setting(
        0.0, "recipe", "weight of RMR-Fusion's refinement of features: of restored against sharp volumes; 0: none"
    )
    rec_over: Literal["brain", "crop"] = _setting("brain", "recipe", "where reconstruction is compared")
    batch_dice: bool = _setting(True, "recipe", "Dice over the batch, not per patch")
    bce: bool = _setting(True, "recipe", "add voxelwise cross-entropy to Dice")
    region_weights: tuple[float, float, float] = _setting((1.0, 1.0, 1.0), "recipe", "Dice weights of ET, TC, WT")
    late_region_weights: tuple[float, float, float] = _setting((1.0, 1.0, 1.0), "recipe", "the same, from late_from on")
    late_from: float = _setting(1.0, "recipe", "share of the schedule where these begin and the cosine restarts")
    ema: float = _setting(0.998, "recipe", "decay of the average of the weights that is validated and kept; 0: none")
    clip: float = _setting(2.0, "recipe", "largest norm of a gradient; 0: any")

    steps: int | None = _setting(None, "length", "steps of the whole schedule; repeatable bit for bit on a CPU")
    epochs: float | None = _setting(None, "length", "the same in passes over the training cases")
    total_minutes: float | None = _setting(None, "length", "the same in minutes, over all sittings")
    max_minutes: float | None = _setting(
        None, "length", "minutes of this sitting; alone, the whole schedule (its last validation comes on top)"
    )
    validate_every: int = _setting(1000, "length", "steps between validations, which also save")
    save_minutes: float = _setting(5.0, "length", "minutes between other saves")

    seed: int = _setting(0, "machine", "decides split, weights, motion and patches")
    device: str = _setting("auto", "machine", "auto, cpu, cuda, cuda:N or mps")
    mixed: bool = _setting(True, "machine", "bfloat16 where the hardware has it")
    compile: bool = _setting(False, "machine", "torch.compile; the first step takes minutes")
    prefetch: int = _setting(4, "machine", "steps prepared ahead, beside the running one; 0: none")
    residence: Literal["auto", "device", "memory", "disk"] = _setting("auto", "machine", "where the cases lie")

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            InputError: If a value is out of bounds, or does not go with another.
        """
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{_flag(name)} is {value:g}, but must be {low:g} to {high:g}", code="bad-argument")
        if self.preset is not None and self.preset not in NETWORKS:
            raise InputError(
                f"--preset {self.preset} is no network; use one of {', '.join(NETWORKS)}", code="bad-argument"
            )
        if self.patch % 32:
            raise InputError(f"--patch is {self.patch}, but must be a multiple of 32", code="bad-argument")
        if self.batch % self.accumulate:
            raise InputError(
                f"--batch {self.batch} does not divide into --accumulate {self.accumulate} parts; change one",
                code="bad-argument",
            )
        if not self.severities or not set(self.severities) <= set(range(5)):
            raise InputError("--severities must name levels from 0 to 4, at least one", code="bad-argument")
        if not self.degrade or not set(self.degrade) <= {MOTION, *STRENGTHS}:
            raise InputError(
                f"--degrade must name one or more of {MOTION}, {', '.join(STRENGTHS)}; got {self.degrade!r:.60}",
                code="bad-argument",
            )
        for name in ("region_weights", "late_region_weights"):
            if not all(0 <= weight < math.inf for weight in getattr(self, name)) or not any(getattr(self, name)):
                raise InputError(f"{_flag(name)} must be 0 or more, and not all 0", code="bad-argument")
        lengths = [name for name in ("steps", "epochs", "total_minutes") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise InputError(
                f"{' and '.join(map(_flag, lengths))} both say how long the schedule is; give one", code="bad-argument"
            )

    def as_dict(self) -> dict[str, Any]:
        """All settings in plain types, paths as strings."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}

    def recipe_facts(self) -> dict[str, Any]:
        """What a model card wants to know: the settings without those of one machine and its folders."""
        return {k: v for k, v in self.as_dict().items() if k not in (*FREE_ON_RESUME, "split", "init", "restorer")}


BOUNDS = {
    "virtual": (0, 100_000),
    "virtual_validation": (0, 1000),
    "patch": (32, 512),
    "batch": (1, 4096),
    "accumulate": (1, 4096),
    "pool": (1, 4096),
    "patches_per_twin": (1, 100_000),
    "tumour_share": (0, 1),
    "learning_rate": (0, 1),
    "last_learning_rate": (0, 1),
    "weight_decay": (0, 1),
    "warm_up_steps": (0, 1_000_000),
    "lambda_rec": (0, 1e6),
    "lambda_feat": (0, 1e6),
    "late_from": (0, 1),
    "ema": (0, 0.999999),
    "clip": (0, 1e6),
    "steps": (1, 1e9),
    "epochs": (0.001, 1e6),
    "total_minutes": (0.01, 1e6),
    "max_minutes": (0.01, 1e6),
    "validate_every": (1, 1e9),
    "save_minutes": (0, 1e6),
    "seed": (0, 2**31 - 1),
    "prefetch": (0, 64),
}
"""Least and largest value of the numbers."""

FREE_ON_RESUME = ("data", "max_minutes", "save_minutes", "device", "compile", "prefetch", "residence")
"""What a resumed run may change: it says where and how long to compute, not what."""

PAPER_RECIPE: dict[str, Any] = {
    "preset": "paper",
    "patch": 128,
    "batch": 1,
    "severities": (4,),  # the paper's S2, by what it costs a network that never saw motion: docs/compare.md
    "fresh_motion": False,
    "pool": 1,
    "patches_per_twin": 1,
    "tumour_share": 0.0,
    "augment": False,
    "optimiser": "adam",
    "learning_rate": 1e-4,
    "last_learning_rate": 1e-5,
    "weight_decay": 1e-5,
    "warm_up_steps": 0,
    "lambda_rec": 0.1,
    "rec_over": "crop",
    "batch_dice": False,
    "bce": False,
    "late_region_weights": (2.0, 1.0, 1.0),
    "late_from": 250 / 300,
    "ema": 0.0,
    "clip": 0.0,
    "epochs": 300.0,
    "mixed": False,
}
"""The published training: 250 epochs, then 50 with ET counted twice, at batch 1, one frozen motion per case.

Different on purpose: blurred and sharp patches are cut at one place and share one intensity window."""

_ON_A_CPU = {"patch": 96}
_SMALL = {**_ON_A_CPU, "learning_rate": 3e-3}
BEST_FOR: dict[str, dict[str, Any]] = {
    "small": _SMALL,
    "dami-small": _SMALL,
    **{f"{name}-small": _ON_A_CPU for name in ("segresnet", "swinunetr", "dynunet")},
    "nafnet-small": {**_ON_A_CPU, "learning_rate": 1e-3},
    "meddeblur-small": {**_ON_A_CPU, "learning_rate": 3e-3},
    "btsegdiff-small": {**_ON_A_CPU, "learning_rate": 3e-3},
    "rmr-small": {"patch": 32, "learning_rate": 1e-2},  # a step at 64 takes 11 s on one core, at 32 one
}
"""What our recipe changes for a network.

Learning rate of `small`, 150 steps from scratch on the same patches (64^3, batch 2, float32): the segmentation loss was
0.95 with 1e-3, 0.81 with 3e-3 and 0.79 with 6e-3. With 1e-3 it outlined nothing after 8 minutes on two cores. Those of
the companions are of 40 to 150 steps; docs/companions.md has the table."""

BEST_STEPS = 20_000
"""Length of our recipe where none is given."""


def resolve(asked: Mapping[str, Any], on_gpu: bool) -> TrainConfig:
    """The configuration of what was asked for: explicit settings, else the recipe's, else the defaults.

    Args:
        asked: Settings by name, only those given.
        on_gpu: Whether there is a CUDA device to train on, which decides the preset where none is given.

    Raises:
        InputError: As `TrainConfig`.
    """
    paper = asked.get("recipe") == "paper"
    recipe = dict(PAPER_RECIPE) if paper else {"preset": "base" if on_gpu else "small"}
    preset = asked.get("preset") or recipe["preset"]
    if not paper:
        recipe |= BEST_FOR.get(preset, {})
    if any(asked.get(name) is not None for name in ("steps", "epochs", "total_minutes", "max_minutes")):
        recipe.pop("epochs", None)
    elif "epochs" not in recipe:
        recipe["steps"] = BEST_STEPS
    if asked.get("data") is None:
        recipe["virtual_validation"] = 2
    config = TrainConfig(**{**recipe, **asked, "preset": preset})
    if config.steps is None and config.epochs is None and config.total_minutes is None:
        config = dataclasses.replace(config, total_minutes=config.max_minutes)
    return config


def resumed(saved: Mapping[str, Any], asked: Mapping[str, Any], place: Path) -> TrainConfig:
    """The configuration of a run taken up again.

    Args:
        saved: The run's own settings, as `TrainConfig.as_dict`.
        asked: Settings given now, by name; those of `FREE_ON_RESUME` may differ.
        place: Folder of the run, for the sentence.

    Raises:
        InputError: If another setting differs (the sentence names all that do), or the settings are no such.
    """
    try:
        hints = {f.name for f in dataclasses.fields(TrainConfig)}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
        values |= {k: Path(values[k]) for k in ("data", "split", "init", "restorer") if values.get(k) is not None}
        if unknown := sorted(set(values) - hints):
            raise ValueError(f"unknown setting {unknown[0]}")
        config = TrainConfig(**values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"the settings of the run in {place} are no such ({error}); start another run", "bad-run"
        ) from error
    differing = [
        f"{_flag(name)} {_shown(getattr(config, name))} there, {_shown(value)} asked"
        for name, value in asked.items()
        if name not in FREE_ON_RESUME and value != getattr(config, name)
    ]
    if differing:
        raise InputError(
            f"the run in {place} has other settings ({'; '.join(differing)}); leave these out to go on with it, or "
            f"start another run, which may begin with its weights by --init {place / 'best.pt'}",
            code="other-settings",
        )
    free = {name: value for name, value in asked.items() if name in FREE_ON_RESUME}
    return dataclasses.replace(config, **{"max_minutes": None, **free})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
