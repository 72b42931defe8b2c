"""Prediction: what every network answers, whichever family it is of, and how it copes with any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 32
"""Input sizes are padded to multiples of this: all networks halve the grid at most five times."""

NOTHING = -20.0
"""Logit of a voxel in no region, from networks that outline nothing: its probability is 2e-9."""


class Prediction(NamedTuple):
    """What one forward pass gives."""

    logits: Tensor
    """Region logits before sigmoid [B, R, D, H, W], regions as in `labels.REGIONS`."""
    restored: Tensor
    """Pseudo-clear volumes [B, M, D, H, W] on the input's intensity scale; the input itself if `restores` is False."""
    deep: tuple[Tensor, ...]
    """While training: logits at coarser levels, coarse to fine; else empty."""
    own_loss: Tensor | None = None
    """While training: a scalar of the method's own that is added to the joint loss."""
    uncertainty: Tensor | None = None
    """From networks that sample: how unsure every region is [B, R, D, H, W], -p log p, in [0, 1/e]."""
    fused: Tensor | None = None
    """From a method that fuses: one volume made of several modalities, on their intensity scale [B, 1, D, H, W]."""
    features: tuple[Tensor, Tensor] | None = None
    """Given the truth: what the segmenter first sees in the restored volumes, and in the sharp ones (no gradient)."""


class Truth(NamedTuple):
    """What a network that `wants_truth` or `shows_features` is told while training."""

    regions: Tensor
    """Region masks, float32 [B, R, D, H, W]."""
    sharp: Tensor
    """Volumes before motion [B, M, D, H, W]."""
    brain: Tensor
    """Mask [B, 1, D, H, W]."""


class Network(nn.Module):
    """What all networks share: what they can do, and what they take.

    Attributes:
        modalities: Channels of the input.
        restores: Whether `Prediction.restored` is more than the input.
        outlines: Whether `Prediction.logits` says anything.
        wants_truth: Whether training calls `forward(corrupted, truth)`, for losses that need more than the answer.
        shows_features: Whether it may be called so, too, and then answers with `Prediction.features`.
        steady: Whether in evaluation mode it draws nothing by chance and asks nothing of the CPU, so that a forward may
            be recorded on a GPU.
    """

    restores = True
    outlines = True
    wants_truth = False
    shows_features = False
    steady = False

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.modalities = modalities

    def check(self, corrupted: Tensor) -> Sequence[int]:
        """Size [D, H, W] of an input.

        Raises:
            ValueError: If it is not 5-D or has another number of modalities.
        """
        if corrupted.ndim != 5 or corrupted.shape[1] != self.modalities:
            raise ValueError(f"expected [B, {self.modalities}, D, H, W], got {list(corrupted.shape)}")
        return corrupted.shape[2:]


def pad_to_stride(x: Tensor, axial: bool = False) -> Tensor:
    """Zero-pad the far end of each axis to a multiple of `STRIDE`; axial slices stand alone and need no company."""
    extra = [0 if axial and axis == 0 else -n % STRIDE for axis, n in enumerate(x.shape[2:])]
    return F.pad(x, (0, extra[2], 0, extra[1], 0, extra[0])) if any(extra) else x


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first voxels [B, C, *size], which undoes `pad_to_stride`."""
    return x[:, :, : size[0], : size[1], : size[2]]


def no_outline(x: Tensor, regions: int) -> Tensor:
    """Logits of a network that outlines nothing, for an input of any channels: no memory, no gradient."""
    return torch.full((1, 1, 1, 1, 1), NOTHING, device=x.device).expand(x.shape[0], regions, *x.shape[2:])
