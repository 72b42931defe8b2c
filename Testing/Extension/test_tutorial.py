"""The tutorial, word for word: every step of docs/slicer.md is read and done, and its pictures are taken on the way.

In the document bold is what is written on the panel, italics what is elsewhere in Slicer, and `code` what comes to be:
a node, or a file that was exported. "Press **Apply**" presses the button that says so; whatever else is bold must be in
sight at some moment of its step. With the environment variable DABSEG_PICTURES=docs/slicer the pictures are made anew.
"""

from __future__ import annotations

import io
import os
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6-Essentials is not here", exc_type=ImportError)
PIL_Image = pytest.importorskip("PIL.Image", reason="Pillow is not here")

import nodes  # noqa: E402
import slicer  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402
from standins import dialogs  # noqa: E402
from standins.window import EDGE_PX, picture_of  # noqa: E402

from DABSegCore.labels import MODALITIES  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "slicer.md"
HEADING = "## Three minutes with the sample case"
LIMIT_S = 120.0
PICTURE_BYTES, ALL_BYTES = 300_000, 1_500_000
ORDER = re.compile(r"(Press|Tick|Open|Look at) \*\*(.+?)\*\*", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """What a picture shows.

    Args:
        sections: Titles of the panel's sections; "" is what is between 3 and 4: progress and messages.
        views: Width and height of the views beside them in pixels, or None for the panel alone.
        view: Name of the one view to show; "" for all.
    """

    sections: tuple[str, ...] = ()
    views: tuple[int, int] | None = None
    view: str = ""


PICTURES = {
    "sample.png": Picture(("1. Volumes", "2. Motion (optional)", "3. Segment"), (780, 580)),
    "motion.png": Picture(("2. Motion (optional)", "3. Segment", ""), (780, 580)),
    "running.png": Picture(("3. Segment", "")),
    "results.png": Picture(("4. Results",), (780, 580)),
    "surfaces.png": Picture((), (780, 580), "1"),
    "compare.png": Picture(("4. Results", "5. Compare"), (1200, 800)),
    "edited.png": Picture(("4. Results",)),
}
CHECKS = "checks.png"
"""The one outside the tutorial: what is said of volumes that do not fit."""

IN_THE_MIDDLE = {"running.png": 0.5}
"""Taken when so much of the work that the step has started is done."""


@dataclass(frozen=True)
class Step:
    """A numbered step of the document."""

    number: int
    text: str

    @property
    def orders(self) -> list[tuple[str, str]]:
        """What to do with which widget, in this order."""
        return [(verb.lower(), name) for verb, name in ORDER.findall(self.text)]

    @property
    def bold(self) -> set[str]:
        return set(re.findall(r"\*\*(.+?)\*\*", self.text))

    @property
    def made(self) -> list[str]:
        return re.findall(r"`(.+?)`", self.text)

    @property
    def pictures(self) -> list[str]:
        return re.findall(r"!\[.+?\]\(slicer/(.+?)\)", self.text)


def tutorial() -> list[Step]:
    """The steps under the heading, each in one line."""
    section = DOCUMENT.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    parts = re.split(r"^(\d+)\. ", section, flags=re.MULTILINE)[1:]
    return [Step(int(number), " ".join(text.split())) for number, text in zip(parts[::2], parts[1::2], strict=True)]


class User:
    """Sees what is visible and presses what it says.

    Args:
        widget: The module's widget.
        wait_until: The fixture.
        folder: Where pictures go.
    """

    def __init__(self, widget: Any, wait_until: Any, folder: Path) -> None:
        self.panel, self.root = widget.panel, widget.parent
        self.wait_until, self.folder = wait_until, folder
        self.seen: set[str] = set()
        self.root.show()

    def texts(self) -> dict[str, Any]:
        """What can be read on the panel now -> the widget."""
        found: dict[str, Any] = {}
        for child in self.root.findChildren(QtWidgets.QWidget):
            text = _text(child)
            if text and child.isVisible():
                assert not (isinstance(child, QtWidgets.QAbstractButton) and text in found), f"two buttons say {text}"
                found[text] = child
        return found

    def look(self) -> None:
        self.seen |= {text.removesuffix(":") for text in self.texts()}

    def do(self, step: Step, then: Callable[[str], None]) -> None:
        """Follow all orders of a step, wait for what comes of each, and go on with what is no button."""
        self.seen.clear()
        for verb, name in step.orders:
            self.look()
            target = self.texts().get(name)
            assert target is not None, f"step {step.number}: nothing on the panel says {name}"
            if verb == "look at":
                assert not target.collapsed
                continue
            assert target.isEnabled(), f"step {step.number}: {name} cannot be used"
            if verb == "open":
                target.setCollapsed(False)
            else:
                assert verb == "press" or not target.isChecked()
                target.click()
            self.wait(step)
            then(name)
        for picture in step.pictures:
            if picture not in IN_THE_MIDDLE:
                self.take(picture)

    def wait(self, step: Step) -> None:
        """Until nothing runs any more; pictures of the work itself are taken meanwhile."""
        due = [picture for picture in step.pictures if picture in IN_THE_MIDDLE]
        self.look()

        def over() -> bool:
            if due and self.panel.ui.progressBar.value >= 1000 * IN_THE_MIDDLE[due[0]]:
                self.take(due.pop())
            return not self.panel.runner.busy and self.panel.volumes._looking is None

        self.wait_until(over, LIMIT_S)
        assert not due or not step.orders, f"step {step.number} was over before its picture"
        self.look()

    def take(self, name: str) -> None:
        """Write a picture."""
        wanted = PICTURES.get(name, Picture(("1. Volumes",)))
        parts = [self._sections(wanted.sections)] if wanted.sections else []
        if wanted.views is not None:
            views = slicer.app.layoutManager().views
            views.size = wanted.views
            parts.append(views.view(wanted.view).grab() if wanted.view else views.grab())
        write_png(beside(parts), self.folder / name)

    def _sections(self, titles: tuple[str, ...]) -> np.ndarray:
        """The panel from the first of some sections to the last: uint8 [H, W, 3]."""
        picture_of(self.root)  # widgets that were just shown or hidden find their size
        pixels = as_pixels(picture_of(self.root))
        texts = self.texts()
        boxes = [texts[title] if title else self.panel.ui.statusFrame for title in titles]
        tops = [box.mapTo(self.root, QtCore.QPoint(0, 0)).y() for box in boxes]
        bottoms = [top + box.size.height() for top, box in zip(tops, boxes, strict=True)]
        return pixels[min(tops) - EDGE_PX : max(bottoms) + EDGE_PX]


def _text(widget: Any) -> str:
    """What is written on a widget."""
    return next((getattr(widget, name) for name in ("title", "text") if isinstance(getattr(widget, name, 0), str)), "")


def as_pixels(image: Any) -> np.ndarray:
    """A QImage as uint8 [H, W, 3]."""
    image = image.convertToFormat(image.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def beside(parts: list[np.ndarray]) -> np.ndarray:
    """Pictures side by side, all at the top, on the panel's grey."""
    height = max(len(part) for part in parts)
    grey = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=239) for part in parts]
    gap = np.full((height, EDGE_PX, 3), 239, np.uint8)
    return np.concatenate([piece for part in grey for piece in (gap, part)][1:], axis=1)


def write_png(pixels: np.ndarray, path: Path) -> None:
    """With 256 colours, which is a third of the bytes and looks the same."""
    image = PIL_Image.fromarray(pixels).quantize(256, dither=PIL_Image.Dither.NONE)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())


@pytest.fixture
def user(panel: Any, wait_until: Any, tmp_path: Path) -> User:
    """Somebody who reads."""
    where = os.environ.get("DABSEG_PICTURES")
    return User(panel, wait_until, REPOSITORY / where if where else tmp_path / "pictures")


@pytest.fixture
def segment_editor(monkeypatch: pytest.MonkeyPatch, panel: Any) -> Any:
    """Slicer's Segment Editor, as far as it is told what to edit; the module is left and entered as in Slicer."""
    editor = types.SimpleNamespace(segmentation=None, source=None)
    editor.setSegmentationNode = lambda node: setattr(editor, "segmentation", node)
    editor.setSourceVolumeNode = lambda node: setattr(editor, "source", node)
    settings = slicer.vtkMRMLSegmentEditorNode()
    editor.mrmlSegmentEditorNode = lambda: settings
    widget = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    module = types.SimpleNamespace(widgetRepresentation=lambda: widget)
    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: panel.exit())
    return editor


def test_every_step_and_every_picture_of_the_document(user, segment_editor, tmp_path):
    steps = tutorial()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert [name for step in steps for name in step.pictures] == list(PICTURES)
    out = tmp_path / "exported"
    dialogs.answers.append(out)  # the one dialog is that of the export

    def then(name: str) -> None:
        if name == "Apply":
            assert is_as_good_as_told(user.panel.ui.regionTable)
        elif name == "Correct in Segment Editor":
            erase(segment_editor, user)

    for step in steps:
        user.do(step, then)
        there = node_names() | ({path.name for path in out.iterdir()} if out.exists() else set())
        assert not [name for name in step.made if name not in there], (step.number, there)
        assert not step.bold - user.seen, (step.number, step.bold - user.seen)
    assert not dialogs.answers
    sizes = [(user.folder / name).stat().st_size for name in PICTURES]
    assert all(0 < size <= PICTURE_BYTES for size in sizes), sizes
    assert sum(sizes) <= ALL_BYTES - PICTURE_BYTES


def test_what_is_wrong_is_said_below_the_selectors(user, a_small_patient, scene):
    """Its picture is in the document: one volume chosen twice, and one on another grid."""
    images = dict(zip(MODALITIES, a_small_patient.images, strict=True))
    for modality, image in images.items():
        scale = 2 if modality == "flair" else 1
        affine = a_small_patient.affine @ np.diag([1, 1, scale, 1])
        nodes.a_volume_node(scene, image[::scale], affine, f"Ann_{modality}")
    user.wait_until(lambda: user.panel.parameters.flair is not None)
    user.panel.parameters.t2 = slicer.util.getNode("Ann_t1")
    user.wait_until(lambda: user.panel.volumes._looking is None)
    said = user.panel.ui.findingsLabel.text
    assert "is chosen for T1 and T2" in said
    assert "lies on another grid" in said
    assert not user.panel.ui.applyButton.enabled
    user.take(CHECKS)
    assert f"(slicer/{CHECKS})" in DOCUMENT.read_text(encoding="utf-8")


def is_as_good_as_told(table: Any) -> bool:
    """Whether the Dice of WT and ET is what the document says."""
    said = re.search(r"the Dice of WT is about (0\.\d), that of ET lower", " ".join(step.text for step in tutorial()))
    dice = {row["Region"]: float(row["Dice"]) for row in rows_of(table)}
    return abs(dice["WT"] - float(said[1])) < 0.06 and dice["ET"] < dice["WT"]


def rows_of(table: Any) -> list[dict[str, str]]:
    """What a table on the panel shows: heading -> text, row by row."""
    model = table.model()
    heads = [model.headerData(column, QtCore.Qt.Horizontal) for column in range(model.columnCount())]
    return [
        {head: model.item(row, column).text() for column, head in enumerate(heads)} for row in range(model.rowCount())
    ]


def erase(editor: Any, user: User) -> None:
    """The left half of ET goes, as with Segment Editor's eraser; the user comes back and sees the table."""
    segmentation, table = editor.segmentation, user.panel.ui.regionTable
    before = rows_of(table)
    assert all(row["Dice"] and row["HD95 (mm)"] for row in before), "surfaces and views are no edits"
    assert editor.source.GetName() == "Virtual_005_t1ce_motion"
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "ET", editor.source)
    middle = int(np.median(np.nonzero(mask)[2]))
    mask[:, :, :middle] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ET", editor.source)
    user.wait_until(lambda: rows_of(table) != before, 5)
    user.panel.enter()
    after = {row["Region"]: row for row in rows_of(table)}
    was = {row["Region"]: row for row in before}
    assert 0.4 < float(after["ET"]["Volume (ml)"]) / float(was["ET"]["Volume (ml)"]) < 0.6
    assert after["WT"]["Volume (ml)"] == was["WT"]["Volume (ml)"]
    assert not any(row["Dice"] or row["HD95 (mm)"] for row in after.values())


def node_names() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetName() for index in range(scene.GetNumberOfNodes())}
