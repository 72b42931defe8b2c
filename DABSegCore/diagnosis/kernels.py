"""Kernels: a device is asked to compute, and its answers are held against those of the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.checkpoint import load_checkpoint
from DABSegCore.devices import half_dtype, memory_format
from DABSegCore.inference import infer

CHANNELS, EDGE, REPEATS = 16, 32, 3
TOLERANCE = 5e-3
"""Of the largest number there is, in float32: GPUs may round factors to 10 bits (TF32)."""
HALF_TOLERANCE = 3e-2
NETWORK_TOLERANCE = 0.02
"""Mean difference of probabilities and of restored intensities, both in [0, 1]."""


class WrongAnswer(RuntimeError):
    """A device computes, but not what it was asked for."""


def try_operations(device: torch.device) -> dict[str, float]:
    """A matrix product and a 3-D convolution, also in the half precision that segmenting would use there.

    Returns:
        Milliseconds of each, the best of three.

    Raises:
        WrongAnswer: If an answer is not the CPU's, computed in float64 and another way.
        RuntimeError: If the device cannot.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    image = torch.randn(1, CHANNELS, EDGE, EDGE, EDGE, generator=generator)
    kernel = torch.randn(CHANNELS, CHANNELS, 3, 3, 3, generator=generator)
    product, convolved = a.double() @ b.double(), convolve_slowly(image, kernel)
    layout = memory_format(device)
    a, b = a.to(device), b.to(device)
    image, kernel = (tensor.to(device, memory_format=layout) for tensor in (image, kernel))
    ms = {
        "matrix product": _timed("matrix product", lambda: a @ b, product, device, TOLERANCE),
        "convolution": _timed("convolution", lambda: F.conv3d(image, kernel, padding=1), convolved, device, TOLERANCE),
    }
    dtype = half_dtype(device)
    if dtype is not None:
        name = f"convolution in {_name(dtype)}"
        image, kernel = image.to(dtype), kernel.to(dtype)
        ms[name] = _timed(name, lambda: F.conv3d(image, kernel, padding=1), convolved, device, HALF_TOLERANCE)
    return ms


def convolve_slowly(image: Tensor, kernel: Tensor) -> Tensor:
    """A 3x3x3 convolution [1, C, D, H, W] with zeros around, as the sum of 27 shifted products in float64."""
    depth, height, width = image.shape[2:]
    padded = F.pad(image.double(), (1,) * 6)
    total = torch.zeros(1, kernel.shape[0], depth, height, width, dtype=torch.float64)
    for d in range(3):
        for h in range(3):
            for w in range(3):
                shifted = padded[:, :, d : d + depth, h : h + height, w : w + width]
                total += torch.einsum("oc,bcdhw->bodhw", kernel[:, :, d, h, w].double(), shifted)
    return total


def read_weights(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, and what is to be told of it.

    Raises:
        InputError: If it does not open.
    """
    model, meta = load_checkpoint(path)
    count = sum(parameter.numel() for parameter in model.parameters())
    return model, {"preset": meta["preset"], "version": meta["version"], "parameters": count}


def try_network(model: nn.Module, device: torch.device) -> float:
    """The network segments a cube of noise, the way cases are segmented.

    Returns:
        Milliseconds.

    Raises:
        WrongAnswer: If it says something else than the CPU in float32.
        InputError: If it says what is no number, or runs out of memory.
        RuntimeError: If the device cannot.
    """
    image = torch.rand(4, EDGE, EDGE, EDGE, generator=torch.Generator().manual_seed(1))
    expected = infer(model, image, autocast="off")
    if device.type != "cpu":
        infer(model, image, device=device)  # the first time is slower
    start = time.perf_counter()
    found = infer(model, image, device=device)
    ms = _ms_since(start)
    if found.plan.device != device:
        raise WrongAnswer(f"the network fell back to {found.plan.device}")
    for name in ("probabilities", "restored"):
        difference = float((getattr(found, name) - getattr(expected, name)).abs().mean())
        if not difference <= NETWORK_TOLERANCE:
            raise WrongAnswer(f"the network's {name} differ from the CPU's by {difference:.2g} on average")
    return ms


def precision(device: torch.device) -> tuple[str, str]:
    """Number format that segmenting would compute in there, and why."""
    dtype = half_dtype(device)
    if dtype is torch.bfloat16:
        return "bfloat16", "which it multiplies in hardware"
    if dtype is torch.float16:
        return "float16", "as it does not multiply bfloat16 in hardware"
    if device.type == "mps":
        return "float32", "as DABSeg uses no half precision there"
    return "float32", "as it has neither AVX-512 BF16 nor AMX to multiply bfloat16"


def _timed(name: str, work: Callable[[], Tensor], expected: Tensor, device: torch.device, tolerance: float) -> float:
    """Compare the answer, then take the time."""
    difference = float((work().cpu().double() - expected).abs().max() / expected.abs().max())
    if not difference <= tolerance:
        raise WrongAnswer(f"the {name} is wrong by {difference:.0%} of the largest number")
    times = []
    for _ in range(REPEATS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(_ms_since(start))
    return min(times)


def _wait(device: torch.device) -> None:
    """Until the device has done all it was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _ms_since(start: float) -> float:
    return round(1000 * (time.perf_counter() - start), 3)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
