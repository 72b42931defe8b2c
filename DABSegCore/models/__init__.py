"""Models: the DABSeg network, its peers and companions, and how to build any of them from its configuration."""

from __future__ import annotations

import importlib

from DABSegCore.models.dabseg import DABSeg as DABSeg
from DABSegCore.models.prediction import Network as Network
from DABSegCore.models.prediction import Prediction as Prediction
from DABSegCore.networks import AnyConfig, TwoStageConfig, family_of

PLACES = {
    "dabseg": ("dabseg", "DABSeg"),
    "peer": ("peers", "Peer"),
    "nafnet": ("companions.nafnet", "NAFNet"),
    "btsegdiff": ("companions.btsegdiff", "BTSegDiff"),
    "meddeblur": ("companions.meddeblur", "MedDeblur"),
    "rmr": ("companions.rmr", "RMR"),
}
"""Module and class of every family that is one network; imported when first wanted, as some need more packages."""


def build_model(config: AnyConfig) -> Network:
    """The network of a configuration with fresh weights (drawn from torch's global generator: seed it first).

    Raises:
        InputError: If it needs a package that is not installed.
    """
    if isinstance(config, TwoStageConfig):
        from DABSegCore.models.twostage import TwoStage

        return TwoStage(config, build_model(config.restorer), build_model(config.segmenter))
    module, name = PLACES[family_of(config)]
    return getattr(importlib.import_module(f"DABSegCore.models.{module}"), name)(config)
