"""BTSegDiff: a segmenter that finds masks in noise, guided by the images (BTSegDiff, 2025), slice by slice or in 3-D.

A denoiser turns noise into masks step by step; at every step a guide reads the images and the denoiser's features and
steers it (dynamic conditional guidance, with Fourier-domain fusion); the answers of all steps are added up by how sure
they are (stepwise uncertainty sampling).

- `axial`, the published network: one axial slice at a time, noise is predicted, the guide's masks are the answers. What
  differs: no learned variance (1153 weights of the last convolution), which the paper's loss does not have; 10 DDIM
  steps in place of 1000; three regions; and what `guide`, `fourier` and `diffusion` say.
- `volume`, compact: 2x2x2 voxels are folded into channels, masks are predicted in place of noise and are the answers,
  trained with Dice and cross-entropy beside the squared error, as Diff-UNet and DiffBTS do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from DABSegCore.models.blocks import depth_to_space, space_to_depth
from DABSegCore.models.companions.denoiser import Denoiser
from DABSegCore.models.companions.diffusion import (
    TIMES,
    StepwiseSum,
    mask_in,
    noised,
    sampling_times,
    signal_kept,
    step_back,
)
from DABSegCore.models.companions.guide import Guide
from DABSegCore.models.prediction import Network, Prediction, Truth, crop, pad_to_stride
from DABSegCore.networks import BTSegDiffConfig

CALIBRATION = 10.0
"""Weight of the guide's squared error against the denoiser's (the released code's)."""

SEED = 20250706
"""Of the noise that sampling starts from: the same for every image, on every machine."""

SLICES = 8
"""Slices that go through the axial form together when it samples."""


class Said(NamedTuple):
    """What one step says of states [B, R, D, H, W]; all are of that shape."""

    out: Tensor
    """The denoiser's: the noise, or logits of the masks."""
    calibration: Tensor
    """Logits of the guide's masks."""


class BTSegDiff(Network):
    """Denoiser and guide; restores nothing.

    Args:
        config: Form, sizes, steps and samples.
    """

    restores = False
    wants_truth = True

    def __init__(self, config: BTSegDiffConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.axial = config.form == "axial"
        folded = 1 if self.axial else 8
        images, masks = folded * config.modalities, folded * config.regions
        self.denoiser = Denoiser(config, images + masks, masks)
        self.guide = Guide(config, images, masks)
        kept = torch.tensor(signal_kept(), device="cpu")  # no checkpoint fills it, so it is never left on "meta"
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, corrupted: Tensor, truth: Truth | None = None) -> Prediction:
        """[B, M, D, H, W] of any size -> logits [B, R, D, H, W], the input, and how unsure the steps were.

        While training the logits are those of one random step for each sample (slice, in the axial form), drawn from
        torch's global generator; else masks are sampled, which takes `steps * samples` passes and has no gradient.

        Raises:
            ValueError: As `Network.check`, or if it trains without truth.
        """
        size = self.check(corrupted)
        padded = pad_to_stride(corrupted, self.axial)
        image = self._opened(padded)
        if self.training:
            if truth is None:
                raise ValueError("BTSegDiff learns from noised masks, so forward needs the truth while training")
            answer, own_loss = self._learned(image, self._opened(pad_to_stride(truth.regions, self.axial)))
            return Prediction(crop(self._closed(answer, len(corrupted)), size), corrupted, (), own_loss)
        states = [self._opened(noise) for noise in self._noise(padded)]
        together = SLICES if self.axial else len(image)
        parts = zip(*(x.split(together) for x in (image, *states)), strict=True)
        sampled = zip(*(self._sampled(part, noise) for part, *noise in parts), strict=True)
        logits, uncertainty = (crop(self._closed(torch.cat(part), len(corrupted)), size) for part in sampled)
        return Prediction(logits, corrupted, (), uncertainty=uncertainty)

    def _learned(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The answer at random steps from true masks in {0, 1}, and the loss of its own."""
        masks = 2 * masks - 1
        times = torch.randint(TIMES, (len(image),), device=image.device)
        noise = torch.randn_like(masks)
        said = self._said(image, noised(masks, noise, self.kept[times]), times)
        calibration = F.mse_loss(said.calibration.sigmoid(), (masks + 1) / 2)
        if self.config.predicts == "noise":
            return said.calibration, F.mse_loss(said.out, noise) + CALIBRATION * calibration
        return said.out, F.mse_loss(_as_mask(said.out), masks) + CALIBRATION * calibration

    @torch.no_grad()
    def _sampled(self, image: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and uncertainty, from noise to masks by DDIM; one state per sample."""
        times, blend = sampling_times(self.config.steps), StepwiseSum(self.config.steps)
        kept, beside = signal_kept(), 1
        if image.device.type == "cpu":  # PyTorch's 3-D convolution of one small image alone takes as long as of four
            beside = len(states)
            image, states = image.repeat(beside, 1, 1, 1, 1), [torch.cat(states)]
        for time, after in zip_longest(times, times[1:]):
            answers = []
            for i, state in enumerate(states):  # elsewhere one by one: together they take as many times the memory
                said = self._said(image, state, torch.full((len(image),), time, device=image.device))
                if self.config.predicts == "noise":
                    mask, answer = mask_in(state, said.out, kept[time]), said.calibration
                else:
                    mask, answer = _as_mask(said.out), said.out
                answer = answer.sigmoid() + 0 * answer  # NaN, not certainty, where a half-precision logit is Inf
                answers += answer.chunk(beside)
                if after is not None:
                    states[i] = step_back(state, mask, kept[time], kept[after])
            blend.add(answers)
        return blend.logits(), blend.uncertainty()

    def _said(self, image: Tensor, states: Tensor, times: Tensor) -> Said:
        """One step: the denoiser's first half, the guide, the denoiser's second half."""
        encoded = self.denoiser.encode(torch.cat([image, states], dim=1), times)
        embedding, calibration = self.guide(image, encoded.halved)
        return Said(self.denoiser.decode(encoded, embedding).float(), calibration.float())

    def _noise(self, padded: Tensor) -> Iterator[Tensor]:
        """What sampling starts from: one draw [B, R, D, H, W] per sample, the same for every image of the batch."""
        for i in range(self.config.samples):
            generator = torch.Generator().manual_seed(SEED + i)
            noise = torch.randn(1, self.config.regions, *padded.shape[2:], generator=generator)
            yield noise.to(padded.device).expand(len(padded), -1, -1, -1, -1)

    def _opened(self, x: Tensor) -> Tensor:
        """As denoiser and guide see it: slices [B*D, C, 1, H, W], or folded volumes [B, 8 C, D/2, H/2, W/2]."""
        return x.transpose(1, 2).flatten(0, 1).unsqueeze(2) if self.axial else space_to_depth(x)

    def _closed(self, x: Tensor, batch: int) -> Tensor:
        """Inverse of `_opened`."""
        return x.squeeze(2).unflatten(0, (batch, -1)).transpose(1, 2) if self.axial else depth_to_space(x)


def _as_mask(logits: Tensor) -> Tensor:
    """Probabilities scaled to [-1, 1]."""
    return torch.tanh(logits / 2)
