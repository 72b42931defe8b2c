"""Report: the facts of one segmented case as JSON, of many as a CSV table, and whether a case is done."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from DABSegCore import __version__, quality
from DABSegCore.cases import Case
from DABSegCore.errors import InputError
from DABSegCore.files import at_once, make_folder, sha256, write_bytes
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.metrics import dice
from DABSegCore.results import are_intact, find_record, publish

NOTICE = "Research use only: not for diagnosis or treatment. Pseudo-clear volumes are synthetic."
IDENTITY = ("version", "inputs", "reference_segmentation", "weights", "options")
"""What decides the results: a report whose hashes and options agree here describes the same job."""


def identity(case: Case, weights: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a case: hashes of its files, of the weights, and the options that change the results.

    Args:
        case: Its files are read in full.
        weights: At least `path` and `sha256`.
        options: Plain JSON values.
    """
    label = case.segmentation
    return {
        "version": __version__,
        "inputs": dict(zip(case.paths, at_once(_file, case.paths.values()), strict=True)),
        "reference_segmentation": None if label is None else _file(label),
        "weights": dict(weights),
        "options": dict(options),
    }


def is_done(report: Mapping[str, Any] | None, wanted: Mapping[str, Any], out: Path) -> bool:
    """Whether a report tells of exactly this job and all its outputs are still as they were written."""
    if report is None:
        return False
    same = all(_without_paths(report.get(key)) == _without_paths(wanted[key]) for key in IDENTITY)
    return same and are_intact(out, report["outputs"])


def refuse_another_case(report: Mapping[str, Any] | None, wanted: Mapping[str, Any], path: Path) -> None:
    """Keep the results of a case from being replaced by those of another that has the same name.

    An image with other bytes at the same path has been changed, and the same bytes at another path were moved; other
    bytes at another path are another case.

    Args:
        report: What the earlier run said.
        wanted: The `identity` of this one.
        path: Where the report lies.

    Raises:
        InputError: If it tells of other images.
    """
    for modality, new in wanted["inputs"].items() if report else ():
        old = report["inputs"][modality]
        if old["sha256"] != new["sha256"] and Path(old["path"]) != Path(new["path"]):
            raise InputError(
                f"{path} tells of another case of this name, whose {modality} image is {old['path']}; choose another "
                "--out, or a --case-id with the four images named one by one, or replace it with --overwrite",
                code="another-case",
            )


def environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def volumes_ml(regions: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Volume of every region in millilitres, of masks [R, D, H, W]."""
    return {region: round(np.count_nonzero(m) * voxel_ml, 4) for region, m in zip(REGIONS, regions, strict=True)}


def dice_by_region(regions: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Dice of every region of two mask stacks [R, D, H, W]."""
    pairs = zip(REGIONS, regions, reference, strict=True)
    return {region: round(dice(prediction, truth), 4) for region, prediction, truth in pairs}


def report_path(out: Path, case_id: str) -> Path:
    """Where the report of a case lies; it is written last, so its presence means that the case is complete."""
    return out / f"{case_id}_report.json"


def read_report(path: Path) -> dict[str, Any] | None:
    """The report at that path, or None where there is none that can be used."""
    return find_record(path, lambda report: report_path(path.parent, report["case_id"]) == path and _is_sound(report))


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, complete or not at all."""
    write_bytes(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def write_summary(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of a cohort, one case a row: status, volumes, Dice, quality, time and what went wrong."""
    columns = ["case_id", "status", *(f"{r}_ml" for r in REGIONS), *(f"dice_{r}" for r in REGIONS), *quality.COLUMNS]
    table = io.StringIO()
    writer = csv.DictWriter(table, [*columns, "seconds", "warnings", "message"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    make_folder(path.parent)
    write_bytes(path, table.getvalue().encode())


def summary_row(report: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The row of a case that has a report."""
    row = {"case_id": report["case_id"], "status": status, "warnings": len(report["warnings"])}
    row |= {f"{region}_ml": volume for region, volume in report["volumes_ml"].items()}
    row |= {f"dice_{region}": value for region, value in (report["dice"] or {}).items()}
    row |= quality.row(report.get("quality"))
    return row | {"seconds": round(sum(report["timings_s"].values()), 1)}


def publish_report(stage: Path, out: Path, report: Mapping[str, Any]) -> None:
    """Move the results of a case from its staging folder into place, in the stead of those of an earlier run."""
    final = report_path(out, report["case_id"])
    earlier = read_report(final)
    write_report(stage / final.name, report)
    mine = [name for name in (earlier["outputs"] if earlier else ()) if name.startswith(report["case_id"])]
    publish(stage, out, final.name, report["outputs"], mine)


def _is_sound(report: Mapping[str, Any]) -> bool:
    """Whether a report holds all that is read from one; may raise where it is odd."""
    volumes, scores, images = report["volumes_ml"], report["dice"], report["inputs"]
    numbers = [*volumes.values(), *report["timings_s"].values(), *(scores or {}).values()]
    words = [word for image in images.values() for word in (image["path"], image["sha256"])]
    return (
        set(volumes) == set(REGIONS)
        and (scores is None or set(scores) == set(REGIONS))
        and set(images) == set(MODALITIES)
        and all(map(math.isfinite, numbers))
        and all(isinstance(word, str) for word in (*words, *report["outputs"].values()))
        and isinstance(report["warnings"], list)
        and quality.is_sound(report.get("quality"))
    )


def _file(path: Path) -> dict[str, str]:
    return {"path": os.path.abspath(path), "sha256": sha256(path)}


def _without_paths(section: Any) -> Any:
    """A section without its paths: the same bytes elsewhere are the same input."""
    if isinstance(section, Mapping):
        return {key: _without_paths(value) for key, value in section.items() if key != "path"}
    return section
