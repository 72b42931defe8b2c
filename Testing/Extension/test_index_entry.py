"""Index entry: the rules by which Slicer's Extensions Index takes an extension, those that need no network."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
ENTRY = REPOSITORY / "DABSegExtension" / "DABSeg.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
FIELDS = {  # name: type; of schema v1.0.2, which allows no others
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}
CATEGORIES = {"Analysis", "Filtering", "Image Synthesis", "Neuroimaging", "Segmentation", "Simulation"}
"""Of the index's list, those that could be meant."""

PREFIXES = ("Slicer", "Slicer-", "Slicer_", "SlicerExtension-", "SlicerExtension_")
LICENCES = {"LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt"}
LIMIT_BYTES = 100 * 1024**2


@pytest.fixture(scope="module")
def entry() -> dict[str, object]:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cmake() -> str:
    return (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")


def setting(cmake: str, name: str) -> str:
    """The value of an EXTENSION_ setting, found as the index finds it: on one line, in quotes."""
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', cmake, re.IGNORECASE)
    assert len(found) == 1, name
    return found[0]


def test_the_entry_keeps_the_schema(entry):
    assert entry["$schema"] == SCHEMA
    assert set(entry) >= REQUIRED
    for name, value in entry.items():
        assert type(value) is FIELDS[name], name
    assert all(type(name) is str for name in entry["build_dependencies"])
    assert 1 <= entry["tier"] <= 5


def test_the_file_is_written_as_the_index_wants_it():
    content = ENTRY.read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"}\n")
    assert content == (json.dumps(json.loads(content), indent=2) + "\n").encode()


def test_names_agree(entry, cmake):
    assert re.findall(r"project\s*\(\s*([^\s\)]+)", cmake, re.IGNORECASE)[0] == ENTRY.stem
    assert not ENTRY.stem.lower().startswith("slicer")
    assert (ENTRY.parent / f"{ENTRY.stem}.py").is_file()
    url = urlsplit(entry["scm_url"])
    assert url.scheme in ("git", "https")
    repository = Path(url.path).stem
    assert repository.startswith(PREFIXES)
    assert repository.removeprefix("Slicer") == ENTRY.stem
    assert setting(cmake, "EXTENSION_HOMEPAGE") == entry["scm_url"].removesuffix(".git")


def test_the_category_is_one_of_the_index(entry):
    assert entry["category"] in CATEGORIES


def test_what_it_depends_on_is_the_same_for_cmake_and_index(entry, cmake):
    assert setting(cmake, "EXTENSION_DEPENDS").split() == entry["build_dependencies"] == ["PyTorch"]


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_catalogue_are_files_of_this_repository(entry, cmake, name):
    owner, project = urlsplit(entry["scm_url"].removesuffix(".git")).path.strip("/").split("/")
    start = f"https://raw.githubusercontent.com/{owner}/{project}/{entry['scm_revision']}/"
    for address in setting(cmake, name).split():
        assert address.startswith(start)
        with Image.open(REPOSITORY / address.removeprefix(start)) as picture:
            assert picture.format == "PNG"


def test_the_description_says_what_it_is_for_and_what_not(cmake):
    description = setting(cmake, "EXTENSION_DESCRIPTION")
    assert {"MRI", "motion", "glioma"} <= set(re.findall(r"\w+", description))
    assert "Research use only" in description
    assert ";" not in description


def test_the_icon_is_128_pixels_on_nothing():
    with Image.open(ENTRY.parent / "Resources" / "Icons" / "DABSeg.png") as icon:
        assert icon.size == (128, 128)
        assert icon.mode == "RGBA"
        alpha = np.asarray(icon)[..., 3]
    assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert 0.4 < (alpha > 0).mean() < 0.9


def test_the_licence_lies_where_the_index_looks():
    found = LICENCES & {path.name for path in REPOSITORY.iterdir()}
    assert len(found) == 1
    assert "Apache License" in (REPOSITORY / found.pop()).read_text(encoding="utf-8")


def test_a_clone_is_small_enough():
    """The index weighs all of a clone, its history included."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a working copy of Git")
    paths = [REPOSITORY / name for name in git("ls-files", "-z").split("\0") if name]
    history = int(git("rev-list", "--objects", "--disk-usage", "HEAD"))
    assert history + sum(path.stat().st_size for path in paths if path.is_file()) < LIMIT_BYTES


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
