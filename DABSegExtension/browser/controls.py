"""Controls: everything a user can ask of the page, checked before it is done.

Whoever reaches the page's socket can send anything, so values are taken only where they are what the page would send.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from DABSegLib.nodes.regions import TUMOUR_REGIONS
from DABSegLib.views import layout
from DABSegLib.views.compare import ORIENTATIONS

from DABSegExtension.browser import brightness, keys
from DABSegExtension.browser.links import LEVELS, MOST_SEED

if TYPE_CHECKING:
    from DABSegExtension.browser.page import Page

logger = logging.getLogger(__name__)


class Controls:
    """The page's wishes, by name.

    Args:
        page: What they are done to.
    """

    def __init__(self, page: Page) -> None:
        self._page, self._bench = page, page.bench
        self.wishes: dict[str, Callable[..., Any]] = {
            "open_case": self.open_case,
            "open_virtual": self.open_virtual,
            "simulate": self.simulate,
            "run": self._bench.run,
            "measure": self._bench.measure_robustness,
            "cancel": self._bench.cancel,
            "prepare": self._bench.prepare_downloads,
            "dismiss": self._bench.dismiss,
            "maps": self.maps,
            "rows": self.rows,
            "plane": self.plane,
            "offset": self.offset,
            "fit": self.fit,
            "window": self.window,
            "region": self.region,
            "fill": self.fill,
            "reference": self.reference,
            "three_d": self.three_d,
            "key": self.key,
        }

    def connect(self) -> None:
        """Let the browser call them as triggers."""
        for name in self.wishes:
            self._page.server.trigger(name)(partial(self.do, name))

    def do(self, name: str, *arguments: Any) -> None:
        """Do what is wished; a wish that the page would not send is noted and not done."""
        self._page.forgive()
        try:
            self.wishes[name](*arguments)
        except (TypeError, ValueError) as nonsense:
            logger.warning("the page asked for %s in a way it does not: %s", name, nonsense)

    def open_case(self, name: str) -> None:
        """Open one of the server's cases."""
        if name not in self._bench.cases:
            raise ValueError("no such case")
        self._bench.open_case(name)

    def open_virtual(self, seed: Any) -> None:
        """Make a virtual patient."""
        self._bench.open_virtual(_whole(seed, MOST_SEED))

    def simulate(self, severity: Any, seed: Any) -> None:
        """Let the patient move."""
        self._bench.simulate(_whole(severity, max(LEVELS)), _whole(seed, MOST_SEED))

    def maps(self, on: Any) -> None:
        """Make difference volumes and show them, or drop them."""
        if on:
            self._page.wanted = self._page.wanted | {"difference"}
            self._bench.make_maps()
        else:
            self._bench.drop_maps()

    def rows(self, kind: str, on: Any) -> None:
        """Show a row of images or not; the last one stays."""
        if kind not in layout.ROWS:
            raise ValueError("no such row")
        page = self._page
        there = {name for name, volumes in self._bench.rows().items() if volumes}
        wanted = page.wanted | {kind} if on else page.wanted - {kind}
        if wanted & there:
            page.wanted = wanted
            page.show()

    def plane(self, name: str) -> None:
        """Turn the slices."""
        if name not in ORIENTATIONS:
            raise ValueError("no such plane")
        self._page.turn(name)

    def offset(self, offset_mm: Any) -> None:
        """Move the slices."""
        self._page.move_to(_number(offset_mm))

    def fit(self) -> None:
        """Show the whole head in all views."""
        if self._page.comparison is not None:
            self._page.screen.together.finish()
            self._page.comparison.fit()

    def window(self, preset: str) -> None:
        """Set the brightness of all columns."""
        if preset not in brightness.PRESETS:
            raise ValueError("no such brightness")
        brightness.set_windows(self._page.first_volumes(), preset)

    def region(self, name: str, on: Any) -> None:
        """Show a region or not."""
        if name not in TUMOUR_REGIONS:
            raise ValueError("no such region")
        self._page.outline.shown[name] = bool(on)
        self._page.outline.apply()

    def fill(self, share: Any) -> None:
        """Fill the regions, from not at all (0) to opaque (1)."""
        self._page.outline.fill = min(max(_number(share), 0.0), 1.0)
        self._page.outline.apply()

    def reference(self, on: Any) -> None:
        """Outline the reference instead of what was found."""
        self._page.outline.reference = bool(on)
        self._page.show()

    def three_d(self, on: Any) -> None:
        """Show the 3D view beside the slices."""
        self._page.three_d = bool(on)
        self._page.show_three_d()

    def key(self, name: str) -> None:
        """A key was pressed."""
        action = keys.ACTIONS.get(name)
        comparison = self._page.comparison
        if action is None or comparison is None:
            return
        if action in ORIENTATIONS:
            self._page.turn(action)
        elif action in ("next", "previous"):
            self._page.scroll(1 if action == "next" else -1)
        elif action == "fit":
            self.fit()
        elif action == "outlines":
            self._page.outline.visible = not self._page.outline.visible
            self._page.outline.apply()
        elif action == "slice-in-3d":
            self._page.screen.toggle_slice_in_3d()
        elif action == "brightness":
            self.window(brightness.PRESETS[0])


def _whole(value: Any, most: int) -> int:
    """A whole number from 0 to `most`."""
    number = _number(value)
    if number != int(number) or not 0 <= number <= most:
        raise ValueError(f"not a whole number from 0 to {most}")
    return int(number)


def _number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)
