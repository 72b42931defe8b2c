"""Motion: blur the four volumes by simulated head motion, or repeat the motion of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import links
from DABSegLib.panel.section import Section
from DABSegLib.work import Inputs, simulate_steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


class MotionSection(Section):
    """Section 2."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.ui.simulateButton.clicked.connect(self._simulate)
        self.ui.replayButton.clicked.connect(self._replay)

    def refresh(self) -> None:
        ready = self.panel.volumes.usable and self.panel.torch.present
        draws = self.parameters.severity > 0 and bool(self._modalities())
        self._enable(self.ui.simulateButton, ready and draws)
        self._enable(self.ui.replayButton, ready and links.trajectory_of(self.parameters.replay) is not None)

    def _enable(self, button: Any, ready: bool) -> None:
        button.enabled = self.runner.owns(button) or (ready and not self.runner.busy)

    def _modalities(self) -> tuple[str, ...]:
        return tuple(modality for modality in MODALITIES if getattr(self.parameters, f"{modality}Blur"))

    def _simulate(self, *_args: Any) -> None:
        p = self.parameters
        self._start(
            self.ui.simulateButton,
            severity=round(p.severity),
            axis=p.axis.array_axis(),
            seed=p.seed,
            modalities=self._modalities(),
        )

    def _replay(self, *_args: Any) -> None:
        self._start(self.ui.replayButton, replay=links.trajectory_of(self.parameters.replay))

    def _start(self, button: Any, **motion: Any) -> None:
        """Blur the sharp volumes: those picked, or where blurred ones are picked, those they were made from."""
        if not self.pressed(button):
            return
        picked = self.panel.volumes.inputs()
        sharp = {modality: links.sharp_of(volume) or volume for modality, volume in picked.volumes.items()}
        inputs = Inputs(sharp, picked.reference)
        steps = simulate_steps(self.panel.scene, inputs, on_log=self.runner.log, **motion)
        self.runner.start(steps, button, self._done, button.text)

    def _done(self, result: Any) -> None:
        """Pick and show the blurred volumes for the next step; they know the sharp ones. They have no results yet."""
        self.parameters.segmentation = None
        self.panel.volumes.choose(result.motion)
        slicer.util.setSliceViewerLayers(background=result.motion[self.parameters.reference.value])
        self.runner.say(
            _(
                "The blurred volumes are chosen in section 1 now. Apply segments them; Side by side (section 5) shows "
                "them with the sharp ones."
            )
        )
        self.panel.comparing.follow()
