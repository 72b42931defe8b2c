"""Section: what the panel's sections have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer

from DABSegLib.nodes import segments

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


class Section:
    """A part of the panel.

    Args:
        panel: The whole, with the widgets (`ui`), the settings (`parameters`) and the `runner`.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.ui = panel.ui
        self.runner = panel.runner

    @property
    def parameters(self) -> Any:
        """The panel's settings, as they are in the scene."""
        return self.panel.parameters

    def refresh(self) -> None:
        """Show what is so now; called on every change, so it must be quick."""

    def forget(self) -> None:
        """Let go of every node: the scene is about to be closed."""

    def close(self) -> None:
        """Let go of everything: the panel is about to go."""
        self.forget()

    def can_start(self, button: Any) -> bool:
        """Whether a button may be pressed as far as the runner goes: nothing runs, or it stops what it started."""
        return not self.runner.busy or self.runner.owns(button)

    def pressed(self, button: Any) -> bool:
        """Whether a press is meant to start something; if not, it has stopped what that button had started.

        The second press of a double click does neither.
        """
        if self.runner.owns(button):
            if not self.runner.is_new:
                self.runner.cancel()
            return False
        return not self.runner.busy


def go_to_tumour(scene: Any, segmentation: Any) -> None:
    """Move the slices of all ordinary views to the tumour, if there is one."""
    found = [name for name, ml in segments.volumes_ml(segmentation).items() if ml > 0]
    if found:
        slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *segmentation.GetSegmentCenterRAS(found[0]))


def hear_path(edit: Any, picked: Callable[[str], None]) -> None:
    """Call `picked` with each path of a ctkPathLineEdit; of an empty one it says only that it is no valid path."""
    edit.currentPathChanged.connect(lambda path: picked(path))
    edit.validInputChanged.connect(lambda _valid: picked(edit.currentPath))
