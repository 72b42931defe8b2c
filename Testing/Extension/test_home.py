"""Home: the core, a Python to run it and its weights are found in every kind of installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from DABSegLib import home

HERE = Path(__file__).parent


def program_of(app: object, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(home, "application", lambda: app)
    return home.python()


def test_outside_slicer_this_python_computes(monkeypatch):
    assert program_of(None, monkeypatch) == sys.executable


def test_inside_slicer_its_own_python_computes(tmp_path, monkeypatch):
    program = tmp_path / "bin" / ("PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")
    program.parent.mkdir()
    program.touch(mode=0o755)
    app = types.SimpleNamespace(slicerHome=str(tmp_path))
    assert Path(program_of(app, monkeypatch)) == program
    monkeypatch.setenv("PATH", str(program.parent))
    assert Path(program_of(types.SimpleNamespace(), monkeypatch)) == program


def test_slicer_is_never_started_instead_of_its_python(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/SlicerApp-real")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="PythonSlicer"):
        program_of(types.SimpleNamespace(slicerHome="/nowhere"), monkeypatch)


def test_a_child_finds_the_core_first_and_what_was_found_before(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = home.environment()["PYTHONPATH"].split(";" if sys.platform == "win32" else ":")
    assert path == [str(home.CORE), str(tmp_path)]
    where = "import DABSegCore; print(DABSegCore.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", where], env=home.environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()).parent == home.CORE / "DABSegCore"


def test_threads_that_wait_in_a_child_leave_their_core_to_others(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert home.environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # the user's word counts
    assert home.environment()["OMP_WAIT_POLICY"] == "ACTIVE"


def test_an_installed_extension_has_the_core_beside_its_library(tmp_path):
    shutil.copytree(home.LIBRARY, tmp_path / "DABSegLib", ignore=shutil.ignore_patterns("__pycache__", "panel"))
    (tmp_path / "DABSegCore").mkdir()
    (tmp_path / "DABSegCore" / "__init__.py").write_text("HERE = True\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import DABSegLib; import DABSegCore; DABSegCore.HERE"
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    (tmp_path / "DABSegCore" / "__init__.py").unlink()
    told = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=False, capture_output=True)
    assert b"install the extension again" in told.stderr


def test_the_path_of_the_weights_is_that_of_the_core():
    from DABSegCore.checkpoint import shipped_weights

    assert home.shipped_weights() == shipped_weights()
    assert home.shipped_weights().is_file()


def test_torch_is_looked_for_anew(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not home.has_torch()
    (tmp_path / "torch.py").touch()
    assert home.has_torch()


def test_temporary_folders_are_made_where_slicer_makes_its_own(tmp_path, monkeypatch):
    app = types.SimpleNamespace(temporaryPath=str(tmp_path / "Slicer-me"))
    monkeypatch.setattr(home, "application", lambda: app)
    assert home.temporary_root() == tmp_path / "Slicer-me"
    assert home.temporary_root().is_dir()
