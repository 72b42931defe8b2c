"""What there is to see: boxes around heads and the widest section of a tumour, against counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from DABSegLib.views.sights import head_corners, look, widest_mm
from heads import a_segmentation
from nodes import a_transform, a_volume_node, a_warp

from DABSegCore.errors import InputError
from DABSegCore.volume import Volume

S = np.array([0.0, 0, 1])
TURN = np.array(
    [[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]]
)  # about the S axis, by 36.9 degrees


def affine_of(spacing: tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def a_cone() -> np.ndarray:
    """Sections of 1, 4, 9 and 4 voxels at k = 2, 3, 4 and 5."""
    mask = np.zeros((9, 8, 7), bool)
    for k, side in ((2, 1), (3, 2), (4, 3), (5, 2)):
        mask[k, 1 : 1 + side, 2 : 2 + side] = True
    return mask


def test_the_widest_section_of_a_cone_is_its_third() -> None:
    assert widest_mm(Volume(a_cone(), affine_of((1, 1, 2.5), (0, 0, -20))), S) == pytest.approx(4 * 2.5 - 20)


def test_a_left_handed_grid_counts_from_the_other_end() -> None:
    assert widest_mm(Volume(a_cone(), affine_of((1, 1, -2.5), (0, 0, 30))), S) == pytest.approx(30 - 4 * 2.5)


def test_of_a_long_box_the_middle_is_shown() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[1:8] = True
    assert widest_mm(Volume(mask, affine_of((1, 1, 1))), S) == 4


def test_an_oblique_grid_is_cut_where_most_voxels_are_near() -> None:
    affine = TURN @ affine_of((1, 2, 3))
    normal = np.array([1.0, 0, 0])
    k, j, i = np.nonzero(a_cone())
    place = (np.c_[i, j, k, np.ones(len(i))] @ affine.T)[:, 0]
    found = widest_mm(Volume(a_cone(), affine), normal)
    near = [np.sum(np.abs(place - at) <= 0.6) for at in np.arange(place.min(), place.max(), 0.05)]
    assert np.sum(np.abs(place - found) <= 0.6) >= max(near) - 2  # sections have edges; the count does not


@pytest.mark.parametrize("first", [0, 4, 5])
@pytest.mark.parametrize("last", [10, 11, 15])
def test_the_box_of_a_head_holds_it_and_at_most_a_voxel_more(first: int, last: int) -> None:
    array = np.zeros((16, 16, 16), np.float32)
    array[first : last + 1, first : last + 1, first : last + 1] = 1
    corners = head_corners(array, affine_of((1, 2, 3), (100, 0, 0)))
    faces = (corners - (100, 0, 0)) / (1, 2, 3)
    assert set(faces.min(axis=0)) <= {first - 0.5, max(first - 1, 0) - 0.5}
    assert set(faces.max(axis=0)) <= {last + 0.5, min(last + 1, 15) + 0.5}


def test_an_image_of_nothing_has_the_box_of_its_grid() -> None:
    corners = head_corners(np.zeros((2, 3, 4)), np.eye(4))
    assert corners.min(axis=0).tolist() == [-0.5] * 3
    assert corners.max(axis=0).tolist() == [3.5, 2.5, 1.5]


def test_the_largest_segment_is_looked_at_in_the_world(scene: Any) -> None:
    volume = a_volume_node(scene, np.ones((9, 8, 7), np.float32), affine_of((1, 1, 2.5), (0, 0, -20)), "image")
    speck = np.zeros((9, 8, 7), bool)
    speck[7, 7, 6] = True
    segmentation = a_segmentation(scene, {"ET": speck, "WT": a_cone(), "empty": speck & False}, volume)
    segmentation.SetAndObserveTransformNodeID(a_transform(scene, affine_of((1, 1, 1), (0, 0, 100))).GetID())
    assert look([volume], segmentation).best_mm(S) == pytest.approx(90)


@pytest.mark.parametrize("segments", [{}, {"WT": np.zeros((9, 8, 7), bool)}], ids=["no segment", "an empty one"])
def test_without_a_tumour_the_middle_of_the_head_is_shown(scene: Any, segments: dict[str, np.ndarray]) -> None:
    volume = a_volume_node(scene, np.ones((9, 8, 7), np.float32), np.eye(4), "image")
    assert look([volume], a_segmentation(scene, segments, volume)).best_mm(S) == 4
    assert look([volume], None).best_mm(S) == 4


def test_the_range_has_the_steps_of_the_finest_volume(scene: Any) -> None:
    coarse = a_volume_node(scene, np.ones((4, 8, 8), np.float32), affine_of((1, 1, 5), (0, 0, 2)), "coarse")
    fine = a_volume_node(scene, np.ones((20, 8, 8), np.float32), affine_of((1, 1, 0.5)), "fine")
    assert look([coarse, fine], None).range_mm(S) == pytest.approx((-0.5, 19.5, 0.5))


def test_a_bent_volume_is_refused(scene: Any) -> None:
    volume = a_volume_node(scene, np.ones((4, 4, 4), np.float32), np.eye(4), "bent")
    volume.SetAndObserveTransformNodeID(a_warp(scene).GetID())
    with pytest.raises(InputError, match="not linear"):
        look([volume], None)
