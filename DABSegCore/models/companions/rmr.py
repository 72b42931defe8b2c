"""RMR-Fusion: features that see through degradations, fused for the eye and for outlines at once (AAAI 2024).

Zhang et al., "A Robust Mutual-Reinforcing Framework for 3D Multi-Modal Medical Image Fusion Based on Visual-Semantic
Consistency", with the released code's sizes. What differs:

- It fuses two modalities (`rmr-two`: T1 and FLAIR, as published) or all four.
- Its two stages are trained side by side: fusion and head get the features of the autoencoder, which only its own loss
  moves, as published, but while it still learns. There, the stages follow one another.
- What the autoencoder must refine is motion, which the patches have, and each time one of the published three
  degradations, drawn anew, rather than all three. The fusion reads features of the volumes with motion, as it will.
- Its outlines are of overlapping regions and have our loss, Dice and cross-entropy of sigmoids; the reconstruction term
  of the joint loss does not move it, as it has its own.
- Weights start so that signals keep their size (`ConvPReLU`), and nothing is drawn outside the brain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from DABSegCore.degrade import DEGRADATIONS
from DABSegCore.models.companions.rmr_autoencoder import ConvPReLU, Decoder, Encoder
from DABSegCore.models.companions.rmr_losses import feature_refinement, image_refinement, visual_fusion
from DABSegCore.models.peers import Peer
from DABSegCore.models.prediction import Network, Prediction, Truth, crop, pad_to_stride
from DABSegCore.networks import RMRConfig

DENSE = 5
"""Convolutions of the fusion that read all before them; one more reads only the last."""


class Fusion(nn.Module):
    """Densely connected convolutions: features of M modalities [B, M*C, D, H, W] -> fused ones [B, C, D, H, W]."""

    def __init__(self, streams: int, features: int) -> None:
        super().__init__()
        widths = [features * (streams + k) for k in range(DENSE)] + [features]
        self.layers = nn.ModuleList(ConvPReLU(width, features) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        *dense, last = self.layers
        for layer in dense:
            fresh = layer(x)
            x = torch.cat([x, fresh], dim=1)
        return last(fresh)


class RMR(Network):
    """Autoencoder, fusion, the decoder again as visual head, and a network of MONAI as semantic head (figure 3).

    Args:
        config: All sizes, and which modalities.

    Raises:
        InputError: If MONAI is not installed.
    """

    wants_truth = True

    def __init__(self, config: RMRConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config.features)
        self.fusion = Fusion(len(config.reads), config.features)
        self.head = Peer(config.head_config())

    def forward(self, corrupted: Tensor, truth: Truth | None = None) -> Prediction:
        """Fuse, restore and outline.

        Args:
            corrupted: [B, M, D, H, W] of any size.
            truth: While training.

        Returns:
            Logits, restored of the input's size (modalities that are not read as they were), `fused`, and given the
            truth its own loss.

        Raises:
            ValueError: As `Network.check`.
        """
        size = self.check(corrupted)
        padded = pad_to_stride(corrupted)
        x, inside = self._read(padded), (padded != 0).any(dim=1, keepdim=True)
        features = self._encode(x)
        restored = self._decode(features) * inside
        together = self.fusion(features.detach())
        fused = crop(self._show(together) * inside, size)
        outlined = self.head(together)
        own_loss = None
        if truth is not None:
            own_loss = self._own_loss(features, restored, fused, truth)
            restored = restored.detach()  # it has its own distance; the joint loss's would outweigh it
        return Prediction(
            crop(outlined.logits, size),
            self._beside(corrupted, crop(restored, size)),
            tuple(crop(level, size) for level in outlined.deep),
            own_loss=own_loss,
            fused=fused.to(corrupted.dtype),
        )

    def _read(self, x: Tensor) -> Tensor:
        """The modalities that are fused, of all."""
        return x[:, list(self.config.reads)]

    def _beside(self, corrupted: Tensor, restored: Tensor) -> Tensor:
        """All modalities: restored where they were read, else as they came."""
        reads = self.config.reads
        rows = [restored[:, reads.index(m)] if m in reads else corrupted[:, m] for m in range(self.modalities)]
        return torch.stack([row.to(corrupted.dtype) for row in rows], dim=1)

    def _encode(self, x: Tensor) -> Tensor:
        """Volumes [B, M, D, H, W] -> features [B, M*C, D, H, W]."""
        if self.training and torch.is_grad_enabled() and _spares_memory(x):
            return checkpoint(self.encoder, x, use_reentrant=False, preserve_rng_state=False)
        return self.encoder(x)

    def _decode(self, features: Tensor) -> Tensor:
        """Features [B, M*C, D, H, W] -> volumes [B, M, D, H, W] by the one decoder of all modalities."""
        volumes = self.decoder(features.unflatten(1, (-1, self.config.features)).flatten(0, 1))  # [B*M, 1, D, H, W]
        return volumes.reshape(features.shape[0], -1, *volumes.shape[2:])

    def _show(self, together: Tensor) -> Tensor:
        """The visual head: the decoder, whose weights what the fused volume lacks does not change."""
        fixed = {name: weight.detach() for name, weight in self.decoder.named_parameters()}
        return torch.func.functional_call(self.decoder, fixed, (together,))

    def _own_loss(self, features: Tensor, restored: Tensor, fused: Tensor, truth: Truth) -> Tensor:
        """Refinement of volumes and features (equation 5, alpha 1), and visual fusion (equation 7)."""
        with torch.no_grad():
            sharp = pad_to_stride(self._read(truth.sharp))
            inside = (pad_to_stride(truth.sharp) != 0).any(dim=1, keepdim=True)
            degraded = (_degraded(sharp) * inside).clamp(0, 1)
        of_sharp, of_degraded = self._encode(sharp), self._encode(degraded)
        made = [self._decode(each) * inside for each in (of_sharp, of_degraded)]
        with torch.autocast(features.device.type, enabled=False):
            of_corrupted, of_sharp, of_degraded = (each.float() for each in (features, of_sharp, of_degraded))
            images = [image_refinement(volumes.float(), sharp) for volumes in (restored, *made)]
            refined = [feature_refinement(each, of_sharp) for each in (of_corrupted, of_degraded)]
            salient = self.config.reads.index(self.config.salient)
            seen = crop(sharp, fused.shape[2:])
            shown = visual_fusion(fused.float(), seen, seen[:, salient : salient + 1])
            return torch.stack(images).mean() + torch.stack(refined).mean() + shown


def _spares_memory(x: Tensor) -> bool:
    """Whether encoders forget what the way back needs and run again then: a GPU is short of memory, a CPU of time.

    Three passes at full resolution are remembered else, 120 GB of `rmr` for a patch of 128 in single precision.
    """
    return x.is_cuda


def _degraded(sharp: Tensor) -> Tensor:
    """Volumes [B, M, D, H, W] with one of the published degradations, drawn from the step's seed on the CPU."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    kinds = list(DEGRADATIONS.values())
    return kinds[int(torch.randint(len(kinds), (), generator=generator))](sharp, generator)
