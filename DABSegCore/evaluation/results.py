"""Results: what an evaluation found, as rows for tables and figures, put together from its records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.evaluation.records import Record, read_record
from DABSegCore.evaluation.statistics import Summary, summary
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.results import find_record

EVALUATION = "evaluation.json"
"""Written last: what was evaluated, by what, and the names of the records that belong to it."""

Row = dict[str, Any]

REGION_METRICS = ("dice", "hd95_mm", "nsd", "sensitivity", "specificity", "lesion_dice")
IMAGE_METRICS = (
    *("psnr_corrupted_db", "psnr_restored_db", "psnr_gain_db"),
    *("ssim_corrupted", "ssim_restored", "nmse_corrupted", "nmse_restored"),
)
ALL_REGIONS, ALL_IMAGES = "mean", "images"
"""In the summary's column `region`: the mean of a case over its regions, and over its four images."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. Undefined and infinite values are None.

    Attributes:
        rows: One per case, severity and region: case_id, kind ("real" or "virtual"), severity (0 to 4, or "given"
            where predictions were scored), region, dice, hd95_mm, nsd, sensitivity, specificity, lesion_dice,
            predicted_ml, reference_ml.
        images: One per case, severity and modality: case_id, kind, severity, modality, and `IMAGE_METRICS`: corrupted
            and restored against sharp, in the brain, in the corrupted one's intensity window. None for predictions.
        summary: One per kind, severity, region and metric: n, mean, sd, median, low and high (the 95 % bootstrap
            interval of the mean), left_out (values that are None). The region is also "mean" (the mean of a case over
            its regions) and "images" (over its modalities).
        meta: What was run: `evaluation.json`.
    """

    rows: list[Row]
    images: list[Row]
    summary: list[Row]
    meta: dict[str, Any]


def load(out: Path) -> Evaluation:
    """Read an evaluation back from its folder.

    Raises:
        InputError: If there is none, it was not finished, or its records were changed or removed since.
    """
    meta = find_record(out / EVALUATION, lambda facts: isinstance(facts["records"], list))
    if meta is None:
        raise InputError(
            f"{out} holds no finished evaluation, as there is no proper {EVALUATION} in it; run evaluate with "
            "--out there, which goes on where it was left",
            code="no-evaluation",
        )
    return together([read_record(out, name) for name in meta["records"]], meta)


def together(records: Iterable[Record], meta: dict[str, Any]) -> Evaluation:
    """An evaluation of records: real before virtual cases, by name, mild before severe."""
    ordered = sorted(records, key=lambda record: (record["kind"], record["case_id"], str(record["severity"])))
    rows = [row for record in ordered for row in _region_rows(record)]
    images = [row for record in ordered for row in _image_rows(record)]
    return Evaluation(rows, images, summarise(rows, images), meta)


def summarise(rows: Sequence[Row], images: Sequence[Row], seed: int = 0) -> list[Row]:
    """The summary of rows as `Evaluation` has them.

    Args:
        rows: Of regions.
        images: Of modalities, may be empty.
        seed: Of the bootstrap.
    """
    out = []
    for kind, severity in dict.fromkeys((row["kind"], row["severity"]) for row in rows):
        here, gains = ([r for r in group if (r["kind"], r["severity"]) == (kind, severity)] for group in (rows, images))
        columns = {
            (region, metric): [row[metric] for row in here if row["region"] == region]
            for metric in REGION_METRICS
            for region in REGIONS
        }
        columns |= {(ALL_REGIONS, metric): _case_means(here, metric) for metric in REGION_METRICS}
        columns |= {(ALL_IMAGES, metric): _case_means(gains, metric) for metric in IMAGE_METRICS if gains}
        for (region, metric), values in columns.items():
            begin = {"kind": kind, "severity": severity, "region": region, "metric": metric}
            out.append(begin | _plain(summary(values, seed)))
    return out


def case_means(rows: Sequence[Row], metric: str, of: Callable[[Row], bool] = lambda row: True) -> dict[str, float]:
    """Mean over regions (or modalities) of each case, by case_id; only cases in which all of them are defined.

    Args:
        rows: Of one severity.
        metric: Name of the column.
        of: Which rows count.
    """
    values: dict[str, list[float | None]] = {}
    for row in filter(of, rows):
        values.setdefault(row["case_id"], []).append(row[metric])
    return {case: sum(known) / len(known) for case, known in values.items() if None not in known}


def _case_means(rows: Sequence[Row], metric: str) -> list[float | None]:
    """As `case_means`, with None for the other cases."""
    known = case_means(rows, metric)
    return [known.get(case) for case in dict.fromkeys(row["case_id"] for row in rows)]


def _region_rows(record: Record) -> list[Row]:
    begin = {key: record[key] for key in ("case_id", "kind", "severity")}
    return [{**begin, "region": region, **record["regions"][region]} for region in REGIONS]


def _image_rows(record: Record) -> list[Row]:
    if not record["images"]:
        return []
    begin = {key: record[key] for key in ("case_id", "kind", "severity")}
    return [{**begin, "modality": modality, **record["images"][modality]} for modality in MODALITIES]


def _plain(numbers: Summary) -> Row:
    rounded = {key: getattr(numbers, key) for key in ("mean", "sd", "median", "low", "high")}
    rounded = {key: value if value is None else round(value, 6) for key, value in rounded.items()}
    return {"n": numbers.n, **rounded, "left_out": numbers.left_out}
