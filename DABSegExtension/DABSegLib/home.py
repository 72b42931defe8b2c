"""Home: where the package DABSegCore, its weights and a Python to run it are, inside Slicer and out of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parent
PLACES = (LIBRARY.parent, LIBRARY.parents[1])
"""Folders that may hold DABSegCore: an installed extension has it beside `DABSeg.py`, the repository one level up."""

CORE = next((place for place in PLACES if (place / "DABSegCore" / "__init__.py").is_file()), PLACES[0])
"""The folder that holds DABSegCore."""

PARENT = "DABSEG_PARENT"
"""Environment variable that names the process a command ends with (see `DABSegCore.orphan`)."""


def add_core_to_path() -> None:
    """Let DABSegCore be imported, from where this library is and from nowhere else.

    Raises:
        ModuleNotFoundError: If it is not there.
    """
    if not (CORE / "DABSegCore" / "__init__.py").is_file():
        raise ModuleNotFoundError(
            f"the package DABSegCore is neither in {PLACES[0]} nor in {PLACES[1]}, but the module DABSeg needs it; "
            "install the extension again",
            name="DABSegCore",
        )
    if str(CORE) not in sys.path:
        sys.path.insert(0, str(CORE))


def python() -> str:
    """The program that runs `-m DABSegCore...`: PythonSlicer inside Slicer, else this Python.

    Raises:
        FileNotFoundError: If Slicer has no PythonSlicer; its own executable would open a second window instead.
    """
    app = application()
    if app is None:
        return sys.executable
    folders = [str(Path(str(home)) / "bin") for home in (getattr(app, "slicerHome", None),) if home]
    found = shutil.which("PythonSlicer") or shutil.which("PythonSlicer", path=os.pathsep.join(folders) or None)
    if found is None and not Path(sys.executable).stem.lower().startswith("python"):
        raise FileNotFoundError("Slicer's PythonSlicer is not found beside it")
    return found or sys.executable


def environment() -> dict[str, str]:
    """Environment of a child process: it finds DABSegCore first, writes UTF-8 at once and ends with this process.

    PYTHONHOME stays: PythonSlicer sets its own, and any other Python here is the one that runs with it already.

    OpenMP's threads, the network's, are to sleep while they wait for one another unless the user says otherwise. Left
    to themselves they keep a core busy with waiting for a thread that has none: where other programs used both cores of
    a machine as well, the network took 22 s (median of 7, at most 48) that way and takes 4 s, with the same result.
    """
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(CORE)]
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(CORE), *inherited]),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        PARENT: str(os.getpid()),
    }


def shipped_weights() -> Path:
    """Path of the weights that come with the package, without loading torch."""
    return CORE / "DABSegCore" / "weights" / "small.pt"


def has_torch() -> bool:
    """Whether torch is installed; looked up anew each time, since it may be installed while we run."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("torch") is not None


def temporary_root() -> Path:
    """Where temporary folders go: where Slicer's own go, else where the system's do."""
    path = str(getattr(application(), "temporaryPath", "") or "")
    root = Path(path or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    return root


def application() -> Any | None:
    """`slicer.app`, or None where Slicer's libraries run without the application."""
    return getattr(sys.modules.get("slicer"), "app", None)
