"""Report: the facts of one segmented case as JSON, of many as a CSV table, and whether a case is done."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from DABSegCore import __version__
from DABSegCore.cases import Case
from DABSegCore.errors import InputError
from DABSegCore.files import sha256, write_bytes
from DABSegCore.labels import REGIONS
from DABSegCore.metrics import dice

NOTICE = "Research use only: not for diagnosis or treatment. Pseudo-clear volumes are synthetic."
IDENTITY = ("inputs", "reference_segmentation", "weights", "options")
"""The sections that decide the results: a report whose hashes and options agree here describes the same job."""


def identity(case: Case, weights: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a case: hashes of its files, of the weights, and the options that change the results.

    Args:
        case: Its files are read in full.
        weights: At least `path` and `sha256`.
        options: Plain JSON values.
    """
    label = case.segmentation
    return {
        "inputs": {modality: _file(path) for modality, path in case.paths.items()},
        "reference_segmentation": None if label is None else _file(label),
        "weights": dict(weights),
        "options": dict(options),
    }


def is_done(report: Mapping[str, Any] | None, wanted: Mapping[str, Any], out: Path) -> bool:
    """Whether a report tells of exactly this job and all its outputs are still there."""
    if report is None:
        return False
    same = all(_without_paths(report.get(key)) == _without_paths(wanted[key]) for key in IDENTITY)
    return same and all((out / name).is_file() for name in report["outputs"])


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
    """The report at that path, or None where there is none that can be understood."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and isinstance(report.get("outputs"), list) else None


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, complete or not at all."""
    write_bytes(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def write_summary(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of a cohort, one case a row: status, volumes, Dice, time and what went wrong."""
    columns = ["case_id", "status", *(f"{r}_ml" for r in REGIONS), *(f"dice_{r}" for r in REGIONS)]
    table = io.StringIO()
    writer = csv.DictWriter(table, [*columns, "seconds", "warnings", "message"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, table.getvalue().encode())


def summary_row(report: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The row of a case that has a report."""
    row = {"case_id": report["case_id"], "status": status, "warnings": len(report["warnings"])}
    row |= {f"{region}_ml": volume for region, volume in report["volumes_ml"].items()}
    row |= {f"dice_{region}": value for region, value in (report["dice"] or {}).items()}
    return row | {"seconds": round(sum(report["timings_s"].values()), 1)}


@contextlib.contextmanager
def staging(out: Path, case_id: str) -> Iterator[Path]:
    """A hidden folder inside `out` for unfinished results; it goes in the end, and so does an `out` left empty.

    Raises:
        InputError: If it cannot be made: better now than after the network has run.
    """
    stage, made = out / f".{case_id}.partial", not out.exists()
    try:
        shutil.rmtree(stage, ignore_errors=True)  # of a run that was killed
        stage.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):  # not empty: results have arrived
                out.rmdir()


def publish(stage: Path, out: Path, report: Mapping[str, Any]) -> None:
    """Move the results of a case from its staging folder into place, the report last.

    An earlier report goes first, so that no moment shows a report beside results it does not describe; so do
    results of the earlier run that this one does not replace.
    """
    final = report_path(out, report["case_id"])
    earlier = read_report(final)
    try:
        write_report(stage / final.name, report)
        if earlier is not None:
            final.unlink()
        for name in set(earlier["outputs"] if earlier else ()) - set(report["outputs"]):
            if Path(name).name == name and name.startswith(report["case_id"]):
                (out / name).unlink(missing_ok=True)
        for name in (*report["outputs"], final.name):
            os.replace(stage / name, out / name)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _file(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256(path)}


def _without_paths(section: Any) -> Any:
    """A section without its paths: the same bytes elsewhere are the same input."""
    if isinstance(section, Mapping):
        return {key: _without_paths(value) for key, value in section.items() if key != "path"}
    return section


def _cannot_write(path: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(
        f"{path} cannot be written ({reason}); free some space or choose another folder with --out",
        code="cannot-write",
    )
