"""Bounds: what every configuration of a network has, and within what."""

from __future__ import annotations

COMMON: dict[str, tuple[float, float]] = {
    "modalities": (1, 16),
    "regions": (1, 16),
    "width": (4, 256),
}
"""Least and largest value by setting; those of a configuration alone are beside it."""
