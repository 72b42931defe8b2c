"""Models: the DABSeg network, its peers and companions, and how to build any of them from its configuration."""

from __future__ import annotations

from DABSegCore.config import ModelConfig
from DABSegCore.models.dabseg import DABSeg as DABSeg
from DABSegCore.models.prediction import Network as Network
from DABSegCore.models.prediction import Prediction as Prediction
from DABSegCore.networks import AnyConfig, PeerConfig, TwoStageConfig


def build_model(config: AnyConfig) -> Network:
    """The network of a configuration with fresh weights (drawn from torch's global generator: seed it first).

    Raises:
        InputError: If it needs a package that is not installed.
    """
    if isinstance(config, ModelConfig):
        return DABSeg(config)
    if isinstance(config, PeerConfig):
        from DABSegCore.models.peers import Peer

        return Peer(config)
    if isinstance(config, TwoStageConfig):
        from DABSegCore.models.twostage import TwoStage

        return TwoStage(config, build_model(config.restorer), build_model(config.segmenter))
    from DABSegCore.models.companions.nafnet import NAFNet

    return NAFNet(config)
