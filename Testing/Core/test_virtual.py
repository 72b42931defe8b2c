"""Virtual: the command leaves a case folder, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from DABSegCore import virtual
from DABSegCore.cases import find_case, load_case
from DABSegCore.errors import InputError

GRID = ("--shape", "32", "48", "40", "--spacing-mm", "5")


def make(out: Path, *words: str) -> int:
    return virtual.main(["--out", str(out), "--progress", "quiet", *words])


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd"])
def test_it_is_the_patient_of_the_seed(tmp_path, ending):
    pytest.importorskip("SimpleITK")
    assert make(tmp_path, "--seed", "3", *GRID, "--format", ending) == 0
    assert os.listdir(tmp_path) == ["Virtual_003"]
    endings = {f"Virtual_003_{kind}.{ending}" for kind in ("t1", "t1ce", "t2", "flair", "seg")}
    assert set(os.listdir(tmp_path / "Virtual_003")) == endings
    loaded = load_case(find_case(tmp_path / "Virtual_003"))
    patient = virtual.virtual_patient(3, (32, 48, 40), 5.0)
    assert np.array_equal(loaded.images, patient.images)
    assert np.array_equal(loaded.label, patient.label)
    np.testing.assert_allclose(loaded.reference.affine, patient.affine, atol=1e-4)


def test_another_seed_is_another_patient(tmp_path):
    for seed in ("3", "4"):
        make(tmp_path, "--seed", seed, *GRID)
    first, second = (load_case(find_case(folder)) for folder in sorted(tmp_path.iterdir()))
    assert not np.array_equal(first.label, second.label)


def test_what_is_there_is_kept(tmp_path):
    kept = tmp_path / "Virtual_003" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(InputError, match="already there") as fault:
        make(tmp_path, "--seed", "3", *GRID)
    assert fault.value.code == "already-there"
    assert [path.name for path in tmp_path.rglob("*")] == ["Virtual_003", "notes.txt"]


def test_a_folder_that_arrives_meanwhile_is_kept(tmp_path, monkeypatch):
    def slow(folder: Path, *_: object) -> None:
        folder.mkdir()
        (folder / "a").touch()
        (tmp_path / "Virtual_003").mkdir()
        (tmp_path / "Virtual_003" / "theirs").touch()

    monkeypatch.setattr(virtual, "write_patient", slow)
    with pytest.raises(InputError, match="already there"):
        make(tmp_path, "--seed", "3", *GRID)
    assert [path.name for path in tmp_path.rglob("*")] == ["Virtual_003", "theirs"]


@pytest.mark.parametrize(
    "words",
    [("--seed", "-1"), ("--shape", "15", "48", "40"), ("--shape", "32", "48", "513"), ("--spacing-mm", "nan")],
)
def test_what_no_patient_can_be_made_of_is_refused(tmp_path, words):
    with pytest.raises(InputError, match=words[0]) as fault:
        make(tmp_path / "out", *GRID, *words)
    assert fault.value.code == "bad-argument"
    assert not (tmp_path / "out").exists()


def test_a_fault_leaves_nothing(tmp_path, monkeypatch):
    def full(folder: Path, *_: object) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise InputError("the disk is full", code="disk-full")

    monkeypatch.setattr(virtual, "write_patient", full)
    with pytest.raises(InputError, match="disk is full"):
        make(tmp_path / "out", *GRID)
    assert not (tmp_path / "out").exists()


def test_progress_as_json(tmp_path, capsys):
    virtual.main(["--out", str(tmp_path), "--seed", "12", *GRID, "--progress", "json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["stage"] for event in events if event["event"] == "stage"] == ["virtual patient", "write"]
    assert events[-1]["event"] == "done"
    assert events[-1]["case_id"] == "Virtual_012"
    assert find_case(events[-1]["out"]).case_id == "Virtual_012"
