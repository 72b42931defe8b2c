"""Edits: tell that a segmentation was edited, once for a burst of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

QUIET_S = 0.3
"""A burst is over when nothing has changed for this long."""

PATIENCE_S = 1.5
"""A burst that does not end, a long stroke of a brush, is told of every so often all the same."""

EVENTS = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SourceRepresentationModified,
    slicer.vtkMRMLSegmentationNode.SegmentationChangedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
)
"""Of a segmentation node, which passes on those of what it holds. Making surfaces modifies the segments, too."""


class EditWatch:
    """Observes a segmentation node; `poll` is to be called now and then, by a timer of whoever shows the results.

    Args:
        node: The vtkMRMLSegmentationNode.
        on_change: Called without arguments by `poll` after edits.
    """

    def __init__(self, node: Any, on_change: Callable[[], object]) -> None:
        self._node = node
        self._on_change = on_change
        self._edited = False
        self._first_s: float | None = None
        self._last_s = 0.0
        self._tags = [node.AddObserver(event, self._note) for event in EVENTS]

    def poll(self, now: float) -> bool:
        """Tell of edits that are over.

        Args:
            now: Seconds of a clock that only goes forward.

        Returns:
            Whether `on_change` was called.
        """
        if self._edited:
            self._edited = False
            self._last_s = now
            self._first_s = now if self._first_s is None else self._first_s
        if self._first_s is None or (now - self._last_s < QUIET_S and now - self._first_s < PATIENCE_S):
            return False
        self._first_s = None
        self._on_change()
        return True

    def close(self) -> None:
        """Stop observing; nothing is told any more. May be called twice."""
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._tags = []
        self._edited, self._first_s = False, None

    def _note(self, *_: Any) -> None:
        """Remember that something changed; the time of it is that of the next poll."""
        self._edited = True
