"""Extras: fused volumes and uncertainty as nodes, in the comparison and as files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from DABSegLib import checks
from DABSegLib.export import export_steps
from DABSegLib.nodes import extras, links
from DABSegLib.views import layout
from DABSegLib.views.compare import Comparison
from heads import AFFINE, a_head, a_segmentation, a_tumour, rows_of
from nodes import a_transform, a_volume_node, an_affine, finish
from standins.mrml import fresh_scene, load_scene, save_scene
from standins.views import Views
from vtk.util.numpy_support import vtk_to_numpy

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.volume import read_volume


def a_lone_volume(array: np.ndarray, name: str) -> Any:
    """A volume node as it is read from a file: in no scene that matters."""
    other = slicer.vtkMRMLScene()
    node = a_volume_node(other, array, AFFINE, name)
    other.RemoveNode(node)
    return node


def the_extras(scene: Any, reference: Any) -> dict[str, dict[str, Any]]:
    """A fused head, and uncertainty that is highest in ET, half of it in TC and a tenth in WT."""
    doubts = dict(zip(REGIONS, (1.0, 0.5, 0.1), strict=True))
    arrays = {
        "fused": {"fused": a_head() / 300},
        "uncertainty": {r: doubts[r] * extras.HIGHEST * m.astype(np.float32) for r, m in a_tumour().items()},
    }
    return {
        role: {
            part: extras.add_extra(
                scene, a_lone_volume(array, extras.node_name("Ann", role, part)), role, part, reference
            )
            for part, array in parts.items()
        }
        for role, parts in arrays.items()
    }


def colours_of(node: Any) -> np.ndarray:
    """What a volume's display makes of its voxels: uint8 [D, H, W, 4]."""
    display = node.GetDisplayNode()
    display.GetOutputImageDataConnection().GetProducer().Update()
    return vtk_to_numpy(display.GetOutputImageData().GetPointData().GetScalars()).reshape(*a_head().shape, 4)


@pytest.fixture
def views(scene: Any) -> Iterator[Views]:
    views = Views(scene, (800, 600))
    yield views
    views.close()


@pytest.fixture
def rows(scene: Any, views: Views) -> dict[str, dict[str, Any]]:
    """The blurred images with all extras there are."""
    blurred = rows_of(scene, ("blurred",))
    return {**blurred, **the_extras(scene, blurred["blurred"]["t1ce"])}


@pytest.fixture
def comparison(scene: Any, views: Views, rows: Any) -> Iterator[Comparison]:
    segmentation = a_segmentation(scene, a_tumour(), rows["blurred"]["t1ce"])
    comparison = Comparison(scene, rows, segmentation)
    comparison.show()
    views.arrange()
    yield comparison
    comparison.restore()


# --- nodes ----------------------------------------------------------------------------------------------------------


def test_they_lie_where_their_reference_lies_and_say_what_they_are(scene: Any, views: Views) -> None:
    reference = a_volume_node(scene, a_head(), AFFINE, "Ann_t1ce")
    reference.SetAndObserveTransformNodeID(a_transform(scene, an_affine((0, 20, 0))).GetID())
    made = the_extras(scene, reference)
    nodes = [node for parts in made.values() for node in parts.values()]
    assert [node.GetName() for node in nodes] == [
        "Ann_fused (synthetic)",
        *(f"Ann_uncertainty_{region} (synthetic)" for region in REGIONS),
    ]
    assert [node.GetAttribute(links.KIND) for node in nodes] == ["fused", *["uncertainty"] * 3]
    assert [node.GetAttribute(links.REGION) for node in nodes] == [None, *REGIONS]
    assert {node.GetTransformNodeID() for node in nodes} == {reference.GetTransformNodeID()}
    assert all(map(links.is_derived, nodes))


def test_uncertainty_has_the_same_colours_in_every_volume(scene: Any, rows: Any) -> None:
    displays = [node.GetDisplayNode() for node in rows["uncertainty"].values()]
    assert {(d.GetWindow(), d.GetLevel()) for d in displays} == {(1 / math.e, 0.5 / math.e)}
    assert {d.GetColorNode().GetName() for d in displays} == {"DABSeg uncertainty"}
    assert len({d.GetColorNodeID() for d in displays}) == 1
    inside, outside = a_tumour()["ET"], ~a_tumour()["WT"]
    pixels = {region: colours_of(node) for region, node in rows["uncertainty"].items()}
    assert (pixels["ET"][inside] == 255).all(), "the highest is white"
    assert (np.abs(pixels["TC"][inside].astype(int) - [179, 38, 166, 255]) <= 4).all(), "half of it is violet"
    brightness = [pixels[region][inside].mean() for region in REGIONS]
    assert brightness == sorted(brightness, reverse=True)
    assert all((pixels[region][outside] == 0).all() for region in REGIONS), "where it is sure, nothing"


def test_a_fused_volume_is_grey_with_its_own_window(rows: Any) -> None:
    display = rows["fused"]["fused"].GetDisplayNode()
    assert display.GetLevel() - display.GetWindow() / 2 == pytest.approx(0, abs=1e-6)
    assert 0.3 < display.GetWindow() <= 1.0
    assert display.GetColorNode().GetName() == "Grey"


def test_chosen_as_input_they_are_warned_of(scene: Any, rows: Any) -> None:
    chosen = {**rows["blurred"], "t1": rows["fused"]["fused"], "t2": rows["uncertainty"]["WT"]}
    told = [finding.text for finding in checks.look(chosen, "t1ce") if finding.code == "synthetic-volume"]
    assert len(told) == 2
    assert "is a fused volume" in told[0]
    assert "is an uncertainty volume" in told[1]


def test_links_know_the_parts_of_a_role(scene: Any, rows: Any) -> None:
    node = a_segmentation(scene, a_tumour(), rows["blurred"]["t1ce"])
    for role in extras.EXTRAS:
        assert links.connected(node, role) == {}
        links.connect(node, role, rows[role])
        assert links.connected(node, role) == rows[role]
    scene.RemoveNode(rows["uncertainty"]["TC"])
    assert set(links.connected(node, "uncertainty")) == {"ET", "WT"}
    with pytest.raises(ValueError, match="uncertainty is of ET, TC, WT, not of 't1'"):
        links.connect(node, "uncertainty", {"t1": rows["blurred"]["t1"]})
    with pytest.raises(ValueError, match="not 'doubt'"):
        links.connected(node, "doubt")


def test_a_saved_scene_keeps_them(scene: Any, rows: Any, tmp_path: Path) -> None:
    node = a_segmentation(scene, a_tumour(), rows["blurred"]["t1ce"])
    for role in extras.EXTRAS:
        links.connect(node, role, rows[role])
    again = load_scene(save_scene(tmp_path / "scene"), fresh_scene())
    node = again.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    found = links.connected(node, "uncertainty")
    assert set(found) == set(REGIONS)
    assert set(links.connected(node, "fused")) == {"fused"}
    display = found["ET"].GetDisplayNode()
    assert display.GetWindow() == pytest.approx(1 / math.e, rel=1e-3)
    table = display.GetColorNode().GetLookupTable()
    assert [round(table.GetTableValue(n)[3]) for n in (0, 255)] == [0, 1]
    assert extras.colour_node(again).GetID() == display.GetColorNodeID(), "no second table"


# --- the comparison -------------------------------------------------------------------------------------------------


def test_each_row_has_its_own_views(comparison: Comparison, views: Views, rows: Any) -> None:
    expected = {layout.view_name(row, part): node for row, parts in rows.items() for part, node in parts.items()}
    assert views.names() == list(expected)
    assert len(expected) == 4 + 1 + 3
    for name, node in expected.items():
        assert views.view(name).logic.GetSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()


def test_a_row_that_lacks_a_region_is_left_out(scene: Any, views: Views, rows: Any) -> None:
    scene.RemoveNode(rows["uncertainty"]["WT"])
    assert list(Comparison(scene, rows).rows) == ["blurred", "fused"]


def test_they_keep_their_own_brightness(comparison: Comparison, rows: Any) -> None:
    shown = [node.GetDisplayNode() for role in extras.EXTRAS for node in rows[role].values()]
    before = [(display.GetWindow(), display.GetLevel()) for display in shown]
    rows["blurred"]["t1"].GetDisplayNode().SetWindowLevel(77, 7)
    assert [(display.GetWindow(), display.GetLevel()) for display in shown] == before


def test_all_move_together(comparison: Comparison, views: Views) -> None:
    views.view("DABSegUncertaintyTC").scroll_to(-9)
    assert [views.view(name).node.GetSliceOffset() for name in views.names()] == pytest.approx([-9] * 8)


@pytest.mark.parametrize("leader", ["DABSegBlurredT1", "DABSegFused", "DABSegUncertaintyET"])
def test_zoomed_in_one_view_all_are_whatever_their_width(comparison: Comparison, views: Views, leader: str) -> None:
    nodes = [views.view(name).node for name in views.names()]
    before = [node.GetFieldOfView()[1] for node in nodes]
    assert max(before) == pytest.approx(min(before), rel=0.02), "a head is equally large in all rows"
    logic, node = views.view(leader).logic, views.view(leader).node
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    width_mm, height_mm, depth_mm = node.GetFieldOfView()
    node.SetFieldOfView(width_mm / 2, height_mm / 2, depth_mm)
    logic.EndSliceNodeInteraction()
    assert [node.GetFieldOfView()[1] for node in nodes] == pytest.approx([mm / 2 for mm in before])
    for node in nodes:
        (width, height, _), (width_mm, height_mm, _) = node.GetDimensions(), node.GetFieldOfView()
        assert width_mm / width == pytest.approx(height_mm / height, rel=1e-6), "pixels are square"


def test_the_picture_shows_doubt_in_colours_and_the_fused_head_in_grey(comparison: Comparison, views: Views) -> None:
    comparison.segmentation.GetDisplayNode().SetVisibility(False)
    views.grab()
    fused = views.view("DABSegFused").grab()[24:-20].astype(int)
    assert np.ptp(fused, axis=2).max() == 0
    assert fused.max() > 200
    red = [int(views.view(f"DABSegUncertainty{region}").grab()[24:-20, :, 0].max()) for region in REGIONS]
    assert red == pytest.approx([255, 0.7 * 255, 0.4 * 0.2 * 255], abs=5)


def test_they_are_exported_as_segment_names_them(scene: Any, rows: Any, tmp_path: Path) -> None:
    reference = rows["blurred"]["t1ce"]
    node = a_segmentation(scene, a_tumour(), reference)
    node.SetName("Ann tumour")
    node.SetNodeReferenceID(links.REFERENCE, reference.GetID())
    for role in extras.EXTRAS:
        links.connect(node, role, rows[role])
    links.connect(node, "pseudo-clear", {m: rows["blurred"][m] for m in MODALITIES})
    paths = finish(export_steps(node, tmp_path))
    names = {path.name for path in paths}
    assert {"Ann_fused.nii.gz", *(f"Ann_uncertainty_{region}.nii.gz" for region in REGIONS)} <= names
    assert len(names) == 1 + 4 + 1 + 3 + 2
    np.testing.assert_array_equal(
        read_volume(tmp_path / "Ann_uncertainty_TC.nii.gz").array,
        slicer.util.arrayFromVolume(rows["uncertainty"]["TC"]),
    )
