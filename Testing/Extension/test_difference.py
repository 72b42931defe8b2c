"""Difference volumes: their voxels, their place, their window and their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from a_scene_of import OBLIQUE, a_transform, a_volume, finish
from DABSegLib.nodes.difference import add_difference, colour_node, difference_steps, window_steps
from standins.mrml import fresh_scene, load_scene, save_scene
from vtk.util.numpy_support import vtk_to_numpy

from DABSegCore.volume import Volume, resample

TURN = np.array([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 8], [0, 0, 0, 1]])


def images(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Two images that differ in 3 voxels: by +100, -50 and +10."""
    source = np.random.default_rng(2).integers(100, 200, (4, 5, 6)).astype(dtype)
    clear = source.astype(np.float32)
    clear[1, 2, 3] += 100
    clear[2, 2, 2] -= 50
    clear[3, 4, 5] += 10
    return source, clear


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16, np.float64])
def test_it_is_pseudo_clear_minus_input(scene: Any, dtype: type) -> None:
    source, clear = images(dtype)
    input_node, clear_node = a_volume(scene, source, OBLIQUE, "t1"), a_volume(scene, clear, OBLIQUE, "t1_pseudo-clear")
    count = scene.GetNumberOfNodes()
    node = finish(difference_steps(input_node, clear_node))
    assert scene.GetNumberOfNodes() == count
    assert node.GetName() == "t1_difference (synthetic)"
    expected = np.zeros(source.shape, np.float32)
    expected[1, 2, 3], expected[2, 2, 2], expected[3, 4, 5] = 100, -50, 10
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), expected)
    assert slicer.util.arrayFromVolume(node).dtype == np.float32


def test_an_input_of_another_grid_is_interpolated(scene: Any) -> None:
    source, clear = images()
    fine = OBLIQUE @ np.array([[0.7, 0, 0, 0.3], [0, 0.8, 0, 0.2], [0, 0, 0.6, 0.1], [0, 0, 0, 1]])
    under = a_transform(scene, TURN)
    input_node = a_volume(scene, source, TURN @ OBLIQUE, "t1")
    clear_node = a_volume(scene, clear, fine, "clear", under)
    found = slicer.util.arrayFromVolume(finish(difference_steps(input_node, clear_node)))
    expected = clear - resample(Volume(source, OBLIQUE), Volume(clear, fine), "linear").array
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(found).max() > 10


def test_it_lies_where_the_pseudo_clear_volume_lies(scene: Any) -> None:
    source, clear = images()
    under = a_transform(scene, TURN)
    input_node, clear_node = (
        a_volume(scene, array, OBLIQUE, name, under) for array, name in ((source, "a"), (clear, "b"))
    )
    node = add_difference(scene, finish(difference_steps(input_node, clear_node)), input_node, clear_node)
    matrices = [type(under.GetMatrixTransformToParent())() for _ in range(2)]
    for volume, matrix in zip((node, clear_node), matrices, strict=True):
        volume.GetIJKToRASMatrix(matrix)
    np.testing.assert_array_equal(*(slicer.util.arrayFromVTKMatrix(matrix) for matrix in matrices))
    assert node.GetTransformNodeID() == under.GetID()
    assert node.GetAttribute("DABSeg.Kind") == "difference"
    assert node.GetNodeReference("DABSeg.Source") is input_node


def test_the_window_leaves_out_the_largest_few() -> None:
    differences = np.zeros((10, 10, 100), np.float32)
    differences.flat[:2000] = np.linspace(-100, 100, 2000)
    differences.flat[2000:2003] = 5000
    expected = np.percentile(np.abs(differences[differences != 0]), 99.5)
    assert finish(window_steps(differences)) == pytest.approx(expected, abs=5000 / 4096 + 0.1)
    assert 95 < expected < 101


def test_equal_volumes_have_a_window_too(scene: Any) -> None:
    source, _ = images()
    input_node, clear_node = (a_volume(scene, source, OBLIQUE, name) for name in "ab")
    node = add_difference(scene, finish(difference_steps(input_node, clear_node)), input_node, clear_node)
    assert node.GetDisplayNode().GetWindow() == 2


def test_darker_is_blue_brighter_is_red_and_equal_is_nothing(scene: Any) -> None:
    source, clear = images()
    input_node, clear_node = (a_volume(scene, array, OBLIQUE, name) for array, name in ((source, "a"), (clear, "b")))
    clear_array = slicer.util.arrayFromVolume(clear_node)
    clear_array[2, 2, 2] -= 50  # now -100 and +100
    node = add_difference(scene, finish(difference_steps(input_node, clear_node)), input_node, clear_node)
    display = node.GetDisplayNode()
    display.GetOutputImageDataConnection().GetProducer().Update()
    pixels = vtk_to_numpy(display.GetOutputImageData().GetPointData().GetScalars()).reshape(4, 5, 6, 4)
    red, blue, equal = pixels[1, 2, 3], pixels[2, 2, 2], pixels[0, 0, 0]
    assert red[0] > 240
    assert red[2] < 60
    assert blue[2] > 240
    assert blue[0] < 60
    assert red[3] == blue[3] == 255
    assert equal.tolist() == [0, 0, 0, 0]


def test_a_scene_has_one_table_of_colours(scene: Any) -> None:
    assert colour_node(scene) is colour_node(scene)
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == 1


def test_a_saved_scene_keeps_window_and_colours(scene: Any, tmp_path: Path) -> None:
    source, clear = images()
    input_node, clear_node = (a_volume(scene, array, OBLIQUE, name) for array, name in ((source, "a"), (clear, "b")))
    add_difference(scene, finish(difference_steps(input_node, clear_node)), input_node, clear_node)
    saved = save_scene(tmp_path / "scene")
    again = load_scene(saved, fresh_scene()).GetFirstNodeByName("a_difference (synthetic)")
    table = again.GetDisplayNode().GetColorNode().GetLookupTable()
    assert [table.GetTableValue(n)[3] for n in (0, 127, 254)] == [1, 0, 1]
    assert table.GetTableValue(254)[0] > 0.9
    assert again.GetDisplayNode().GetWindow() == pytest.approx(200, rel=0.01)
    assert again.GetNodeReference("DABSeg.Source").GetName() == "a"
