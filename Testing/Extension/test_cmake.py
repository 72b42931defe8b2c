"""CMake files: on a stand-in for Slicer's build tree, with every file of ours listed and in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STUB = Path(__file__).parent / "cmake_stub"
MODULES = "lib/Slicer-0.0/qt-scripted-modules"
SHIPPED = {"DABSeg": REPOSITORY / "DABSegExtension", "DABSegCore": REPOSITORY / "DABSegCore"}
LEFT_OUT = {"CMakeLists.txt", "README.md", "DABSeg.json"}
"""Files beside the sources that do not go into a package; of these only the ones at the top."""
NOT_INSTALLED = "browser"
"""Folder of the extension that is for those without Slicer."""

pytestmark = [
    pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed"),
    pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang", "cl"))), reason="there is no C compiler"),
]


def cmake(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True, check=False)


def configured(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    """A build tree of the extension, as far as configuring it goes."""
    return cmake("-S", source, "-B", build, f"-DSlicer_DIR={STUB}", "-DBUILD_TESTING=ON")


def noted(build: Path, name: str) -> list[str]:
    return (build / "noted" / name).read_text(encoding="utf-8").split()


def listed(build: Path, name: str) -> list[str]:
    return noted(build, f"{name}.scripts") + noted(build, f"{name}.resources")


def files_in(folder: Path) -> set[str]:
    """What lies in a folder and ought to be shipped, relative to it."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    paths = {path for path in paths if path.parts[0] != NOT_INSTALLED}
    return {path.as_posix() for path in paths if path.as_posix() not in LEFT_OUT and not path.name.startswith(".")}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    done = configured(REPOSITORY, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    done = cmake("--install", build, "--prefix", folder)
    assert done.returncode == 0, done.stderr
    return folder / MODULES


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """What CMake reads of the repository, to be spoiled."""
    leave_out = shutil.ignore_patterns("__pycache__", "*.pt", ".*")
    for name in ("DABSegCore", "DABSegExtension", "Testing/Slicer"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=leave_out)
    (tmp_path / "DABSegCore" / "weights" / "small.pt").touch()
    for name in ("CMakeLists.txt", "README.md", "LICENSE.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_is_listed_once(build, name):
    assert sorted(listed(build, name)) == sorted(files_in(SHIPPED[name])), "run: python tools/list_files.py"


@pytest.mark.parametrize("name", SHIPPED)
def test_scripts_are_python_and_resources_are_not(build, name):
    assert {Path(file).suffix for file in noted(build, f"{name}.scripts")} == {".py"}
    assert ".py" not in {Path(file).suffix for file in noted(build, f"{name}.resources")}


def test_it_goes_all_the_way_and_has_its_tests(build):
    assert noted(build, "generate_config") == ["done"]
    assert noted(build, "cpack") == ["DABSeg"]
    tests = {path.stem: Path(path.read_text().strip()) for path in (build / "noted").glob("*.test")}
    assert tests.pop("DABSeg") == SHIPPED["DABSeg"] / "DABSeg.py"
    assert set(tests.values()) == set((REPOSITORY / "Testing" / "Slicer").glob("test_*.py"))


def test_a_listed_file_that_is_gone_is_refused(a_copy):
    assert configured(a_copy, a_copy / "whole").returncode == 0
    (a_copy / "DABSegExtension" / "Resources" / "UI" / "DABSeg.ui").unlink()
    done = configured(a_copy, a_copy / "spoiled")
    assert done.returncode != 0
    assert "Resources/UI/DABSeg.ui is listed but does not exist" in done.stderr


def test_a_description_with_a_semicolon_is_refused(a_copy):
    file = a_copy / "CMakeLists.txt"
    file.write_text(file.read_text(encoding="utf-8").replace("Research use only.", "a; b"), encoding="utf-8")
    done = configured(a_copy, a_copy / "spoiled")
    assert done.returncode != 0
    assert "EXTENSION_DESCRIPTION has a semicolon" in done.stderr


@pytest.mark.parametrize("place", ["build", "installed"])
def test_the_package_is_beside_the_module_and_works_there(build, installed, place, tmp_path):
    folder = build / MODULES if place == "build" else installed
    assert {path.name for path in folder.iterdir()} == {"DABSeg.py", "DABSegLib", "DABSegCore", "Resources"}
    for name, inside in {"DABSeg": folder, "DABSegCore": folder / "DABSegCore"}.items():
        assert [file for file in listed(build, name) if not (inside / file).is_file()] == []
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import DABSegCore.checkpoint, DABSegCore.phantom, DABSegCore.segment\n"
        "print(DABSegCore.checkpoint.shipped_weights())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == folder / "DABSegCore" / "weights" / "small.pt"


def test_without_slicer_the_package_alone_is_installed(build, tmp_path):
    done = cmake("-S", REPOSITORY, "-B", tmp_path / "build", "-DCMAKE_DISABLE_FIND_PACKAGE_Slicer=ON")
    assert done.returncode == 0, done.stderr
    assert "only the Python package" in done.stdout
    assert cmake("--install", tmp_path / "build", "--prefix", tmp_path / "there").returncode == 0
    folder = tmp_path / "there" / "lib" / "dabseg"
    assert [path.name for path in folder.iterdir()] == ["DABSegCore"]
    assert files_in(folder / "DABSegCore") == set(listed(build, "DABSegCore"))


def test_without_slicer_no_compiler_is_needed(tmp_path):
    missing = f"-DCMAKE_C_COMPILER={tmp_path}/none", f"-DCMAKE_CXX_COMPILER={tmp_path}/none"
    done = cmake("-S", REPOSITORY, "-B", tmp_path / "build", "-DCMAKE_DISABLE_FIND_PACKAGE_Slicer=ON", *missing)
    assert done.returncode == 0, done.stderr


def test_a_slicer_that_is_not_there_is_refused(tmp_path):
    done = cmake("-S", REPOSITORY, "-B", tmp_path / "build", f"-DSlicer_DIR={tmp_path}/none")
    assert done.returncode != 0
    assert "SlicerConfig.cmake" in done.stderr
