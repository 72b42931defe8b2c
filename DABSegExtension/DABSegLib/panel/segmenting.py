"""Segmenting: weights, device, quality, and the button that does it all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from DABSegLib import home
from DABSegLib.panel.section import Section, hear_path
from DABSegLib.parameters import Quality
from DABSegLib.work import segment_steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


class SegmentingSection(Section):
    """Section 3."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        hear_path(self.ui.weightsPath, self._weights_picked)  # no name filters: they would refuse other names unheard
        self.ui.applyButton.clicked.connect(self._apply)

    def weights(self) -> Path | None:
        """The file that was picked, or None for the weights that ship."""
        return Path(self.parameters.weights) if self.parameters.weights else None

    def obstacle(self) -> str:
        """What stands in the way of Apply, in a sentence; empty if nothing does."""
        if not self.panel.torch.present:
            return _("PyTorch is needed first; see the top of the panel.")
        if not self.panel.volumes.usable:
            return _("Four volumes are needed; see what is said below them.")
        if self.parameters.weights and not Path(self.parameters.weights).is_file():
            return _("The weights file does not exist.")
        return ""

    def refresh(self) -> None:
        obstacle = self.obstacle()
        self.ui.applyButton.enabled = self.runner.owns(self.ui.applyButton) or not (obstacle or self.runner.busy)
        self.ui.applyButton.toolTip = obstacle or _("Restore the four volumes and outline the tumour.")
        if self.ui.weightsPath.currentPath != self.parameters.weights:
            self.ui.weightsPath.currentPath = self.parameters.weights
        self.ui.weightsLabel.text = self._about_weights()

    def _about_weights(self) -> str:
        """Name, size and licence of the weights."""
        path = self.weights() or home.shipped_weights()
        if not path.is_file():
            return _("{path} does not exist; pick another file or leave the field empty.").format(path=path)
        megabytes = path.stat().st_size / 1e6
        if self.weights() is None:
            return _("{name}, {size:.0f} MB, ships with DABSeg (Apache-2.0)").format(name=path.name, size=megabytes)
        return _("{name}, {size:.0f} MB").format(name=path.name, size=megabytes)

    def _weights_picked(self, path: str) -> None:
        if self.parameters is not None and self.parameters.weights != path:
            self.parameters.weights = path

    def _apply(self, *_args: Any) -> None:
        button = self.ui.applyButton
        if not self.pressed(button) or self.obstacle():
            return
        p = self.parameters
        inputs = self.panel.volumes.inputs()
        steps = segment_steps(
            self.panel.scene,
            inputs,
            weights=self.weights(),
            device=p.device,
            tta=p.quality is Quality.BEST,
            roi=p.roi,
            on_log=self.runner.log,
        )
        self.runner.start(steps, button, lambda result: self.panel.results.take(inputs, result), _("Segment"))
