"""Records: one JSON file per case and severity, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, write_bytes
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.results import are_intact, find_record

RECORDS = "records"
"""Folder of the records within that of the evaluation."""

FORMAT = "dabseg-evaluation-record"

Level = int | str
"""Severity of the motion, 0 to 4; or "given" where nothing was simulated."""

Record = dict[str, Any]


def record_name(case_id: str, level: Level) -> str:
    """File name of a record."""
    return f"{case_id}_{level_name(level)}.json"


def level_name(level: Level) -> str:
    """A severity as file names and tables have it: S2, or given."""
    return level if isinstance(level, str) else f"S{level}"


def write_record(out: Path, record: Record) -> None:
    """Write a record whole or not at all, into the folder of records below `out`.

    Raises:
        InputError: If it cannot be written.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_bytes(make_folder(out / RECORDS) / record_name(record["case_id"], record["severity"]), text.encode())


def read_record(out: Path, name: str) -> Record:
    """The record of that name.

    Raises:
        InputError: If it is gone or no such record.
    """
    record = earlier_record(out, name)
    if record is None:
        raise InputError(
            f"{out / RECORDS / name} is missing or damaged; run evaluate again with the same words, which does only "
            "what is missing",
            code="bad-record",
        )
    return record


def earlier_record(out: Path, name: str) -> Record | None:
    """The record of that name, or None where there is none that can be used."""
    return find_record(out / RECORDS / name, lambda record: _is_sound(record) and _name_of(record) == name)


def is_done(record: Record | None, wanted: Mapping[str, Any], out: Path) -> bool:
    """Whether a record tells of exactly this work, and the files it tells of are as they were written."""
    if record is None:
        return False
    outputs = record["outputs"]
    return record["identity"] == wanted and (not outputs or are_intact(out, outputs))


def number(value: float) -> float | None:
    """A number as records have it: null for what is infinite or undefined."""
    return round(float(value), 6) if math.isfinite(value) else None


def _name_of(record: Mapping[str, Any]) -> str:
    return record_name(record["case_id"], record["severity"])


def _is_sound(record: Mapping[str, Any]) -> bool:
    """Whether a record holds all that is read from one; may raise where it is odd."""
    numbers = [value for region in REGIONS for value in record["regions"][region].values()]
    if record["images"]:
        numbers += [value for modality in MODALITIES for value in record["images"][modality].values()]
    return (
        record["format"] == FORMAT
        and record["kind"] in ("real", "virtual")
        and all(value is None or math.isfinite(value) for value in numbers)
        and all(map(math.isfinite, record["seconds"].values()))
        and isinstance(record["identity"], dict)
        and isinstance(record["outputs"], dict)
        and isinstance(record["warnings"], list)
    )
