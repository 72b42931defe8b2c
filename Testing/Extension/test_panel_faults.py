"""Panel, faults: what went wrong and what helps, in the words of the panel, with the log a click away."""

from __future__ import annotations

import errno
import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from DABSegLib.nodes import bridge
from DABSegLib.process import scratch
from DABSegLib.process.job import Job
from DABSegLib.work import follow
from nodes import roi_node
from panel_user import look_of, type_path, volumes_of
from PySide6 import QtGui
from standins.processes import children


@pytest.fixture
def four(user, scene, a_small_patient):
    """Four good volumes, picked."""
    volumes = volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.can("applyButton"))
    user.settle()
    return volumes


def fails(user, scene) -> str:
    """Press Apply, which does not work: the message; the scene is as before, and all can be tried again."""
    before = look_of(scene)
    message = user.presses_and_waits("applyButton")
    assert look_of(scene) == before
    assert (user.reads("applyButton"), user.can("applyButton")) == ("Apply", True)
    assert children() == set()
    return message


def log_of(user) -> str:
    """Open the log; it can be copied as it is read."""
    assert not user.is_there("logText")
    user.press("logButton")
    assert user.is_there("logText")
    user.press("copyLogButton")
    text = user.ui.logText.toPlainText()
    assert QtGui.QGuiApplication.clipboard().text().strip() == text.strip()
    assert user.reads("logButton") == "Hide log"
    user.press("logButton")
    assert not user.is_there("logText")
    return text


def test_a_weights_file_that_is_none(user, four, scene, tmp_path):
    file = tmp_path / "notes.pt"
    file.write_text("no weights")
    type_path(user.ui.weightsPath, file)
    assert user.reads("weightsLabel") == "notes.pt, 0 MB"
    message = fails(user, scene)
    assert "notes.pt" in message
    assert "--" not in message, "no words of a command line"
    assert "weights" in message.lower()
    assert str(file) in log_of(user)


def test_a_weights_file_that_is_gone_cannot_be_applied(user, four, tmp_path):
    type_path(user.ui.weightsPath, tmp_path / "gone.pt")
    assert not user.can("applyButton")
    assert user.ui.applyButton.toolTip == "The weights file does not exist."
    assert "does not exist; pick another file or leave the field empty" in user.reads("weightsLabel")
    assert user.can("simulateButton"), "motion needs no weights"
    type_path(user.ui.weightsPath, "")
    assert user.can("applyButton")
    assert "ships with DABSeg" in user.reads("weightsLabel")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_child_that_is_killed_from_outside(user, four, scene):
    before = look_of(scene)
    user.press("applyButton")
    user.until(lambda: user.reads("statusLabel").startswith("Restoring"))
    for process in children():
        os.kill(process, signal.SIGKILL)
    user.until(lambda: not user.busy)
    message = user.reads("messageLabel")
    assert message.startswith("The system ended the computation, most likely because memory ran out.")
    assert "switch the quality to fast" in message
    assert look_of(scene) == before
    assert user.can("applyButton")
    assert log_of(user).splitlines()[0] == "Segment"


class Full(io.BytesIO):
    """A file on a disk that gets full."""

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk(user, four, scene, monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "temporary_root", lambda: tmp_path)
    monkeypatch.setattr(bridge, "open", lambda *_: Full(), raising=False)
    message = fails(user, scene)
    assert message == (
        f"{tmp_path}, the folder for temporary files, is full.  Free some space or choose another one in Slicer's "
        "settings."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_temporary_files_that_is_none(user, four, scene, monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "temporary_root", lambda: tmp_path / "gone")
    message = fails(user, scene)
    assert str(tmp_path / "gone") in message
    assert "Slicer's settings" in message


def test_a_full_disk_that_only_the_child_finds(user, four, scene, monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "temporary_root", lambda: tmp_path)
    monkeypatch.setattr(follow, "Job", lambda arguments, folder: Job(["fake_child", "full", *arguments], folder))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert fails(user, scene).startswith(f"{tmp_path}, the folder for temporary files, is full.")


@pytest.mark.parametrize("corner", [(-40, 0, 0), (4, 4, 4)], ids=["outside", "in the air"])
def test_a_region_of_interest_without_a_brain(user, four, scene, a_small_patient, corner):
    place = np.eye(4)
    place[:, 3] = a_small_patient.affine @ (*corner, 1)
    roi_node(scene, (12, 12, 12), place)
    user.choose("roiSelector", "region")
    message = fails(user, scene)
    assert "region" in message
    assert "--" not in message
    assert ".nii" not in message


def test_a_mistake_of_ours_is_told_with_its_traceback(user, four, scene, monkeypatch):
    def broken(*_: Any) -> Any:
        raise KeyError("a <bug>")
        yield

    monkeypatch.setattr("DABSegLib.work.files.write_volume_steps", broken)
    message = fails(user, scene)
    assert "The module made a mistake: KeyError: 'a <bug>'" in message
    assert "Please report it together with the log." in message
    assert "Traceback" in log_of(user)


def test_a_message_goes_when_the_next_work_begins(user, four, scene, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(scratch, "temporary_root", lambda: tmp_path / "gone")
        assert fails(user, scene)
    user.press("simulateButton")
    assert not user.is_there("messageLabel")
    user.until(lambda: not user.busy)
    assert "gone" not in log_of(user)
