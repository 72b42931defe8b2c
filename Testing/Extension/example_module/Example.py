"""Example: a small scripted module with one widget of each kind, to test the stand-ins with."""

import enum
from typing import Annotated, Union

import slicer
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Speed(enum.Enum):
    """A choice with labels."""

    SLOW = 1
    QUICK = 2

    def label(self):
        return f"{self.name.lower()} ({self.value})"


@parameterNodeWrapper
class ExampleParameters:
    """One of each kind."""

    volume: vtkMRMLScalarVolumeNode
    truth: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 - the wrapper knows this form
    strength: Annotated[float, WithinRange(0, 4)] = 2
    seed: Annotated[int, WithinRange(0, 99)] = 7
    speed: Speed = Speed.QUICK
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    name: str = "somebody"
    careful: bool = True


class Example(ScriptedLoadableModule):
    """The module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Example")


class ExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        root = slicer.util.loadUI(self.resourcePath("UI/Example.ui"))
        self.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = ExampleLogic()
        self.clicks = []
        self.ui.applyButton.connect("clicked(bool)", lambda checked: self.clicks.append(checked))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *_: self.bind())
        self.parameters = None
        self.bind()

    def bind(self):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.connection)
        self.parameters = ExampleParameters(self.logic.getParameterNode())
        self.connection = self.parameters.connectGui(self.ui)

    def enter(self):
        self.entered = True
        self.ui.applyButton.enabled = True

    def exit(self):
        self.entered = False

    def cleanup(self):
        self.removeObservers()


class ExampleLogic(ScriptedLoadableModuleLogic):
    """Nothing to compute."""
