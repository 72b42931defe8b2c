"""Peers: segmentation networks of MONAI, answering as ours do, to be compared with on equal terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from DABSegCore.errors import packages_for
from DABSegCore.models.prediction import STRIDE, Network, Prediction, crop, pad_to_stride
from DABSegCore.networks import PeerConfig

DEEP_LEVELS = 2
"""Coarser levels of DynUNet that also predict while training, as many as ours."""


class Peer(Network):
    """A network of MONAI; what it "restores" is its input.

    Args:
        config: Which, and how wide.

    Raises:
        InputError: If MONAI is not installed.
    """

    restores = False

    def __init__(self, config: PeerConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        with packages_for(f"the network {config.preset}"):
            self.net = {"segresnet": _segresnet, "swinunetr": _swinunetr, "dynunet": _dynunet}[config.architecture](
                config
            )

    def forward(self, corrupted: Tensor) -> Prediction:
        """[B, M, D, H, W] of any size -> logits [B, R, D, H, W], the input, and from DynUNet coarser logits.

        Raises:
            ValueError: As `Network.check`.
        """
        size = self.check(corrupted)
        x = pad_to_stride(corrupted)
        if self.config.architecture == "swinunetr" and max(x.shape[2:]) == STRIDE:
            x = F.pad(x, (0, STRIDE))  # else its coarsest level is one voxel, of which there is no norm
        out = self.net(x)
        if out.ndim == 6:  # DynUNet while training: all levels brought to full size, finest first
            finest, *coarser = out.unbind(1)
            return Prediction(crop(finest, size), corrupted, tuple(crop(level, size) for level in reversed(coarser)))
        return Prediction(crop(out, size), corrupted, ())


def _segresnet(config: PeerConfig) -> nn.Module:
    from monai.networks.nets import SegResNet

    return SegResNet(
        spatial_dims=3, init_filters=config.width, in_channels=config.modalities, out_channels=config.regions
    )


def _swinunetr(config: PeerConfig) -> nn.Module:
    import einops  # noqa: F401 (MONAI asks for it only in the first forward, in words of its own)
    from monai.networks.nets import SwinUNETR

    with _NumbersOnCpu():
        return SwinUNETR(
            in_channels=config.modalities, out_channels=config.regions, feature_size=config.width, use_v2=False
        )


class _NumbersOnCpu(TorchFunctionMode):
    """Lets MONAI read numbers off `torch.linspace` also where all else is built without memory, on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        on_cpu = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **(kwargs or {}), **on_cpu)


def _dynunet(config: PeerConfig) -> nn.Module:
    from monai.networks.nets import DynUNet

    levels = config.levels
    return DynUNet(
        spatial_dims=3,
        in_channels=config.modalities,
        out_channels=config.regions,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=[min(config.width * 2**level, 320) for level in range(levels)],
        norm_name="instance",
        deep_supervision=True,
        deep_supr_num=min(DEEP_LEVELS, levels - 2),
    )
