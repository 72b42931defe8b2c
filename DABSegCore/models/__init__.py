"""Models: the DABSeg network and how to build it from a preset."""

from __future__ import annotations

from DABSegCore.config import ModelConfig
from DABSegCore.models.dabseg import DABSeg as DABSeg
from DABSegCore.models.dabseg import Prediction as Prediction


def build_model(config: ModelConfig) -> DABSeg:
    """The network of a preset with fresh weights (drawn from torch's global generator: seed it first)."""
    return DABSeg(config)
