"""Views: the scene of a session with its layout node, and a rendered view for each that the layout wants.

Slicer's application turns a layout node into widgets; here every view renders off screen and its pictures go to an area
of the page. The layout is the comparison's own (`DABSegLib.views.layout`), so nothing about it is decided twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import slicer
import vtk
from DABSegLib.views.layout import LAYOUT_CLASS, VIEW_GROUP
from DABSegLib.views.observers import Observers
from trame_slicer.core import SlicerApp
from trame_slicer.views import (
    IViewFactory,
    NoScheduleRendering,
    ScheduledRenderStrategy,
    SliceView,
    ThreeDView,
    ViewLayoutDefinition,
    ViewType,
)

from DABSegExtension.browser.areas import Area, Window, Wishes
from DABSegExtension.browser.frames import Frames, Stream
from DABSegExtension.browser.together import Together

THREE_D = "DABSegThreeD"
NIGHT = "#000000"


@dataclass(frozen=True)
class Cell:
    """One view on the page.

    Args:
        tag: Singleton tag of its view node, and name of its area.
        column: What of the head it shows, as "T1"; "" where it is alone in its row.
        row: Kind of image.
        colour: Of its name.
    """

    tag: str
    column: str
    row: str
    colour: str

    @property
    def label(self) -> str:
        """Both, as "T1 sharp"."""
        return f"{self.column} {self.row}".lstrip()


def cells_of(description: str) -> list[list[Cell]]:
    """Rows of views in a layout of rows, from top to bottom and from left to right.

    Args:
        description: XML of a layout, as a vtkMRMLLayoutNode has it.
    """
    lines = ElementTree.fromstring(description).findall("./item/layout")
    return [[_cell(view) for view in line.findall("./item/view")] for line in lines]


def _cell(view: ElementTree.Element) -> Cell:
    label, colour = (view.findtext(f"property[@name='{name}']", "") for name in ("viewlabel", "viewcolor"))
    column, _, row = label.rpartition(" ")
    return Cell(view.get("singletontag", ""), column, row, colour)


def definition(cell: Cell, group: int) -> ViewLayoutDefinition:
    """The view that a cell needs, in the words of trame-slicer."""
    made = ViewLayoutDefinition.slice_view("Axial", label=cell.label, color=cell.colour)
    made.singleton_tag, made.properties.group = cell.tag, group
    return made


class Screen:
    """The scene and its views.

    Args:
        frames: What sends their pictures.
        register: Makes an area of the page known to the server, as trame's `rc_area_register`.

    Attributes:
        on_layout: Called whenever the rows of views are others.
        on_scroll: Told by how many slices the wheel was turned, up if above 0.
    """

    def __init__(self, frames: Frames, register: Callable[[Area], object]) -> None:
        self.app = SlicerApp()
        self.scene = slicer.mrmlScene = self.app.scene
        self.rows: list[list[Cell]] = []
        self.on_layout: Callable[[], object] = lambda: None
        self.on_scroll: Callable[[int], object] = lambda slices: None
        self._factory = Factory(frames, register, Wishes(lambda slices: self.on_scroll(slices), self.zoom, self.point))
        self.together = Together(self._factory.streams)
        self._views = self.app.view_manager
        self._views.register_factory(self._factory)
        self._three_d_shown = False
        self._layout_seen = ""
        self._observers = Observers()
        self.layout_node = _layout_node(self.scene)
        self._observers.watch(self.layout_node, vtk.vtkCommand.ModifiedEvent, self._layout_changed)
        _adjust_window_by_dragging(self.scene)

    def prepare(self, description: str) -> None:
        """Make the views of a layout before anybody waits for them."""
        for cell in _flat(cells_of(description)):
            self._view(cell)
        self.three_d()

    def three_d(self) -> ThreeDView:
        """The 3D view, with axes in its corner."""
        view = self._views.create_view(ViewLayoutDefinition.threed_view(name=THREE_D, background_color=NIGHT))
        node = view.get_view_node()
        view.set_orientation_marker(node.OrientationMarkerTypeAxes, node.OrientationMarkerSizeSmall)
        return view

    def show_three_d(self, on: bool) -> None:
        """Render the 3D view, or not."""
        self._three_d_shown = on
        self.three_d()
        self._admit()

    def view(self, tag: str) -> Any | None:
        """A view that was made, by its tag."""
        return self._views.get_view(tag)

    def toggle_slice_in_3d(self) -> None:
        """Show the slice of the last row's second column, T1ce, among the surfaces, or hide it."""
        if self.rows:
            view = self.view(self.rows[-1][min(1, len(self.rows[-1]) - 1)].tag)
            view.toggle_visible_in_3d()

    def move(self, offset_mm: float) -> None:
        """Move all slices on screen."""
        self.together.move(self._slice_nodes(), offset_mm)

    def zoom(self, factor: float) -> None:
        """Multiply the field of view of all slices on screen."""
        self.together.zoom(self._slice_nodes(), factor)

    def point(self, on: bool) -> None:
        """Show the crosshair, which Slicer moves with the pointer while Shift is held, or hide it."""
        node = self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        mode = node.ShowBasic if on else node.NoCrosshair
        if node.GetCrosshairMode() != mode:
            node.SetCrosshairMode(mode)

    def _slice_nodes(self) -> dict[str, Any]:
        return {cell.tag: self.view(cell.tag).get_view_node() for cell in _flat(self.rows)}

    def _view(self, cell: Cell) -> SliceView:
        return self._views.create_view(definition(cell, VIEW_GROUP))

    def _layout_changed(self, node: Any, _event: str) -> None:
        """Make what the layout wants, at once: whoever set it fills the views next."""
        description = node.GetCurrentLayoutDescription() or ""
        if description == self._layout_seen:
            return
        self._layout_seen = description
        self.rows = cells_of(description) if description else []
        for cell in _flat(self.rows):
            self._view(cell)
        self._admit()
        self.on_layout()

    def _admit(self) -> None:
        """Views that are not on the page are not rendered."""
        shown = {cell.tag for cell in _flat(self.rows)} | ({THREE_D} if self._three_d_shown else set())
        self._views.set_current_view_ids(list(shown))
        for tag, stream in self._factory.streams.items():
            stream.visible = tag in shown
            if stream.visible:
                stream.schedule_render()


class Factory(IViewFactory):
    """Makes views that send their pictures to the page.

    Args:
        frames: What renders them.
        register: As for `Screen`.
        wishes: What is to be done in all views.
    """

    def __init__(
        self,
        frames: Frames,
        register: Callable[[Area], object],
        wishes: Wishes,
    ) -> None:
        super().__init__()
        self.streams: dict[str, Stream] = {}
        self._frames, self._register, self._wishes = frames, register, wishes

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        """Slices and 3D."""
        return view.view_type in (ViewType.SLICE_VIEW, ViewType.THREE_D_VIEW)

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> SliceView | ThreeDView:
        kind = SliceView if view.view_type is ViewType.SLICE_VIEW else ThreeDView
        with _quietly():
            made = kind(scene, app_logic, view.singleton_tag, scheduled_render_strategy=NoScheduleRendering())
        made.set_view_properties(view.properties)
        made.render_window().SetMultiSamples(0)  # of depth peeling the enemy, and without a GPU half of the time
        if kind is SliceView:
            made._render_manager.SetImageDataConnection(None)  # the image's actor is the first, so nothing is below it
            made.get_view_node().SetLayoutLabel(view.properties.label or "")
        window = Window(made)
        stream = self._frames.add(view.singleton_tag, window)
        self.streams[view.singleton_tag] = stream
        made.set_scheduled_render(Scheduled(stream))
        self._register(Area(made, stream, self._frames, self._wishes))
        return made

    def _get_slicer_view(self, view: Any) -> Any:
        return view


class Scheduled(ScheduledRenderStrategy):
    """What a view does instead of rendering at once."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def schedule_render(self) -> None:
        """Have it rendered with the next frame."""
        self._stream.schedule_render()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without VTK's warning about the event that trame-slicer listens to, once a view."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


def _layout_node(scene: Any) -> Any:
    """The scene's layout node, which the application's layout manager makes elsewhere."""
    node = slicer.vtkMRMLLayoutNode()
    node.SetSingletonTag(LAYOUT_CLASS)
    return scene.AddNode(node)


def _adjust_window_by_dragging(scene: Any) -> None:
    """Let the left button adjust window and level, as Slicer's tool of that name does."""
    node = scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    node.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.AdjustWindowLevel)


def _flat(rows: list[list[Cell]]) -> list[Cell]:
    return [cell for row in rows for cell in row]
