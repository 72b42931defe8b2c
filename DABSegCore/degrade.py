"""Degrade: blur along a line, and the noise, smoothing, broken windows and bias that a network must see through.

The published blur is Algorithm 1 of MedDeblur (Sharif et al., Mathematics 2023), which works on slices; in three
dimensions it is a straight line in any direction. The next three are the negative samples of RMR-Fusion (section
"Degradation-robust Autoencoder"); bias is what receive coils leave. Chance comes in as values or as a generator on the
CPU, so that a seed means the same on every machine. Nothing here knows where the brain is: the background may become
more than 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from DABSegCore.strengths import STRENGTHS

LENGTHS = (20, 45)
"""Least and most pixels of the published blur's line."""

STEEPEST_DEG = 45.0
"""Largest turn of the published line, either way."""

LENGTHS_MM = STRENGTHS["streak"]
"""Length of a line in space by severity."""

NOISIEST = 0.1
"""Largest standard deviation of noise, of a volume's maximum."""

SIGMAS = (0.1, 3.0)
"""Least and most standard deviation of smoothing, in pixels."""

BROKEN_WINDOWS = 8
FARTHEST = 5
"""Windows that lose their structure, and how far a phase wanders in them, in samples of their spectrum."""

WAVES = 3
"""Waves of a bias field along each axis, the constant one included: none has more than one period in the volume."""

Window = tuple[slice, slice, slice]
"""Part of a volume [D, H, W]."""


def correlate(images: Tensor, kernel: Tensor) -> Tensor:
    """Weighted sum of shifted images, which for kernels with few entries beats both a convolution and an FFT.

    Args:
        images: [..., D, H, W], floating.
        kernel: [d, h, w]; its anchor is entry n // 2 of each axis, as OpenCV's.

    Returns:
        Same shape as the images. Beyond the border the nearest voxel goes on (OpenCV mirrors there).
    """
    before = [n // 2 for n in kernel.shape]
    after = [n - 1 - b for n, b in zip(kernel.shape, before, strict=True)]
    margins = [margin for pair in zip(reversed(before), reversed(after), strict=True) for margin in pair]
    depth, height, width = images.shape[-3:]
    padded = F.pad(images.reshape(1, -1, depth, height, width), margins, mode="replicate")
    out = torch.zeros_like(padded[..., :depth, :height, :width])
    places = kernel.nonzero()
    for (k, j, i), weight in zip(places.tolist(), kernel[tuple(places.T)].tolist(), strict=True):
        out.add_(padded[..., k : k + depth, j : j + height, i : i + width], alpha=weight)
    return out.reshape(images.shape)


def draw_line(generator: torch.Generator) -> tuple[int, float]:
    """Length in pixels and turn in degrees of a published blur.

    Algorithm 1 prints -45..45 for the length too, which cannot be; the released code has `LENGTHS`.
    """
    length = int(torch.randint(LENGTHS[0], LENGTHS[1] + 1, (), generator=generator))
    return length, _between(-STEEPEST_DEG, STEEPEST_DEG, generator)


def line_kernel(length: int, turn_deg: float, *, darken: bool = False) -> Tensor:
    """Kernel of the published blur: the diagonal of a square, turned about its middle (Algorithm 1).

    Args:
        length: Pixels of the square's edge.
        turn_deg: Turn from the diagonal, counter-clockwise.
        darken: Divide by the length, as published. Turning loses weight (the sum is 1 at 0, 0.8 at 15, 0.7 at 30
            degrees), so that blurred images are darker, an easy mark that no scanner leaves. By default the sum is 1.

    Returns:
        [1, length, length] for `correlate`, which it makes blur slices.

    Raises:
        ValueError: If the length is not positive.
    """
    if length < 1:
        raise ValueError(f"a line has at least one pixel, got {length}")
    middle, turn = length / 2, math.radians(turn_deg)  # of the published code: half a pixel beside the true middle
    steps = torch.arange(length, dtype=torch.float64)
    y, x = torch.meshgrid(steps - middle, steps - middle, indexing="ij")
    source_x = math.cos(turn) * x - math.sin(turn) * y + middle
    source_y = math.sin(turn) * x + math.cos(turn) * y + middle
    # Bilinear interpolation of the identity matrix: only its diagonal entries (n, n) contribute.
    kernel = (_hat(source_x[..., None] - steps) * _hat(source_y[..., None] - steps)).sum(-1)
    return (kernel / (length if darken else kernel.sum())).float()[None]


def draw_streak(severity: int, generator: torch.Generator) -> tuple[float, Tensor]:
    """Length in mm of a severity, and any direction in space [3], all equally likely.

    Raises:
        ValueError: If there is no such severity.
    """
    if not 0 <= severity < len(LENGTHS_MM):
        raise ValueError(f"severity must lie in 0..{len(LENGTHS_MM) - 1}, got {severity}")
    direction = torch.randn(3, generator=generator, dtype=torch.float64)
    return LENGTHS_MM[severity], direction / direction.norm()


def streak_kernel(length_mm: float, direction: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Kernel of a blur along a straight line in space: Algorithm 1's idea in three dimensions.

    Args:
        length_mm: Length of the line, which the middle voxel halves: nothing moves.
        direction: Unit vector [3] in (i, j, k) order.
        spacing_mm: Voxel edge lengths in (i, j, k) order.

    Returns:
        [d, h, w] for `correlate`, of odd sizes, with sum 1.

    Raises:
        ValueError: If the length is negative or a spacing is not positive.
    """
    if length_mm < 0 or min(spacing_mm) <= 0:
        raise ValueError(f"a line of {length_mm} mm at a spacing of {list(spacing_mm)} mm cannot be")
    points = 4 * math.ceil(length_mm / min(spacing_mm)) + 1
    along = ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5) * length_mm
    steps = direction.double() / torch.tensor(list(spacing_mm), dtype=torch.float64)
    weights = []
    for offsets in (along[:, None] * steps.flip(0)).T:  # array axes are (k, j, i)
        radius = math.ceil(offsets.abs().max().item())
        weights.append(_hat(offsets[:, None] - torch.arange(-radius, radius + 1, dtype=torch.float64)))
    return (torch.einsum("nd,nh,nw->dhw", *weights) / points).float()


def add_noise(images: Tensor, std: Tensor | float, generator: torch.Generator) -> Tensor:
    """Gaussian noise on every voxel of images of any shape; `std` is on their intensity scale."""
    return images + torch.randn(images.shape, generator=generator).to(images) * std


def smooth_slices(images: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing within axial slices.

    Args:
        images: [..., D, H, W].
        sigma: Standard deviation in pixels > 0; the kernel ends at four of them.
    """
    radius = math.ceil(4 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma).square())
    weights = (weights / weights.sum()).float()
    return correlate(correlate(images, weights.view(1, -1, 1)), weights.view(1, 1, -1))


def draw_windows(size: Sequence[int], generator: torch.Generator, count: int = BROKEN_WINDOWS) -> list[Window]:
    """Places of windows of up to an eighth of a volume [D, H, W] along each axis, at most 4 pixels less in-plane."""
    windows = []
    for _ in range(count):
        spans = []
        for axis, length in enumerate(size):
            most = max(1, length // 8)
            extent = int(torch.randint(max(1, most - 4) if axis else 1, most + 1, (), generator=generator))
            start = int(torch.randint(length - extent + 1, (), generator=generator))
            spans.append(slice(start, start + extent))
        windows.append((spans[0], spans[1], spans[2]))
    return windows


def break_structure(images: Tensor, windows: Sequence[Window], steps: int, generator: torch.Generator) -> Tensor:
    """Spoil the spectrum of windows, slice by slice: amplitudes smoothed, phases out of place.

    Each phase is that of a sample up to `steps` away along both axes, our reading of the published jigsaw.

    Args:
        images: [..., D, H, W].
        windows: Where.
        steps: How far phases wander, in samples.
        generator: Which way they do.

    Returns:
        The images; in the windows what the spoilt spectrum says, as magnitude.
    """
    out = images.float().clone()
    for window in windows:
        part = out[(..., *window)]
        spectrum = torch.fft.fft2(part)
        height, width = part.shape[-2:]
        shifts = torch.randint(-steps, steps + 1, (2, height, width), generator=generator)
        rows = (torch.arange(height)[:, None] + shifts[0]) % height
        columns = (torch.arange(width) + shifts[1]) % width
        phases = spectrum.angle()[..., rows.to(images.device), columns.to(images.device)]
        out[(..., *window)] = torch.fft.ifft2(torch.polar(smooth_slices(spectrum.abs(), 0.5), phases)).abs()
    return out.to(images.dtype)


def draw_bias(generator: torch.Generator) -> Tensor:
    """Weights of the waves of a bias field, for (k, j, i): [3, 3, 3], none of them constant."""
    weights = torch.randn((WAVES,) * 3, generator=generator, dtype=torch.float64)
    weights[0, 0, 0] = 0
    return weights


def bias_field(size: Sequence[int], weights: Tensor) -> Tensor:
    """Smooth field over a volume [D, H, W]: a sum of cosines (DCT-II), scaled so that its largest magnitude is 1.

    Args:
        size: D, H and W.
        weights: Of the waves by their number of half periods along each axis [d, h, w].

    Returns:
        [D, H, W] in [-1, 1], float32; 0 where all weights are.
    """
    waves = []
    for length, count in zip(size, weights.shape, strict=True):
        phase = math.pi * (torch.arange(length, dtype=torch.float64) + 0.5) / length
        waves.append(torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * phase))  # [count, length]
    field = torch.einsum("dhw,dk,hj,wi->kji", weights.double(), *waves)
    return (field / field.abs().max().clamp_min(1e-12)).float()


def with_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of any strength up to `NOISIEST` of each volume's maximum: [..., D, H, W] -> same shape."""
    strength = NOISIEST * torch.rand((*images.shape[:-3], 1, 1, 1), generator=generator)
    return add_noise(images, strength.to(images) * images.amax((-3, -2, -1), keepdim=True), generator)


def with_blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Smoothing of slices by any of `SIGMAS`: [..., D, H, W] -> same shape."""
    return smooth_slices(images, _between(*SIGMAS, generator))


def with_lost_structure(images: Tensor, generator: torch.Generator) -> Tensor:
    """`BROKEN_WINDOWS` anywhere, their phases up to 1..`FARTHEST` astray: [..., D, H, W] -> same shape."""
    windows = draw_windows(images.shape[-3:], generator)
    return break_structure(images, windows, int(torch.randint(1, FARTHEST + 1, (), generator=generator)), generator)


DEGRADATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "noise": with_noise,
    "blur": with_blur,
    "structure": with_lost_structure,
}
"""The three of RMR-Fusion, drawn as its training draws them."""


def _between(low: float, high: float, generator: torch.Generator) -> float:
    """A number between two."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _hat(x: Tensor) -> Tensor:
    """Weight of linear interpolation at a distance in samples."""
    return (1 - x.abs()).clamp_min(0)
