"""Panels: the best, the median and the worst case of an evaluation as pictures, chosen by rule and not by eye."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.figure import CAPTION, case_panel, tumour_slice
from DABSegCore.files import make_folder
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import write_png

PANELS = "panels"
"""Folder of the pictures within that of the evaluation."""

_CELL_WIDTH = 205  # pixels: four of them and what is around are as wide as a page
_USUAL = 2  # the severity that the published tables are of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pick:
    """A case to be shown.

    Attributes:
        role: "best", "median" or "worst"; "only" where there is but one case, empty where it plays none.
        case_id: Whose it is.
        kind: "real" or "virtual".
        severity: Of the motion.
        dice: Of each region.
    """

    role: str
    case_id: str
    kind: str
    severity: Level
    dice: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean Dice of the regions."""
        return sum(self.dice.values()) / len(self.dice)


def pick_cases(rows: Sequence[Row], severity: Level | None = None) -> list[Pick]:
    """The best, the median and the worst case by mean Dice at one severity.

    Args:
        rows: One per case, severity and region; where some are of real cases, only these.
        severity: None for the usual one.

    Returns:
        Three, from the best; fewer where there are fewer cases, none where there are none. Of an even number of cases
        the better of the two in the middle is the median.
    """
    kinds = {row["kind"] for row in rows}
    rows = [row for row in rows if row["kind"] == min(kinds, default="")]  # "real" sorts before "virtual"
    severity = usual_severity(rows) if severity is None else severity
    ranked = rank_cases(row for row in rows if row["severity"] == severity)
    if len(ranked) < 2:
        return [replace(case, role="only") for case in ranked]
    places = {"best": -1, "median": len(ranked) // 2, "worst": 0} if len(ranked) > 2 else {"best": -1, "worst": 0}
    return [replace(ranked[place], role=role) for role, place in places.items()]


def rank_cases(rows: Iterable[Row]) -> list[Pick]:
    """All cases at all severities from the worst mean Dice to the best, equal ones by name; their role is empty."""
    dice: dict[tuple[str, str, Level], dict[str, float]] = {}
    for row in rows:
        if row["dice"] is not None:
            dice.setdefault((row["case_id"], row["kind"], row["severity"]), {})[row["region"]] = row["dice"]
    cases = [Pick("", *key, found) for key, found in dice.items()]
    return sorted(cases, key=lambda case: (case.mean, case.case_id, str(case.severity)))


def usual_severity(rows: Iterable[Row]) -> Level | None:
    """The severity that stands for all where there is room for one: 2, or the highest; None of no rows."""
    levels = {row["severity"] for row in rows}
    return _USUAL if _USUAL in levels else max(levels, key=str, default=None)


def panel_path(out: Path, role: str) -> Path:
    """Where the picture of a case lies."""
    return out / PANELS / f"{role}.png"


def write_panel(out: Path, pick: Pick, arrays: Mapping[str, np.ndarray], images: Iterable[Row] = ()) -> Path:
    """Write the picture of a case: the input, what was made and found of it, and the reference, in one slice.

    Args:
        out: Folder of the evaluation.
        pick: Which case.
        arrays: Intensities in [0, 1] [M, d, h, w] of "input", "pseudo-clear" and "sharp", of which some may be
            absent, and masks, bool [R, d, h, w], "segmentation" and "reference".
        images: Rows of images; those of this case are written on the slices.

    Returns:
        The path of the picture.

    Raises:
        InputError: If SciPy is not installed or the picture cannot be written.
        ValueError: If there are no intensities.
    """
    rows = _rows(arrays)
    masks = {name: arrays[found] for name, (_, found) in rows.items() if found in arrays}
    where = next((arrays[m] for m in ("reference", "segmentation") if np.any(arrays.get(m, False))), None)
    brain = np.any(next(iter(rows.values()))[0] > 0, axis=0)
    dice = "  ".join(f"{region} {value:.2f}" for region, value in pick.dice.items())
    picture = case_panel(
        {name: intensities for name, (intensities, _) in rows.items()},
        masks,
        title=f"{pick.role.capitalize()}: {pick.case_id}, {level_name(pick.severity)}   {dice}",
        notes=_notes(pick, images),
        slice_index=tumour_slice(where, brain),
        caption=f"Dice of the whole case; PSNR in the brain. {CAPTION}",
        cell_width=_CELL_WIDTH,
    )
    path = panel_path(out, pick.role)
    make_folder(path.parent)
    write_png(path, picture)
    return path


def _rows(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str]]:
    """Name of each row, its intensities, and which masks are outlined in it.

    What was found is outlined in the best images there are of those it was found in, the reference in the sharp ones.
    """
    found_in, known_in = (
        next((name for name in names if name in arrays), None)
        for names in (("pseudo-clear", "input", "sharp"), ("sharp", "input", "pseudo-clear"))
    )
    if found_in is None or known_in is None:
        raise ValueError("a panel needs intensities: input, pseudo-clear or sharp")
    rows = {"input": (arrays["input"], "")} if found_in == "pseudo-clear" and "input" in arrays else {}
    rows[f"{found_in}, found"] = arrays[found_in], "segmentation"
    rows[f"{known_in}, reference"] = arrays[known_in], "reference"
    return rows


def _notes(pick: Pick, images: Iterable[Row]) -> dict[str, Sequence[str]]:
    """PSNR of each modality before and after restoring, by the name of the row; none for predictions."""
    mine = {r["modality"]: r for r in images if (r["case_id"], r["severity"]) == (pick.case_id, pick.severity)}
    if set(mine) != set(MODALITIES):
        return {}
    columns = {"input": "psnr_corrupted_db", "pseudo-clear, found": "psnr_restored_db"}
    return {row: [_decibels(mine[modality][column]) for modality in MODALITIES] for row, column in columns.items()}


def _decibels(value: float | None) -> str:
    return f"{value:.1f} dB" if value is not None and math.isfinite(value) else ""
