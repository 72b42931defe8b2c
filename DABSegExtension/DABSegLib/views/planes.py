"""Planes: slice views that show the same plane of a head, as large as fits, and move together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk

from DABSegLib.views.observers import Observers
from DABSegLib.views.sights import Sights

ORIENTATIONS = ("Axial", "Sagittal", "Coronal")

MARGIN = 1.06
"""Of a view, around the head."""

SAME_MM = 1e-6

ZOOM = slicer.vtkMRMLSliceNode.FieldOfViewFlag
"""Set in a view while the user zooms in it."""


class Planes:
    """Turns, moves and fits a group of slice views.

    Slicer's own linking makes the others follow when the user scrolls or zooms in one of them; what is set from a
    program it does not pass on, so that is set in each.

    Args:
        views: Their slice nodes, at least one.
        sights: What is to be seen in them.
        on_moved: Told the offset in mm whenever it changed.
    """

    def __init__(self, views: Sequence[Any], sights: Sights, on_moved: Callable[[float], object] | None) -> None:
        self._views, self._sights, self._on_moved = list(views), sights, on_moved
        self._observers = Observers()
        self._setting = False
        self._told_mm: float | None = None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._heights_mm: dict[str, float] = {}
        for view in self._views:
            self._observers.watch(view, vtk.vtkCommand.ModifiedEvent, self._view_changed)
        self.set_orientation(ORIENTATIONS[0])

    def close(self) -> None:
        """Leave the views alone."""
        self._observers.clear()

    @property
    def orientation(self) -> str:
        """How the slices lie; after the user tilted them, how they lay before."""
        now = self._views[0].GetOrientation()
        return now if now in ORIENTATIONS else self._orientation

    @property
    def offset_mm(self) -> float:
        """Where the slices are along their normal."""
        return self._views[0].GetSliceOffset()

    def set_orientation(self, orientation: str) -> None:
        """Turn all slices to one of `ORIENTATIONS`, at the tumour's widest."""
        self._orientation = orientation
        with self._set_all():
            for view in self._views:
                view.SetOrientation(orientation)
            best_mm = self._sights.best_mm(self._axes(self._views[0])[:, 2])
            for view in self._views:
                self._fit_view(view, best_mm)

    def set_offset_mm(self, offset_mm: float) -> None:
        """Move all slices along their normal."""
        with self._set_all():
            for view in self._views:
                view.SetSliceOffset(offset_mm)

    def range_mm(self) -> tuple[float, float, float]:
        """First and last offset within the head, and the distance of the finest slices."""
        return self._sights.range_mm(self._axes(self._views[0])[:, 2])

    def fit(self) -> None:
        """Show the whole head again, on the same slice."""
        offset_mm = self.offset_mm
        with self._set_all():
            for view in self._views:
                self._fit_view(view, offset_mm)

    def _fit_view(self, view: Any, offset_mm: float) -> None:
        """Centre the head in a view, as large as fits into it."""
        across, up, normal = self._axes(view).T
        width, height = view.GetDimensions()[:2]
        centre = self._sights.centre
        centre = centre + (offset_mm - centre @ normal) * normal
        wide_mm = MARGIN * max(self._sights.extent_mm(across), self._sights.extent_mm(up) * width / max(height, 1))
        view.JumpSliceByCentering(*centre)
        view.SetFieldOfView(wide_mm, wide_mm * height / max(width, 1), view.GetFieldOfView()[2])
        self._sizes[view.GetID()] = (width, height)
        self._heights_mm[view.GetID()] = view.GetFieldOfView()[1]

    def _view_changed(self, view: Any, _event: str) -> None:
        """Fit a view that got another size, which happens after a layout is chosen; pass on that slices moved."""
        if self._setting:
            return
        if self._resized(view):
            with self._set_all():
                self._fit_view(view, view.GetSliceOffset())
        self._follow_zoom()
        self._tell(view.GetSliceOffset())

    def _resized(self, view: Any) -> bool:
        """Whether a view has another size and was neither zoomed nor moved aside by the user before."""
        size = tuple(view.GetDimensions()[:2])
        if size == self._sizes[view.GetID()]:
            return False
        self._sizes[view.GetID()] = size
        as_fitted = (
            abs(view.GetFieldOfView()[1] - self._heights_mm[view.GetID()]) < SAME_MM
        )  # its width follows the size
        return as_fitted and not any(view.GetXYZOrigin()[:2])

    def _follow_zoom(self) -> None:
        """Zoom all views as much as the user zooms one: Slicer's linking makes them as wide in mm, narrow or not."""
        leader = next((v for v in self._views if v.GetInteracting() and v.GetInteractionFlags() & ZOOM), None)
        if leader is None:
            return
        share = leader.GetFieldOfView()[1] / self._heights_mm[leader.GetID()]
        with self._set_all():
            for view in self._views:
                width, height = view.GetDimensions()[:2]
                height_mm = share * self._heights_mm[view.GetID()]
                if abs(view.GetFieldOfView()[1] - height_mm) > SAME_MM:
                    view.SetFieldOfView(height_mm * width / max(height, 1), height_mm, view.GetFieldOfView()[2])

    def _tell(self, offset_mm: float) -> None:
        if self._told_mm is None or abs(offset_mm - self._told_mm) > SAME_MM:
            self._told_mm = offset_mm
            if self._on_moved is not None:
                self._on_moved(offset_mm)

    @contextmanager
    def _set_all(self) -> Iterator[None]:
        """While it lasts, what changes in the views is our doing; each view and we are told once, afterwards."""
        self._setting = True
        before = [view.StartModify() for view in self._views]
        try:
            yield
        finally:
            for view, was_modifying in zip(self._views, before, strict=True):
                view.EndModify(was_modifying)
            self._setting = False
        self._tell(self.offset_mm)

    @staticmethod
    def _axes(view: Any) -> np.ndarray:
        """Unit vectors of a view in RAS: across the screen, up the screen and the normal, as columns [3, 3]."""
        matrix = view.GetSliceToRAS()
        return np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
