"""Page: what the browser shows of a session, and what it may ask of it.

The page's state is a handful of plain values; the template in `static/page.html` says how they look. Everything a user
does comes in through `Controls`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from DABSegLib.naming import TITLES
from DABSegLib.nodes.regions import TUMOUR_REGIONS
from DABSegLib.process.messages import fault_of_error
from DABSegLib.views import layout
from DABSegLib.views.compare import ORIENTATIONS, Comparison

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegExtension.browser import brightness, charts, keys
from DABSegExtension.browser.controls import Controls
from DABSegExtension.browser.outline import Outline
from DABSegExtension.browser.state import Snapshot
from DABSegExtension.browser.theme import GONE, PAGE
from DABSegExtension.browser.views import THREE_D, Screen
from DABSegExtension.browser.workbench import Workbench

IDLE_S = 0.05
TELL_EVERY_S = 0.2
"""Progress of a work is told no more often."""

AT_FIRST = ("sharp", "blurred", "pseudo-clear")
"""Rows that are shown where they are; differences are asked for."""

USUAL = (*AT_FIRST, "difference")
"""Rows that have a button even while they are not there."""

LEVEL_NAMES = ("none", "mild", "moderate", "severe", "extreme")
"""Of motion, as in `DABSegCore.motion.SEVERITIES`, which would bring PyTorch into every session."""

EDGES = {"Axial": "RLAP", "Sagittal": "APSI", "Coronal": "RLSI"}
"""Where the edges of a slice lie in the patient: left, right, top and bottom of the screen, as in Slicer."""


class Page:
    """A session's page.

    Args:
        server: trame's server.
        screen: The scene and its views.
        bench: The workbench.
        max_upload_mib: Told on the page.
    """

    def __init__(self, server: Any, screen: Screen, bench: Workbench, max_upload_mib: int) -> None:
        self.server, self.screen, self.bench = server, screen, bench
        self.state = server.state
        self.wanted = set(AT_FIRST)
        self.outline = Outline()
        self.comparison: Comparison | None = None
        self.three_d = False
        self.offset_mm = 0.0
        self._fault = ""
        self._revision = self._view_number = -1
        self._told_s = 0.0
        self._dirty = True
        self._set_up(max_upload_mib)
        screen.on_layout, screen.on_scroll = self.layout_changed, self.scroll
        self.controls = Controls(self)
        self.controls.connect()
        screen.prepare(layout.compare_layout(AT_FIRST))

    def open(self, query: Mapping[str, str]) -> None:
        """Open what a link asks for."""
        self.bench.open_link(query)
        self._dirty = True

    def changed(self) -> None:
        """The workbench has something new; nodes that are replaced leave the scene after this."""
        self._dirty = True
        self._follow(self.bench.snapshot())

    def layout_changed(self) -> None:
        """The screen has other rows of views."""
        rows = self.screen.rows
        self.state.solo = ""
        self.state.columns = next(([cell.column for cell in row] for row in rows if len(row) == len(MODALITIES)), [])
        self.state.rows = [
            {"name": row[0].row, "colour": row[0].colour, "cells": [asdict(cell) for cell in row]} for row in rows
        ]

    def fail(self, error: InputError) -> None:
        """Tell that a wish cannot be met."""
        fault = fault_of_error(error)
        self._fault = " ".join(filter(None, (fault.cause, fault.cure)))
        self._dirty = True

    def forgive(self) -> None:
        """Forget the last fault, as another wish came."""
        self._fault = ""
        self._dirty = True

    async def run(self) -> None:
        """Drive the work and tell the browser about it until cancelled."""
        while True:
            again = self.bench.tick()
            now = time.monotonic()
            if self._dirty or now - self._told_s >= TELL_EVERY_S:
                self._told_s, self._dirty = now, False
                self.tell()
            self._tell_look()
            self.state.flush()
            await asyncio.sleep(0 if again else IDLE_S)

    def move_to(self, offset_mm: float) -> None:
        """Move the slices, as far as there is a head."""
        if self.comparison is not None:
            first_mm, last_mm, _ = self.comparison.offset_range_mm()
            self.offset_mm = min(max(offset_mm, first_mm), last_mm)
            self.screen.move(self.offset_mm)

    def scroll(self, slices: int) -> None:
        """Move by some slices, up if above 0, without leaving the head."""
        if self.comparison is not None:
            first_mm, last_mm, step_mm = self.comparison.offset_range_mm()
            most, least = (last_mm - self.offset_mm) // step_mm, -((self.offset_mm - first_mm) // step_mm)
            self.move_to(self.offset_mm + min(max(slices, least), most) * step_mm)

    def turn(self, plane: str) -> None:
        """Turn the slices."""
        if self.comparison is not None:
            self.screen.together.finish()
            self.comparison.set_orientation(plane)

    def show(self) -> None:
        """Show the rows that are wanted, of those there are."""
        self.screen.together.finish()
        rows = {kind: volumes for kind, volumes in self.bench.rows().items() if kind in self.wanted}
        segmentation = self.outline.choose(self.bench.segmentation, self.bench.truth)
        try:
            if not any(rows.values()):
                self._end_comparison()
            elif self.comparison is None or not self.comparison.shown:
                self.comparison = Comparison(self.screen.scene, rows, segmentation, on_moved=self._moved)
                self.comparison.show()
            else:
                self.comparison.update(rows, segmentation)
        except InputError as error:
            self._end_comparison()
            self.fail(error)
        self.outline.apply()
        self.show_three_d()

    def show_three_d(self) -> None:
        """The outlines as surfaces beside the slices, if wanted."""
        self.screen.show_three_d(self.three_d)
        self.outline.show_surface(self.three_d, self.screen.view(THREE_D))
        self.state.three_d = self.three_d

    def kinds(self) -> list[dict[str, Any]]:
        """The rows there could be, and which are there and shown; of the rarer ones only those that are there."""
        there = {kind for kind, volumes in self.bench.rows().items() if volumes}
        return [
            {
                "kind": kind,
                "colour": layout.ROW_COLOURS[kind],
                "there": kind in there,
                "on": kind in self.wanted,
                "can_make": kind == "difference" and self.bench.segmentation is not None,
            }
            for kind in layout.ROWS
            if kind in there or kind in USUAL
        ]

    def first_volumes(self) -> dict[str, Any]:
        """Modality -> volume of the first row on screen, whose brightness the others have."""
        return next(iter(self.comparison.rows.values())) if self.comparison is not None else {}

    def _set_up(self, max_upload_mib: int) -> None:
        """The state that does not change, or is not there yet."""
        self.state.trame__template_main = PAGE.read_text(encoding="utf-8")
        self.state.trame__template_error = GONE.read_text(encoding="utf-8")
        self.state.trame__title = "DABSeg workbench"
        self.state.cases = list(self.bench.cases)
        self.state.limits = {"upload_mib": max_upload_mib}
        self.state.modalities = [{"name": name, "title": TITLES[name]} for name in MODALITIES]
        self.state.levels = [f"S{level}, {name}" for level, name in enumerate(LEVEL_NAMES)]
        self.state.planes = list(ORIENTATIONS)
        self.state.help = keys.help_rows()
        self.state.keys = sorted(keys.ACTIONS)
        self.state.windows = list(brightness.PRESETS)
        self.state.region_names = [
            {"name": region.name, "title": region.title, "colour": _hex(region.colour)}
            for region in TUMOUR_REGIONS.values()
        ]
        self.state.rows, self.state.columns, self.state.kinds, self.state.look, self.state.chart = [], [], [], {}, ""
        self.state.solo = ""
        self.state.three_d, self.state.snap, self.state.outline = False, {}, self.outline.as_json()
        self.tell()

    def tell(self) -> None:
        """Bring the browser up to date with the workbench."""
        snapshot = self.bench.snapshot()
        self._follow(snapshot)
        told = snapshot.as_json()
        told["fault"] = " ".join(filter(None, (self._fault, snapshot.fault)))
        self._set(snap=told, kinds=self.kinds(), chart=charts.robustness_svg(snapshot.robustness))
        self._set(outline={**self.outline.as_json(), "has_truth": self.bench.truth is not None})
        self._tell_look()

    def _follow(self, snapshot: Snapshot) -> None:
        """Show the volumes there are now, where the workbench wants to look."""
        if snapshot.revision != self._revision:
            self._revision = snapshot.revision
            self.show()
        if snapshot.view.number != self._view_number:
            self._view_number = snapshot.view.number
            self._go(snapshot.view.plane, snapshot.view.offset_mm)

    def _go(self, plane: str, offset_mm: float | None) -> None:
        """Look where the workbench wants."""
        if self.comparison is None or not self.comparison.shown:
            return
        self.turn(plane)
        if offset_mm is not None:
            self.move_to(offset_mm)

    def _moved(self, offset_mm: float) -> None:
        """Views moved; where they are still on their way, by ourselves."""
        if self.screen.together.done():
            self.offset_mm = offset_mm

    def _tell_look(self) -> None:
        """Tell the browser, and the workbench for its link, where the slices are."""
        comparison = self.comparison
        if comparison is None or not comparison.shown:
            self._set(look={})
            return
        first_mm, last_mm, step_mm = comparison.offset_range_mm()
        offset_mm, plane = round(self.offset_mm, 2), comparison.orientation
        look = {"plane": plane, "offset": offset_mm, "first": first_mm, "last": last_mm, "step": step_mm}
        if look != {name: self.state.look.get(name) for name in look}:
            self.bench.look(plane, offset_mm)
        self._set(look={**look, "edges": list(EDGES[plane]), "windows": brightness.windows(self.first_volumes())})

    def _end_comparison(self) -> None:
        if self.comparison is not None:
            self.comparison.restore()
            self.comparison = None

    def _set(self, **values: Any) -> None:
        """Set what differs; trame would send the rest, too."""
        for name, value in values.items():
            if getattr(self.state, name) != value:
                setattr(self.state, name, value)


def _hex(colour: Iterable[float]) -> str:
    """A colour as the browser writes it."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
