"""Words: every number of a report defined in a sentence, and what it is where a mask is empty."""

from __future__ import annotations

from pathlib import Path

from DABSegCore.metrics import PENALTY_MM

_TOLERANCE_MM = 1.0

REGION_WORDS = {
    "ET": "Enhancing tumour, label 4 (3 in files of BraTS 2023).",
    "TC": "Tumour core: enhancing tumour and necrosis, labels 1 and 4.",
    "WT": "Whole tumour: core and oedema, labels 1, 2 and 4.",
}
IMAGE_WORDS = {
    "PSNR": "Peak signal-to-noise ratio, 10 log10(1 / mean squared error) in dB; higher is nearer. Like the two below "
    "it compares with the sharp images, inside the brain, on the working grid of 1 mm, in the intensity window of the "
    "images with motion; infinite, and so left out, for equal images.",
    "SSIM": "Structural similarity (Wang et al. 2004) in 3-D: a Gaussian of 1.5 voxels in a window of 11 voxels; at "
    "most 1.",
    "NMSE": "Sum of squared differences over that of the sharp images' squares; 0 is equal.",
}
STATISTICS_WORDS = {
    "mean ± sd": "Over cases; sd is the standard deviation of a sample.",
    "interval": "95 % bootstrap interval of the mean over cases, bias-corrected and accelerated, 5000 draws from a "
    "fixed seed. It tells of other cases like these, not of other scanners or of another training. None for one case.",
    "left out": "Values that are undefined or infinite are counted and left out.",
}
SEVERITY_WORDS = {
    "S0 to S4": "Simulated rigid motion during the acquisition: none, mild, moderate, severe, extreme. For every case, "
    "image and severity it is drawn from the seed once and for all, independently for each of the four images, so all "
    "methods are asked the same question. The settings of the published tables' S2 were not published; "
    "judged by what motion costs a network that never saw any, it is at least as strong as S4 here (docs/compare.md).",
}
GIVEN_WORDS = {"given": "Predictions that were handed in, scored as they are."}
EMPTY = {  # metric: neither found nor there; there, not found; found, not there
    "Dice": ("1", "0", "0"),
    "NSD": ("1", "0", "0"),
    "HD95": ("0 mm", "{penalty} mm", "{penalty} mm"),
    "Lesion-wise Dice": ("1", "0", "0"),
    "Sensitivity": ("left out", "0", "left out"),
    "Specificity": ("1", "1", "as defined"),
}


def metric_words(tolerance_mm: float | None, penalty_mm: float | None) -> dict[str, str]:
    """What each metric of masks is, by its name."""
    tolerance, penalty = _or(tolerance_mm, _TOLERANCE_MM), _or(penalty_mm, PENALTY_MM)
    return {
        "Dice": "Twice the overlap over the sum of both volumes, 2 |A and B| / (|A| + |B|).",
        "HD95": "95th percentile of the distances from each surface to the other, in mm; the larger of the two ways. A "
        f"region that only one of the two has costs {penalty:g} mm" + _PENALTY_WORDS.get(penalty, "") + ", so one "
        "missed region may outweigh all other cases of a mean: read the median beside it.",
        "NSD": f"Normalised surface Dice: share of both surfaces that lies within {tolerance:g} mm of the other.",
        "Sensitivity": "Share of the reference that was found.",
        "Specificity": "Share of what is outside the reference that was left out, over the whole volume: near 1 "
        "whatever is found, as most of a volume is not tumour.",
        "Lesion-wise Dice": "Mean Dice over separate lesions as in BraTS 2023: the reference is dilated by 3 mm to "
        "tell what is one lesion, missed and invented lesions count 0, lesions of 50 mm³ or less are ignored.",
        "missed, invented": "In how many cases a region that is there was not found at all, and one that is not there "
        "was found.",
    }


def empty_rules(penalty_mm: float | None) -> dict[str, tuple[str, ...]]:
    """What each metric is where prediction, reference or both are empty."""
    penalty = f"{_or(penalty_mm, PENALTY_MM):g}"
    return {metric: tuple(cell.format(penalty=penalty) for cell in cells) for metric, cells in EMPTY.items()}


def shown_path(path: str | None) -> str:
    """A path as it was given, the home folder as ~."""
    home = str(Path.home())
    return "" if not path else f"~{path[len(home) :]}" if path.startswith(home + "/") else str(path)


_PENALTY_WORDS = {
    PENALTY_MM: ", the diagonal of the BraTS grid",
    347.0: ", as in the published code of DABSeg",
}


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
