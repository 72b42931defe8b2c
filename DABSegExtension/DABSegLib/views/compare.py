"""Compare: kinds of image in rows, most with a modality a column, all on the same slice of the head.

Qt-free: the views are those of whatever shows the scene's layout, the application or a browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import slicer
import vtk

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegLib.views import layout
from DABSegLib.views.brightness import EqualBrightness
from DABSegLib.views.observers import Observers
from DABSegLib.views.outlines import Outlines
from DABSegLib.views.planes import ORIENTATIONS as ORIENTATIONS
from DABSegLib.views.planes import Planes
from DABSegLib.views.sights import look

AS_THEY_ARE = ("difference", "fused", "uncertainty")
"""Rows whose volumes have colours or a scale of their own, and no brightness in common with the others."""


class Comparison:
    """A comparison on screen, from `show` to `restore`; to be kept meanwhile, as nothing else keeps it.

    It ends by itself when the scene closes or another layout is chosen. Nothing that it changes for the occasion
    outlasts it, except that compared volumes keep the brightness they had in common.

    Args:
        scene: The scene, with a layout node that somebody lays out views by.
        rows: Kind of image (of `layout.ROWS`) -> column (of `layout.columns_of`) -> volume node; rows that lack one are
            left out.
        segmentation: What to outline over all images, or None.
        on_moved: Told the offset in mm whenever the slices moved, whoever moved them.
        on_ended: Told when the comparison ended, whoever ended it.
    """

    def __init__(
        self,
        scene: Any,
        rows: Mapping[str, Mapping[str, Any]],
        segmentation: Any | None = None,
        on_moved: Callable[[float], object] | None = None,
        on_ended: Callable[[], object] | None = None,
    ) -> None:
        self.scene = scene
        self.rows = complete_rows(scene, rows)
        self.segmentation = _in_scene(scene, segmentation)
        self.shown = False
        self._on_moved, self._on_ended = on_moved, on_ended
        self._observers = Observers()
        self._layout_before = 0
        self._brightness: EqualBrightness | None = None
        self._outlines: Outlines | None = None
        self._planes: Planes | None = None

    def show(self) -> None:
        """Put it on screen, slices at the tumour's widest.

        Raises:
            InputError: If a volume has no voxels or its place is not that of a grid; nothing is changed then.
        """
        first = next(iter(self.rows.values()))
        sights = look(first.values(), self.segmentation)  # may refuse, so before anything changes
        self._let_go()
        node = layout.layout_node(self.scene)
        if not layout.is_ours(node.GetViewArrangement()):
            self._layout_before = node.GetViewArrangement()
        layout.register(self.scene)
        layout.arrange(self.scene, layout.layout_id(tuple(self.rows)))
        views = self._fill_views()
        self._brightness = EqualBrightness(self._columns())
        self._outlines = Outlines(self.scene, self.segmentation, [view.GetID() for view in views])
        self._planes = Planes(views, sights, self._on_moved)
        self.shown = True
        self._observers.watch(node, vtk.vtkCommand.ModifiedEvent, self._layout_changed)
        self._observers.watch(self.scene, slicer.vtkMRMLScene.StartCloseEvent, self._scene_closes)

    def update(self, rows: Mapping[str, Mapping[str, Any]], segmentation: Any | None) -> None:
        """Show other images or another segmentation in its place, on the same slice where the head is still there.

        Raises:
            InputError: As for `show` and `complete_rows`.
        """
        self.rows, self.segmentation = complete_rows(self.scene, rows), _in_scene(self.scene, segmentation)
        if not self.shown:
            return
        orientation, offset_mm = self.orientation, self.offset_mm
        self.show()
        self.set_orientation(orientation)
        first_mm, last_mm, _ = self.offset_range_mm()
        if first_mm <= offset_mm <= last_mm:
            self.set_offset_mm(offset_mm)

    def restore(self) -> None:
        """Put the screen back as it was before; may be called twice."""
        self._end(layout_too=True)

    def set_orientation(self, orientation: str) -> None:
        """Turn all slices.

        Args:
            orientation: One of `planes.ORIENTATIONS`: "Axial", "Sagittal" or "Coronal".
        """
        self._shown_planes().set_orientation(orientation)

    def set_offset_mm(self, offset_mm: float) -> None:
        """Move all slices, as a slider does."""
        self._shown_planes().set_offset_mm(offset_mm)

    @property
    def offset_mm(self) -> float:
        """Where the slices are, along the direction they are stacked in."""
        return self._shown_planes().offset_mm

    @property
    def orientation(self) -> str:
        """How the slices lie."""
        return self._shown_planes().orientation

    def offset_range_mm(self) -> tuple[float, float, float]:
        """First and last offset of the head and the distance of slices, for a slider."""
        return self._shown_planes().range_mm()

    def fit(self) -> None:
        """Show the whole head in all views again, after zooming in."""
        self._shown_planes().fit()

    def _shown_planes(self) -> Planes:
        if self._planes is None:
            raise RuntimeError("the comparison is not on screen; call show() first")
        return self._planes

    def _fill_views(self) -> list[Any]:
        """Give each view its volume and link them all; their slice nodes, row by row."""
        views = []
        for row, volumes in self.rows.items():
            for column in layout.columns_of(row):
                name = layout.view_name(row, column)
                composite = composite_node(self.scene, name)
                composite.SetBackgroundVolumeID(volumes[column].GetID())
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)
                composite.SetLinkedControl(True)
                composite.SetHotLinkedControl(True)
                views.append(self.scene.GetSingletonNode(name, "vtkMRMLSliceNode"))
        return views

    def _columns(self) -> list[list[Any]]:
        """The volumes that are to look equally bright, a list for each modality."""
        rows = [volumes for row, volumes in self.rows.items() if row not in AS_THEY_ARE]
        return [[volumes[modality] for volumes in rows] for modality in MODALITIES] if rows else []

    def _layout_changed(self, node: Any, _event: str) -> None:
        """End where the user chose another layout; one view that fills the screen is not another."""
        arrangement = node.GetViewArrangement()
        if not layout.is_ours(arrangement) and arrangement != layout.MAXIMIZED:
            self._end(layout_too=False)

    def _scene_closes(self, _scene: Any, _event: str) -> None:
        self.restore()

    def _end(self, layout_too: bool) -> None:
        if not self.shown:
            return
        self._let_go()
        self.shown = False
        if layout_too:
            layout.arrange(self.scene, self._layout_before or layout.ORDINARY)
        if self._on_ended is not None:
            self._on_ended()

    def _let_go(self) -> None:
        """Drop all that holds on to nodes of the scene."""
        self._observers.clear()
        if self._planes is not None:
            self._planes.close()
        if self._brightness is not None:
            self._brightness.close()
        if self._outlines is not None:
            self._outlines.restore()
        self._planes = self._brightness = self._outlines = None


def complete_rows(scene: Any, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those rows, from top to bottom, that have a volume of the scene for every column.

    Raises:
        InputError: If there are none.
    """
    complete = {}
    for row in layout.ROWS:
        volumes = {column: _in_scene(scene, rows.get(row, {}).get(column)) for column in layout.columns_of(row)}
        if all(volumes.values()):
            complete[row] = volumes
    if not complete:
        raise InputError(
            "there is nothing to compare: no kind of image has all of T1, T1ce, T2 and FLAIR in the scene; choose the "
            "four volumes first",
            code="nothing-to-compare",
        )
    return complete


def composite_node(scene: Any, name: str) -> Any:
    """The node that says which volumes a slice view shows, made where no view has made it yet."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        if node.GetLayoutName() == name:
            return node
    node = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
    node.UnRegister(None)
    node.SetLayoutName(name)
    return scene.AddNode(node)


def _in_scene(scene: Any, node: Any | None) -> Any | None:
    """The node, or None if it was deleted meanwhile."""
    return node if node is not None and node.GetScene() is scene else None
