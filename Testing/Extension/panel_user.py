"""Panel user: somebody at the panel, who reads what is there, presses what can be pressed and chooses by name."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from DABSegLib.work import Work, run_to_end, sample_steps
from nodes import a_volume_node
from PySide6 import QtCore
from standins.application import close_module, open_module
from standins.mrml import save_scene

from DABSegCore.labels import MODALITIES

SECTIONS = tuple(f"{name}Section" for name in ("volumes", "motion", "segment", "results", "compare", "folder"))
SHAPE, SPACING_MM = (54, 64, 56), 3.0
TICK_S = 0.002
LIMIT_S = 90.0


class User:
    """Drives an opened panel, whose sections they have all unfolded.

    Args:
        widget: The module's widget, as the fixture `panel`.
    """

    def __init__(self, widget: Any) -> None:
        self.widget, self.panel, self.ui = widget, widget.panel, widget.panel.ui
        for section in (*SECTIONS, "againstBox"):
            getattr(self.ui, section).collapsed = False
        self.settle()

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    @property
    def busy(self) -> bool:
        """Whether a progress bar is there."""
        return self.is_there("progressBar")

    def is_there(self, name: str) -> bool:
        """Whether a widget is shown, though its section may be folded."""
        return not getattr(self.ui, name).isHidden()

    def can(self, name: str) -> bool:
        """Whether a widget can be used."""
        return getattr(self.ui, name).enabled

    def reads(self, name: str) -> str:
        """The words of a widget, without their markup."""
        return html.unescape(re.sub(r"<[^>]*>", " ", getattr(self.ui, name).text)).strip()

    def table(self, name: str) -> list[list[str]] | None:
        """What a table says, row by row; None where it is not shown."""
        if not self.is_there(name):
            return None
        model = getattr(self.ui, name).model()
        index = model.index
        return [[index(r, c).data() for c in range(model.columnCount())] for r in range(model.rowCount())]

    def press(self, name: str) -> None:
        """Press a button or tick a box, which must be possible."""
        assert self.is_there(name), f"{name} is not to be seen"
        assert self.can(name), f"{name} cannot be pressed: {self.reads('findingsLabel')} {self.reads('messageLabel')}"
        getattr(self.ui, name).click()

    def presses_and_waits(self, name: str, limit_s: float = LIMIT_S) -> str:
        """Press a button and wait until all that it starts is done; returns the message."""
        self.press(name)
        self.until(lambda: not self.busy, limit_s)
        self.settle()
        return self.reads("messageLabel")

    def stops(self, name: str) -> str:
        """Press the button of what runs, not as fast as in a double click; returns the message."""
        self.until(lambda: not self.panel.runner.is_new)
        return self.presses_and_waits(name)

    def choose(self, name: str, text: str) -> None:
        """Choose what a combo box or a node selector lists under a text."""
        widget = getattr(self.ui, name)
        box = widget.comboBox() if hasattr(widget, "comboBox") else widget
        row = box.findText(text)
        assert row >= 0, f"{name} does not list {text!r} but {[box.itemText(r) for r in range(box.count)]}"
        box.setCurrentIndex(row)
        box.activated.emit(row)

    def chosen(self, name: str) -> str:
        """What a combo box or a node selector shows."""
        widget = getattr(self.ui, name)
        return (widget.comboBox() if hasattr(widget, "comboBox") else widget).currentText

    def volumes(self) -> list[str]:
        """What the four selectors show."""
        return [self.chosen(f"{modality}Selector") for modality in MODALITIES]

    def until(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Wait while the event loop runs."""
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, f"not so within {limit_s} s: {self.reads('messageLabel')}"
            slicer.app.processEvents()
            time.sleep(TICK_S)

    def waits(self, seconds: float) -> None:
        """Do nothing for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def settle(self) -> None:
        """Wait until the panel has looked at the volumes."""
        self.until(lambda: self.panel.volumes._looking is None)

    def sees(self) -> np.ndarray:
        """A picture of all the views: uint8 [H, W, 3]."""
        slicer.app.processEvents()
        return slicer.app.layoutManager().views.grab()


def a_patient(scene: Any, seed: int = 3) -> Any:
    """A virtual patient that is quick to segment, in the scene (`work.SampleResult`)."""
    return run_to_end(Work(sample_steps(scene, seed, shape=SHAPE, spacing_mm=SPACING_MM)))


def volumes_of(scene: Any, patient: Any, name: str, modalities: Sequence[str] = MODALITIES) -> dict[str, Any]:
    """A patient's images as volume nodes `<name>_<modality>`, which any test may spoil."""
    images = dict(zip(MODALITIES, patient.images, strict=True))
    return {m: a_volume_node(scene, images[m], patient.affine, f"{name}_{m}") for m in modalities}


def look_of(scene: Any) -> list[tuple[str, str, int]]:
    """What a scene holds, and when each volume was last changed; what it shows is the application's business."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [(n.GetID(), n.GetName() or "", n.GetMTime() if n.IsA("vtkMRMLVolumeNode") else 0) for n in nodes]


def edit(segmentation: Any, name: str, change: Callable[[np.ndarray], None], reference: Any) -> None:
    """Change a segment's voxels as Segment Editor does: its labelmap is replaced and observers are told."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, reference).copy()
    change(array)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, name, reference)


def type_path(edit_widget: Any, path: Path | str) -> None:
    """Type a path."""
    edit_widget.comboBox().setEditText(str(path))
    QtCore.QCoreApplication.processEvents()


def finished_scene(folder: Path) -> Path:
    """A saved scene of a virtual patient that was blurred, segmented with the shipped weights and measured.

    Returns:
        The .mrml file in a new folder.
    """
    widget = open_module()
    user = User(widget)
    a_patient(slicer.mrmlScene)
    user.until(lambda: user.can("applyButton"))
    for name in ("simulateButton", "applyButton"):
        user.presses_and_waits(name)
    assert user.table("imageTable"), user.reads("messageLabel")
    file = save_scene(folder)
    close_module(widget)
    return file
