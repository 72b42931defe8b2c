"""Paths in the panel, typed as Slicer's path edits tell of them: an empty path is not told as a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from panel_user import User, type_path


@pytest.mark.parametrize("name", ["mine.pt", "mine.ckpt", "weights"])
def test_weights_of_any_name_are_taken_and_can_be_taken_back(user: User, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(2_000_000))
    shipped = user.reads("weightsLabel")
    type_path(user.ui.weightsPath, path)
    assert user.parameters.weights == str(path)
    assert user.reads("weightsLabel") == f"{name}, 2 MB"
    type_path(user.ui.weightsPath, "")
    assert user.parameters.weights == ""
    assert user.reads("weightsLabel") == shipped
    user.panel.refresh()
    assert user.ui.weightsPath.currentPath == ""


def test_folders_are_taken_and_can_be_taken_back(user: User, tmp_path: Path) -> None:
    for edit, name in (("folderPath", "cases"), ("folderResultsPath", "results")):
        type_path(getattr(user.ui, edit), tmp_path / name)
    command = user.reads("commandEdit")
    assert f"--data {tmp_path / 'cases'}" in command
    assert f"--out {tmp_path / 'results'}" in command
    type_path(user.ui.folderResultsPath, "")
    assert (user.parameters.folder, user.parameters.folderResults) == (str(tmp_path / "cases"), "")
    assert user.reads("commandEdit") == ""
    assert not user.can("folderButton")


def test_a_path_in_the_scene_is_shown(user: User, tmp_path: Path) -> None:
    user.parameters.weights = str(tmp_path / "a.pt")
    user.parameters.folder = str(tmp_path)
    shown: list[Any] = [user.ui.weightsPath.currentPath, user.ui.folderPath.currentPath]
    assert shown == [str(tmp_path / "a.pt"), str(tmp_path)]
