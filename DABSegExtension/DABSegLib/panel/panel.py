"""Panel: the module's widgets put together, kept in step with the scene and with one another."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from DABSegLib.panel.comparing import ComparingSection
from DABSegLib.panel.folder import FolderSection
from DABSegLib.panel.measuring import MeasuringSection
from DABSegLib.panel.motion import MotionSection
from DABSegLib.panel.results import ResultsSection
from DABSegLib.panel.runner import Runner
from DABSegLib.panel.segmenting import SegmentingSection
from DABSegLib.panel.torch import TorchSection
from DABSegLib.panel.volumes import VolumesSection
from DABSegLib.views import layout


class Panel(VTKObservationMixin):
    """What the user sees, for as long as the module is shown.

    Args:
        widget: The module's `ScriptedLoadableModuleWidget`.
        logic: Its logic, which has the parameter node.
    """

    def __init__(self, widget: Any, logic: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._logic = logic
        root = slicer.util.loadUI(widget.resourcePath("UI/DABSeg.ui"))
        widget.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.parameters: Any = None
        self._connection: Any = None
        self._refreshing = self._entered = self._was_bound = False
        self.runner = Runner(self.ui, self.refresh)
        self.torch = TorchSection(self)
        self.volumes = VolumesSection(self)
        self.motion = MotionSection(self)
        self.segmenting = SegmentingSection(self)
        self.results = ResultsSection(self)
        self.measuring = MeasuringSection(self)
        self.comparing = ComparingSection(self)
        self.folder = FolderSection(self)
        self.sections = (
            *(self.torch, self.volumes, self.motion, self.segmenting),
            *(self.results, self.measuring, self.comparing, self.folder),
        )
        self._removals = qt.QTimer()  # once for many nodes, and after the last is gone
        self._removals.setSingleShot(True)
        self._removals.timeout.connect(self._after_removal)
        self._observe(slicer.mrmlScene)
        self._bind()
        self.torch.look()
        self.refresh()

    @property
    def scene(self) -> Any:
        """The scene that is shown."""
        return slicer.mrmlScene

    def _observe(self, scene: Any) -> None:
        for event, method in (
            (scene.NodeAboutToBeRemovedEvent, self._on_node_leaving),
            (scene.NodeRemovedEvent, lambda *_args: self._removals.start(0)),
            (scene.StartCloseEvent, self._on_scene_closing),
            (scene.EndCloseEvent, self._on_scene_closed),
            (scene.StartImportEvent, self._on_importing),
            (scene.EndImportEvent, self._on_imported),
        ):
            self.addObserver(scene, event, method)

    def enter(self) -> None:
        """The module is shown."""
        self._entered = True
        self._take_up()

    def _take_up(self) -> None:
        """Show what the scene says."""
        self._bind()
        layout.register(self.scene)  # a scene may have been saved while it compared
        if not any(self.volumes.chosen().values()):
            self.volumes.fill()
        self.torch.look()
        self.refresh()

    def exit(self) -> None:
        """Another module is shown: what runs goes on, and the tables follow what Segment Editor does."""
        self._entered = False

    def close(self) -> None:
        """The application ends, or the module is loaded anew."""
        self.runner.drop()
        self._removals.stop()
        for section in self.sections:
            section.close()
        self._unbind()
        self.removeObservers()

    def refresh(self) -> None:
        """Let every section show what is so now."""
        if self.parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            for section in self.sections:
                section.refresh()
        finally:
            self._refreshing = False

    def _bind(self) -> None:
        """Connect the widgets to the scene's parameter node, which is made when there is none, unless they are."""
        if self.parameters is not None and self.parameters.parameterNode.GetScene() is self.scene:
            return  # Slicer 5.10 never lets go of what was connected once
        self._unbind()
        self.parameters = self._logic.getParameterNode()
        self._connection = self.parameters.connectGui(self.ui)
        self.addObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)

    def _unbind(self) -> None:
        if self.parameters is None:
            return
        self.parameters.disconnectGui(self._connection)
        self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
        self.parameters = None

    def _on_parameters(self, _caller: Any = None, _event: Any = None) -> None:
        self.refresh()

    def _after_removal(self) -> None:
        """A result may have lost what it is about."""
        if self.parameters is not None:
            self.comparing.follow_removal()
            self.refresh()

    def _on_scene_closing(self, _caller: Any = None, _event: Any = None) -> None:
        """Stop what runs before its nodes are taken away."""
        self.runner.drop()
        for section in self.sections:
            section.forget()
        self._unbind()

    def _on_scene_closed(self, _caller: Any = None, _event: Any = None) -> None:
        """Take up the empty scene, at once or when the module is shown again: it is to stay empty till then."""
        if self._entered:
            self._take_up()

    def _on_importing(self, _caller: Any = None, _event: Any = None) -> None:
        """Let go of the widgets: Slicer's selectors empty themselves meanwhile, which is nobody's wish."""
        self._was_bound = self.parameters is not None
        self._unbind()

    def _on_imported(self, _caller: Any = None, _event: Any = None) -> None:
        if self._was_bound:
            self._take_up()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_leaving(self, _caller: Any, _event: Any, node: Any) -> None:
        """Pick nothing in its place, before Slicer's selectors pick the node after it."""
        if self.parameters is not None:
            for name in self.parameters.allParameters:
                if getattr(self.parameters, name) is node:
                    setattr(self.parameters, name, None)
