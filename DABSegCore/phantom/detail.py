"""Detail: what makes tissue look lived-in - uneven tumour, vessels, bright caps on ventricles, the stripped edge."""

from __future__ import annotations

import numpy as np

from DABSegCore.labels import ENHANCING
from DABSegCore.phantom.fields import Grid, generator, share, smooth_noise
from DABSegCore.phantom.tumour import TumourFields


def shares(seed: int, tumour: TumourFields, label: np.ndarray, grey: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """How far each voxel looks like each part of the tumour.

    Args:
        seed: The patient's seed.
        tumour: The tumour's fields on the image grid.
        label: Its labels [D, H, W].
        grey: Weight of cortex, which swells less than white matter [D, H, W].
        grid: The image grid.

    Returns:
        "oedema", "necrosis", "enhancing": shares of about 0 to 1 [D, H, W]; "texture": unit noise [2, D, H, W].
    """
    rng = generator(seed, "tumour texture")
    strength = np.clip(0.82 + 0.16 * smooth_noise(grid, 18.0, rng, 14), 0.45, 1.0)
    depth = np.clip(0.5 + tumour.oedema / np.float32(9.0), 0, 1)
    cortex = 1 - np.float32(0.35) * grey
    oedema = np.where(label > 0, strength * depth * cortex, 0).astype(np.float32)
    core = share(tumour.core, grid.spacing_mm) * (label > 0)
    rim = np.where(label == ENHANCING, np.clip(0.78 + 0.25 * smooth_noise(grid, 8.0, rng, 40), 0.5, 1.25), 0)
    texture = np.stack([smooth_noise(grid, 20.0, rng, 14), smooth_noise(grid, 8.0, rng, 40)])
    return {"oedema": oedema, "necrosis": core, "enhancing": rim.astype(np.float32), "texture": texture}


def edge(seed: int, brain: np.ndarray, grid: Grid) -> np.ndarray:
    """How the stripped skull darkens the outermost voxels, patch by patch: a factor in [0.15, 1] [D, H, W]."""
    depth_mm = np.float32(1.2) + smooth_noise(grid, 35.0, generator(seed, "edge"), 12)
    return np.clip(np.maximum(brain / np.maximum(depth_mm, 0.1), 0.15), 0, 1)


def caps(seed: int, ventricles: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of the harmless bright caps that ageing paints around the ventricles; no part of the tumour [D, H, W]."""
    rng = generator(seed, "caps")
    patches = np.clip(smooth_noise(grid, 30.0, rng, 12), 0, 1)
    return np.float32(0.6 * rng.beta(1.2, 2.5)) * patches * np.exp(np.minimum(ventricles, 0) / np.float32(3.0))


def vessels(seed: int, fluid: np.ndarray, brain: np.ndarray, ventricles: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of vessel: branches in sulci, choroid plexus, sagittal sinus, remnants of dura at the rim [D, H, W]."""
    rng = generator(seed, "vessels")
    branches = np.clip(2.0 * (smooth_noise(grid, 9.0, rng, 16) - 0.55), 0, 1) * fluid
    choroid = (np.abs(grid.y - 28.0) < 14.0)[:, None] * np.float32(0.5)
    branches *= np.where(ventricles > -1.0, choroid, 1)
    dura = np.clip(smooth_noise(grid, 40.0, rng, 12) - 0.6, 0, 1) * (brain < 2.5)
    sinus = (np.abs(grid.x) < 3.5).astype(np.float32) * (brain < 4.0) * (grid.z[:, None, None] > 0)
    return np.maximum(np.maximum(branches, 0.7 * dura), 0.8 * sinus * fluid).astype(np.float32)
