"""MedDeblur: a scale-recurrent restorer with spatial-asymmetric attention (Sharif et al., Mathematics 2023).

One network with one set of weights works at a quarter, at half and at full size; each scale sees its input beside the
answer of the scale before, and the state of a recurrent cell passes through all three (equation 2).

What differs from the publication, in both forms: four modalities at once in place of three colours, coarser inputs are
local means, and nothing changes outside the brain. The form `axial` with `residual` and `every_scale` off is else the
released code to the weight; its 8,028,917 weights for three colours are a third of the 24.1 million that the paper
prints, as if each scale had its own. The form `volume` has two 3x3x3 kernels in place of each 5x5, a gated recurrent
unit for the LSTM and half the channels; it corrects its input, by nothing at first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.models.blocks import depth_to_space, space_to_depth
from DABSegCore.models.companions.asymmetric import convolution, refinement
from DABSegCore.models.companions.recurrence import ConvGRU, ConvLSTM, State
from DABSegCore.models.prediction import Network, Prediction, Truth, crop, no_outline, pad_to_stride
from DABSegCore.networks import MedDeblurConfig

SCALES = 3
"""Each twice the size of the one before, the last one full."""


def _convolved(inputs: int, outputs: int, axial: bool, stride: int = 1) -> nn.Sequential:
    """5x5 in slices, twice 3x3x3 in volumes; with ReLU."""
    if axial:
        return nn.Sequential(convolution(inputs, outputs, 5, axial, stride=stride), nn.ReLU())
    first = convolution(inputs, outputs, 3, axial, stride=stride)
    return nn.Sequential(first, nn.ReLU(), convolution(outputs, outputs, 3, axial), nn.ReLU())


def _enlarged(inputs: int, outputs: int, axial: bool) -> nn.Sequential:
    """Transposed convolution to twice the size: 5x5 in slices, 2x2x2 and then 3x3x3 in volumes; with ReLU."""
    if axial:
        up = nn.ConvTranspose3d(inputs, outputs, (1, 5, 5), (1, 2, 2), padding=(0, 2, 2), output_padding=(0, 1, 1))
        return nn.Sequential(up, nn.ReLU())
    up = nn.ConvTranspose3d(inputs, outputs, 2, stride=2)
    return nn.Sequential(up, nn.ReLU(), convolution(outputs, outputs, 3, axial), nn.ReLU())


class ScaleNetwork(nn.Module):
    """The network N of equation 2: an encoder and a decoder with added skips, a recurrent cell between them.

    Args:
        channels: Of an answer; an input has twice as many.
        width: Channels at the size of the input, doubled at half and again at a quarter of it.
        axial: Look within axial slices only.
    """

    def __init__(self, channels: int, width: int, axial: bool) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.encode = nn.ModuleList(
            nn.Sequential(_convolved(before, after, axial, stride), refinement(after, axial))
            for before, after, stride in zip([2 * channels, *widths[:2]], widths, [1, 2, 2], strict=True)
        )
        self.cell = ConvLSTM(widths[-1], 5, axial) if axial else ConvGRU(widths[-1], 3, axial)
        self.decode = nn.ModuleList(
            nn.Sequential(refinement(2 * w, axial), _enlarged(2 * w, w, axial)) for w in reversed(widths[:2])
        )
        self.finish = refinement(width, axial)
        self.ending = convolution(width, channels, 5 if axial else 3, axial)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """[B, 2C, D, H, W] and the state of the scale before -> [B, C, D, H, W] and the state of this one."""
        levels = []
        for encode in self.encode:
            x = encode(x)
            levels.append(x)
        state = self.cell(levels.pop(), state)
        h = state[0]
        for decode in self.decode:
            h = decode(h) + levels.pop()
        return self.ending(self.finish(h)), state


class MedDeblur(Network):
    """`ScaleNetwork` from coarse to fine; restores all modalities, outlines nothing.

    Args:
        config: Width and form.
    """

    outlines = False

    def __init__(self, config: MedDeblurConfig) -> None:
        super().__init__(config.modalities)
        self.config = config
        self.wants_truth = config.every_scale
        self.axial = config.form == "axial"
        self.halving = (1, 2, 2) if self.axial else (2, 2, 2)
        channels = config.modalities * (8 if config.fold else 1)
        self.scale = ScaleNetwork(channels, config.width, self.axial)
        if config.residual:
            nn.init.zeros_(self.scale.ending.weight)

    def forward(self, corrupted: Tensor, truth: Truth | None = None) -> Prediction:
        """[B, M, D, H, W] of any size -> restored of the same size, and logits that outline nothing.

        Args:
            corrupted: Intensities in 0..1.
            truth: While training with `every_scale`: what the answers of all scales should have been.

        Raises:
            ValueError: As `Network.check`.
        """
        size = self.check(corrupted)
        x = pad_to_stride(corrupted, self.axial)
        answers = self._answers(x)
        inside = (x != 0).any(dim=1, keepdim=True)
        finest = depth_to_space(answers[-1]) if self.config.fold else answers[-1]
        restored = crop(x + (finest - x) * inside, size)
        own_loss = None if truth is None or not self.wants_truth else self._loss(answers, truth)
        return Prediction(no_outline(corrupted, self.config.regions), restored, (), own_loss=own_loss)

    def _answers(self, x: Tensor) -> list[Tensor]:
        """What every scale says, coarse to fine, each [B, C, D, H, W] of its own size, folded as the input is."""
        answers: list[Tensor] = []
        state: State | None = None
        for blurred in self._pyramid(x):
            seen = self._seen(blurred)
            before = self._twice(self._seen(answers[-1])) if answers else torch.zeros_like(seen)
            state = None if state is None else tuple(map(self._twice, state))
            said, state = self.scale(torch.cat([seen, before], dim=1), state)
            answers.append(self._answer(blurred, said.to(x.dtype), finest=len(answers) == SCALES - 1))
        return answers

    def _seen(self, image: Tensor) -> Tensor:
        """Intensities as the network takes them: whole images as published, in -1..1; else as they are."""
        return image if self.config.residual else 2 * image - 1

    def _answer(self, blurred: Tensor, said: Tensor, finest: bool) -> Tensor:
        """Intensities from what the network says: a correction, or as published an image, held in -1..1 at the end."""
        if self.config.residual:
            return blurred + said
        return ((torch.tanh(said) if finest else said) + 1) / 2

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        """An input, folded where asked, at every scale, coarse to fine."""
        levels = [space_to_depth(x) if self.config.fold else x]
        for _ in range(SCALES - 1):
            levels.append(F.avg_pool3d(levels[-1], self.halving))
        return levels[::-1]

    def _twice(self, x: Tensor) -> Tensor:
        """Linear interpolation to the next scale."""
        return F.interpolate(x, scale_factor=[float(n) for n in self.halving], mode="trilinear", align_corners=False)

    def _loss(self, answers: list[Tensor], truth: Truth) -> Tensor:
        """Mean absolute difference in the brain, summed over the scales; the paper prints that of one (equation 9)."""
        both = (truth.sharp, truth.brain.expand_as(truth.sharp))
        sharp, brain = (self._pyramid(pad_to_stride(each, self.axial)) for each in both)
        return torch.stack(
            [((a - s).abs() * b).sum() / b.sum().clamp_min(1) for a, s, b in zip(answers, sharp, brain, strict=True)]
        ).sum()
