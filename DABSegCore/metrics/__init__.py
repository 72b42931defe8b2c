"""Metrics: agreement of masks and of images, with every rule for what is empty in one table.

Masks are boolean [D, H, W], spacings are in (i, j, k) order, distances in millimetres. What a metric says when a mask
is empty ("found": the prediction; "there": the reference):

    metric        neither found nor there   there, not found   found, not there
    dice          1                         0                  0
    nsd           1                         0                  0
    hd95          0                         penalty_mm         penalty_mm
    lesion_dice   1                         0                  0
    sensitivity   NaN                       0                  NaN
    specificity   1                         1                  what it is: the share of the volume left out

`penalty_mm` is 373.13 unless another is asked for: the diagonal of the BraTS grid, 240 x 240 x 155 mm, as in its
rankings; the published code of DABSeg has 347. Lesions too small to count are as if they were not there for
`lesion_dice`, so that of these alone it says 1, found or not. `specificity` is NaN only where the reference fills the
volume. `psnr`, `ssim` and `nmse` are NaN in an empty mask; of equal images `psnr` is infinite, and `nmse` is infinite
(or NaN, if the images are equal) where the reference is 0 all over the mask. Those of fused images (`entropy`, `fmi`,
`average_gradient`, `scd`) are NaN in an empty mask, too.
"""

from DABSegCore.metrics.fusion import average_gradient, entropy, fmi, scd
from DABSegCore.metrics.image import nmse, psnr, ssim, surroundings
from DABSegCore.metrics.lesions import LesionScores, lesion_dice, lesion_scores
from DABSegCore.metrics.overlap import Overlap, dice, overlap_of, sensitivity, specificity
from DABSegCore.metrics.regions import region_scores
from DABSegCore.metrics.surface import PENALTY_MM, SurfaceDistances, hd95, nsd, surface_distances

__all__ = [
    "LesionScores",
    "Overlap",
    "PENALTY_MM",
    "SurfaceDistances",
    "average_gradient",
    "dice",
    "entropy",
    "fmi",
    "hd95",
    "lesion_dice",
    "lesion_scores",
    "nmse",
    "nsd",
    "overlap_of",
    "psnr",
    "region_scores",
    "scd",
    "sensitivity",
    "specificity",
    "ssim",
    "surface_distances",
    "surroundings",
]
