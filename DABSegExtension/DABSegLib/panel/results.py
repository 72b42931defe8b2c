"""Results: segments, tables, 3-D view, difference maps, hand-over and export."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from DABSegCore.errors import InputError
from DABSegLib import naming
from DABSegLib.export import export_steps
from DABSegLib.nodes import links, segments, tables
from DABSegLib.panel.section import Section, go_to_tumour
from DABSegLib.process.messages import fault_of_error
from DABSegLib.work import Inputs, maps_steps

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel

WATCH_MS = 250
"""How often edits are looked for; a table that follows within a quarter second follows at once."""

NOT_YET = object()
"""Stands for a segmentation as long as nobody has looked which one is picked, if any."""


class ResultsSection(Section):
    """Section 4: all about the segmentation that is picked."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._shown: Any = NOT_YET
        self._watch: segments.EditWatch | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(WATCH_MS)
        self._timer.timeout.connect(self._look_for_edits)
        for part in (self.ui.regionTable, self.ui.imageTable, self.ui.reportLabel):
            part.visible = False
        self.ui.surfaceCheck.toggled.connect(self._show_surface)
        self.ui.differenceCheck.toggled.connect(self._show_difference)
        self.ui.editButton.clicked.connect(self._edit)
        self.ui.exportButton.clicked.connect(self._export)

    @property
    def segmentation(self) -> Any | None:
        """The segmentation that is picked."""
        return self.parameters.segmentation

    def take(self, inputs: Inputs, result: Any) -> None:
        """Show what Apply made; measure it where it can be measured."""
        self.parameters.segmentation = result.segmentation
        self.ui.resultsSection.collapsed = self.ui.compareSection.collapsed = False
        slicer.util.setSliceViewerLayers(background=inputs.volumes[inputs.reference], fit=True)
        go_to_tumour(self.panel.scene, result.segmentation)
        truth = self.panel.measuring.truth()
        if truth is not None:
            truth.SetDisplayVisibility(False)  # its colours are the same; the Data module shows it again
        self.panel.measuring.measure(goes_on=True)

    def refresh(self) -> None:
        segmentation = self.segmentation
        if segmentation is not self._shown:
            was_another = self._shown is not NOT_YET
            self._show(segmentation)
            if was_another:  # else a scene was opened, and is to look as it was saved
                self._show_alone(segmentation)
        there, idle = segmentation is not None, not self.runner.busy
        self.ui.surfaceCheck.enabled = there
        self.ui.differenceCheck.enabled = idle and there and bool(links.connected(segmentation, "pseudo-clear"))
        if idle:  # they may have been deleted elsewhere, or not be made for some reason
            self._tick_difference(there and bool(links.connected(segmentation, "difference")))
        self.ui.editButton.enabled = there
        self.ui.exportButton.enabled = self.runner.owns(self.ui.exportButton) or (idle and there)

    def _show_alone(self, segmentation: Any | None) -> None:
        """Show the outlines of the result that is picked and of no other: all have the same colours."""
        if segmentation is not None:  # else one may be about to leave the scene
            segmentation.SetDisplayVisibility(True)
            self.panel.comparing.follow()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", self.panel.scene):
            if links.report_of(node) and node is not segmentation:
                node.SetDisplayVisibility(False)

    def _tick_difference(self, on: bool) -> None:
        """Set the box without taking it for the user's wish."""
        box = self.ui.differenceCheck
        was_blocked = box.blockSignals(True)
        box.checked = on
        box.blockSignals(was_blocked)

    def forget(self) -> None:
        self._timer.stop()
        if self._watch is not None:
            self._watch.close()
        self._watch, self._shown = None, NOT_YET

    def _show(self, segmentation: Any | None) -> None:
        """Watch another segmentation, and show its tables."""
        self.forget()
        self._shown = segmentation
        for view in (self.ui.regionTable, self.ui.imageTable):
            view.visible = False
        self.ui.reportLabel.visible = segmentation is not None
        self.ui.surfaceCheck.checked = segmentation is not None and segments.is_surface_shown(segmentation)
        if segmentation is None:
            return
        self._watch = segments.EditWatch(segmentation, self._edited)
        self._timer.start()
        self.fill_tables()
        self.ui.reportLabel.text = _about(links.report_of(segmentation))

    def fill_tables(self) -> None:
        """Write both tables from what is known of the segmentation, which may be any the user has picked."""
        segmentation = self.segmentation
        try:
            self._forget_old_scores(segmentation)
            volumes_ml = segments.volumes_ml(segmentation)
        except InputError as fault:
            self.ui.regionTable.visible = False
            self.runner.fail(fault_of_error(fault))
            return
        scores = links.scores_of(segmentation)
        known = scores.get("regions", {})
        rows = [_region_row(name, ml, known.get(name, {})) for name, ml in volumes_ml.items()]
        table = segmentation.GetNodeReference(links.REGION_TABLE)
        table = tables.region_table(self.panel.scene, table, rows, f"{segmentation.GetName()} regions")
        segmentation.SetNodeReferenceID(links.REGION_TABLE, table.GetID())
        _show_table(self.ui.regionTable, table)
        if scores.get("images"):
            rows = [_image_row(modality, scores["images"][modality]) for modality in scores["images"]]
            table = segmentation.GetNodeReference(links.IMAGE_TABLE)
            table = tables.image_table(self.panel.scene, table, rows, f"{segmentation.GetName()} images")
            segmentation.SetNodeReferenceID(links.IMAGE_TABLE, table.GetID())
            _show_table(self.ui.imageTable, table)

    def _look_for_edits(self) -> None:
        if self._watch is not None and self.parameters is not None:  # it is None while a scene is loaded
            self._watch.poll(time.monotonic())

    def _edited(self) -> None:
        """After an edit: new volumes, and no measures of what is no longer there."""
        self.fill_tables()
        self._show_surface(self.ui.surfaceCheck.checked)

    def _forget_old_scores(self, segmentation: Any) -> None:
        """Drop what was measured of other segments than there are now; making surfaces of them changes none."""
        scores = links.scores_of(segmentation)
        if scores.get("regions") and scores.get("of") != segments.fingerprint(segmentation):
            del scores["regions"]
            links.keep_scores(segmentation, scores)
            self.runner.say(_("The segments were changed: Measure gives their Dice and HD95 again."))

    def _show_surface(self, on: bool) -> None:
        if self.segmentation is not None and segments.is_surface_shown(self.segmentation) != on:
            segments.show_surface(self.segmentation, on)

    def _show_difference(self, on: bool) -> None:
        """Make the difference maps, or take them away again."""
        segmentation = self.segmentation
        if segmentation is None or self.runner.busy:
            return
        there = links.connected(segmentation, "difference")
        if on and not there:
            steps = maps_steps(self.panel.scene, segmentation)
            self.runner.start(steps, None, self._difference_made, _("Difference maps"))
        elif not on and there:
            self.panel.comparing.leave_out("difference")
            for volume in there.values():
                for node in (volume.GetDisplayNode(), volume):
                    self.panel.scene.RemoveNode(node)
            self._difference_made()

    def _difference_made(self, *_args: Any) -> None:
        self.panel.comparing.follow()
        self.refresh()

    def _edit(self, *_args: Any) -> None:
        """Open the segments in Segment Editor, over the volume on whose grid they are, free to overlap.

        TC lies in WT and ET in TC: with Segment Editor's usual "Overwrite all" a stroke in one would cut the others.
        """
        segmentation = self.segmentation
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(segmentation)
        editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        reference = self.panel.measuring.reference()
        if reference is not None:
            editor.setSourceVolumeNode(reference)

    def _export(self, *_args: Any) -> None:
        button = self.ui.exportButton
        if not self.pressed(button):
            return
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the results"))
        if folder:
            steps = export_steps(self.segmentation, Path(folder), self.runner.log)
            self.runner.start(steps, button, self._exported, _("Export"))

    def _exported(self, paths: list[Path]) -> None:
        text = _("{count} files are in {folder}.")
        self.runner.conclude(text.format(count=len(paths), folder=html.escape(str(paths[0].parent))))


def _region_row(name: str, volume_ml: float, scores: dict[str, Any]) -> tables.RegionRow:
    return tables.RegionRow(name, volume_ml, scores.get("dice"), scores.get("hd95_mm"), scores.get("truth_ml"))


def _image_row(modality: str, scores: dict[str, Any]) -> tables.ImageRow:
    pairs = (scores[measure][kind] for measure in ("psnr_db", "ssim") for kind in ("corrupted", "restored"))
    return tables.ImageRow(naming.TITLES[modality], *pairs)


def _show_table(view: Any, table: Any) -> None:
    """Show all of a table: no scroll bar, no row numbers."""
    view.setMRMLTableNode(table)
    view.verticalHeader().hide()
    view.horizontalHeader().setStretchLastSection(True)
    view.resizeColumnsToContents()
    view.resizeRowsToContents()
    view.visible = True
    rows = sum(view.rowHeight(row) for row in range(view.model().rowCount()))
    view.setFixedHeight(rows + view.rowHeight(0) + 8)  # the headings, and what is around


def _about(report: dict[str, Any]) -> str:
    """One line on how a segmentation was made."""
    if not report:
        return _("Not made by DABSeg.")
    weights = report["weights"]
    seconds = report.get("timings_s", {}).get("total")
    text = _('Made by DABSeg {version} with the weights "{preset}" ({hash}) on {device}')
    words = text.format(
        version=report["version"], preset=weights["preset"], hash=weights["sha256"][:8], device=report["device"]
    )
    return words + (_(" in {seconds:.0f} s.").format(seconds=seconds) if seconds else ".")
