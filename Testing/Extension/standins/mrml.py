"""MRML: a fresh real scene with the real module logics, as `slicer.mrmlScene` and `slicer.modules`."""

from __future__ import annotations

import types
from typing import Any

import slicer

LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
}
"""Module of the application -> the class of its logic."""


def fresh_scene() -> Any:
    """Put an empty scene and the logics that observe it where the application has them; returns the scene."""
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    slicer.modules = types.SimpleNamespace(**{name: _module(cls, application, scene) for name, cls in LOGICS.items()})
    return scene


def _module(logic_class: str, application: Any, scene: Any) -> types.SimpleNamespace:
    """A module as far as `slicer.modules.<name>.logic()` goes."""
    logic = getattr(slicer, logic_class)()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    return types.SimpleNamespace(logic=lambda: logic, application=application)
