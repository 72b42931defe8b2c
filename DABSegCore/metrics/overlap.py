"""Overlap: Dice, sensitivity and specificity, all of the same four counts of voxels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from DABSegCore.metrics.masks import same_shape


class Overlap(NamedTuple):
    """Two masks, A (prediction) and B (reference), counted in voxels; for what is empty see `DABSegCore.metrics`."""

    both: int
    """|A and B|"""
    predicted: int
    """|A|"""
    there: int
    """|B|"""
    voxels: int
    """Size of the volume."""

    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|); 1 when both are empty."""
        total = self.predicted + self.there
        return 2.0 * self.both / total if total else 1.0

    def sensitivity(self) -> float:
        """|A and B| / |B|; NaN when B is empty."""
        return self.both / self.there if self.there else float("nan")

    def specificity(self) -> float:
        """|neither A nor B| / |not B|; NaN when B fills the volume."""
        outside = self.voxels - self.there
        return 1.0 - (self.predicted - self.both) / outside if outside else float("nan")


def overlap_of(prediction: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count two masks.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Raises:
        ValueError: If the shapes differ.
    """
    same_shape(prediction, reference)
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    counts = (int(np.count_nonzero(mask)) for mask in (prediction & reference, prediction, reference))
    return Overlap(*counts, voxels=reference.size)


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice overlap 2 |A and B| / (|A| + |B|) (Dice 1945).

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Returns:
        0 to 1; 1 when both masks are empty, 0 when only one is.

    Raises:
        ValueError: If the shapes differ.
    """
    return overlap_of(prediction, reference).dice()


def sensitivity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the reference that was found, |A and B| / |B|.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Returns:
        0 to 1; NaN when the reference is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    return overlap_of(prediction, reference).sensitivity()


def specificity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of what is outside the reference that was left out, |neither A nor B| / |not B|.

    Everything in the arrays counts, air as well, so the larger the field of view the nearer it is to 1: compare it only
    between predictions of the same volumes.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.

    Returns:
        0 to 1; NaN when the reference fills the volume.

    Raises:
        ValueError: If the shapes differ.
    """
    return overlap_of(prediction, reference).specificity()
