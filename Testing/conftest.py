"""Fixtures with English names: a virtual patient small enough for a quick test, its folder, and real cases.

Above them: in how many processes the tests run, and in which order.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from DABSegCore.phantom import VirtualPatient, virtual_patient, write_patient

REPOSITORY = Path(__file__).parents[1]
collect_ignore = [] if importlib.util.find_spec("trame_slicer") else ["Browser"]
"""Those have an environment of their own: make test-browser."""

MOST_WORKERS = 4
"""Each takes up to 2.8 GB of memory, and the dearest file alone a sixth of the whole time."""

DEAREST_FIRST = (
    *("test_train.py", "test_panel_cancel.py", "test_panel_alive.py", "test_tutorial.py", "test_panel_results.py"),
    *("test_overfit.py", "test_real_work.py", "test_segment.py", "test_phantom.py", "test_weights.py"),
    "test_published_weights.py",
)
"""Files of about 10 s and more; one that is begun last would keep one worker busy while the others are done."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One per core that this process may use; 0, which is this process itself, for a single file and a single core."""
    if len(config.args) == 1 and ".py" in config.args[0]:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """The workers, which inherit it, and what they start compute in one thread each: the cores are taken."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers get whole files in the order of collection: the dear ones first."""
    if hasattr(config, "workerinput"):
        rank = {name: place for place, name in enumerate(DEAREST_FIRST)}
        items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


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
