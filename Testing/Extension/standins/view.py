"""View: one slice view or 3-D view with its coloured bar, drawn by the real displayable managers."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

BAR_PX = 20
SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # else it complains of the absent X server


class _View:
    """A render window with the view above whose bar says its name; what is drawn below is the subclass's."""

    def __init__(self, application: Any, node: Any, factory: Any, managers: tuple[str, ...]) -> None:
        self.node = node
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.renderer, self.bar = vtk.vtkRenderer(), vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.window.AddRenderer(self.bar)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()  # the managers crash without one
        self.interactor.SetRenderWindow(self.window)
        self.label = _text(self.bar, (0, 0, 0), 13, (6, 3))
        self._before_managers(application)
        factory.SetMRMLApplicationLogic(application)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = factory.InstantiateDisplayableManagers(self.renderer)
        self.group.UnRegister(None)  # made for us, it was counted once; Python has counted it again
        self.group.SetMRMLDisplayableNode(node)

    def _before_managers(self, application: Any) -> None:
        """What has to lie under everything the managers draw."""

    def resize(self, width: int, height: int) -> None:
        """Give the whole, bar included, its size in pixels."""
        self.window.SetSize(width, height)
        edge = 1 - BAR_PX / height
        self.renderer.SetViewport(0, 0, 1, edge)
        self.bar.SetViewport(0, edge, 1, 1)

    def grab(self) -> np.ndarray:
        """A picture of it: uint8 [H, W, 3]."""
        self.bar.SetBackground(*self.node.GetLayoutColor())
        self.label.SetInput(self.node.GetLayoutLabel() or "")
        self.window.Render()
        return self._pixels()

    def _pixels(self) -> np.ndarray:
        """What the window shows: uint8 [H, W, 3]."""
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ShouldRerenderOff()
        grabber.ReadFrontBufferOff()
        grabber.Update()
        width, height, _ = grabber.GetOutput().GetDimensions()
        return vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1]

    def close(self) -> None:
        """Let go of the node and the window."""
        self.group.SetMRMLDisplayableNode(None)
        self.interactor.SetRenderWindow(None)
        self.window.Finalize()


class SliceView(_View):
    """A slice view: volume, segments and markups, and the volume's name in the corner as Slicer writes it."""

    def __init__(self, application: Any, node: Any) -> None:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(application, node, factory, SLICE_MANAGERS)
        self.corner = _text(self.renderer, (1, 1, 1), 11, (4, 3))

    def _before_managers(self, application: Any) -> None:
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.logic.SetMRMLScene(self.node.GetScene())
        self.logic.SetSliceNode(self.node)
        self.logics = application.GetSliceLogics()
        self.logics.AddItem(self.logic)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.image = vtk.vtkActor2D()
        self.image.SetMapper(self.mapper)
        self.renderer.AddViewProp(self.image)

    def resize(self, width: int, height: int) -> None:
        """Also tell the slice node, as Slicer's slice widget does."""
        super().resize(width, height)
        if tuple(self.node.GetDimensions())[:2] != (width, height - BAR_PX):
            self.logic.ResizeSliceNode(width, height - BAR_PX)

    def grab(self) -> np.ndarray:
        """A picture of it: uint8 [H, W, 3]."""
        volume = self.logic.GetBackgroundLayer().GetVolumeNode()
        self.corner.SetInput(f"B: {volume.GetName()}" if volume is not None else "")
        connection = self.logic.GetImageDataConnection() if volume is not None else None
        self.mapper.SetInputConnection(connection)
        self.image.SetVisibility(connection is not None)
        return super().grab()

    def scroll_to(self, offset_mm: float) -> None:
        """Move the slice as a user does with the slider of the view's bar, so that linked views follow."""
        self.logic.StartSliceOffsetInteraction()
        self.logic.SetSliceOffset(offset_mm)
        self.logic.EndSliceOffsetInteraction()

    def close(self) -> None:
        """Let go of the node, the window and the logic."""
        super().close()
        self.logics.RemoveItem(self.logic)
        self.logic.SetMRMLScene(None)


class ThreeDView(_View):
    """A 3-D view, seen from the front; surfaces of segments fill it, as after Slicer's "center the view"."""

    def __init__(self, application: Any, node: Any) -> None:
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        super().__init__(application, node, factory, THREE_D_MANAGERS)

    def grab(self) -> np.ndarray:
        """A picture of it: uint8 [H, W, 3]."""
        bounds = vtk.vtkBoundingBox()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", self.node.GetScene()):
            for surface in _surfaces(node):
                bounds.AddBounds(surface.GetBounds())
        if bounds.IsValid():
            box = [0.0] * 6
            bounds.GetBounds(box)
            self.renderer.ResetCamera(box)
        else:
            self.renderer.ResetCamera()
        return super().grab()


def _surfaces(node: Any) -> list[Any]:
    """The surfaces of a segmentation that are seen in 3D; where a transform takes them is left out."""
    display, segmentation = node.GetDisplayNode(), node.GetSegmentation()
    if display is None or not (display.GetVisibility() and display.GetVisibility3D()):
        return []
    found = [segmentation.GetSegment(name).GetRepresentation("Closed surface") for name in segmentation.GetSegmentIDs()]
    return [surface for surface in found if surface is not None and surface.GetNumberOfPoints()]


def _text(renderer: Any, colour: tuple[float, float, float], size: int, place: tuple[int, int]) -> Any:
    """A line of text at a place in pixels from the lower left."""
    actor = vtk.vtkTextActor()
    actor.GetTextProperty().SetColor(*colour)
    actor.GetTextProperty().SetFontSize(size)
    actor.SetPosition(*place)
    renderer.AddViewProp(actor)
    return actor
