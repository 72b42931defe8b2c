"""Privacy: no path of the computer gets out, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from DABSegExtension.browser.privacy import Privacy


@pytest.fixture
def privacy(tmp_path: Path) -> Privacy:
    return Privacy([tmp_path / "session", tmp_path / "my cases" / "Ann (2)"])


def test_of_a_known_path_the_name_of_the_file_is_left(privacy: Privacy, tmp_path: Path) -> None:
    text = f"truncated: {tmp_path}/session/in/t1.nii.gz, {tmp_path}/my cases/Ann (2)/Ann_t2.nii too; copy both again"
    assert privacy.sentence(text) == "Truncated: t1.nii.gz, Ann_t2.nii too; copy both again."


def test_of_a_folder_nothing_is_left(privacy: Privacy, tmp_path: Path) -> None:
    assert privacy.hide(f"{tmp_path}/session/tmp, the folder") == "a file, the folder"
    assert privacy.hide(f"in {tmp_path}/session.") == "in a file."


@pytest.mark.parametrize("path", ["/srv/secret/x.nii", "/a/b", r"C:\Users\Ann\x.nii", r"D:\data\secret", "/a/b/c/"])
def test_paths_nobody_knows_are_found_as_well(privacy: Privacy, path: str) -> None:
    hidden = privacy.hide(f"lost {path} here")
    assert hidden in ("lost x.nii here", "lost a file here")


@pytest.mark.parametrize(
    "text",
    [
        "T1/T1ce/T2",
        "and/or",
        "4.5 mm/s",
        "240 x 240",
        "https://example.org/a/b",
        "0/1",
        "Edges of T1 0.72 (bound 0.7).",
    ],
)
def test_what_is_no_path_stays(privacy: Privacy, text: str) -> None:
    assert privacy.hide(text) == text


def test_paths_within_json_are_found(privacy: Privacy, tmp_path: Path) -> None:
    report = {
        "weights": {"path": f"{tmp_path}/session/w.pt", "n": 3},
        "warnings": ["/srv/secret/y.nii is odd"],
        "x": None,
    }
    assert privacy.hide(report) == {"weights": {"path": "w.pt", "n": 3}, "warnings": ["y.nii is odd"], "x": None}


def test_what_only_slicer_has_is_said_in_the_words_of_a_page(privacy: Privacy) -> None:
    assert privacy.sentence("the disk is full; press Apply again") == "The disk is full; press Run again."
    assert "Slicer" not in privacy.sentence("Install the extension PyTorch of Slicer, and PyTorch with it.")


@pytest.mark.parametrize(
    "path", ["error:/data2/secret/x.nii", "file:///mnt/secret/x.nii", "at ../../secret/x.nii", "in ~/secret/x.nii"]
)
def test_a_path_is_hidden_however_it_begins(path: str) -> None:
    assert "secret" not in Privacy([]).sentence(f"Cannot read {path} now.")
    assert "x.nii" in Privacy([]).sentence(f"Cannot read {path} now.")


def test_addresses_and_keys() -> None:
    assert Privacy([]).hide("see https://example.org/a/b, T1/T2/FLAIR") == "see https://example.org/a/b, T1/T2/FLAIR"
    assert Privacy([]).hide({"/data/secret/t1.nii": 1}) == {"t1.nii": 1}
