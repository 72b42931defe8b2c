"""Areas: where a rendered view meets the page: its pixels, its size, and what the pointer does in it.

Scrolling and zooming change all views, which takes as long as rendering them. So both are taken from the pointer here
and done view by view as each is rendered (`together`); everything else is Slicer's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from trame_rca.rca import VtkRemoteControlledArea
from trame_rca.utils import RcaViewAdapter
from trame_slicer.views import SliceView, ThreeDView
from vtk.util.numpy_support import vtk_to_numpy

from DABSegExtension.browser.frames import Frames, Stream

WHEEL = ("StartMouseWheel", "EndMouseWheel")
"""Around the turns of a wheel; the first tells again what the turn after it does."""

MOST_NOTCHES = 3.0
"""In one event."""

SAME = 1e-6

ZOOM_NOTCH = 0.2
"""Of the field of view, a notch with Ctrl, as in Slicer."""

LEAST_ZOOM = 0.1
"""Of the field of view that is left by one drag."""


@dataclass(frozen=True)
class Wishes:
    """What the pointer asks of all views.

    Args:
        scroll: Told by how many slices, up if above 0.
        zoom: Told by what to multiply the field of view.
        point: Told whether the place under the pointer is to be seen in all views.
    """

    scroll: Callable[[int], object]
    zoom: Callable[[float], object]
    point: Callable[[bool], object]


class Window(VtkRemoteControlledArea):
    """A view's render window as an area of the page."""

    def __init__(self, view: SliceView | ThreeDView) -> None:
        super().__init__(view.render_window())
        self._view = view
        self._image = vtk.vtkImageData()

    @property
    def img_cols_rows(self) -> tuple[Any, int, int]:
        """Render, and take the pixels as they are: [rows, cols, 3], cols and rows."""
        self._vtk_render_window.Render()
        slicer.vtkMRMLLayerDisplayableManager.RenderWindowBufferToImage(self._vtk_render_window, self._image)
        cols, rows, _ = self._image.GetDimensions()
        pixels = vtk_to_numpy(self._image.GetPointData().GetScalars()).reshape(rows, cols, -1)
        return pixels[::-1, :, :3].copy(), cols, rows

    def process_resize_event(self, width: int, height: int) -> None:
        """Tell the slice node, too, which listens to an event that newer VTK does not send by itself.

        A node leaves its matrices alone while it tells of a change, so if somebody fitted the head into the view just
        then, they are still to follow.
        """
        super().process_resize_event(width, height)
        self._iren.InvokeEvent(vtk.vtkCommand.WindowResizeEvent)
        if isinstance(self._view, SliceView):
            self._view.get_view_node().UpdateMatrices()
        else:
            self._view.reset_camera()  # keeps its direction


class Area(RcaViewAdapter):
    """An area of the page; its view gets the first frames while the pointer is over it.

    Args:
        view: What it shows.
        stream: Of its pictures.
        frames: What sends them.
        wishes: What is to be done in all views.
    """

    def __init__(self, view: Any, stream: Stream, frames: Frames, wishes: Wishes) -> None:
        super().__init__(stream.rca, stream.name, scheduler=stream, do_schedule_render_on_interaction=False)
        self._is_slice = isinstance(view, SliceView)
        self._frames, self._wishes = frames, wishes
        self._turned = 0.0
        self._zoom_from: float | None = None
        self._zoomed = 1.0
        self._moved: tuple[str, dict[str, Any]] | None = None

    def on_interaction(self, origin: str, event: dict[str, Any]) -> None:
        """An event of the pointer or a key."""
        self._frames.focus = self.area_name
        kind = event.get("type", "")
        if kind == "MouseMove":
            self._moved = (origin, event)
            self._frames.do_first(self.move)
            return
        self.move()
        if not self._is_slice:
            super().on_interaction(origin, event)
        elif kind == "MouseWheel":
            self._turn(float(event.get("spinY", 0.0)), bool(event.get("ctrlKey")))
        elif kind == "RightButtonPress":
            self._zoom_from, self._zoomed = float(event.get("y", 0.0)), 1.0
        elif kind == "RightButtonRelease":
            self._zoom_from = None
        elif kind not in WHEEL:
            super().on_interaction(origin, event)

    def move(self) -> None:
        """Do what the pointer's last move means; once a frame, as those before it are past."""
        moved, self._moved = self._moved, None
        if moved is None:
            return
        if self._zoom_from is not None:
            self._drag(moved[1])
        else:
            self._wishes.point(self._is_slice and bool(moved[1].get("shiftKey")) and moved[1].get("action") == "up")
            super().on_interaction(*moved)

    def _drag(self, event: dict[str, Any]) -> None:
        """Zoom as Slicer does: by how far the pointer is from where it was pressed, as a share of the view's height."""
        height = max(float(event.get("h", 0.0)), 1.0)
        zoomed = max(1 + (float(event.get("y", 0.0)) - self._zoom_from) / height, LEAST_ZOOM)
        self._wishes.zoom(zoomed / self._zoomed)
        self._zoomed = zoomed

    def _turn(self, spin: float, zoom: bool) -> None:
        """The wheel was turned; touch pads turn it by small parts of a notch."""
        self._turned = 0.0 if self._turned * spin < 0 else self._turned
        self._turned += min(max(spin, -MOST_NOTCHES), MOST_NOTCHES)
        notches = int(self._turned + math.copysign(SAME, self._turned))
        self._turned -= notches
        if notches and zoom:
            self._wishes.zoom((1 + ZOOM_NOTCH) ** notches)
        elif notches:
            self._wishes.scroll(-notches)
