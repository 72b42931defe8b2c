"""The module `slicer.ScriptedLoadableModule`: the four classes every scripted module derives from."""

from __future__ import annotations

import os
import types
import unittest
from typing import Any

import slicer
from PySide6 import QtWidgets


class ModuleParent:
    """The application's side of a module; what it does not know cannot be set."""

    __slots__ = (
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path


class ScriptedLoadableModule:
    """What a module says of itself."""

    def __init__(self, parent: ModuleParent) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return "<p>For more information see the online documentation.</p>"


class ScriptedLoadableModuleWidget:
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        """Without developer mode there is nothing above the module's own widgets."""

    def cleanup(self) -> None:
        """The application closes."""

    def onReload(self) -> None:
        """The button Reload of developer mode."""
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """What a module computes, and its node of parameters."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The node of this module, made when the scene has none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> Any:
        """A node that is the only one of this module in a scene."""
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self test of a module."""

    def runTest(self) -> None:
        """Overridden."""

    def delayDisplay(self, message: str, *_: Any, **__: Any) -> None:
        slicer.app.processEvents()


def scripted_module() -> types.ModuleType:
    """A module of these classes, for `from slicer.ScriptedLoadableModule import *`."""
    module = types.ModuleType("slicer.ScriptedLoadableModule", "Base classes of scripted modules.")
    classes = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic)
    for cls in (*classes, ScriptedLoadableModuleTest):
        setattr(module, cls.__name__, cls)
    module.__all__ = [cls.__name__ for cls in (*classes, ScriptedLoadableModuleTest)]
    return module
