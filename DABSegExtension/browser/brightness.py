"""Brightness: window and level of the volumes on screen, by name or as the mouse left them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from DABSegLib.nodes.geometry import voxels

PRESETS = ("Auto", "Brain", "Full")
"""Slicer's own choice; nearly all of what is not 0; everything."""

BRAIN_SHARES = (0.02, 0.98)


def set_windows(volumes: Mapping[str, Any], preset: str) -> None:
    """Set the window of each volume; the comparison gives it to those that share their brightness.

    Args:
        volumes: Modality -> volume node.
        preset: One of `PRESETS`.
    """
    for volume in volumes.values():
        display = volume.GetDisplayNode()
        if preset == "Auto":
            display.SetAutoWindowLevel(True)
            window, level = display.GetWindow(), display.GetLevel()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(window, level)
        else:
            low, high = _range(voxels(volume), preset)
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(max(high - low, 1e-6), (low + high) / 2)


def windows(volumes: Mapping[str, Any]) -> dict[str, list[float]]:
    """Modality -> window and level, to three digits."""
    return {
        modality: [_short(volume.GetDisplayNode().GetWindow()), _short(volume.GetDisplayNode().GetLevel())]
        for modality, volume in volumes.items()
        if volume.GetDisplayNode() is not None
    }


def _range(array: np.ndarray, preset: str) -> tuple[float, float]:
    """Darkest and brightest value of a preset; of an empty volume 0 and 1."""
    inside = array[array != 0]
    if not inside.size:
        return 0.0, 1.0
    if preset == "Brain":
        low, high = np.quantile(inside[:: max(1, inside.size // 200_000)], BRAIN_SHARES)
        return float(low), float(high)
    return float(array.min()), float(array.max())


def _short(value: float) -> float:
    """A number for people."""
    return float(f"{value:.3g}")
