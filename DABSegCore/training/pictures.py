"""Pictures: validation cases as a radiologist reads them, blurred, restored and sharp, with the outlines found."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from DABSegCore.figure import CAPTION, Cell, brain_box, cut, draw_grid
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.training.curves import draw_curves

if TYPE_CHECKING:
    from DABSegCore.training.validation import Score, View

__all__ = ["draw_curves", "draw_panel", "missing"]

MOST_ROWS = 4
COLUMNS = (
    "T1ce blurred",
    "T1ce pseudo-clear",
    "T1ce sharp, reference",
    "FLAIR blurred, predicted",
    "FLAIR sharp, reference",
)

_CELL_WIDTH = 240  # pixels: five of them are still legible at the width of a README
_LONGEST_NAME = 24  # letters that fit beside a row
_SAME_DB = 60.0  # and more: nothing was blurred
_T1CE, _FLAIR = MODALITIES.index("t1ce"), MODALITIES.index("flair")


def missing() -> list[str]:
    """Packages of pictures that are not installed: curves need matplotlib, panels need SciPy."""
    return [name for name in ("matplotlib", "scipy") if importlib.util.find_spec(name) is None]


def draw_panel(scores: Sequence[Score], title: str) -> np.ndarray:
    """Draw one row per validation case, all at one scale, the patient's right on the left.

    Args:
        scores: Those with a view are drawn: of each case the most severe motion, of the cases the first four.
        title: Heading of the picture.

    Returns:
        RGB, uint8 [height, width, 3].

    Raises:
        InputError: If SciPy is not installed.
        ValueError: If no score has a view.
    """
    chosen: dict[str, Score] = {}
    for score in scores:
        if score.view is not None and score.severity >= getattr(chosen.get(score.case_id), "severity", 0):
            chosen[score.case_id] = score
    shown = list(chosen.values())[:MOST_ROWS]
    if not shown:
        raise ValueError("no score has a view; score_twin keeps one with keep_view=True")
    boxes = _boxes([score.view for score in shown])
    named = [f"{_short(score.case_id)}  S{score.severity}" for score in shown]
    rows = [(name, _cells(score, box)) for name, score, box in zip(named, shown, boxes, strict=True)]
    caption = f"Dice of the whole case; PSNR in the brain against sharp. {CAPTION}"
    return draw_grid(rows, COLUMNS, title=title, caption=caption, cell_width=_CELL_WIDTH)


def _boxes(views: Sequence[View]) -> list[tuple[slice, slice]]:
    """The box of each brain, about its own centre and of one size, so that a centimetre is as long in all."""
    boxes = [brain_box(np.any((view.sharp > 0) | (view.corrupted > 0), axis=0), margin=6) for view in views]
    size = [max(box[axis].stop - box[axis].start for box in boxes) for axis in (0, 1)]
    return [(_about(rows, size[0]), _about(columns, size[1])) for rows, columns in boxes]


def _about(side: slice, length: int) -> slice:
    """A longer side with the same middle."""
    start = (side.start + side.stop - length) // 2
    return slice(start, start + length)


def _cells(score: Score, box: tuple[slice, slice]) -> list[Cell]:
    """The cells of a case, in the order of `COLUMNS`."""
    corrupted, restored, sharp, predicted, reference = (cut(part, box) for part in score.view)
    dice = "  ".join(f"{region} {value:.2f}" for region, value in zip(REGIONS, score.dice, strict=True))
    return [
        Cell(corrupted[_T1CE], None, _decibels(score.psnr_corrupted)),
        Cell(restored[_T1CE], None, _decibels(score.psnr_restored)),
        Cell(sharp[_T1CE], reference),
        Cell(corrupted[_FLAIR], predicted, dice),
        Cell(sharp[_FLAIR], reference),
    ]


def _decibels(psnr: float) -> str:
    return "as sharp" if psnr >= _SAME_DB else f"{psnr:.2f} dB"


def _short(name: str) -> str:
    """A name that fits beside its row: a long one loses its middle."""
    half = _LONGEST_NAME // 2 - 1
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}..{name[-half:]}"
