"""Results: rows, summaries and tables of records written by hand, and the pictures that are kept or drawn again."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from DABSegCore.errors import InputError
from DABSegCore.evaluation import conclude
from DABSegCore.evaluation.conclude import draw_panels, mean_seconds
from DABSegCore.evaluation.records import (
    FORMAT,
    earlier_record,
    is_done,
    number,
    read_record,
    record_name,
    write_record,
)
from DABSegCore.evaluation.results import IMAGE_METRICS, REGION_METRICS, case_means, together
from DABSegCore.evaluation.subjects import Subject
from DABSegCore.evaluation.tables import terminal_table, write_tables
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.progress import Progress


def record(case_id: str, level: int | str, dice: tuple[float | None, ...], **other: Any) -> dict[str, Any]:
    """A record in which nothing matters but Dice of ET, TC and WT, and that images gain 1 dB."""
    rest = dict.fromkeys((*REGION_METRICS, "predicted_ml", "reference_ml"), 1.0)
    image = dict.fromkeys(IMAGE_METRICS, 0.5) | {"psnr_corrupted_db": 20.0, "psnr_restored_db": 21.0}
    return {
        "format": FORMAT,
        "case_id": case_id,
        "kind": "real",
        "severity": level,
        "regions": {region: rest | {"dice": value} for region, value in zip(REGIONS, dice, strict=True)},
        "images": dict.fromkeys(MODALITIES, image),
        "labels": {"prediction": [0], "reference": [0]},
        "seconds": {"network": 2.0},
        "warnings": [],
        "identity": {"method": {"weights": "w"}},
        "outputs": {},
        **other,
    }


def found(summary: list[dict], severity: int | str, region: str, metric: str, kind: str = "real") -> dict:
    wanted = (kind, severity, region, metric)
    (row,) = (r for r in summary if (r["kind"], r["severity"], r["region"], r["metric"]) == wanted)
    return row


def test_means_by_hand_over_cases_and_over_regions() -> None:
    result = together([record("a", 2, (0.2, 0.4, 0.9)), record("b", 2, (0.4, 0.8, 0.9))], {})
    assert found(result.summary, 2, "ET", "dice")["mean"] == pytest.approx(0.3)
    whole = found(result.summary, 2, "mean", "dice")
    assert (whole["n"], whole["mean"], whole["median"]) == (2, pytest.approx(0.6), pytest.approx(0.6))
    assert whole["sd"] == pytest.approx(0.2 / 2**0.5, abs=1e-6)  # of 0.5 and 0.7
    assert found(result.summary, 2, "images", "psnr_restored_db")["mean"] == 21


def test_a_case_without_one_region_has_no_mean_over_regions() -> None:
    result = together([record("a", 0, (None, 0.4, 0.9)), record("b", 0, (0.4, 0.8, 0.9))], {})
    enhancing, whole = (found(result.summary, 0, region, "dice") for region in ("ET", "mean"))
    assert (enhancing["n"], enhancing["left_out"], enhancing["mean"]) == (1, 1, pytest.approx(0.4))
    assert (whole["n"], whole["left_out"], whole["mean"]) == (1, 1, pytest.approx(0.7))
    assert case_means(result.rows, "dice") == {"b": pytest.approx(0.7)}


def test_real_and_virtual_cases_are_never_mixed() -> None:
    result = together([record("v", 0, (0.1, 0.1, 0.1), kind="virtual"), record("a", 0, (0.9, 0.9, 0.9))], {})
    assert [row["case_id"] for row in result.rows] == ["a"] * 3 + ["v"] * 3
    assert found(result.summary, 0, "WT", "dice")["mean"] == pytest.approx(0.9)
    assert found(result.summary, 0, "WT", "dice", "virtual")["mean"] == pytest.approx(0.1)


def test_the_tables_hold_the_rows_and_an_empty_field_for_none(tmp_path: Path) -> None:
    result = together([record("a", 0, (None, 0.4, 0.9)), record("a", 1, (0.1, 0.2, 0.3))], {})
    assert [path.name for path in write_tables(tmp_path, result)] == ["cases.csv", "images.csv", "summary.csv"]
    text = (tmp_path / "cases.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["severity"], row["region"], row["dice"]) for row in rows][:4] == [
        *(("0", "ET", ""), ("0", "TC", "0.4"), ("0", "WT", "0.9"), ("1", "ET", "0.1"))
    ]
    assert text.splitlines()[0].startswith("case_id,kind,severity,region,dice,hd95_mm,nsd,")
    assert len((tmp_path / "images.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2 * 4
    write_tables(tmp_path, dataclasses.replace(result, images=[]))
    assert not (tmp_path / "images.csv").exists()


def test_the_terminal_shows_means_intervals_and_what_is_missing() -> None:
    one = terminal_table(together([record("a", 2, (0.2, 0.4, 0.9))], {}))
    assert "1 real case; no interval of one" in one
    assert "S2                  0.200                0.400                0.900                0.500" in one
    assert "20.00 -> 21.00" in one
    two = terminal_table(together([record(c, 2, (None, 0.4, d)) for c, d in (("a", 0.5), ("b", 0.7))], {}))
    assert "2 real cases; mean and its 95 % interval" in two
    assert "0.600 [0.5" in two
    assert "2 without dice of ET at S2" in two
    assert "nothing was measured" in terminal_table(together([], {}))


def test_a_record_survives_the_disk_and_odd_ones_are_none(tmp_path: Path) -> None:
    mine = record("a", "given", (0.2, None, 0.9), images=None)
    write_record(tmp_path, mine)
    name = record_name("a", "given")
    assert name == "a_given.json"
    assert record_name("a", 3) == "a_S3.json"
    assert read_record(tmp_path, name) == mine
    assert is_done(mine, mine["identity"], tmp_path)
    assert not is_done(mine, {"method": {}}, tmp_path)
    assert not is_done({**mine, "outputs": {"gone.nii": "0"}}, mine["identity"], tmp_path)
    (tmp_path / "records" / name).rename(tmp_path / "records" / "b_given.json")  # which it does not tell of
    assert earlier_record(tmp_path, "b_given.json") is None
    write_record(tmp_path, {**mine, "regions": {"ET": {}}})
    assert earlier_record(tmp_path, name) is None
    with pytest.raises(InputError, match="missing or damaged"):
        read_record(tmp_path, name)


def test_numbers_that_json_has_no_word_for_are_null() -> None:
    assert [number(value) for value in (float("inf"), float("nan"), np.float64(0.12345678))] == [None, None, 0.123457]


def test_seconds_are_means_over_records_by_stage() -> None:
    records = [record("a", 0, (1, 1, 1), seconds={"network": 2.0}), record("b", 0, (1, 1, 1), seconds={"network": 4.0})]
    assert mean_seconds([*records, record("c", 0, (1, 1, 1), seconds={"network": 3.0, "read": 1.0})]) == {
        "network": 3.0,
        "read": 1.0,
    }


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the pictures that are drawn, by role and case; they are empty files."""
    count: Counter = Counter()

    def write_panel(out: Path, pick: Any, arrays: Any, images: Any) -> None:
        count[pick.role, pick.case_id] += 1
        conclude.panel_path(out, pick.role).parent.mkdir(exist_ok=True)
        conclude.panel_path(out, pick.role).write_bytes(b"")

    monkeypatch.setattr(conclude, "write_panel", write_panel)
    return count


class Painter:
    """A method that gives pictures of all cases but those named."""

    def __init__(self, *without: str) -> None:
        self.without = without

    def panel(self, subject: Subject, level: Any, notes: Any) -> dict:
        if subject.case_id in self.without:
            raise InputError("it has gone")
        return {}


def test_pictures_are_drawn_once_and_again_when_their_case_changes(tmp_path: Path, drawn: Counter) -> None:
    records = [record(case_id, 2, (d, d, d)) for case_id, d in (("a", 0.2), ("b", 0.5), ("c", 0.9))]
    subjects = [Subject(r["case_id"]) for r in records]

    def draw(*without: str) -> list[tuple[str, str]]:
        drawn.clear()
        picks = draw_panels(Painter(*without), subjects, together(records, {}), tmp_path, Progress("quiet"))
        assert [p.role for p in picks if not conclude.panel_path(tmp_path, p.role).is_file()] == []
        return sorted(drawn)

    for one in records:
        write_record(tmp_path, one)
    assert draw() == [("best", "c"), ("median", "b"), ("worst", "a")]
    assert draw() == []
    os.utime(conclude.panel_path(tmp_path, "best"), (0, 0))  # older than the record
    assert draw() == [("best", "c")]
    records[0] = record("a", 2, (0.7, 0.7, 0.7))
    assert draw() == [("median", "a"), ("worst", "b")]
    records[2] = record("c", 2, (0.6, 0.6, 0.6))
    assert draw("a") == [("median", "c")]
    assert not conclude.panel_path(tmp_path, "best").exists()  # it showed c
