"""Measuring: how good the segments and the pseudo-clear volumes are, where the truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import links, segments
from DABSegLib.panel.section import Section
from DABSegLib.work import score_steps
from DABSegLib.work.runner import Steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


PICKS = ("truth", *(f"{modality}Sharp" for modality in MODALITIES))
"""Settings that belong to one patient."""


class MeasuringSection(Section):
    """The part of section 4 that needs a truth."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._picks: dict[str, Any] = {}
        self._patient: set[Any] = set()
        self.ui.measureButton.clicked.connect(self.measure)

    @property
    def segmentation(self) -> Any | None:
        """What is measured."""
        return self.parameters.segmentation

    def truth(self) -> Any | None:
        """The reference segmentation that is picked, or else the one that came with the volumes."""
        if self.parameters.truth is not None:
            return self.parameters.truth
        return links.truth_of(self._inputs().values())

    def sharp(self) -> dict[str, Any]:
        """The volumes without motion by modality: those picked, or else those the inputs were blurred from."""
        return self.sharp_of(self._inputs())

    def sharp_of(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `sharp`, of other volumes; one that was not blurred is not among them."""
        found = {m: getattr(self.parameters, f"{m}Sharp") or links.sharp_of(inputs.get(m)) for m in MODALITIES}
        return {m: volume for m, volume in found.items() if volume not in (None, inputs.get(m))}

    def _inputs(self) -> dict[str, Any]:
        """The volumes that were segmented, by modality."""
        return links.connected(self.segmentation, "input") if self.segmentation is not None else {}

    def refresh(self) -> None:
        self._forget_another_patient()
        there = self.segmentation is not None
        self.ui.knownLabel.text = self._known()
        self.ui.knownLabel.visible = there
        button = self.ui.measureButton
        button.enabled = self.runner.owns(button) or (not self.runner.busy and self.is_possible())

    def forget(self) -> None:
        self._picks, self._patient = {}, set()

    def _forget_another_patient(self) -> None:
        """What was picked by hand for one patient is let go once none of the four volumes is of that patient."""
        chosen = [volume for volume in self.panel.volumes.chosen().values() if volume is not None]
        patient = {links.sharp_of(volume) or volume for volume in chosen}
        picks = {name: getattr(self.parameters, name) for name in PICKS}
        if picks != self._picks:
            self._picks, self._patient = picks, patient
        elif len(chosen) == len(MODALITIES) and self._patient and not self._patient & patient:
            with slicer.util.NodeModify(self.parameters):
                for name in PICKS:
                    setattr(self.parameters, name, None)

    def is_possible(self) -> bool:
        """Whether there is a truth to compare with."""
        if self.segmentation is None:
            return False
        pairs = links.connected(self.segmentation, "pseudo-clear").keys() & self.sharp().keys()
        return (self.truth() is not None or bool(pairs)) and self.reference() is not None

    def reference(self) -> Any | None:
        """The volume on whose grid the segments are compared: the one they were made on, wherever that was."""
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        return self.segmentation.GetNodeReference(links.REFERENCE) or self.segmentation.GetNodeReference(role)

    def _known(self) -> str:
        """What a measurement would compare with, where nothing else is picked."""
        if self.segmentation is None:
            return ""
        truth, sharp = self.truth(), self.sharp()
        words = [_("segments: {name}").format(name=truth.GetName())] if truth is not None else []
        if sharp:
            words.append(_("sharp volumes: {names}").format(names=", ".join(v.GetName() for v in sharp.values())))
        return _("Compared with {what}.").format(what="; ".join(words)) if words else _("Nothing to compare with yet.")

    def measure(self, *_args: Any, goes_on: bool = False) -> None:
        """Compare what can be compared; pressed while it does, stop.

        Args:
            goes_on: By itself, after Apply.
        """
        button = self.ui.measureButton
        if not self.pressed(button) or not self.is_possible():
            return
        segmentation = self.segmentation
        steps = score_steps(
            self.panel.scene,
            segmentation,
            self.truth(),
            sharp=self.sharp(),
            corrupted=links.connected(segmentation, "input"),
            restored=links.connected(segmentation, "pseudo-clear"),
            reference_node=self.reference(),
            on_log=self.runner.log,
        )
        steps = _with_fingerprint(segmentation, steps)
        self.runner.start(steps, button, lambda scores: self._measured(segmentation, scores), _("Measure"), goes_on)

    def _measured(self, segmentation: Any, scores: dict[str, Any]) -> None:
        links.keep_scores(segmentation, scores)
        if segmentation is self.segmentation:
            self.panel.results.fill_tables()


def _with_fingerprint(segmentation: Any, steps: Steps[dict[str, Any]]) -> Steps[dict[str, Any]]:
    """Measure, and note of what: segments may be edited while they are measured."""
    measured = segments.fingerprint(segmentation)
    return {**(yield from steps), "of": measured}
