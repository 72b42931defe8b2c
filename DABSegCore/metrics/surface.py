"""Surface: how far apart the surfaces of two masks lie in millimetres, as HD95 and as normalised surface Dice.

A surface is the voxels of a mask with one of the six neighbours outside it; beyond the volume all is outside. Each
surface voxel has a distance to the nearest one of the other surface, centre to centre, and each counts as one, however
much of its faces is bare: MONAI's definition (`compute_surface_dice` without subvoxels). DeepMind's `surface-distance`
weighs pieces of a surface between the voxels by their area instead and is more lenient (a ball against an egg within
1 mm: 0.77 where this says 0.65), so figures of the two are not to be set side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from DABSegCore.errors import packages_for
from DABSegCore.metrics.masks import ROUNDING, box_around, same_shape, surface
from DABSegCore.metrics.nearest import to_nearest

PENALTY_MM = 373.13
"""HD95 when only one mask is empty: the diagonal of the BraTS grid, as in its rankings."""


class SurfaceDistances(NamedTuple):
    """Distances between the surfaces of a prediction and of a reference: one pass for all that is made of them."""

    there: np.ndarray
    """From each surface voxel of the prediction to the nearest of the reference [P], mm; infinite if that is empty."""
    back: np.ndarray
    """From each surface voxel of the reference to the nearest of the prediction [Q], mm."""

    def hd95(self, penalty_mm: float = PENALTY_MM) -> float:
        """The 95th percentile each way, and the larger of the two, mm; 0 of no surfaces, the penalty of only one."""
        if not (self.there.size and self.back.size):
            return penalty_mm if self.there.size or self.back.size else 0.0
        return float(max(np.percentile(self.there, 95), np.percentile(self.back, 95)))

    def nsd(self, tolerance_mm: float = 1.0) -> float:
        """Share of all surface voxels that are no farther from the other surface than a tolerance; 1 of no surfaces."""
        within = sum(int(np.count_nonzero(side <= tolerance_mm + ROUNDING)) for side in self)
        total = self.there.size + self.back.size
        return within / total if total else 1.0


@packages_for("measuring distances between surfaces")
def surface_distances(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks, both ways.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    same_shape(prediction, reference)
    masks = np.asarray(prediction, bool), np.asarray(reference, bool)
    box = box_around(masks[0] | masks[1])
    ours, theirs = (surface(mask[box]) for mask in masks)
    edges_mm = np.array(spacing_mm, float)[::-1]  # of D, H, W
    return SurfaceDistances(to_nearest(ours, theirs, edges_mm), to_nearest(theirs, ours, edges_mm))


def hd95(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], penalty_mm: float = PENALTY_MM
) -> float:
    """95th percentile Hausdorff distance: how far the surfaces lie apart, but for the worst 5 % of them.

    Of the distances between the surfaces the 95th percentile is taken from prediction to reference and back, and the
    larger of the two counts, as in MONAI.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.
        penalty_mm: What it is when only one mask is empty; 347 for figures to set beside the published code's.

    Returns:
        Millimetres; 0 when both masks are empty.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    return surface_distances(prediction, reference, spacing_mm).hd95(penalty_mm)


def nsd(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float = 1.0) -> float:
    """Normalised surface Dice (Nikolov et al. 2018): share of both surfaces that lies within a tolerance of the other.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.
        tolerance_mm: The largest distance that is as good as none.

    Returns:
        0 to 1; 1 when both masks are empty, 0 when only one is.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    return surface_distances(prediction, reference, spacing_mm).nsd(tolerance_mm)
