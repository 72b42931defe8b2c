"""Networks: every network that can be trained, segmented with and compared, by name; standard library only.

A name stands for a frozen configuration; `models.build_model` makes the network of any. Ours come with and without the
stem (`dami-*`: the paper's ablation, and the control that shows what the stem is worth); peers are MONAI's, companions
the methods of other papers. Restorers outline nothing and go in front of a segmenter, as the paper's two-stage
comparison does.
"""

from __future__ import annotations

import dataclasses

from DABSegCore.config import PRESETS, ModelConfig
from DABSegCore.networks.btsegdiff import BTSEGDIFF_AXIAL, BTSegDiffConfig
from DABSegCore.networks.families import FAMILIES, as_plain, config_from, family_of
from DABSegCore.networks.meddeblur import MedDeblurConfig
from DABSegCore.networks.nafnet import NAFNetConfig
from DABSegCore.networks.peers import PeerConfig
from DABSegCore.networks.rmr import RMRConfig
from DABSegCore.networks.twostage import AnyConfig, TwoStageConfig

__all__ = [
    "FAMILIES",
    "NETWORKS",
    "AnyConfig",
    "BTSegDiffConfig",
    "MedDeblurConfig",
    "NAFNetConfig",
    "PeerConfig",
    "RMRConfig",
    "TwoStageConfig",
    "as_plain",
    "config_from",
    "family_of",
]


def _without_stem(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, preset=f"dami-{config.preset}", stem="none", stem_blocks=())


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
        BTSegDiffConfig("btsegdiff-small", 16, (1, 2, 4, 4), 1, 8, steps=4),
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
