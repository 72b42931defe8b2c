"""Colours: Slicer's default colour tables, without which a volume has no grey to be shown in."""

from __future__ import annotations

import types
from typing import Any

import slicer


def add_colours(application: Any, scene: Any) -> None:
    """Put the default colour tables into the scene, and their logic where the other logics look for it."""
    if scene.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None:
        return
    logic = slicer.vtkMRMLColorLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    application.SetModuleLogic("Colors", logic)
    slicer.modules.colors = types.SimpleNamespace(logic=lambda: logic)  # the application itself does not keep it alive
