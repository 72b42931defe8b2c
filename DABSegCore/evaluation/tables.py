"""Tables: an evaluation as CSV files for other programs and as a few lines for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.evaluation.results import ALL_IMAGES, ALL_REGIONS, IMAGE_METRICS, REGION_METRICS, Evaluation, Row
from DABSegCore.files import write_bytes
from DABSegCore.labels import REGIONS

CASES, IMAGES, SUMMARY = "cases.csv", "images.csv", "summary.csv"

COLUMNS = {
    CASES: ("case_id", "kind", "severity", "region", *REGION_METRICS, "predicted_ml", "reference_ml"),
    IMAGES: ("case_id", "kind", "severity", "modality", *IMAGE_METRICS),
    SUMMARY: ("kind", "severity", "region", "metric", "n", "mean", "sd", "median", "low", "high", "left_out"),
}

SHOWN = {
    "dice": ("Dice", 3),
    "hd95_mm": ("HD95 (mm)", 1),
    "nsd": ("Surface Dice", 3),
    "lesion_dice": ("Lesion Dice", 3),
}
"""What the terminal shows of `REGION_METRICS`: heading and digits."""

_WIDTH = 21  # of a column


def write_tables(out: Path, evaluation: Evaluation) -> list[Path]:
    """Write cases.csv, images.csv (not for predictions) and summary.csv; None is an empty field.

    Returns:
        The files.

    Raises:
        InputError: If one cannot be written.
    """
    tables = {CASES: evaluation.rows, IMAGES: evaluation.images, SUMMARY: evaluation.summary}
    if not evaluation.images:
        (out / IMAGES).unlink(missing_ok=True)  # of an earlier run
        del tables[IMAGES]
    for name, rows in tables.items():
        write_bytes(out / name, csv_text(COLUMNS[name], rows).encode())
    return [out / name for name in tables]


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def terminal_table(evaluation: Evaluation) -> str:
    """Means with their intervals by severity and region, real and virtual cases apart."""
    cells = {(r["kind"], r["severity"], r["region"], r["metric"]): r for r in evaluation.summary}
    parts = []
    for kind in dict.fromkeys(row["kind"] for row in evaluation.summary):
        levels = list(dict.fromkeys(row["severity"] for row in evaluation.summary if row["kind"] == kind))
        count = len({row["case_id"] for row in evaluation.rows if row["kind"] == kind})
        said = "no interval of one" if count == 1 else "mean and its 95 % interval"
        parts.append(f"{count} {kind} case{'s' * (count != 1)}; {said}")
        for metric, (heading, digits) in SHOWN.items():
            lines = [_line(heading, (*REGIONS, ALL_REGIONS))]
            for level in levels:
                found = [cells[kind, level, region, metric] for region in (*REGIONS, ALL_REGIONS)]
                lines.append(_line(level_name(level), [_cell(row, digits) for row in found]))
            parts.append("\n".join(lines))
        parts += [_gain_lines(cells, kind, levels)] if (kind, levels[0], ALL_IMAGES, IMAGE_METRICS[0]) in cells else []
    parts += _left_out(evaluation.summary)
    return "\n" + "\n\n".join(parts) + "\n" if parts else "\nnothing was measured\n"


def _gain_lines(cells: dict[tuple[str, Level, str, str], Row], kind: str, levels: Sequence[Level]) -> str:
    """Likeness to the sharp images before and after restoring."""
    pairs = {"PSNR (dB)": ("psnr_{}_db", 2), "SSIM": ("ssim_{}", 4), "NMSE": ("nmse_{}", 4)}
    lines = [_line("to the sharp images", pairs)]
    for level in levels:
        found = []
        for pattern, digits in pairs.values():
            before, after = (
                cells[kind, level, ALL_IMAGES, pattern.format(state)]["mean"] for state in ("corrupted", "restored")
            )
            found.append(" -> ".join("equal" if v is None else f"{v:.{digits}f}" for v in (before, after)))
        lines.append(_line(level_name(level), found))
    return "\n".join(lines)


def _left_out(summary: Sequence[Row]) -> list[str]:
    """A sentence on what is undefined or infinite, if anything that is shown is."""
    shown = [row for row in summary if row["left_out"] and row["metric"] in SHOWN]
    equal = any(row["left_out"] for row in summary if row["metric"] == "psnr_corrupted_db")
    sentences = [
        f"{r['left_out']} without {r['metric']} of {r['region']} at {level_name(r['severity'])}" for r in shown
    ]
    lines = [f"left out of the means: {', '.join(sentences)}"] if sentences else []
    return lines + (["equal: without motion the input is the sharp image, PSNR is infinite"] if equal else [])


def _line(name: str, cells: Any) -> str:
    return (f"{name:<20}" + "".join(f"{cell:<{_WIDTH}}" for cell in cells)).rstrip()


def _cell(row: Row, digits: int) -> str:
    """A mean and its interval."""
    if row["mean"] is None:
        return "-"
    interval = "" if row["low"] is None else f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['mean']:.{digits}f}{interval}"
