"""Brightness: volumes that are compared have one window and level, whichever of them the user changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import vtk

from DABSegLib.views.observers import Observers


class EqualBrightness:
    """Keeps the window and level of each group of volumes equal, beginning with those of its first.

    Args:
        groups: Volume nodes of each group; a node may be named twice.
    """

    def __init__(self, groups: Iterable[Iterable[Any]]) -> None:
        self._observers = Observers()
        self._following = False
        self._groups: dict[Any, list[Any]] = {}
        for volumes in groups:
            displays = list(dict.fromkeys(_display(volume) for volume in volumes))
            for display in displays:
                display.SetAutoWindowLevel(False)
                self._groups[display] = displays
                self._observers.watch(display, vtk.vtkCommand.ModifiedEvent, self._follow)
            self._follow(displays[0])

    def close(self) -> None:
        """Let every volume have its own again; what they are set to stays."""
        self._observers.clear()

    def _follow(self, leader: Any, _event: str = "") -> None:
        """Give the others the leader's window and level; what that sets off in turn is not followed."""
        if self._following:
            return
        self._following = True
        try:
            window, level = leader.GetWindow(), leader.GetLevel()
            for display in self._groups[leader]:
                if (display.GetWindow(), display.GetLevel()) != (window, level):
                    display.SetAutoWindowLevel(False)
                    display.SetWindowLevel(window, level)
        finally:
            self._following = False


def _display(volume: Any) -> Any:
    """The volume's display node, made if it has none."""
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    return volume.GetDisplayNode()
