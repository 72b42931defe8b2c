"""Comparing: everything side by side, linked, on the same slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from DABSegCore.errors import InputError
from DABSegLib.nodes import links
from DABSegLib.panel.section import Section
from DABSegLib.process.messages import fault_of_error
from DABSegLib.views.compare import ORIENTATIONS, Comparison
from DABSegLib.views.layout import columns_of

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel

Rows = dict[str, dict[str, Any]]


class ComparingSection(Section):
    """Section 5."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._comparison: Comparison | None = None
        self._setting = False
        for orientation in ORIENTATIONS:
            self.ui.orientationCombo.addItem(orientation)
        self.ui.compareButton.toggled.connect(self._toggled)
        self.ui.orientationCombo.currentIndexChanged.connect(self._turned)
        self.ui.sliceSlider.valueChanged.connect(self._slid)
        self._extras = {"fused": self.ui.fusedCheck, "uncertainty": self.ui.uncertaintyCheck}
        for box in self._extras.values():
            box.visible = False
            box.toggled.connect(self._other_rows)

    def rows(self) -> Rows:
        """What there is to see: kind of image -> column of the comparison -> volume; a kind needs all of them."""
        segmentation = self.parameters.segmentation
        shown = links.connected(segmentation, "input") if segmentation is not None else {}
        blurred = shown or {m: v for m, v in self.panel.volumes.chosen().items() if v is not None}
        rows = {"sharp": {}, "blurred": blurred}
        sharp = self.panel.measuring.sharp_of(blurred)
        if sharp:  # those that were not blurred are sharp themselves
            rows["sharp"] = {**blurred, **sharp}
        if segmentation is not None:
            rows["pseudo-clear"] = links.connected(segmentation, "pseudo-clear")
            rows["difference"] = links.connected(segmentation, "difference")
        # Of the boxes, not of the parameters: which of them hears of a click first is Slicer's business.
        rows |= {role: volumes for role, volumes in self._there().items() if self._extras[role].checked}
        return {row: volumes for row, volumes in rows.items() if len(volumes) == len(columns_of(row))}

    def _there(self) -> Rows:
        """What only some networks give, of the segmentation that is picked, as far as it is complete."""
        segmentation = self.parameters.segmentation
        if segmentation is None:
            return {}
        found = {role: links.connected(segmentation, role) for role in self._extras}
        return {role: volumes for role, volumes in found.items() if len(volumes) == len(columns_of(role))}

    def refresh(self) -> None:
        shown = self._comparison is not None
        self.ui.compareButton.enabled = shown or bool(self.rows())
        with self._quietly():
            self.ui.compareButton.checked = shown
        self.ui.compareButton.text = _("Back to the views before") if shown else _("Side by side")
        self.ui.orientationCombo.enabled = self.ui.sliceSlider.enabled = shown
        there = self._there()
        for role, box in self._extras.items():
            box.visible = role in there

    def follow(self) -> None:
        """Show what has become of the volumes, if they are being compared."""
        if self._comparison is not None:
            rows = self.rows()
            if rows:
                self._comparison.update(rows, self.parameters.segmentation)
                self._show_range()
            else:
                self._comparison.restore()
        self.refresh()

    def follow_removal(self) -> None:
        """Some node has left the scene: if it was one of those on screen, show the others."""
        if self._comparison is not None:
            shown = [volume for volumes in self._comparison.rows.values() for volume in volumes.values()]
            if any(volume.GetScene() is not self.panel.scene for volume in shown):
                self.follow()

    def leave_out(self, row: str) -> None:
        """Show the others without a kind of image that is about to be deleted."""
        if self._comparison is not None:
            rest = {name: volumes for name, volumes in self.rows().items() if name != row}
            self._comparison.update(rest, self.parameters.segmentation)

    def forget(self) -> None:
        if self._comparison is not None:
            self._comparison.restore()

    def _toggled(self, on: bool) -> None:
        if self._setting:
            return
        if not on:
            self.forget()
            return
        try:
            self._comparison = Comparison(
                self.panel.scene, self.rows(), self.parameters.segmentation, self._moved, self._ended
            )
            self._comparison.show()
        except InputError as fault:
            self._comparison = None
            self.runner.fail(fault_of_error(fault))
        else:
            self._show_range()
        self.refresh()

    def _other_rows(self, _on: bool) -> None:
        if self.parameters is not None:  # else a scene is being loaded
            self.follow()

    def _ended(self) -> None:
        """The views show something else now, whoever wanted it."""
        self._comparison = None
        if self.parameters is not None:
            self.refresh()

    def _show_range(self) -> None:
        """Let the slider reach from end to end of the head."""
        first_mm, last_mm, step_mm = self._comparison.offset_range_mm()
        with self._quietly():
            slider = self.ui.sliceSlider
            slider.minimum, slider.maximum, slider.singleStep = first_mm, last_mm, step_mm
            slider.value = self._comparison.offset_mm
            self.ui.orientationCombo.currentIndex = ORIENTATIONS.index(self._comparison.orientation)

    def _turned(self, index: int) -> None:
        if self._comparison is not None and not self._setting:
            self._comparison.set_orientation(ORIENTATIONS[index])
            self._show_range()

    def _slid(self, offset_mm: float) -> None:
        if self._comparison is not None and not self._setting:
            self._comparison.set_offset_mm(offset_mm)

    def _moved(self, offset_mm: float) -> None:
        """Let the slider follow the mouse wheel."""
        with self._quietly():
            self.ui.sliceSlider.value = offset_mm

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Set widgets without taking it for the user's wish."""
        before, self._setting = self._setting, True
        try:
            yield
        finally:
            self._setting = before
