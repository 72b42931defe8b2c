"""Diffusion: how masks become noise and noise becomes masks again, and how the answers of all steps become one.

Masks are scaled to [-1, 1]. The schedule is DDPM's (Ho et al., 2020), the way back DDIM's without noise of its own
(Song et al., 2021), and the sum over steps BTSegDiff's stepwise uncertainty sampling.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

TIMES = 1000
"""Steps from a mask to noise in training."""

BETAS = (1e-4, 0.02)
"""Share of the variance that the first and the last step replace by noise; linear in between."""

LEAST_SURE = 1e-6
"""Probabilities are kept this far from 0 and 1 when they become logits: +-13.8."""


def signal_kept() -> list[float]:
    """How much of the mask's variance is left after step t, for t = 0 .. TIMES - 1 (alpha bar of DDPM)."""
    first, last = BETAS
    kept = (1 - first - (last - first) * t / (TIMES - 1) for t in range(TIMES))
    return list(itertools.accumulate(kept, lambda product, factor: product * factor))


def sampling_times(steps: int) -> list[int]:
    """The steps t that sampling visits, from pure noise down to 0, evenly spread."""
    return [round((TIMES - 1) * (1 - i / max(steps - 1, 1))) for i in range(steps)]


def noised(mask: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """A mask on its way to noise (equation 4 of DDPM).

    Args:
        mask: In [-1, 1], [B, R, D, H, W].
        noise: Standard normal, same shape.
        kept: Of `signal_kept`, one per sample [B].
    """
    kept = kept.view(-1, 1, 1, 1, 1)
    return kept.sqrt() * mask + (1 - kept).sqrt() * noise


def mask_in(x: Tensor, noise: Tensor, kept: float) -> Tensor:
    """The mask of which `x` is made if its noise is `noise`: `noised` solved for the mask, held to [-1, 1]."""
    return ((x - math.sqrt(1 - kept) * noise) / math.sqrt(kept)).clamp(-1, 1)


def step_back(x: Tensor, mask: Tensor, kept: float, kept_next: float) -> Tensor:
    """The less noisy state after `x` (equation 12 of DDIM with sigma = 0).

    Args:
        x: State now [B, R, D, H, W].
        mask: What the network takes the clean mask to be, in [-1, 1], same shape.
        kept: Of `signal_kept` now.
        kept_next: Of `signal_kept` after the step.
    """
    noise = (x - math.sqrt(kept) * mask) / math.sqrt(1 - kept)
    return math.sqrt(kept_next) * mask + math.sqrt(1 - kept_next) * noise


class StepwiseSum:
    """Stepwise uncertainty sampling: Y = sum_t w_t X_t with w_t = exp(sigmoid(t/T)) (1 - U_t), U_t = -X_t log X_t.

    X_t is the mean of the samples at step t; steps count from the noisiest, t = 1, to the last, t = T, which so weighs
    most. What differs: Y is divided by the sum of the weights, which makes it a probability again, so that 0.5 remains
    the threshold whatever T; and the mean of U_t under the same weights is kept to be shown.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.total = self.doubt = self.weight = torch.zeros(())

    def add(self, samples: list[Tensor]) -> None:
        """The next step's probabilities, one tensor of any one shape per sample."""
        self.done += 1
        mean = sum(samples[1:], samples[0]) / len(samples)
        uncertainty = torch.special.entr(mean)  # 0 at 0 and 1, at most 1/e
        weight = math.exp(1 / (1 + math.exp(-self.done / self.steps))) * (1 - uncertainty)
        if self.done == 1:
            self.total = self.doubt = self.weight = torch.zeros_like(mean)
        self.total = self.total + weight * mean
        self.doubt = self.doubt + weight * uncertainty
        self.weight = self.weight + weight

    def logits(self) -> Tensor:
        """Of the weighted mean."""
        return torch.logit(self.total / self.weight, eps=LEAST_SURE)

    def uncertainty(self) -> Tensor:
        """In [0, 1/e]."""
        return self.doubt / self.weight
