"""Segments of a label map: where they lie, what they measure, and that they can be edited, saved and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from a_scene_of import LEFT_HANDED, OBLIQUE, a_bending_transform, a_segmentation, a_transform, a_volume, finish
from DABSegLib.nodes.segments import (
    add_segmentation,
    fingerprint,
    segmentation_steps,
    show_surface,
    volumes_ml,
    write_masks_steps,
)
from standins.mrml import fresh_scene, load_scene, save_scene

from DABSegCore.errors import InputError
from DABSegCore.volume import Volume, read_volume, write_volume

SHAPE = (7, 9, 11)
TURN = np.array([[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, -3.0], [0.0, 0.0, 1.0, 8.0], [0.0, 0.0, 0.0, 1.0]])


def a_label() -> np.ndarray:
    """Oedema around necrosis around one enhancing voxel, next to a corner of the grid [D, H, W]."""
    label = np.zeros(SHAPE, np.uint8)
    label[0:5, 2:7, 6:11] = 2
    label[1:4, 3:6, 7:10] = 1
    label[2, 4, 8] = 4
    return label


MASKS = {"ET": a_label() == 4, "TC": (a_label() == 1) | (a_label() == 4), "WT": a_label() > 0}


def segments_of(scene: Any, folder: Path, label: np.ndarray, affine: np.ndarray = OBLIQUE, under: Any = None) -> Any:
    """The segmentation of a label map in the scene, and its reference volume."""
    reference = a_volume(scene, np.ones(label.shape, np.float32), affine, "t1ce", under)
    write_volume(folder / "label.nii", Volume(label, np.eye(4)))  # the file's own place does not count
    node = finish(segmentation_steps(folder / "label.nii", reference, "case tumour"))
    return add_segmentation(scene, node, reference), reference


def array_of(node: Any, name: str, reference: Any) -> np.ndarray:
    """A segment on its reference's grid by Slicer's own function [D, H, W]."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, name, reference) > 0


@pytest.mark.parametrize("affine", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
@pytest.mark.parametrize("transforms", [0, 1, 2])
def test_the_enhancing_voxel_lies_where_it_is_in_the_world(
    scene: Any, tmp_path: Path, affine: np.ndarray, transforms: int
) -> None:
    under, to_world = None, np.eye(4)
    for _ in range(transforms):
        under, to_world = a_transform(scene, TURN, under), TURN @ to_world
    node, _ = segments_of(scene, tmp_path, a_label(), affine, under)
    np.testing.assert_allclose(node.GetSegmentCenterRAS("ET"), (to_world @ affine @ (8, 4, 2, 1))[:3], atol=1e-4)


@pytest.mark.parametrize("affine", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
def test_three_overlapping_segments_have_their_voxels(scene: Any, tmp_path: Path, affine: np.ndarray) -> None:
    node, reference = segments_of(scene, tmp_path, a_label(), affine)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["ET", "TC", "WT"]
    assert node.GetSegmentation().GetNumberOfLayers() == 3
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(array_of(node, name, reference), mask)


def test_no_layer_is_larger_than_its_region(scene: Any, tmp_path: Path) -> None:
    node, _ = segments_of(scene, tmp_path, a_label())
    labelmap = node.GetSegmentation().GetSegment("TC").GetRepresentation("Binary labelmap")
    assert labelmap.GetExtent() == (7, 9, 3, 5, 1, 3)


def test_nothing_enters_the_scene_before_it_is_added(scene: Any, tmp_path: Path) -> None:
    reference = a_volume(scene, np.ones(SHAPE, np.float32), OBLIQUE)
    write_volume(tmp_path / "label.nii", Volume(a_label(), OBLIQUE))
    count, changed = scene.GetNumberOfNodes(), scene.GetMTime()
    node = finish(segmentation_steps(tmp_path / "label.nii", reference, "case tumour"))
    assert (scene.GetNumberOfNodes(), scene.GetMTime(), node.GetScene()) == (count, changed, None)


def test_the_reference_is_the_grid_to_edit_on(scene: Any, tmp_path: Path) -> None:
    under = a_transform(scene, TURN)
    node, reference = segments_of(scene, tmp_path, a_label(), under=under)
    assert node.GetTransformNodeID() == under.GetID()
    image = slicer.vtkOrientedImageData()
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    converter.DeserializeImageGeometry(node.GetSegmentation().GetConversionParameter(name), image, False)
    local = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(local)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(local), OBLIQUE, atol=1e-5)
    assert image.GetExtent() == (0, 10, 0, 8, 0, 6)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is reference


def test_names_colours_and_terms_stay_as_they_are_saved(scene: Any, tmp_path: Path) -> None:
    node, reference = segments_of(scene, tmp_path, a_label())
    again = saved_and_read(scene, node, tmp_path / "tumour.seg.nrrd")
    for name, colour in {"ET": (1, 0.2, 0.2), "TC": (0.2, 0.5, 1), "WT": (0.95, 0.85, 0.2)}.items():
        segment = again.GetSegmentation().GetSegment(name)
        assert segment.GetName() == name
        np.testing.assert_allclose(segment.GetColor(), colour, atol=1e-6)
        assert not segment.GetColorAutoGenerated()
        assert "SCT^12738006^Brain" in segment.GetTerminology()
        np.testing.assert_array_equal(array_of(again, name, reference), MASKS[name])


def saved_and_read(scene: Any, node: Any, path: Path) -> Any:
    """The node after a file."""
    out = node.CreateDefaultStorageNode()
    scene.AddNode(out)
    out.SetFileName(str(path))
    assert out.WriteData(node)
    again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    assert out.ReadData(again)
    return again


@pytest.mark.parametrize("there", [(), (2,), (1, 2)], ids=["no tumour", "oedema alone", "no enhancement"])
def test_a_region_that_is_not_there_is_an_empty_segment(scene: Any, tmp_path: Path, there: tuple[int, ...]) -> None:
    label = np.where(np.isin(a_label(), there), a_label(), 0).astype(np.uint8)
    node, reference = segments_of(scene, tmp_path, label)
    voxel_ml = 1 * 1.5 * 3 / 1000
    expected = {"ET": 0.0, "TC": (label == 1).sum() * voxel_ml, "WT": (label > 0).sum() * voxel_ml}
    assert volumes_ml(node) == pytest.approx(expected)
    show_surface(node, True)
    show_surface(node, False)
    again = saved_and_read(scene, node, tmp_path / "tumour.seg.nrrd")
    assert volumes_ml(again) == pytest.approx(expected)
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3, 3, 3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, "ET", reference)
    assert volumes_ml(node) == pytest.approx({**expected, "ET": voxel_ml})


def test_a_label_map_of_another_grid_or_with_other_values_is_refused(scene: Any, tmp_path: Path) -> None:
    reference = a_volume(scene, np.ones(SHAPE, np.float32), OBLIQUE, "t1ce")
    write_volume(tmp_path / "small.nii", Volume(np.zeros((4, 4, 4), np.uint8), OBLIQUE))
    with pytest.raises(InputError, match='4 x 4 x 4 voxels, but "t1ce" has 7 x 9 x 11'):
        finish(segmentation_steps(tmp_path / "small.nii", reference, "x"))
    with pytest.raises(InputError, match="holds the value 7"):
        segments_of(scene, tmp_path, a_label() + 5 * (a_label() == 2).astype(np.uint8))


def test_a_name_that_is_taken_gets_a_number(scene: Any, tmp_path: Path) -> None:
    first, _ = segments_of(scene, tmp_path, a_label())
    second, _ = segments_of(scene, tmp_path, a_label())
    assert first.GetName() == "case tumour"
    assert second.GetName() != "case tumour"
    assert second.GetName().startswith("case tumour")


def test_slice_views_show_outlines_with_a_light_fill(scene: Any, tmp_path: Path) -> None:
    node, _ = segments_of(scene, tmp_path, a_label())
    display = node.GetDisplayNode()
    assert (display.GetVisibility2DOutline(), display.GetOpacity2DOutline()) == (1, 1.0)
    assert 0 < display.GetOpacity2DFill() < 0.5


def test_volumes_are_voxels_times_their_size_in_the_world(scene: Any, tmp_path: Path) -> None:
    twice = a_transform(scene, np.diag([2.0, 2.0, 2.0, 1.0]))
    node, _ = segments_of(scene, tmp_path, a_label(), under=twice)
    voxel_ml = 8 * 1 * 1.5 * 3 / 1000
    assert volumes_ml(node) == pytest.approx({"ET": voxel_ml, "TC": 27 * voxel_ml, "WT": 125 * voxel_ml})


def test_volumes_tell_of_every_segment_the_regions_first(scene: Any) -> None:
    reference = a_volume(scene, np.ones(SHAPE, np.float32), np.diag([10.0, 10.0, 10.0, 1.0]))
    apart = {name: np.arange(np.prod(SHAPE)).reshape(SHAPE) % 7 == n for n, name in enumerate(("cyst", "WT", "ET"))}
    node = a_segmentation(scene, apart, reference)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1  # three label values in one image
    twin = node.GetSegmentation().AddEmptySegment("twin", "cyst")
    assert volumes_ml(node) == {"ET": 99.0, "WT": 99.0, "cyst": 99.0, f"cyst ({twin})": 0.0}
    assert list(volumes_ml(node))[:2] == ["ET", "WT"]


def test_volumes_of_surfaces_or_in_a_bent_space_are_refused(scene: Any, tmp_path: Path) -> None:
    node, _ = segments_of(scene, tmp_path, a_label(), under=a_bending_transform(scene))
    with pytest.raises(InputError, match="not linear") as bent:
        volumes_ml(node)
    assert bent.value.code == "nonlinear-transform"
    flat, _ = segments_of(scene, tmp_path, a_label())
    flat.CreateClosedSurfaceRepresentation()
    flat.SetSourceRepresentationToClosedSurface()
    flat.RemoveBinaryLabelmapRepresentation()
    with pytest.raises(InputError, match="no binary labelmap"):
        volumes_ml(flat)


def test_the_surface_holds_about_the_volume_of_the_segment(scene: Any, tmp_path: Path) -> None:
    z, y, x = np.ogrid[:40, :40, :40]
    ball = np.where((z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 15**2, 2, 0).astype(np.uint8)
    node, _ = segments_of(scene, tmp_path, ball, np.eye(4))
    show_surface(node, True)
    surface, triangles, mass = vtk.vtkPolyData(), vtk.vtkTriangleFilter(), vtk.vtkMassProperties()
    node.GetClosedSurfaceRepresentation("WT", surface)
    triangles.SetInputData(surface)
    mass.SetInputConnection(triangles.GetOutputPort())
    assert mass.GetVolume() == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.05)
    assert node.GetDisplayNode().GetVisibility3D()
    show_surface(node, False)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not node.GetDisplayNode().GetVisibility3D()


def test_masks_are_written_on_the_reference(scene: Any, tmp_path: Path) -> None:
    under = a_transform(scene, TURN)
    node, reference = segments_of(scene, tmp_path, a_label(), under=under)
    drawn = MASKS["ET"].copy()
    drawn[6, 8, 10] = True  # beyond the extent of the layer
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), node, "ET", reference)
    node.GetSegmentation().RemoveSegment("TC")
    paths = finish(write_masks_steps(node, reference, tmp_path))
    assert list(paths) == ["ET", "WT"]
    et = read_volume(paths["ET"])
    np.testing.assert_array_equal(et.array > 0, drawn)
    np.testing.assert_array_equal(read_volume(paths["WT"]).array > 0, MASKS["WT"])
    np.testing.assert_allclose(et.affine, TURN @ OBLIQUE, atol=1e-4)


def test_masks_reach_another_grid_by_their_place_in_the_world(scene: Any, tmp_path: Path) -> None:
    node, _ = segments_of(scene, tmp_path, a_label(), under=a_transform(scene, TURN))
    world = TURN @ OBLIQUE
    flipped = world @ np.array([[0, -1, 0, 10], [1, 0, 0, 0], [0, 0, -1, 6], [0, 0, 0, 1]], float)
    # the index (i, j, k) of the other grid is the old one's (10 - j, i, 6 - k): its arrays are [D, W, H]
    other = a_volume(scene, np.zeros((7, 11, 9), np.float32), flipped, "other")
    paths = finish(write_masks_steps(node, other, tmp_path))
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(read_volume(paths[name]).array > 0, mask[::-1, :, ::-1].transpose(0, 2, 1))


def test_a_saved_scene_keeps_the_segments(scene: Any, tmp_path: Path) -> None:
    node, _ = segments_of(scene, tmp_path, a_label(), LEFT_HANDED, a_transform(scene, TURN))
    again = load_scene(save_scene(tmp_path / "scene"), fresh_scene()).GetFirstNodeByName(node.GetName())
    assert volumes_ml(again) == pytest.approx(volumes_ml(node))
    np.testing.assert_allclose(again.GetSegmentCenterRAS("ET"), (TURN @ LEFT_HANDED @ (8, 4, 2, 1))[:3], atol=1e-3)
    assert again.GetNodeReference(again.GetReferenceImageGeometryReferenceRole()).GetName() == "t1ce"


def test_surfaces_shown_again_after_an_edit_follow_it(scene: Any, tmp_path: Path) -> None:
    node, reference = segments_of(scene, tmp_path, a_label(), np.eye(4))
    show_surface(node, True)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones(SHAPE, np.uint8), node, "ET", reference)
    show_surface(node, True)
    surface = vtk.vtkPolyData()
    assert node.GetClosedSurfaceRepresentation("ET", surface)
    assert surface.GetBounds()[1] - surface.GetBounds()[0] == pytest.approx(11, abs=1)


def test_a_fingerprint_is_of_the_voxels_and_not_of_how_they_are_stored(scene: Any) -> None:
    head = a_volume(scene, np.ones(SHAPE, np.float32), OBLIQUE)
    node = a_segmentation(scene, MASKS, head)
    once = fingerprint(node)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    show_surface(node, True)
    assert fingerprint(node) == once
    one_less = MASKS["WT"].copy()
    one_less[tuple(np.argwhere(one_less)[0])] = False
    others = [MASKS | {"WT": one_less}, {name: np.roll(mask, 1, axis=0) for name, mask in MASKS.items()}]
    others += [{name: np.zeros(SHAPE, bool) for name in MASKS}, {"ET": MASKS["ET"]}]
    prints = [fingerprint(a_segmentation(scene, masks, head)) for masks in others]
    assert len({once, *prints}) == 5
    node.SetAndObserveTransformNodeID(a_transform(scene, TURN).GetID())
    assert fingerprint(node) != once
