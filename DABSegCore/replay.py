"""Replay: a forward on an NVIDIA GPU, recorded once for inputs of a size and played again, without Python in between.

A forward is some five hundred kernels, most of them shorter than Python takes to ask for the next. A CUDA graph asks
for all of them at once; they are the same kernels on the same numbers, so the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

WORTH = 4
"""Forwards of one size from which on recording pays: it takes three of them itself."""

TOLERANCE = 1e-3
"""Largest difference between the recorded forward's first answer and the plain one's, which should be none."""

Answer = dict[str, Tensor]
Forward = Callable[[Tensor], Answer]

_KEPT: WeakKeyDictionary[nn.Module, dict[tuple, Replay]] = WeakKeyDictionary()


class Replay:
    """A recorded forward.

    Args:
        forward: What to record: reads one tensor on a CUDA device, draws nothing by chance, asks nothing of
            the CPU.
        example: An input, any numbers.

    Raises:
        RuntimeError: If it cannot be recorded.
    """

    def __init__(self, forward: Forward, example: Tensor) -> None:
        self._input, self._device = example.clone(), example.device
        with torch.cuda.device(self._device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # libraries choose and reserve at first, which cannot be recorded
                for _ in range(2):
                    forward(self._input)
            torch.cuda.current_stream().wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._answer = forward(self._input)

    def __call__(self, x: Tensor) -> Answer:
        """The answer to an input of the example's size; the next call overwrites it."""
        with torch.cuda.device(self._device):
            self._input.copy_(x)
            self._graph.replay()
        return self._answer


def recorded(model: nn.Module, forward: Forward, example: Tensor, words: tuple, tell: Callable[[str], None]) -> Forward:
    """A network's forward as it was recorded for this size, or as it is recorded now, or itself where it cannot be.

    The record is kept as long as the network is, with the memory of one forward; `forget` lets go of it.

    Args:
        model: The network, which stays where it is in memory.
        forward: Its forward.
        example: An input on the GPU.
        words: What else the forward depends on.
        tell: Receives a sentence where recording fails, or plays something else.
    """
    where = next((parameter.data_ptr() for parameter in model.parameters()), 0)
    key = (where, tuple(example.shape), example.dtype, *words)
    kept = _KEPT.setdefault(model, {})
    if key in kept:
        return kept[key]
    kept.clear()  # one at a time: each keeps a forward's memory
    try:
        replay = Replay(forward, example)
        expected, found = forward(example), replay(example)
        agree = all(torch.allclose(found[name], expected[name], atol=TOLERANCE, equal_nan=True) for name in expected)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        tell(f"a forward cannot be recorded on this GPU ({str(error).strip().splitlines()[0]}); going on without")
        return forward
    if not agree:
        tell("the recorded forward differs from the plain one on this GPU; going on without the record")
        return forward
    kept[key] = replay
    return replay


def forget(model: nn.Module) -> None:
    """Let go of what is recorded of a network, and of its memory."""
    _KEPT.pop(model, None)
