"""Panel, folder: the cases of a folder, with the command that is shown."""

from __future__ import annotations

import csv
import os
import shlex
from pathlib import Path

import pytest
from DABSegLib.process.job import Job
from DABSegLib.work import follow
from panel_user import look_of, type_path
from standins import dialogs


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """All child processes that are started."""
    started: list[Job] = []

    def start(arguments: list[str], folder: Path) -> Job:
        started.append(Job(arguments, folder))
        return started[-1]

    monkeypatch.setattr(follow, "Job", start)
    return started


def test_two_folders_are_needed(user, a_case_folder, tmp_path):
    assert not user.can("folderButton")
    assert user.reads("commandEdit") == ""
    type_path(user.ui.folderPath, a_case_folder.parent)
    assert not user.can("folderButton")
    type_path(user.ui.folderResultsPath, tmp_path / "out")
    assert user.can("folderButton")
    assert user.parameters.folder == str(a_case_folder.parent)
    type_path(user.ui.folderPath, "")
    assert not user.can("folderButton")


def test_a_folder_is_browsed_for(user, tmp_path):
    dialogs.answers.append(str(tmp_path))
    user.ui.folderPath.browse()
    assert user.parameters.folder == str(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="quoting of POSIX shells")
def test_the_settings_are_in_the_command(user, tmp_path):
    type_path(user.ui.folderPath, tmp_path / "my cases")
    type_path(user.ui.folderResultsPath, tmp_path / "out")
    user.choose("deviceCombo", "cpu")
    user.choose("qualityCombo", "best (8 times slower)")
    type_path(user.ui.weightsPath, tmp_path / "mine.pt")
    assert shlex.split(user.reads("commandEdit")) == [
        *("python", "-m", "DABSegCore.segment", "--data", str(tmp_path / "my cases"), "--out", str(tmp_path / "out")),
        *("--device", "cpu", "--weights", str(tmp_path / "mine.pt"), "--tta"),
    ]
    assert user.ui.commandEdit.readOnly


@pytest.mark.skipif(os.name == "nt", reason="quoting of POSIX shells")
def test_the_command_that_is_shown_is_run_and_its_failures_are_told(
    user, scene, a_case_folder, tmp_path, jobs, quick_weights
):
    bad = a_case_folder.parent / "Bad"
    bad.mkdir()
    (bad / "Bad_t1.nii").write_bytes(b"no image")
    type_path(user.ui.folderPath, a_case_folder.parent)
    type_path(user.ui.folderResultsPath, tmp_path / "out")
    type_path(user.ui.weightsPath, quick_weights)
    user.choose("deviceCombo", "cpu")
    shown, before = shlex.split(user.reads("commandEdit")), look_of(scene)
    stages: set[str] = set()
    user.press("folderButton")
    user.until(lambda: bool(stages.add(user.reads("statusLabel").split(",")[0])) or not user.busy)
    assert [["python", "-m", *job.arguments] for job in jobs] == [[*shown, "--progress", "json"]]
    words = f"1 of 2 cases are done; results and summary.csv are in {tmp_path / 'out'}. The log says what failed."
    assert words in user.reads("messageLabel")
    user.press("logButton")
    lines = user.ui.logText.toPlainText().splitlines()
    assert lines[0] == "Folder of cases"
    assert [line for line in lines if line.startswith("error: Bad:")]
    assert "Case 2 of 2" in stages
    with open(tmp_path / "out" / "summary.csv", newline="", encoding="utf-8") as file:
        assert {row["case_id"]: row["status"] for row in csv.DictReader(file)} == {
            "Bad": "failed",
            "Virtual_003": "done",
        }
    assert look_of(scene) == before, "files only"
    assert user.reads("folderButton") == "Segment the folder"


def test_a_folder_without_cases_is_told(user, tmp_path):
    (tmp_path / "empty").mkdir()
    type_path(user.ui.folderPath, tmp_path / "empty")
    type_path(user.ui.folderResultsPath, tmp_path / "out")
    message = user.presses_and_waits("folderButton")
    assert str(tmp_path / "empty") in message
    assert "--" not in message
    assert user.can("folderButton")
