"""Together: slice views that move and zoom as one, each when it is rendered: the first does not wait for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from DABSegExtension.browser.frames import Stream


class Together:
    """What is still to be done to some slice views.

    Args:
        streams: Name of each view -> its pictures.
    """

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams
        self._waiting: dict[str, Step] = {}

    def move(self, views: Mapping[str, Any], offset_mm: float) -> None:
        """Move slices along their normal.

        Args:
            views: Name -> slice node, of all views on screen.
            offset_mm: Where to.
        """
        for step in self._steps(views):
            step.offset_mm = offset_mm

    def zoom(self, views: Mapping[str, Any], factor: float) -> None:
        """Zoom about the middle of each view.

        Args:
            views: As for `move`.
            factor: Of the field of view; below 1 things get larger.
        """
        for step in self._steps(views):
            step.factor *= factor

    def done(self) -> bool:
        """Whether nothing is waiting."""
        return not self._waiting

    def finish(self) -> None:
        """Do now whatever is waiting."""
        for name in list(self._waiting):
            self._do(name)

    def _steps(self, views: Mapping[str, Any]) -> Iterable[Step]:
        """What is waiting for each view, to be changed."""
        for name, node in views.items():
            yield self._waiting.setdefault(name, Step(node))
            stream = self._streams[name]
            stream.before = lambda name=name: self._do(name)
            stream.schedule_render()

    def _do(self, name: str) -> None:
        self._streams[name].before = None
        self._waiting.pop(name).do()


class Step:
    """What one slice view is to do."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.offset_mm: float | None = None
        self.factor = 1.0

    def do(self) -> None:
        """Do it, telling of it once."""
        was_modifying = self.node.StartModify()
        if self.offset_mm is not None:
            self.node.SetSliceOffset(self.offset_mm)
        if self.factor != 1.0:
            width_mm, height_mm, depth_mm = self.node.GetFieldOfView()
            self.node.SetFieldOfView(width_mm * self.factor, height_mm * self.factor, depth_mm)
        self.node.EndModify(was_modifying)
