"""Evaluated: made-up evaluations, whose numbers one knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.results import Evaluation, summarise
from DABSegCore.labels import MODALITIES, REGIONS

Dice = Callable[[int, Level, str], float]
Decibels = Callable[[int, Level], tuple[float | None, float | None]]


def half(case: int, severity: Level, region: str) -> float:
    """Dice of 0.5, whatever it is of."""
    return 0.5


def a_decibel(case: int, severity: Level) -> tuple[float | None, float | None]:
    """PSNR before and after: restoring gains 1 dB; without motion the images are equal before."""
    return (None, 45.0) if severity == 0 else (30.0 + case, 31.0 + case)


def an_evaluation(
    cases: int = 3,
    severities: Sequence[Level] = (0, 2),
    dice: Dice = half,
    decibels: Decibels | None = a_decibel,
    *,
    kind: str = "real",
    **meta: Any,
) -> Evaluation:
    """An evaluation of cases named Case_0, Case_1, ... (Virtual_0, ...), every region 10 ml, found where Dice is not 0.

    Args:
        cases: How many.
        severities: Of each.
        dice: Of case, severity and region.
        decibels: Of case and severity; None for no images, as of predictions.
        kind: "real" or "virtual".
        meta: More for `meta`.
    """
    rows, images = [], []
    for case in range(cases):
        for severity in severities:
            name = f"{'Case' if kind == 'real' else 'Virtual'}_{case}"
            begin = {"case_id": name, "kind": kind, "severity": severity}
            rows += [{**begin, "region": region, **_scores(dice(case, severity, region))} for region in REGIONS]
            if decibels is not None:
                likeness = _likeness(*decibels(case, severity))
                images += [{**begin, "modality": modality, **likeness} for modality in MODALITIES]
    return Evaluation(rows, images, summarise(rows, images), {"weights": {"path": "w.pt"}, **meta})


def together(*parts: Evaluation) -> Evaluation:
    """Several as one, with the facts of the first."""
    rows, images, summary = ([row for part in parts for row in getattr(part, n)] for n in ("rows", "images", "summary"))
    return Evaluation(rows, images, summary, parts[0].meta)


def _scores(dice: float) -> dict[str, float | None]:
    found = dice > 0
    return {
        "dice": dice,
        "hd95_mm": 10 * (1 - dice) if found else 373.13,
        "nsd": dice,
        "sensitivity": dice,
        "specificity": 0.99,
        "lesion_dice": dice,
        "predicted_ml": 5.0 if found else 0.0,
        "reference_ml": 10.0,
    }


def _likeness(before: float | None, after: float | None) -> dict[str, float | None]:
    gain = None if before is None or after is None else after - before
    decibels = {"psnr_corrupted_db": before, "psnr_restored_db": after, "psnr_gain_db": gain}
    return decibels | dict.fromkeys(("ssim_corrupted", "ssim_restored", "nmse_corrupted", "nmse_restored"), 0.5)
