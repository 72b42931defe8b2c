"""MRML: a fresh real scene with the real module logics, as `slicer.mrmlScene` and `slicer.modules`."""

from __future__ import annotations

import types
import zipfile
from pathlib import Path
from typing import Any

import slicer
import vtk

LOGICS = {
    "markups": "vtkSlicerMarkupsLogic",
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
    modules = {name: _module(name, logic_class, application, scene) for name, logic_class in LOGICS.items()}
    slicer.modules = types.SimpleNamespace(**modules)
    return scene


def _module(name: str, logic_class: str, application: Any, scene: Any) -> types.SimpleNamespace:
    """A module as far as `slicer.modules.<name>.logic()` goes."""
    logic = getattr(slicer, logic_class)()
    vtk.vtkObject.GlobalWarningDisplayOff()  # it misses the application's terminologies, colours, home
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    vtk.vtkObject.GlobalWarningDisplayOn()
    application.SetModuleLogic(name.capitalize(), logic)  # views of markups ask for it, and crash where it is not
    return types.SimpleNamespace(logic=lambda: logic, application=application)


def save_scene(folder: Path) -> Path:
    """Save the scene and all its data into a new folder, as File / Save does; returns the .mrml file."""
    folder.mkdir(parents=True)
    scene = slicer.mrmlScene
    if not scene.SaveSceneToSlicerDataBundleDirectory(str(folder)):
        raise OSError(f"the scene was not saved to {folder}")
    return next(folder.glob("*.mrml"))


def load_scene(file: Path, scene: Any = None) -> Any:
    """Open a saved scene in place of what is in a scene, the current one when None; returns it."""
    scene = slicer.mrmlScene if scene is None else scene
    scene.SetURL(str(file))
    if not scene.Connect():
        raise OSError(f"the scene {file} was not read")
    return scene


def save_bundle(file: Path) -> Path:
    """Save the scene and all its data as one .mrb file."""
    if not slicer.mrmlScene.WriteToMRB(str(file)):
        raise OSError(f"the scene was not saved to {file}")
    return file


def load_bundle(file: Path, folder: Path, scene: Any = None) -> Any:
    """Open a .mrb file, which is a zipped folder; it is unpacked into a folder that has to stay."""
    with zipfile.ZipFile(file) as bundle:
        bundle.extractall(folder)
    return load_scene(next(folder.rglob("*.mrml")), scene)
