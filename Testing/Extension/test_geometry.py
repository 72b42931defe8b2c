"""Geometry: places in the world through parent transforms, and the box of voxels that a region touches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from DABSegLib.nodes import geometry
from nodes import a_transform, a_volume_node, a_warp, an_affine, roi_node

from DABSegCore.errors import InputError


def zeros(scene, shape=(4, 5, 6), affine=None):
    return a_volume_node(scene, np.zeros(shape, "f4"), np.eye(4) if affine is None else affine, "image")


def code_of(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] != "."
    return caught.value.code


def test_voxels_are_a_view(scene):
    node = zeros(scene)
    geometry.voxels(node)[1, 2, 3] = 7
    assert node.GetImageData().GetScalarComponentAsDouble(3, 2, 1, 0) == 7


def test_no_voxels_and_several_numbers_a_voxel_are_told(scene):
    assert code_of(geometry.voxels, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")) == "no-image"
    colour = a_volume_node(scene, np.zeros((4, 5, 6, 3), "u1"), np.eye(4))
    assert code_of(geometry.voxels, colour) == "not-scalar"


def test_transforms_apply_from_the_inside_out(scene):
    node = zeros(scene, affine=np.diag([2.0, 2, 2, 1]))
    up = a_transform(scene, an_affine(origin=(0, 0, 10)))
    quarter = a_transform(scene, an_affine((0, 0, 90)), up)
    node.SetAndObserveTransformNodeID(quarter.GetID())
    # voxel (1, 0, 0) is at (2, 0, 0), by the quarter turn about z at (0, 2, 0), then 10 mm up
    np.testing.assert_allclose(geometry.world_affine(node) @ [1, 0, 0, 1], [0, 2, 10, 1], atol=1e-12)
    np.testing.assert_allclose(geometry.local_affine(node) @ [1, 0, 0, 1], [2, 0, 0, 1])


def test_a_warp_anywhere_above_is_refused(scene):
    node = zeros(scene)
    inner = a_transform(scene, np.eye(4), a_warp(scene))
    node.SetAndObserveTransformNodeID(inner.GetID())
    assert code_of(geometry.world_affine, node) == "nonlinear-transform"


def test_shear_is_refused_and_a_change_of_size_is_not(scene):
    sheared, node = np.eye(4), zeros(scene)
    sheared[0, 1] = 0.01
    node.SetAndObserveTransformNodeID(a_transform(scene, sheared).GetID())
    assert code_of(geometry.world_affine, node) == "bad-geometry"
    node.SetAndObserveTransformNodeID(a_transform(scene, np.diag([1, 2, 3.0, 1])).GetID())
    np.testing.assert_allclose(geometry.world_affine(node), np.diag([1, 2, 3.0, 1]))


def test_one_grid_may_be_told_in_two_ways(scene):
    turn = an_affine((10, 20, 30), origin=(1, 2, 3))
    a, b = zeros(scene), zeros(scene, affine=turn)
    assert not geometry.same_grid(a, b)
    a.SetAndObserveTransformNodeID(a_transform(scene, turn).GetID())
    assert geometry.same_grid(a, b)


@pytest.mark.parametrize(("shift_mm", "same"), [(0.009, True), (0.011, False)])
def test_a_hundredth_of_a_voxel_is_allowed(scene, shift_mm, same):
    assert geometry.same_grid(zeros(scene), zeros(scene, affine=an_affine(origin=(shift_mm, 0, 0)))) is same


# ---------------------------------------------------------------- regions of interest


def region(scene, centre, size):
    return roi_node(scene, size, an_affine(origin=centre))


def test_a_region_along_the_axes_by_hand(scene):
    node = zeros(scene, (20, 30, 40))
    # 4 mm about 10 is 8 to 12: it touches voxels 8 (from 7.5 to 8.5) to 12, so 8:13
    assert geometry.box_of_roi(region(scene, (10, 10, 10), (4, 4, 4)), node) == (
        8,
        13,
        8,
        13,
        8,
        13,
    )
    # 7.5 to 12.5 ends on the faces of voxels 8 and 12
    assert geometry.box_of_roi(region(scene, (10, 10, 10), (5, 5, 5)), node) == (
        8,
        13,
        8,
        13,
        8,
        13,
    )
    assert geometry.box_of_roi(region(scene, (30, 20, 10), (1, 3, 5)), node) == (
        8,
        13,
        19,
        22,
        30,
        31,
    )


def test_a_region_beyond_the_volume_is_cut(scene):
    node = zeros(scene, (20, 30, 40))
    assert geometry.box_of_roi(region(scene, (0, 0, 0), (10, 10, 10)), node) == (0, 6, 0, 6, 0, 6)
    assert geometry.box_of_roi(region(scene, (0, 0, 0), (999, 999, 999)), node) == (
        0,
        20,
        0,
        30,
        0,
        40,
    )


@pytest.mark.parametrize("of_volume", [False, True])
@pytest.mark.parametrize("of_roi", [False, True])
def test_a_turned_region_in_a_turned_volume_against_many_points_of_it(scene, of_roi, of_volume):
    size, shape = (14.3, 7.7, 9.1), (30, 44, 48)
    box = an_affine((25, -40, 10), origin=(3.2, -4.4, 6.1))  # to the world, as is the volume
    volume = an_affine((5, 30, -20), (0.9, 1.3, -2.1), (-30, -20, 35))
    parent = an_affine((-15, 5, 50), origin=(2, 1, -3))
    inner = np.linalg.inv(parent)
    roi = roi_node(scene, size, inner @ box if of_roi else box)
    node = zeros(scene, shape, inner @ volume if of_volume else volume)
    for place in [roi] * of_roi + [node] * of_volume:
        place.SetAndObserveTransformNodeID(a_transform(scene, parent).GetID())
    points = np.array([[*p, 1] for p in itertools.product(*(np.linspace(-s / 2, s / 2, 41) for s in size))])
    kji = np.round(points @ (np.linalg.inv(volume) @ box).T)[:, 2::-1].astype(int)
    assert (kji.min(axis=0) >= 0).all()
    assert (kji.max(axis=0) < shape).all()
    (d0, h0, w0), (d1, h1, w1) = kji.min(axis=0).tolist(), (kji.max(axis=0) + 1).tolist()
    assert geometry.box_of_roi(roi, node) == (d0, d1, h0, h1, w0, w1)


def test_a_region_that_is_empty_or_elsewhere_is_told(scene):
    node = zeros(scene, (20, 30, 40))
    empty = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    assert code_of(geometry.box_of_roi, empty, node) == "empty-roi"
    assert code_of(geometry.box_of_roi, region(scene, (10, 10, 10), (4, 0, 4)), node) == "empty-roi"
    assert code_of(geometry.box_of_roi, region(scene, (10, 10, -10), (4, 4, 4)), node) == "roi-outside"
    warped = region(scene, (10, 10, 10), (4, 4, 4))
    warped.SetAndObserveTransformNodeID(a_warp(scene).GetID())
    assert code_of(geometry.box_of_roi, warped, node) == "nonlinear-transform"
