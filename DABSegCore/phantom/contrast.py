"""Contrast: from tissue weights and labels to four scanner images: brightness, bias, slices, noise."""

from __future__ import annotations

import numpy as np

from DABSegCore.phantom.fields import Grid, generator, smooth_noise

BRIGHTNESS = {  # tissue order csf, gm, wm, deep; then oedema, necrosis, enhancing tumour, vessel
    "t1": (0.26, 0.77, 1.00, 0.84, 0.76, 0.64, 0.74, 0.85),
    "t1ce": (0.26, 0.77, 0.96, 0.84, 0.77, 0.60, 1.50, 2.70),
    "t2": (1.00, 0.42, 0.31, 0.36, 0.57, 0.78, 0.54, 0.15),
    "flair": (0.20, 0.80, 0.66, 0.78, 1.27, 1.08, 1.04, 0.40),
}
SPREAD = {  # standard deviation of the logarithm, patient by patient
    "t1": (0.14, 0.09, 0.03, 0.06, 0.09, 0.16, 0.10, 0.2),
    "t1ce": (0.14, 0.09, 0.03, 0.06, 0.08, 0.20, 0.15, 0.2),
    "t2": (0.06, 0.14, 0.14, 0.13, 0.20, 0.16, 0.22, 0.3),
    "flair": (0.28, 0.06, 0.09, 0.07, 0.12, 0.18, 0.15, 0.2),
}
SCALE = {"t1": 500.0, "t1ce": 600.0, "t2": 700.0, "flair": 450.0}
THICK_SLICES = {"t1": 0.40, "t1ce": 0.15, "t2": 0.50, "flair": 0.45}
"""How often a modality was acquired as thick two-dimensional slices rather than as a 1 mm volume."""


def draw_brightness(seed: int, modality: str) -> np.ndarray:
    """Brightness of four tissues, oedema, necrosis, enhancing tumour and vessels in one patient's modality [8]."""
    rng = generator(seed, f"brightness/{modality}")
    return np.asarray(BRIGHTNESS[modality]) * np.exp(rng.normal(0, SPREAD[modality]))


def mix(weights: np.ndarray, tumour: dict, vessels: np.ndarray, seed: int, modality: str) -> np.ndarray:
    """Ideal image of one modality.

    Args:
        weights: Tissue weights [T, D, H, W].
        tumour: Soft shares of "oedema", "necrosis" and "enhancing" [D, H, W], and unit noise "texture" [2, D, H, W].
        vessels: Share of vessel [D, H, W].
        seed: The patient's seed.
        modality: Its name; each follows the tumour's texture in its own way.

    Returns:
        Brightness, float32 [D, H, W].
    """
    values = draw_brightness(seed, modality).astype(np.float32)
    rng = generator(seed, f"texture/{modality}")
    image = np.tensordot(values[:4], weights, axes=1)
    image += vessels * (values[7] - image)
    for name, value, spread in zip(("oedema", "necrosis", "enhancing"), values[4:7], (0.10, 0.15, 0.16), strict=True):
        uneven = np.tensordot(rng.normal(0, (spread, 0.5 * spread)).astype(np.float32), tumour["texture"], axes=1)
        image += tumour[name] * (value * np.clip(1 + uneven, 0.55, 1.6) - image)
    return image


def acquire(image: np.ndarray, brain: np.ndarray, grid: Grid, seed: int, modality: str) -> np.ndarray:
    """One scan of an ideal image: coil sensitivity, slices, Rician noise, the scanner's own units.

    Args:
        image: Ideal brightness [D, H, W].
        brain: Brain mask [D, H, W].
        grid: The image grid.
        seed: The patient's seed.
        modality: Its name; every modality has its own chance.

    Returns:
        Image, float32 [D, H, W], positive in the brain and exactly 0 outside.
    """
    from scipy import ndimage

    rng = generator(seed, f"scan/{modality}")
    bias = rng.uniform(0.03, 0.13) * smooth_noise(grid, float(rng.uniform(120, 220)), rng)
    texture = rng.uniform(0.01, 0.025) * smooth_noise(grid, 14.0, rng, 16)
    scale = SCALE[modality] * np.exp(rng.normal(0, 0.45))
    noise = np.float32(rng.uniform(0.008, 0.035))
    blur = rng.uniform(0.25, 0.75) / grid.spacing_mm
    slice_mm = rng.uniform(2.5, 5.5)
    thick = max(1, round(slice_mm / grid.spacing_mm)) if rng.random() < THICK_SLICES[modality] else 1
    axis = 0 if rng.random() < 0.85 else 2  # axial, now and then sagittal
    width = [blur / 2 if a == axis and thick == 1 else blur for a in range(3)]
    signal = _slices(ndimage.gaussian_filter(image * (1 + bias + texture), width), axis, thick)
    real, imaginary = (noise * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2))
    signal = _between_slices(np.hypot(signal + real, imaginary), axis, thick, image.shape[axis])
    return np.where(brain, np.maximum(signal, 1e-3) * np.float32(scale), 0).astype(np.float32)


def _slices(volume: np.ndarray, axis: int, thick: int) -> np.ndarray:
    """Mean over slabs of `thick` voxels along an axis."""
    if thick == 1:
        return volume
    starts = np.arange(0, volume.shape[axis], thick)
    counts = np.diff(np.append(starts, volume.shape[axis])).astype(np.float32)
    return np.add.reduceat(volume, starts, axis) / counts.reshape([-1 if a == axis else 1 for a in range(3)])


def _between_slices(slabs: np.ndarray, axis: int, thick: int, length: int) -> np.ndarray:
    """Linear interpolation from slab middles back to `length` voxels along an axis."""
    if thick == 1:
        return slabs
    position = np.clip((np.arange(length) - (thick - 1) / 2) / thick, 0, slabs.shape[axis] - 1.001)
    low = position.astype(np.intp)
    weight = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    below = slabs.take(low, axis)
    return below + weight * (slabs.take(low + 1, axis) - below)
