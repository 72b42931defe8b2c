"""Lesions: how well each separate lesion is outlined, by the rules of the BraTS 2023 challenge.

The rules (github.com/rachitsaluja/BraTS-2023-Metrics, those for glioma):

1. The reference is dilated by 3 mm; what then hangs together is one lesion, of which only the voxels of the reference
   count. Voxels hang together by faces, edges and corners.
2. The pieces of the prediction that hang together, as they are, belong to every lesion whose dilated form they touch.
3. A lesion's Dice is that of its voxels and all of its pieces; a missed lesion, without a piece, has 0.
4. A lesion of 50 mm^3 or less is ignored, and its pieces are not held against the prediction.
5. A piece of no lesion is a false lesion, of whatever size: one more 0 in the mean.

The challenge dilates three times by the 18 neighbours of a voxel, on voxels of 1 mm. Put in millimetres that is every
offset of at most 3 mm along each axis and 6 mm in sum, which is the same there and has a meaning on other voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from DABSegCore.errors import packages_for
from DABSegCore.metrics.masks import ROUNDING, box_around, same_shape, steps_within, surface

_REACH_MM = 3.0
_IGNORED_MM3 = 50.0
_TOUCHING = np.ones((3, 3, 3), bool)


class LesionScores(NamedTuple):
    """The lesions of one region."""

    dice: tuple[float, ...]
    """Of each lesion of the reference that is large enough to count."""
    missed: int
    """How many of these have no piece of the prediction near."""
    false: int
    """Pieces of the prediction that belong to no lesion."""
    ignored: int
    """Lesions of the reference too small to count."""

    def mean(self) -> float:
        """Lesion-wise Dice: the mean over lesions, false ones with 0; 1 when there is none at all."""
        lesions = len(self.dice) + self.false
        return sum(self.dice) / lesions if lesions else 1.0


def lesion_dice(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Lesion-wise Dice: the mean Dice over lesions, missed and false ones with 0.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.

    Returns:
        0 to 1; 1 when both masks are empty, 0 when only one is. Lesions too small to count are as if not there.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    return lesion_scores(prediction, reference, spacing_mm).mean()


@packages_for("telling lesions apart")
def lesion_scores(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    reach_mm: float = _REACH_MM,
    ignored_mm3: float = _IGNORED_MM3,
) -> LesionScores:
    """Every lesion's Dice, and how many are missed, false and ignored.

    Args:
        prediction: Mask, bool [D, H, W].
        reference: Mask, same shape.
        spacing_mm: Voxel edge lengths in (i, j, k) order, as `Volume.spacing_mm`.
        reach_mm: How far the reference is dilated to see what is one lesion and which pieces belong to it.
        ignored_mm3: The largest lesion that does not count.

    Raises:
        ValueError: If the shapes differ.
        InputError: If SciPy is not installed.
    """
    from scipy import ndimage

    same_shape(prediction, reference)
    found, there = np.asarray(prediction, bool), np.asarray(reference, bool)
    box = box_around(found | there)
    steps = _steps(spacing_mm, reach_mm)
    margin = [(width, width) for width in steps.max(axis=0)]
    found, there = np.pad(found[box], margin), np.pad(there[box], margin)
    lesions, n_lesions = ndimage.label(_dilated(there, steps), _TOUCHING)
    pieces, n_pieces = ndimage.label(found, _TOUCHING)

    pairs = np.unique(lesions[found].astype(np.int64) * (n_pieces + 1) + pieces[found])
    lesion, piece = np.divmod(pairs[pairs > n_pieces], n_pieces + 1)  # lesion 0 is none
    sizes = np.bincount(pieces[found], minlength=n_pieces + 1)
    lesion_voxels, hit, found_voxels = (
        np.bincount(numbers, weights, minlength=n_lesions + 1)[1:]
        for numbers, weights in ((lesions[there], None), (lesions[there & found], None), (lesion, sizes[piece]))
    )
    dice = 2 * hit / (lesion_voxels + found_voxels)  # a voxel found in a lesion is in one of its pieces
    counts = lesion_voxels * math.prod(spacing_mm) > ignored_mm3 * (1 + ROUNDING)
    return LesionScores(
        dice=tuple(dice[counts].tolist()),
        missed=int(np.count_nonzero(counts & (found_voxels == 0))),
        false=n_pieces - np.unique(piece).size,
        ignored=int(np.count_nonzero(~counts)),
    )


def _steps(spacing_mm: Sequence[float], reach_mm: float) -> np.ndarray:
    """Offsets in voxels of a dilation, int [N, 3] along (D, H, W)."""
    edges_mm = np.array(spacing_mm, float)[::-1]
    steps = steps_within(edges_mm, reach_mm)
    return steps[(np.abs(steps) * edges_mm).sum(axis=1) <= 2 * reach_mm + ROUNDING]


def _dilated(mask: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """A mask [D, H, W] and all that is a step away; the steps stay inside the array.

    With a step all shorter ones are steps, so the way from an inner voxel to the outside leaves from the surface: only
    that has to be moved.
    """
    grown = np.array(mask, order="C")
    seen = grown.reshape(-1)  # a view
    edge = np.flatnonzero(surface(mask))
    for shift in steps @ np.array(grown.strides):  # of bytes, and a voxel of a mask is one
        seen[edge + shift] = True
    return grown
