"""Regions: every metric of the three tumour regions at once, as a table of an evaluation has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from DABSegCore.labels import REGIONS
from DABSegCore.metrics.lesions import lesion_dice
from DABSegCore.metrics.masks import same_shape
from DABSegCore.metrics.overlap import overlap_of
from DABSegCore.metrics.surface import PENALTY_MM, surface_distances


def region_scores(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    tolerance_mm: float = 1.0,
    penalty_mm: float = PENALTY_MM,
) -> dict[str, dict[str, float]]:
    """How well each region was found.

    Args:
        prediction: Masks, bool [R, D, H, W], R as in `REGIONS`.
        reference: Masks, same shape and grid.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.
        tolerance_mm: Of the normalised surface Dice.
        penalty_mm: HD95 of a region that only one of the two has.

    Returns:
        By region: `dice`, `hd95_mm`, `nsd`, `sensitivity`, `specificity`, `lesion_dice`, `predicted_ml` and
        `reference_ml`; NaN where there is no answer (see `DABSegCore.metrics`).

    Raises:
        ValueError: If the shapes differ or there is not one mask a region.
        InputError: If SciPy is not installed.
    """
    same_shape(prediction, reference)
    voxel_ml = math.prod(spacing_mm) / 1000
    scores = {}
    for region, found, there in zip(REGIONS, prediction, reference, strict=True):
        overlap = overlap_of(found, there)
        distances = surface_distances(found, there, spacing_mm)
        scores[region] = {
            "dice": overlap.dice(),
            "hd95_mm": distances.hd95(penalty_mm),
            "nsd": distances.nsd(tolerance_mm),
            "sensitivity": overlap.sensitivity(),
            "specificity": overlap.specificity(),
            "lesion_dice": lesion_dice(found, there, spacing_mm),
            "predicted_ml": overlap.predicted * voxel_ml,
            "reference_ml": overlap.there * voxel_ml,
        }
    return scores
