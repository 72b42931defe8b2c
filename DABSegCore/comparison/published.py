"""Published: the tables of the paper as they are printed, and what one must know to read them; nothing measured here.

Wang et al. 2026, "Degradation-Aware Blur-Segmentation of Brain Tumor", arXiv 2605.15671v1, Tables 1 to 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from DABSegCore.metrics import PENALTY_MM

PAPER = "Wang et al. 2026, arXiv 2605.15671v1"

PAPER_REGIONS = ("WT", "TC", "ET")
"""Columns of the paper's tables, in its order."""

PAPER_CASES = 37
PAPER_PENALTY = 347.0


@dataclass(frozen=True)
class Score:
    """What is printed of one region: Dice in per cent, its standard deviation where there is one, HD95."""

    dice: float
    hd95: float
    sd: float | None = None


@dataclass(frozen=True)
class Table:
    """A table as printed.

    Attributes:
        number: 1 to 3.
        caption: What it shows.
        rows: By method, scores in the order of `PAPER_REGIONS`.
    """

    number: int
    caption: str
    rows: dict[str, tuple[Score, Score, Score]]


def _with_sd(*numbers: float) -> tuple[Score, Score, Score]:
    """Dice, sd and HD95 of each region."""
    return _scores(zip(numbers[0::3], numbers[2::3], numbers[1::3], strict=True))


def _plain(*numbers: float) -> tuple[Score, Score, Score]:
    """Dice and HD95 of each region."""
    return _scores(zip(numbers[0::2], numbers[1::2], strict=True))


def _scores(of_regions: Iterable[tuple[float, ...]]) -> tuple[Score, Score, Score]:
    whole, core, enhancing = (Score(*numbers) for numbers in of_regions)
    return whole, core, enhancing


OURS = "DABSeg"
"""The paper's own method; its tables say "Ours"."""

TABLE_1 = Table(
    1,
    "Motion-blurred images (BraTS2020_S2), 37 test cases",
    {
        "Open_brats": _with_sd(84.434, 14.792, 13.526, 76.978, 12.452, 9.484, 56.918, 28.546, 29.177),
        "CKD-TransBTS": _with_sd(71.425, 8.807, 45.147, 50.281, 28.803, 41.410, 42.988, 21.876, 56.984),
        "QT-Unet": _with_sd(85.066, 8.183, 7.643, 73.870, 13.681, 8.353, 62.120, 24.811, 8.547),
        "TDPC-NET": _with_sd(84.386, 9.705, 10.585, 75.282, 20.361, 10.268, 58.624, 25.536, 10.215),
        "DiffBTS": _with_sd(77.310, 19.858, 7.620, 67.200, 24.184, 8.320, 54.690, 22.012, 11.340),
        "HFF": _with_sd(85.700, 10.805, 7.014, 80.750, 14.632, 6.819, 62.910, 25.331, 8.783),
        OURS: _with_sd(86.881, 7.164, 8.708, 82.433, 11.185, 6.458, 67.444, 23.950, 6.735),
    },
)
TABLE_2 = Table(
    2,
    "Sharp images (BraTS2020), 37 test cases",
    {
        "Open_brats": _plain(88.595, 19.549, 84.273, 6.667, 78.507, 20.361),
        "CKD-TransBTS": _plain(87.418, 8.140, 82.394, 6.698, 74.975, 8.110),
        "QT-Unet": _plain(91.994, 5.584, 85.110, 5.998, 75.359, 6.961),
        "TDPC-NET": _plain(90.010, 4.490, 83.430, 10.370, 78.180, 30.560),
        "DiffBTS": _plain(85.390, 5.040, 75.180, 7.880, 62.730, 7.250),
        "HFF": _plain(84.050, 8.942, 79.495, 7.123, 61.730, 8.203),
        OURS: _plain(90.374, 7.040, 85.452, 5.931, 76.975, 6.883),
    },
)
TABLE_3 = Table(
    3,
    "What each part brings, on motion-blurred images (BraTS2020_S2), 37 test cases",
    {
        "DAMI": _plain(67.621, 43.420, 56.014, 43.466, 52.790, 44.919),
        "DAMI + FDMDS (lambda 0.2)": _plain(85.627, 10.636, 80.554, 7.273, 66.094, 7.696),
        "DAMI + FDMDS (lambda 0.1)": _plain(86.629, 8.754, 81.671, 6.648, 67.444, 7.378),
        "DAMI + FDMDS + ET weight (lambda 0.1)": _plain(86.881, 8.708, 82.433, 6.458, 67.444, 6.735),
    },
)
TABLES = (TABLE_1, TABLE_2, TABLE_3)

ABLATION = "ablation"
"""For a method of ours that belongs beside Table 3 and has no row in it."""

PAPER_ROWS = frozenset(name for table in TABLES for name in table.rows) | {ABLATION}
"""What a method of a plan may name as its counterpart in the paper."""


def mean_dice(row: tuple[Score, Score, Score]) -> float:
    """Mean over the regions of a published row, per cent."""
    return sum(score.dice for score in row) / len(row)


def is_ablation(paper: str | None) -> bool:
    """Whether a method with this counterpart in the paper belongs beside Table 3."""
    return paper == ABLATION or paper in TABLE_3.rows


CAVEATS: dict[str, tuple[str, ...]] = {
    "All tables": (
        "Every published number here is copied from the paper and none was measured here, so none of them is averaged, "
        "ranked or tested together with ours.",
        f"They are means over {PAPER_CASES} of the 369 labelled cases of BraTS 2020; which ones was not published, so "
        "nobody else can judge on the same cases.",
        "Neither code nor settings of the simulated motion called S2 were published; S2 here is a level of a scale of "
        "our own.",
        "HD95 of the published code is in voxels, which are 1 mm on the grid of BraTS, and a region that only one of "
        f"prediction and reference has counts {PAPER_PENALTY:g}; here it is in mm, and such a region counts "
        f"{PENALTY_MM:g}, the diagonal of that grid.",
        "CKD-TransBTS and DAMI are the same network in the published code, but for names.",
    ),
    "Table 1": (
        "The other methods were shown images that a separate NAFNet had deblurred, whose settings were not published; "
        "only the paper's own method was shown the blurred ones.",
        f"One missed ET among {PAPER_CASES} cases adds {PAPER_PENALTY:g} / {PAPER_CASES} = "
        f"{PAPER_PENALTY / PAPER_CASES:.1f} to the mean HD95, so 6.735 means that none was missed or that such cases "
        "were left out; the paper does not say which.",
        "The text credits DABSeg with more than 38 % more Dice of TC and ET than CKD-TransBTS; the table has 32.2 and "
        "24.5 points, or 64 % and 57 %.",
    ),
    "Table 2": (
        "The row Open_brats is the official result of its authors on the hidden test set of BraTS 2020 (Henry et al. "
        "2020: Dice ET 0.79, WT 0.89, TC 0.84; HD95 20.4, 6.7, 19.5) with HD95 of WT and TC exchanged, so it was not "
        f"measured on the {PAPER_CASES} cases.",
        "HD95 of ET of TDPC-NET, 30.560, looks like a result on a hidden test set, too; that is a guess.",
        "The text gives 7.620 as the HD95 of WT of DiffBTS on sharp images; that is the number of Table 1, here it is "
        "5.040.",
    ),
    "Table 3": (
        "The row DAMI looks like a network trained on sharp images alone and shown blurred ones, though the paper "
        "speaks of one training protocol for all rows; that is a guess. The same network trained on blurred images "
        "without the stem, which would tell what the stem brings, is not in the table.",
        "ET Dice of the last two rows is 67.444 in both, to the third decimal, although the networks differ; perhaps "
        "one was copied.",
        "The text says that the stem brings 18 to 21 points; the table says 18.0 (WT), 24.5 (TC) and 13.3 (ET).",
        "In the published code the restored image is compared with a crop of the sharp one that was cut at another "
        "place; whether the printed numbers come from that code is not known.",
    ),
}
"""By table: sentences one has to know to read it; guesses are called so."""
