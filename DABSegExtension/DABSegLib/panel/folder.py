"""Folder: every case of a folder, with the same command as in a terminal."""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
from slicer.i18n import tr as _

from DABSegLib.panel.section import Section, hear_path
from DABSegLib.parameters import Quality
from DABSegLib.work import folder_command, folder_steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


class FolderSection(Section):
    """Section 6."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        for edit, name in ((self.ui.folderPath, "folder"), (self.ui.folderResultsPath, "folderResults")):
            edit.filters = ctk.ctkPathLineEdit.Dirs
            hear_path(edit, partial(self._picked, name))
        self.ui.folderButton.clicked.connect(self._run)

    def refresh(self) -> None:
        p = self.parameters
        for edit, path in ((self.ui.folderPath, p.folder), (self.ui.folderResultsPath, p.folderResults)):
            if edit.currentPath != path:
                edit.currentPath = path
        ready = bool(p.folder and p.folderResults)
        self.ui.commandEdit.text = folder_command(**self._options()) if ready else ""
        button = self.ui.folderButton
        may_start = ready and self.panel.torch.present and not self.runner.busy
        button.enabled = self.runner.owns(button) or may_start

    def _options(self) -> dict[str, Any]:
        p = self.parameters
        return {
            "data": Path(p.folder),
            "out": Path(p.folderResults),
            "weights": self.panel.segmenting.weights(),
            "device": p.device,
            "tta": p.quality is Quality.BEST,
        }

    def _picked(self, name: str, path: str) -> None:
        if self.parameters is not None and getattr(self.parameters, name) != path:
            setattr(self.parameters, name, path)

    def _run(self, *_args: Any) -> None:
        button = self.ui.folderButton
        if self.pressed(button):
            steps = folder_steps(**self._options(), on_log=self.runner.log)
            self.runner.start(steps, button, self._done, _("Folder of cases"))

    def _done(self, result: Any) -> None:
        done = result.cases - result.failures
        text = _("{done} of {cases} cases are done; results and summary.csv are in {out}.")
        words = text.format(done=done, cases=result.cases, out=html.escape(str(result.out)))
        self.runner.say(words if not result.failures else words + " " + _("The log says what failed."))
