"""Encoder: modality stems, three stages of windowed attention, and the bottleneck that first mixes all streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.config import ModelConfig
from DABSegCore.models.attention import Block
from DABSegCore.models.blocks import Conv3d, ConvNormAct, StreamNorm


class ModalityStem(nn.Module):
    """Embed every modality on its own (equation 6): two strided convolutions, full -> 1/2 -> 1/4 resolution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        streams, width = config.modalities, config.embed_dim // 2
        common = {"streams": streams, "norm_groups": config.norm_groups}
        self.main = nn.Sequential(ConvNormAct(1, width, stride=2, **common), ConvNormAct(width, width, **common))
        self.shortcut = ConvNormAct(1, width, stride=2, **common)
        self.reduce = Conv3d(
            streams * width, streams * config.embed_dim, 3, stride=2, padding=1, groups=streams, bias=False
        )
        self.norm = StreamNorm(config.embed_dim, streams)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M, D, H, W] -> features at 1/2 [B, M*C/2, ...] and tokens at 1/4 [B, M*C, ...]."""
        half = self.main(x) + self.shortcut(x)
        return half, self.norm(self.reduce(half))


class PatchMerging(nn.Module):
    """Halve the token grid and double the channels; the streams share these weights."""

    def __init__(self, channels: int, streams: int) -> None:
        super().__init__()
        self.streams = streams
        self.norm = StreamNorm(channels, streams, shared=True)
        self.reduce = Conv3d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.gelu(x))
        merged = self.reduce(x.unflatten(1, (self.streams, -1)).flatten(0, 1))  # [B*M, 2C, ...]
        return merged.unflatten(0, (-1, self.streams)).flatten(1, 2)


class Stage(nn.Module):
    """Blocks at one resolution; odd blocks shift their windows, the last one also attends across modalities."""

    def __init__(self, config: ModelConfig, index: int, drops: list[float]) -> None:
        super().__init__()
        channels, depth = config.embed_dim * 2**index, config.depths[index]
        self.blocks = nn.Sequential(
            *(
                Block(
                    config,
                    channels,
                    config.heads[index],
                    config.modalities,
                    cross=k == depth - 1,
                    shifted=k % 2 == 1,
                    ratio=config.mlp_ratio,
                    drop=drops[k],
                )
                for k in range(depth)
            )
        )
        self.merge = PatchMerging(channels, config.modalities)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens -> (skip at this resolution, tokens of the next stage)."""
        skip = self.blocks(x)
        return skip, self.merge(skip)


class Encoder(nn.Module):
    """DAMI's encoding half: four streams in one tensor until the bottleneck concatenates them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stem = ModalityStem(config)
        drops = torch.linspace(0.0, config.drop_path, sum(config.depths), device="cpu").tolist()
        self.stages = nn.ModuleList()
        for index, depth in enumerate(config.depths):
            self.stages.append(Stage(config, index, drops[:depth]))
            drops = drops[depth:]
        channels = config.modalities * config.embed_dim * 2 ** len(config.depths)
        self.bottleneck = nn.Sequential(
            *(
                Block(
                    config,
                    channels,
                    config.bottleneck_heads,
                    streams=1,
                    cross=False,
                    shifted=k % 2 == 1,
                    ratio=config.bottleneck_ratio,
                    drop=0.0,
                )
                for k in range(config.bottleneck_depth)
            )
        )
        self.norm = StreamNorm(channels)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """[B, M, D, H, W] -> skips at 1/2, 1/4, 1/8, 1/16 and the bottleneck at 1/32."""
        half, tokens = self.stem(x)
        skips = [half]
        for stage in self.stages:
            skip, tokens = stage(tokens)
            skips.append(skip)
        return skips, self.norm(self.bottleneck(tokens))
