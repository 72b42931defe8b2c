"""Page user: a screen of real views, a workbench that only has volumes, and a pointer over them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer

sys.path.append(str(Path(__file__).parents[1] / "Extension"))

from heads import a_segmentation, a_tumour, rows_of  # noqa: E402
from trame_rca.utils import RcaViewAdapter  # noqa: E402

from DABSegExtension.browser.areas import Area  # noqa: E402
from DABSegExtension.browser.frames import Frames  # noqa: E402
from DABSegExtension.browser.state import Snapshot  # noqa: E402
from DABSegExtension.browser.views import Screen  # noqa: E402

SIZE = (240, 300)
"""Of each view on the page, in pixels."""


class Views:
    """A screen, its areas by name, and what a page would be told."""

    def __init__(self) -> None:
        self.areas: dict[str, Area] = {}
        self.frames = Frames()
        self.screen = Screen(self.frames, lambda area: self.areas.update({area.area_name: area}))
        self.scene = self.screen.scene
        slicer.modules = SimpleNamespace(  # which `slicer.util` needs to write segments
            volumes=SimpleNamespace(logic=lambda: self.screen.app.volumes_logic),
            segmentations=SimpleNamespace(logic=lambda: self.screen.app.segmentations_logic),
        )

    def tags(self) -> list[str]:
        """Names of the views on the page, row by row."""
        return [cell.tag for row in self.screen.rows for cell in row]

    def node(self, tag: str) -> Any:
        """The view's node."""
        return self.screen.view(tag).get_view_node()

    def resize(self, width: int = SIZE[0], height: int = SIZE[1]) -> None:
        """As the page does once it has laid out its views."""
        for tag in self.tags():
            self.areas[tag].update_size("page", {"w": width, "h": height, "p": 1})

    def picture(self, tag: str) -> np.ndarray:
        """What the page would get: uint8 [height, width, 3], after what was to be done before."""
        stream = self.frames.stream(tag)
        if stream.before is not None:
            stream.before()
        return stream.capture()[0]

    def point(self, tag: str, kind: str, *, directly: bool = False, **values: Any) -> None:
        """An event of the pointer in the middle of a view, done at once; or straight to Slicer's own widgets."""
        event = {"x": SIZE[0] // 2, "y": SIZE[1] // 2, "w": SIZE[0], "h": SIZE[1], "action": "up"}
        event |= dict.fromkeys(("shiftKey", "ctrlKey", "altKey", "metaKey", "buttonLeft", "buttonRight"), 0)
        event |= {"type": kind, **values}
        if directly:
            RcaViewAdapter.on_interaction(self.areas[tag], "page", event)
        else:
            self.areas[tag].on_interaction("page", event)
            self.areas[tag].move()

    @contextmanager
    def heads(self, *kinds: str) -> Iterator[tuple[dict[str, dict[str, Any]], Any]]:
        """Volumes of some kinds with an outlined tumour, which leave the scene afterwards."""
        rows = rows_of(self.scene, kinds)
        tumour = a_segmentation(self.scene, a_tumour(), rows[kinds[0]]["t1"])
        try:
            yield rows, tumour
        finally:
            for node in [tumour, *(volume for row in rows.values() for volume in row.values())]:
                self.scene.RemoveNode(node)


class StillBench:
    """A workbench in which nothing happens: it has what the test gives it, and notes what it is asked for."""

    cases = ("A", "B")

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, Any]] = {}
        self.segmentation: Any = None
        self.truth: Any = None
        self.now = Snapshot()
        self.asked: list[tuple[Any, ...]] = []

    def rows(self) -> dict[str, dict[str, Any]]:
        return self.volumes

    def snapshot(self) -> Snapshot:
        return self.now

    def tick(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.asked.append((name, *arguments))


def options(folder: Path) -> SimpleNamespace:
    """A worker's command line."""
    return SimpleNamespace(folder=folder, case=[], weights=None, device="cpu", max_upload_mib=7)
