"""Families: every kind of network by the name that files have for it, and its settings to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from DABSegCore.config import ModelConfig, from_plain
from DABSegCore.networks.btsegdiff import BTSegDiffConfig
from DABSegCore.networks.meddeblur import MedDeblurConfig
from DABSegCore.networks.nafnet import NAFNetConfig
from DABSegCore.networks.peers import PeerConfig
from DABSegCore.networks.rmr import RMRConfig
from DABSegCore.networks.twostage import AnyConfig, TwoStageConfig

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
