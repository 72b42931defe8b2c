"""Slicer's node selector: a combo box of the nodes of a scene, kept up to date by observing the scene."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from standins.flavour import Control, qt_class, stored
from standins.loader import widget
from standins.observing import observe

SCENE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndBatchProcessEvent")
REFILLING_EVENTS = ("EndCloseEvent", "EndImportEvent")


@widget
class qMRMLNodeComboBox(Control, QtWidgets.QWidget):
    """As the application's: None first where it is allowed, else the first node is chosen by itself.

    Where the chosen node is removed, the one after it is chosen, or the last. After a scene was loaded or closed it
    lists all nodes anew and forgets what was chosen. Nobody is asked in either case.
    """

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._tags, self._names, self._requested = None, [], {}, ""
        self._attributes, self._ids = [], []
        self._box = qt_class("QComboBox")()
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self._box.currentIndexChanged.connect(lambda _: self._emit())
        self._box.activated.connect(self._on_user)
        self._emitted = ""
        self.setEnabled(False)

    def _reload_on(name: str, kind: type | str, default: Any) -> Any:
        """A property that changes what is listed."""
        key = "_" + name

        def write(self: Any, value: Any) -> None:
            setattr(self, key, value)
            self._reload()

        return QtCore.Property(kind, lambda self: getattr(self, key, default), write)

    nodeTypes = _reload_on("nodeTypes", "QStringList", ())
    noneEnabled = _reload_on("noneEnabled", bool, False)
    noneDisplay = _reload_on("noneDisplay", str, "None")
    showHidden = _reload_on("showHidden", bool, False)
    showChildNodeTypes = _reload_on("showChildNodeTypes", bool, True)
    addEnabled = _reload_on("addEnabled", bool, True)
    removeEnabled = _reload_on("removeEnabled", bool, True)
    renameEnabled = _reload_on("renameEnabled", bool, False)
    editEnabled = stored(bool, False)
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """List the nodes of that scene; what was asked for before there was a scene is chosen now."""
        if scene is self._scene:
            return
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        heard = {**dict.fromkeys(SCENE_EVENTS, self._on_scene), **dict.fromkeys(REFILLING_EVENTS, self._on_refilling)}
        names = heard if scene is not None else ()
        self._tags = [observe(scene, getattr(scene, name), heard[name]) for name in names]
        self.setEnabled(scene is not None)
        self._reload(self._requested or self.currentNodeID)
        self._requested = ""

    def _on_scene(self, *_: Any) -> None:
        if not self._scene.IsBatchProcessing() and self._nodes() != [node for node, _ in self._names.values()]:
            self._reload()

    def _on_refilling(self, *_: Any) -> None:
        self._reload("")

    def _nodes(self) -> list[Any]:
        """What may be listed, hidden or not, in the scene's order."""
        if self._scene is None:
            return []
        if len(self.nodeTypes) == 1:  # left to the scene, which is a hundred times quicker
            nodes = slicer.util.getNodesByClass(self.nodeTypes[0], self._scene)
        else:
            nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _fits(self, node: Any) -> bool:
        """Whether it is of the types and has the attributes that are asked for."""
        exact = node.GetClassName() in self.nodeTypes
        if not exact and not (self.showChildNodeTypes and any(node.IsA(kind) for kind in self.nodeTypes)):
            return False
        wanted = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        has = {name: node.GetAttribute(name) for name, _ in wanted}
        return all(has[name] is not None and value in (None, has[name]) for name, value in wanted)

    def _is_shown(self, node: Any) -> bool:
        return self._fits(node) and (self.showHidden or not node.GetHideFromEditors())

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """List only nodes of that type that have the attribute."""
        self._attributes.append((node_type, name, None if value is None else str(value)))
        self._reload()

    def _reload(self, wanted: str | None = None) -> None:
        """List again and keep what was chosen as far as it is still there, or else its row."""
        row = self._box.currentIndex if wanted is None else 0
        wanted = self.currentNodeID if wanted is None else wanted
        candidates = self._nodes()
        nodes = [node for node in candidates if self._is_shown(node)]
        self._box.blockSignals(True)
        self._box.clear()
        self._ids = ([""] if self.noneEnabled else []) + [node.GetID() for node in nodes]
        self._box.addItems(([self.noneDisplay] if self.noneEnabled else []) + [node.GetName() or "" for node in nodes])
        self._add_actions()
        self._box.setCurrentIndex(self._row(wanted) if wanted in self._ids else min(max(row, 0), len(self._ids) - 1))
        self._box.blockSignals(False)
        self._watch(candidates)
        self._emit()

    def _add_actions(self) -> None:
        if self._scene is None:
            return
        kind = self.nodeTypes[0] if self.nodeTypes else ""
        label = self._scene.GetTypeDisplayNameByClassName(kind) or "node"
        self._actions = [f"Rename current {label}"] * self.renameEnabled + [f"Create new {label}"] * self.addEnabled
        self._actions += [f"Delete current {label}"] * self.removeEnabled
        if self._actions:
            self._box.insertSeparator(self._box.count)
            self._box.addItems(self._actions)

    def _watch(self, nodes: list[Any]) -> None:
        """A renamed node shows its new name; a hidden one may appear."""
        watched = {node: tag for node, tag in self._names.values()}
        for node in watched.keys() - set(nodes):
            node.RemoveObserver(watched[node])
        new = {node: observe(node, "ModifiedEvent", self._on_node) for node in nodes if node not in watched}
        self._names = {node.GetID(): (node, {**watched, **new}[node]) for node in nodes}

    def _on_node(self, node: Any, _: str) -> None:
        if self._scene is not None and not self._scene.IsBatchProcessing():
            hidden_or_shown = (node.GetID() in self._ids) != self._is_shown(node)
            row = self._row(node.GetID())
            if hidden_or_shown:
                self._reload()
            elif row >= 0 and self._box.itemText(row) != node.GetName():
                self._box.setItemText(row, node.GetName())

    def _row(self, node_id: str) -> int:
        return self._ids.index(node_id) if node_id in self._ids else (0 if self.noneEnabled and self._ids else -1)

    def _emit(self) -> None:
        """Tell of a change once."""
        now = self.currentNodeID
        if now != self._emitted:
            self._emitted = now
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(now)

    def _on_user(self, row: int) -> None:
        """The user has chosen a node or one of the actions below the nodes."""
        action = self._box.itemText(row) if row >= len(self._ids) else ""
        if action.startswith("Create"):
            self.addNode()
        elif action.startswith("Delete"):
            node = self._scene.GetNodeByID(self._emitted)
            self._scene.RemoveNode(node)
        elif not action:
            self.nodeActivated.emit(self.currentNode())

    def addNode(self, node_type: str = "") -> Any:
        """Create a node as "Create new" does."""
        node = self._scene.AddNewNodeByClass(node_type or self.nodeTypes[0], self.baseName)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene is not None and self.currentNodeID else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        if self._scene is None:
            self._requested = node_id
        self._box.setCurrentIndex(self._row(node_id))

    def _get_id(self) -> str:
        row = self._box.currentIndex
        return self._ids[row] if 0 <= row < len(self._ids) else ""

    currentNodeID = QtCore.Property(str, _get_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._ids) - bool(self.noneEnabled and self._ids)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._ids[index + bool(self.noneEnabled)])

    def comboBox(self) -> Any:
        return self._box
