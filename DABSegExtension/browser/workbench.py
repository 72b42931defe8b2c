"""Workbench: the model of one session, on a real MRML scene, without any page and without Qt.

bench = Workbench(scene, folder, cases, turns=turns, on_change=page.refresh)
bench.open_virtual(5)
while bench.busy:  # from a timer: at once again while `tick` says so, else 50 ms later
    bench.tick()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from DABSegExtension.browser.state import Snapshot


class Turns(Protocol):
    """The queue for heavy work over all sessions, as the gateway keeps it."""

    def want(self) -> None:
        """Ask for a turn; does nothing when one was asked for."""

    def end(self) -> None:
        """Give the turn back, or leave the queue."""

    def is_mine(self) -> bool:
        """Whether it is this session's turn."""

    def ahead(self) -> int:
        """How many are before this session."""


class Workbench:
    """One session: a case, its motion, what the network made of it, and what was measured.

    Nothing is raised for what goes wrong with the user's wishes: it is in the snapshot's `fault`.

    Args:
        scene: The vtkMRMLScene that a page shows; it must be `slicer.mrmlScene`, too.
        folder: The session's own, with `in`, `out` and `tmp`.
        cases: Name -> case folder, of what may be opened by name.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        turns: The queue for heavy work.
        on_change: Called when a work begins or ends and nodes or numbers change; not for mere progress.
    """

    def __init__(
        self,
        scene: Any,
        folder: Path,
        cases: Mapping[str, Path],
        *,
        weights: Path | None = None,
        device: str = "auto",
        turns: Turns,
        on_change: Callable[[], None],
    ) -> None:
        raise NotImplementedError

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases that may be opened."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether something is being done or waits for its turn."""
        raise NotImplementedError

    def open_case(self, name: str) -> None: ...
    def open_virtual(self, seed: int) -> None: ...
    def open_upload(self, files: Mapping[str, Path]) -> None: ...
    def open_link(self, query: Mapping[str, str]) -> None: ...
    def simulate(self, severity: int, seed: int) -> None: ...
    def run(self) -> None: ...
    def measure_robustness(self) -> None: ...
    def make_maps(self) -> None: ...
    def drop_maps(self) -> None: ...
    def prepare_downloads(self) -> None: ...
    def cancel(self) -> None: ...
    def look(self, plane: str, offset_mm: float) -> None: ...
    def tick(self) -> bool: ...
    def close(self) -> None: ...
    def snapshot(self) -> Snapshot: ...

    def rows(self) -> dict[str, dict[str, Any]]:
        """Kind of image (of `DABSegLib.views.layout.ROWS`) -> modality -> volume node, of what there is."""
        raise NotImplementedError

    @property
    def segmentation(self) -> Any | None:
        """The outlines that were found."""
        raise NotImplementedError

    @property
    def truth(self) -> Any | None:
        """The reference segmentation."""
        raise NotImplementedError
