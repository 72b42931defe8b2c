"""Results: folders that are checked, staged for one run alone, published whole, and told apart from inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from DABSegCore import results
from DABSegCore.cases import Case, case_from_paths
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.results import are_intact, digests, find_record, output_folder, own_file, publish, staging

ROOT = Path(results.__file__).parents[1]


def link(path: Path, to: Path) -> Path:
    """A symbolic link, where the system lets us make one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(to, target_is_directory=to.is_dir())
    except OSError:
        pytest.skip("no symbolic links here")
    return path


def four(folder: Path) -> dict[str, Path]:
    """Four files of different content in a folder."""
    folder.mkdir(parents=True)
    paths = {modality: folder / f"a_{modality}.nii.gz" for modality in MODALITIES}
    for modality, path in paths.items():
        path.write_text(modality, encoding="utf-8")
    return paths


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("below", ["", "out", "out/deeper"])
def test_an_output_folder_in_the_way_of_which_a_file_lies(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made") as fault, output_folder(tmp_path / "file" / below):
        raise AssertionError("it was entered")
    assert fault.value.code == "cannot-write"


def test_an_output_folder_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # the real thing lets root in
    with pytest.raises(InputError, match="cannot be written .Permission denied"), output_folder(tmp_path / "out"):
        raise AssertionError("it was entered")
    assert not (tmp_path / "out").exists()


def test_what_was_made_and_is_empty_goes_again(tmp_path):
    (tmp_path / "there").mkdir()
    with output_folder(tmp_path / "there" / "a" / "b"):
        assert (tmp_path / "there" / "a" / "b").is_dir()
    assert os.listdir(tmp_path / "there") == []
    with output_folder(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()  # it was there before
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "result").touch()
    assert os.listdir(tmp_path / "a") == ["result"]


# ---------------------------------------------------------------- staging


def test_two_runs_on_one_folder_stage_apart(tmp_path):
    with staging(tmp_path) as first:
        (first / "a").touch()
        with staging(tmp_path) as second:
            assert first != second
            assert os.listdir(second) == []
        assert os.listdir(first) == ["a"]
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_nothing(tmp_path):
    def fail(stage: Path) -> None:
        (stage / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), staging(tmp_path / "x" / "out") as stage:
        fail(stage)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="on Windows a process cannot be asked whether it lives")
def test_what_a_killed_run_of_this_computer_left_is_swept(tmp_path):
    killed = "import os, sys, pathlib; from DABSegCore.results import staging; "
    killed += "context = staging(pathlib.Path(sys.argv[1])); (context.__enter__() / 'half').touch(); os._exit(9)"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], cwd=ROOT, check=False)
    assert len(os.listdir(tmp_path)) == 1
    with staging(tmp_path) as stage:
        assert os.listdir(tmp_path) == [stage.name]


def test_of_others_only_what_is_a_day_old_is_swept(tmp_path):
    for name in (".dabseg-elsewhere-1-new.partial", ".dabseg-elsewhere-1-old.partial", ".mine.partial"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    os.utime(tmp_path / ".dabseg-elsewhere-1-new.partial", (time.time() - 80_000,) * 2)
    with staging(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == [".dabseg-elsewhere-1-new.partial", ".mine.partial"]


# ---------------------------------------------------------------- publish


def test_published_files_replace_the_earlier_ones_and_only_them(tmp_path):
    stage, folder = tmp_path / "stage", tmp_path / "folder"
    for path in (
        stage / "new",
        stage / "both",
        stage / "r.json",
        folder / "both",
        folder / "old",
        tmp_path / "outside",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{path.parent.name}", encoding="utf-8")
    (folder / "users").touch()
    publish(stage, folder, "r.json", ["new", "both"], ["old", "both", "../outside", "", "never there"])
    assert sorted(os.listdir(folder)) == ["both", "new", "r.json", "users"]
    assert (folder / "both").read_text(encoding="utf-8") == "stage"
    assert (tmp_path / "outside").exists()


def test_intact_is_there_with_the_same_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    told = digests(tmp_path, ["a"])
    assert are_intact(tmp_path, told)
    (tmp_path / "a").write_bytes(b"13")
    assert not are_intact(tmp_path, told)
    (tmp_path / "a").unlink()
    assert not are_intact(tmp_path, told)
    assert not are_intact(tmp_path, {})


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"b": 1}', "[" * 100_000, '"\\ud800', "\xff"])
def test_an_odd_record_is_none(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    assert find_record(path, lambda record: record["a"] > 0) is None
    assert find_record(tmp_path, lambda record: True) is None
    path.write_text(json.dumps({"a": 1}), encoding="utf-8")
    assert find_record(path, lambda record: record["a"] > 0) == {"a": 1}


# ---------------------------------------------------------------- inputs


def test_own_files_are_found_through_links(tmp_path):
    real = four(tmp_path / "real")
    links = {modality: link(tmp_path / "case" / path.name, path) for modality, path in real.items()}
    folder = link(tmp_path / "folder", tmp_path / "case")
    case = case_from_paths(**links)
    for place in (tmp_path / "real", tmp_path / "case", folder, tmp_path / "case" / ".." / "case"):
        assert own_file(case, place) == links["t1"]
    assert own_file(Case("a", {m: folder / path.name for m, path in real.items()}), tmp_path / "case") is not None
    (tmp_path / "case" / "results").mkdir()
    for place in (tmp_path, tmp_path / "case" / "results", tmp_path / "nowhere"):
        assert own_file(case, place) is None


def test_a_dicom_folder_is_an_own_folder(tmp_path):
    paths = four(tmp_path / "files")
    series = tmp_path / "scanner" / "series"
    series.mkdir(parents=True)
    case = Case("a", paths | {"flair": series})
    assert own_file(case, series) == series
    assert own_file(case, tmp_path / "scanner") == series
    label = tmp_path / "labels" / "a_seg.nii.gz"
    label.parent.mkdir()
    label.touch()
    assert own_file(Case("a", paths, label), label.parent) == label
