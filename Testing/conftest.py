"""Fixtures with English names: a virtual patient small enough for a quick test, its folder, and real cases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from DABSegCore.phantom import VirtualPatient, virtual_patient, write_patient

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_cases() -> Path:
    """The folder of real cases, which are not part of this repository; tests that need it skip without it."""
    folder = Path(os.environ.get("DABSEG_CASES", REPOSITORY.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"no real cases at {folder}; set DABSEG_CASES to a folder of BraTS case folders")
    return folder


@pytest.fixture(scope="session")
def a_small_patient() -> VirtualPatient:
    """A whole virtual brain with a tumour, seen on 3 mm voxels; do not write to its arrays."""
    return virtual_patient(seed=3, shape=(54, 64, 56), spacing_mm=3.0)


@pytest.fixture
def a_case_folder(tmp_path: Path, a_small_patient: VirtualPatient) -> Path:
    """The small patient as a case folder with BraTS-2020 file names."""
    folder = tmp_path / "Virtual_003"
    write_patient(folder, a_small_patient, folder.name)
    return folder
