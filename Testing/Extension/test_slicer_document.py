"""The document docs/slicer.md: its links lead somewhere, its script runs, its table has every code a user can meet."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("slicer", reason="Slicer's MRML libraries (slicer-core) are not here")

import nodes  # noqa: E402

from DABSegCore.labels import MODALITIES  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "slicer.md"
IN_THE_CHILD = (
    *("cases", "checkpoint", "cohort", "degradation", "devices", "errors", "files", "inference", "itk", "labels"),
    *("nifti", "part", "pipeline", "preprocess", "report", "score", "segment", "simulate", "twin", "virtual", "volume"),
    *("motion/kspace", "motion/trajectory", "models/weights_file"),
)
"""Modules of the core that the panel's commands run."""

ONLY_IN_A_TERMINAL = {
    *("already-there", "bad-argument", "bad-box", "bad-split", "different-grids", "preset-mismatch", "same-folder"),
    *("unknown-axis", "unknown-degradation", "unknown-preset", "unknown-severity"),
    *("bad-input", "unreadable"),  # the name of those that have none; the same as unreadable-file
}
"""Codes of what the panel does not let one ask for."""

MOST_WORDS = 5
"""A name on the panel is no longer; what is, is a sentence."""

CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+|bug|killed|cancelled")


def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_links_and_pictures_are_there():
    anchors = {
        re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in re.findall("^#+ (.+)$", text(), re.M)
    }
    for target in re.findall(r"\]\((?!https?:)(.+?)\)", text()):
        path, _, anchor = target.partition("#")
        assert not path or (DOCUMENT.parent / path).exists(), target
        assert path or anchor in anchors, target


def test_what_is_bold_is_written_on_the_panel():
    """But for sentences and the beginnings of paragraphs; what the tutorial does with it is tested by doing it."""
    body = re.sub(r"^\| \*\*.+$", "", text(), flags=re.M)
    bold = {" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", body, re.S)}
    names = {name for name in bold if not name.endswith(".") or name.endswith("...")}
    names = {name for name in names if len(name.split()) <= MOST_WORDS} - {"bold"}
    assert {"Apply", "Load sample case", "Repeat motion of"} <= names
    extension = REPOSITORY / "DABSegExtension"
    panel = ElementTree.parse(extension / "Resources" / "UI" / "DABSeg.ui")
    written = {(string.text or "").removesuffix(":") for string in panel.iter("string")}
    changing = "".join(path.read_text(encoding="utf-8") for path in (extension / "DABSegLib" / "panel").glob("*.py"))
    assert {name for name in names - written if f'_("{name}")' not in changing} == set()


def test_the_table_has_every_code_there_is():
    rows = [line for line in text().split("## Troubleshooting")[1].split("\n## ")[0].splitlines() if line[:1] == "|"]
    told = [code for line in rows for code in re.findall(r"`([^`]+)`", line.rstrip("|").rsplit("|", 1)[-1])]
    assert len(told) == len(set(told)), "a code is told twice"
    files = [REPOSITORY / "DABSegCore" / f"{name}.py" for name in IN_THE_CHILD]
    files += (REPOSITORY / "DABSegExtension" / "DABSegLib").rglob("*.py")
    there = {code for file in files for code in codes_of(file)}
    assert set(told) - {code for file in files for code in words_of(file)} == set(), "codes that are nowhere"
    assert there - set(told) - ONLY_IN_A_TERMINAL == set(), "codes that are not told"


def codes_of(file: Path) -> set[str]:
    """What is given as code when an error, a finding or a fault is made."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    made = [call for call in calls if getattr(call.func, "id", "") in ("InputError", "Finding", "Fault")]
    given = [a for call in made for a in (*call.args, *(k.value for k in call.keywords if k.arg == "code"))]
    texts = {node.value for node in given if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and CODE.fullmatch(text)}


def words_of(file: Path) -> set[str]:
    """All texts of a file that could be codes."""
    constants = (
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
    )
    return {node.value for node in constants if isinstance(node.value, str) and CODE.fullmatch(node.value)}


def test_the_script_runs(application: Any, scene: Any, a_small_patient: Any, capsys: pytest.CaptureFixture[str]):
    import standins.application

    standins.application.open_module(scene).panel.close()  # Slicer has the module; its panel is not needed
    for modality, image in zip(MODALITIES, a_small_patient.images, strict=True):
        nodes.a_volume_node(scene, image, a_small_patient.affine, f"Ann_{modality}")
    script = re.search(r"```python\n(.+?)```", text(), re.S)[1]
    exec(compile(script, str(DOCUMENT), "exec"), {})
    said = capsys.readouterr().out
    assert "Ann tumour" in said
    assert "Ann_t1ce_motion_pseudo-clear (synthetic)" in said
    assert "'WT': " in said
