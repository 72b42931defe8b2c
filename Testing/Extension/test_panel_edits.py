"""Panel, edits: segments that are corrected, the tables that follow, the hand-over and the export."""

from __future__ import annotations

import types

import numpy as np
import pytest
import slicer
from DABSegLib.nodes import links, segments
from DABSegLib.nodes.bridge import world_affine
from panel_user import edit
from standins import dialogs
from standins.processes import children

from DABSegCore.labels import MODALITIES, REGIONS, labels_from_regions
from DABSegCore.volume import read_volume

CHANGED = "The segments were changed: Measure gives their Dice and HD95 again."


@pytest.fixture
def reference(finished):
    return finished.parameters.segmentation.GetNodeReference(links.REFERENCE)


def erase_half(array: np.ndarray) -> None:
    """Erase the lower half of a segment [D, H, W]."""
    slices = np.flatnonzero(array.any(axis=(1, 2)))
    array[: slices[len(slices) // 2]] = 0


def masks_of(segmentation, reference):
    return [slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, reference) > 0 for name in REGIONS]


def volumes_in(user) -> list[float]:
    return [float(row[1]) for row in user.table("regionTable")]


def test_tables_follow_an_edit(finished, reference):
    segmentation, before = finished.parameters.segmentation, volumes_in(finished)
    assert all(finished.table("regionTable")[2][2:])
    images = finished.table("imageTable")
    edit(segmentation, "WT", erase_half, reference)
    finished.until(lambda: volumes_in(finished) != before, 3.0)
    after = volumes_in(finished)
    assert after[:2] == before[:2]
    voxels = np.count_nonzero(masks_of(segmentation, reference)[2])
    assert after[2] == pytest.approx(voxels * 27 / 1000, abs=0.006)
    assert after[2] < 0.9 * before[2]
    assert [row[2:] for row in finished.table("regionTable")] == [["", "", ""]] * 3
    assert finished.table("imageTable") == images, "the images were not edited"
    assert finished.reads("messageLabel") == CHANGED
    finished.presses_and_waits("measureButton")
    assert 0.2 < float(finished.table("regionTable")[2][2]) < 0.9


def test_tables_follow_while_another_module_is_shown(finished, reference):
    before = volumes_in(finished)
    finished.widget.exit()
    edit(finished.parameters.segmentation, "ET", erase_half, reference)
    finished.until(lambda: volumes_in(finished) != before, 3.0)
    finished.widget.enter()
    assert volumes_in(finished)[0] < before[0]
    assert finished.table("regionTable")[0][2] == ""


def test_a_new_segment_gets_a_row(finished, reference):
    segmentation = finished.parameters.segmentation
    segmentation.GetSegmentation().AddEmptySegment("cyst", "cyst")
    finished.until(lambda: len(finished.table("regionTable")) == 4, 3.0)
    assert finished.table("regionTable")[3][:2] == ["cyst", "0.00"]
    segmentation.GetSegmentation().RemoveSegment("cyst")
    finished.until(lambda: len(finished.table("regionTable")) == 3, 3.0)


def test_an_edit_during_the_measurement_is_not_taken_for_measured(finished, reference):
    finished.press("measureButton")
    finished.until(children)  # the masks are written
    edit(finished.parameters.segmentation, "WT", erase_half, reference)
    finished.until(lambda: not finished.busy)
    assert [row[2:] for row in finished.table("regionTable")] == [["", "", ""]] * 3
    assert finished.table("imageTable"), "the images were measured all the same"
    assert CHANGED in finished.reads("messageLabel")


def test_surfaces_follow_an_edit(finished, reference):
    segmentation = finished.parameters.segmentation
    finished.press("surfaceCheck")
    before = segmentation.GetClosedSurfaceInternalRepresentation("WT").GetBounds()
    edit(segmentation, "WT", erase_half, reference)
    finished.waits(1.0)
    assert segments.is_surface_shown(segmentation)
    assert segmentation.GetClosedSurfaceInternalRepresentation("WT").GetBounds() != before
    assert finished.ui.surfaceCheck.checked


def test_the_segments_are_handed_to_segment_editor(finished, reference, monkeypatch):
    told, settings = {}, slicer.vtkMRMLSegmentEditorNode()
    assert settings.GetOverwriteMode() == settings.OverwriteAllSegments, "as Segment Editor has it"
    editor = types.SimpleNamespace(
        mrmlSegmentEditorNode=lambda: settings,
        setSegmentationNode=lambda node: told.update(segmentation=node),
        setSourceVolumeNode=lambda node: told.update(source=node),
    )
    shown = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    module = types.SimpleNamespace(widgetRepresentation=lambda: shown)
    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: told.update(module=name))
    finished.press("editButton")
    assert told == {
        "module": "SegmentEditor",
        "segmentation": finished.parameters.segmentation,
        "source": reference,
    }
    assert settings.GetOverwriteMode() == settings.OverwriteNone, "a stroke in ET is not to cut TC and WT"


def test_what_is_exported_is_what_is_on_screen(finished, reference, tmp_path):
    segmentation = finished.parameters.segmentation
    edit(segmentation, "WT", erase_half, reference)  # the tumour core sticks out now
    dialogs.answers.append(str(tmp_path / "results"))
    message = finished.presses_and_waits("exportButton")
    assert message == f"7 files are in {tmp_path / 'results'}."
    label = read_volume(tmp_path / "results" / "Virtual_003_seg.nii.gz")
    np.testing.assert_array_equal(label.array, labels_from_regions(np.stack(masks_of(segmentation, reference))))
    np.testing.assert_allclose(label.affine, world_affine(reference), atol=1e-4)
    for modality in MODALITIES:
        name = f"Virtual_003_{modality}_motion_pseudo-clear (synthetic)"
        clear = read_volume(tmp_path / "results" / f"Virtual_003_{modality}_pseudo-clear.nii.gz")
        np.testing.assert_array_equal(clear.array, slicer.util.arrayFromVolume(slicer.util.getNode(name)))
        np.testing.assert_allclose(clear.affine, world_affine(reference), atol=1e-4)
    rows = (tmp_path / "results" / "Virtual_003_regions.csv").read_text().splitlines()
    assert rows[0] == "region,volume_ml"
    assert [row.split(",")[0] for row in rows[1:]] == list(REGIONS)


def test_a_region_that_was_renamed_is_missed_in_the_export(finished, tmp_path):
    segmentation = finished.parameters.segmentation.GetSegmentation()
    segmentation.GetSegment("ET").SetName("Enhancing")
    dialogs.answers.append(str(tmp_path / "<results>"))
    message = finished.presses_and_waits("exportButton")
    assert "Note: no segment is named ET, so the label map has none" in message
    assert message.endswith(f"7 files are in {tmp_path / '<results>'}.")
    for name in ("TC", "WT"):
        segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName(name))
    dialogs.answers.append(str(tmp_path / "none"))
    assert "no segment named ET, TC, WT" in finished.presses_and_waits("exportButton")
    assert not (tmp_path / "none").exists()


def test_an_export_that_nobody_wants_writes_nothing(finished):
    dialogs.answers.append("")
    finished.press("exportButton")
    assert not finished.busy
    assert finished.reads("exportButton") == "Export..."


def test_an_export_to_a_place_that_is_a_file_is_told(finished, tmp_path):
    (tmp_path / "taken").write_text("a file")
    dialogs.answers.append(str(tmp_path / "taken"))
    message = finished.presses_and_waits("exportButton")
    assert str(tmp_path / "taken") in message
    assert (tmp_path / "taken").read_text() == "a file"
