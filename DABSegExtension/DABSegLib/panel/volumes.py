"""Volumes: the four inputs, found by name, looked over before anything is computed."""

from __future__ import annotations

import html
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from DABSegCore.labels import MODALITIES
from DABSegLib import checks, naming
from DABSegLib.nodes import links
from DABSegLib.panel.section import Section, go_to_tumour
from DABSegLib.work import Inputs, sample_steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel

SAMPLE_SEED = 5
"""Which virtual patient is the sample case."""

ARRIVAL_MS = 300
"""After the last of several nodes came into the scene: names and voxels come after the node."""

MARKS = {"stop": "&#10006;", "warn": "&#9888;", "info": "&#8505;"}


class VolumesSection(Section):
    """Section 1."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.findings: list[checks.Finding] = []
        self._slow: list[checks.Finding] = []
        self._slow_of: Any = None
        self._looking: Generator[None, None, list[checks.Finding]] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._look_on)
        self._arrivals = qt.QTimer()
        self._arrivals.setSingleShot(True)
        self._arrivals.setInterval(ARRIVAL_MS)
        self._arrivals.timeout.connect(self._fill_arrived)
        panel.addObserver(panel.scene, panel.scene.NodeAddedEvent, lambda *_args: self._arrivals.start())
        self.ui.sampleButton.clicked.connect(self._load_sample)
        self.ui.fillButton.clicked.connect(self._fill_pressed)

    def chosen(self) -> dict[str, Any]:
        """Modality -> the node picked, or None."""
        return {modality: getattr(self.parameters, modality) for modality in MODALITIES}

    def inputs(self) -> Inputs:
        """The four volumes, where none is missing."""
        return Inputs(self.chosen(), self.parameters.reference.value)

    @property
    def usable(self) -> bool:
        """Whether nothing found stands in the way."""
        return not any(finding.level == "stop" for finding in self.findings)

    def choose(self, volumes: dict[str, Any]) -> None:
        """Pick volumes, by modality, as one change."""
        with slicer.util.NodeModify(self.parameters):
            for modality, volume in volumes.items():
                setattr(self.parameters, modality, volume)

    def fill(self) -> int:
        """Pick volumes by their names; returns how many were recognised."""
        guess = self._guess()
        self.choose(guess)
        return len(guess)

    def _guess(self) -> dict[str, Any]:
        """Modality -> the volume whose name says so."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        plain = [volume for volume in volumes if not volume.IsA("vtkMRMLLabelMapVolumeNode")]
        names = [(volume.GetID(), volume.GetName()) for volume in plain if not links.is_derived(volume)]
        return {modality: self.panel.scene.GetNodeByID(node_id) for modality, node_id in naming.guess(names).items()}

    def refresh(self) -> None:
        chosen = self.chosen()
        quick = checks.look(chosen, self.parameters.reference.value)
        self._look_closely(chosen)
        self.findings = [*quick, *self._slow]
        lines = [f"{MARKS[f.level]} {html.escape(f.text)}" for f in self.findings]
        if not any(chosen.values()):
            lines = [
                _(
                    "Load the four volumes of a patient, skull-stripped and registered to each other, and pick them "
                    "here; or press Load sample case."
                )
            ]
        self.ui.findingsLabel.text = "<br>".join(lines)
        self.ui.findingsLabel.visible = bool(lines)
        self.ui.sampleButton.enabled = self.can_start(self.ui.sampleButton)
        self.ui.fillButton.enabled = not self.runner.busy

    def forget(self) -> None:
        self._timer.stop()
        self._arrivals.stop()
        self._looking, self._slow_of, self._slow, self.findings = None, None, [], []

    def _look_closely(self, chosen: dict[str, Any]) -> None:
        """Begin to look into the voxels, unless these have been looked at; goes on from a timer."""
        volumes = {m: v for m, v in chosen.items() if v is not None and v.GetImageData() is not None}
        key = [(m, v.GetID(), v.GetImageData().GetMTime()) for m, v in volumes.items()]
        if key == self._slow_of:
            return
        self._slow_of, self._slow = key, []
        self._looking = checks.look_closely_steps(volumes, self.parameters.reference.value)
        self._timer.start()

    def _look_on(self) -> None:
        """One small step."""
        try:
            next(self._looking)
        except StopIteration as end:
            self._timer.stop()
            self._looking, self._slow = None, end.value
            self.panel.refresh()

    def _fill_arrived(self) -> None:
        """Pick volumes that were just loaded, unless some are picked that their names would not have told."""
        if self.parameters is None or self.runner.busy:
            return
        guess = self._guess()
        picked = {modality: volume for modality, volume in self.chosen().items() if volume is not None}
        if all(guess.get(modality) is volume for modality, volume in picked.items()):
            self.choose({modality: volume for modality, volume in guess.items() if modality not in picked})

    def _fill_pressed(self, *_args: Any) -> None:
        if self.fill() == 0:
            self.runner.say(
                _("No loaded volume has a name like case_t1, case_t1ce, case_t2, case_flair; pick the four by hand.")
            )

    def _load_sample(self, *_args: Any) -> None:
        button = self.ui.sampleButton
        if self.pressed(button):
            steps = sample_steps(self.panel.scene, SAMPLE_SEED, on_log=self.runner.log)
            self.runner.start(steps, button, self._sample_loaded, _("Virtual patient"))

    def _sample_loaded(self, sample: Any) -> None:
        """Pick what was made, and show it."""
        self.choose(sample.volumes)
        slicer.util.setSliceViewerLayers(background=sample.volumes["t1ce"], fit=True)
        go_to_tumour(self.panel.scene, sample.truth)
