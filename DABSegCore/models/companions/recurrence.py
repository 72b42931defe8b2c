"""Recurrence: convolutional cells that carry what was understood at one scale on to the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DABSegCore.models.companions.asymmetric import convolution

State = tuple[Tensor, ...]
"""What a cell passes on, each [B, C, D, H, W]; the first is its answer."""


class ConvLSTM(nn.Module):
    """Long short-term memory with convolutions for matrices (Shi et al., NeurIPS 2015), without peepholes.

    Args:
        channels: Of the input, of the answer and of the memory.
        size: Edge of the kernel.
        axial: Look within axial slices only.
    """

    def __init__(self, channels: int, size: int, axial: bool) -> None:
        super().__init__()
        self.gates = convolution(2 * channels, 4 * channels, size, axial)

    def forward(self, x: Tensor, state: State | None) -> State:
        """[B, C, D, H, W] and the state before, None at first -> answer and memory of the same shape."""
        hidden, memory = (torch.zeros_like(x),) * 2 if state is None else state
        gates = self.gates(torch.cat([x, hidden], dim=1))
        take, forget, show, new = gates.chunk(4, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(take) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(memory), memory


class ConvGRU(nn.Module):
    """Gated recurrent unit with convolutions: three quarters of the weights of `ConvLSTM`, and no separate memory.

    Args:
        channels: Of the input and of the answer.
        size: Edge of the kernel.
        axial: Look within axial slices only.
    """

    def __init__(self, channels: int, size: int, axial: bool) -> None:
        super().__init__()
        self.gates = convolution(2 * channels, 2 * channels, size, axial)
        self.candidate = convolution(2 * channels, channels, size, axial)

    def forward(self, x: Tensor, state: State | None) -> State:
        """[B, C, D, H, W] and the state before, None at first -> the answer, of the same shape."""
        (hidden,) = (torch.zeros_like(x),) if state is None else state
        update, reset = torch.sigmoid(self.gates(torch.cat([x, hidden], dim=1))).chunk(2, dim=1)
        new = torch.tanh(self.candidate(torch.cat([x, reset * hidden], dim=1)))
        return ((1 - update) * hidden + update * new,)
