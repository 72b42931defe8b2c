"""List files: bring the lists of files in the CMake files of the package and of the module up to date.

python tools/list_files.py        # after a file has come or gone; Testing/Extension/test_cmake.py looks after it
"""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
RESOURCES = {"DABSegCore": ("weights", "glyphs", "plans"), "DABSegExtension": ("Resources",)}
"""Folder with a CMake file -> folders in it whose files are installed as they are."""
NOT_INSTALLED = {"DABSegExtension": ("browser",)}
"""Folder with a CMake file -> folders in it that are no part of it: the browser workbench does without Slicer."""


def scripts_of(folder: Path) -> list[str]:
    """Every Python file that is installed, relative to the folder."""
    paths = [path.relative_to(folder) for path in folder.rglob("*.py")]
    return sorted(path.as_posix() for path in paths if path.parts[0] not in NOT_INSTALLED.get(folder.name, ()))


def resources_of(folder: Path) -> list[str]:
    """Every other file that is installed, relative to the folder."""
    files = [path for name in RESOURCES[folder.name] for path in (folder / name).rglob("*")]
    found = [path for path in files if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts]
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.startswith("."))


def listed(text: str, name: str, files: list[str]) -> str:
    """The text of a CMake file with one of its lists replaced."""
    block = "".join(f"  {line}\n" for line in [f"set({name}", *files, ")"]).removeprefix("  ")
    pattern = rf"^set\({name}\n(?:  .*\n)*?  \)\n"
    if len(re.findall(pattern, text, re.MULTILINE)) != 1:
        raise SystemExit(f"there is not one list {name} in the CMake file; begin it with 'set({name}' on its own line")
    return re.sub(pattern, lambda _: block, text, flags=re.MULTILINE)


def main() -> None:
    for name in RESOURCES:
        folder = REPOSITORY / name
        cmake = folder / "CMakeLists.txt"
        text = cmake.read_text(encoding="utf-8")
        text = listed(text, "MODULE_PYTHON_SCRIPTS", scripts_of(folder))
        text = listed(text, "MODULE_PYTHON_RESOURCES", resources_of(folder))
        cmake.write_text(text, encoding="utf-8", newline="\n")
        print(f"{cmake.relative_to(REPOSITORY)}: {len(scripts_of(folder))} scripts")


if __name__ == "__main__":
    main()
