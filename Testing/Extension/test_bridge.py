"""Bridge: a marker at a known place in the world is there again in every file and node made of its volume."""

from __future__ import annotations

import struct

import nibabel as nib
import numpy as np
import pytest
import slicer
from DABSegLib.nodes import bridge
from nodes import a_marker, a_transform, a_volume_node, an_affine, finish, marker_place, node_ids

from DABSegCore.cases import case_from_paths, load_case
from DABSegCore.errors import InputError
from DABSegCore.volume import Volume, read_volume, write_volume

PLACE_MM = np.array([12.0, -7.0, 21.0])

GRIDS = {  # shape (D, H, W) and affine; the place lies well inside each
    "brats": ((60, 70, 64), np.array([[-1, 0, 0, 44], [0, -1, 0, 28], [0, 0, 1, -9], [0, 0, 0, 1.0]])),
    "left-handed": ((60, 70, 64), an_affine(origin=(44, -42, -9), flip=0)),
    "oblique": ((50, 60, 56), an_affine((20, -13, 35), (1, 1, 1), (10, -55, -10))),
    "anisotropic": ((20, 60, 80), an_affine((8, 0, -10), (0.8, 0.9, 4.0), (-25, -30, -12))),
    "sagittal": ((56, 50, 60), np.array([[0, 0, 1.1, -18], [-1, 0, 0, 23], [0, 1.2, 0, -8], [0, 0, 0, 1.0]])),
}


def turned(scene, chained):
    """A parent transform, and what it does in the world."""
    a, b = an_affine((0, 15, -20), origin=(5, -3, 8)), an_affine((-10, 0, 30), origin=(-4, 6, 2))
    outer = a_transform(scene, a)
    return (a_transform(scene, b, outer), a @ b) if chained else (outer, a)


@pytest.mark.parametrize("parents", ["none", "one", "chained"])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_marker_is_in_the_file_where_it_was_in_the_world(scene, tmp_path, grid, parents):
    shape, world = GRIDS[grid]
    transform, to_world = turned(scene, parents == "chained") if parents != "none" else (None, np.eye(4))
    node = a_volume_node(scene, a_marker(shape, world, PLACE_MM), np.linalg.inv(to_world) @ world)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    finish(bridge.write_volume_steps(node, tmp_path / "a.nii"))
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, world, atol=1e-4)
    np.testing.assert_allclose(marker_place(volume.array, volume.affine), PLACE_MM, atol=0.05)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").affine, world, atol=1e-4)


@pytest.mark.parametrize("reference", ["t1ce", "flair"])
def test_four_grids_bring_the_marker_to_one_voxel_of_the_reference(scene, tmp_path, reference):
    for n, (modality, grid) in enumerate(zip(("t1", "t1ce", "t2", "flair"), list(GRIDS)[1:], strict=True)):
        shape, world = GRIDS[grid]
        transform, to_world = turned(scene, chained=n == 2)
        marker = a_marker(shape, world, PLACE_MM) * (1 + 0.1 * n)  # else two on one grid would be copies
        node = a_volume_node(scene, marker, np.linalg.inv(to_world) @ world)
        node.SetAndObserveTransformNodeID(transform.GetID())
        finish(bridge.write_volume_steps(node, tmp_path / f"{modality}.nii"))
    case = case_from_paths(*(tmp_path / f"{m}.nii" for m in ("t1", "t1ce", "t2", "flair")))
    loaded = load_case(case, reference, on_warning=lambda text: None)
    affine = loaded.reference.affine
    for image in loaded.images:
        np.testing.assert_allclose(marker_place(image, affine), PLACE_MM, atol=0.15)
    nearest = np.round(np.linalg.inv(affine) @ [*PLACE_MM, 1])[2::-1]
    brightest = [np.unravel_index(image.argmax(), image.shape) for image in loaded.images]
    assert np.abs(np.array(brightest) - nearest).max() <= 1


def test_a_left_handed_file_that_slicers_reader_flipped_is_written_in_its_place(scene, tmp_path):
    shape, world = GRIDS["left-handed"]
    write_volume(tmp_path / "left.nii.gz", Volume(a_marker(shape, world, PLACE_MM), world))
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(tmp_path / "left.nii.gz"), "left", 0)
    assert np.linalg.det(world[:3, :3]) < 0 < np.linalg.det(bridge.local_affine(node)[:3, :3])  # it does flip
    finish(bridge.write_volume_steps(node, tmp_path / "a.nii"))
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(marker_place(volume.array, volume.affine), PLACE_MM, atol=0.05)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_voxels_keep_their_type_and_values(scene, tmp_path, dtype):
    array = np.random.default_rng(1).integers(0, 100, (4, 5, 6)).astype(dtype)
    node = a_volume_node(scene, array, np.eye(4))
    finish(bridge.write_volume_steps(node, tmp_path / "a.nii"))
    image = nib.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, array)
    back = finish(bridge.volume_node_steps(tmp_path / "a.nii", "b", node))
    assert bridge.voxels(back).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(bridge.voxels(back), array)


def test_a_box_is_a_part_in_its_place(scene, tmp_path):
    shape, world = GRIDS["oblique"]
    node = a_volume_node(scene, a_marker(shape, world, PLACE_MM), world)
    finish(bridge.write_volume_steps(node, tmp_path / "a.nii", (3, 40, 5, 55, 7, 50)))
    part = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(part.array, bridge.voxels(node)[3:40, 5:55, 7:50])
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], world @ [7, 5, 3, 1], atol=1e-4)


def test_many_pieces_give_the_same_file_as_one(scene, tmp_path, monkeypatch):
    array = np.random.default_rng(2).normal(size=(7, 5, 6)).astype("f4")
    node = a_volume_node(scene, array, an_affine((5, 6, 7)))
    assert len(list(bridge.write_volume_steps(node, tmp_path / "one.nii"))) == 1
    monkeypatch.setattr(bridge, "PIECE_BYTES", 2 * 5 * 6 * 4)
    assert len(list(bridge.write_volume_steps(node, tmp_path / "many.nii"))) == 4
    assert (tmp_path / "one.nii").read_bytes() == (tmp_path / "many.nii").read_bytes()
    assert len(list(bridge.volume_node_steps(tmp_path / "many.nii", "back", node))) == 4
    np.testing.assert_array_equal(
        bridge.voxels(finish(bridge.volume_node_steps(tmp_path / "many.nii", "back", node))), array
    )


def test_a_write_that_is_stopped_leaves_nothing(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "PIECE_BYTES", 1)
    steps = bridge.write_volume_steps(a_volume_node(scene, np.ones((4, 5, 6), "f4"), np.eye(4)), tmp_path / "a.nii")
    next(steps)
    assert len(list(tmp_path.iterdir())) == 1
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_writing_outlives_the_node(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "PIECE_BYTES", 1)
    array = np.arange(120, dtype="f4").reshape(4, 5, 6)
    node = a_volume_node(scene, array, np.eye(4))
    steps = bridge.write_volume_steps(node, tmp_path / "a.nii")
    next(steps)
    scene.Clear(0)
    node.SetAndObserveImageData(None)
    finish(steps)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, array)


def test_a_folder_that_is_gone_is_told(scene, tmp_path):
    node = a_volume_node(scene, np.ones((4, 5, 6), "f4"), np.eye(4))
    with pytest.raises(InputError, match="folder does not exist"):
        finish(bridge.write_volume_steps(node, tmp_path / "gone" / "a.nii"))


# ---------------------------------------------------------------- from files to nodes


@pytest.mark.parametrize("grid", GRIDS)
def test_a_node_read_back_takes_its_place_in_the_world_bit_by_bit(scene, tmp_path, grid):
    shape, world = GRIDS[grid]
    transform, to_world = turned(scene, chained=True)
    node = a_volume_node(scene, a_marker(shape, world, PLACE_MM), np.linalg.inv(to_world) @ world)
    node.SetAndObserveTransformNodeID(transform.GetID())
    finish(bridge.write_volume_steps(node, tmp_path / "a.nii"))
    before = node_ids(scene)
    back = finish(bridge.volume_node_steps(tmp_path / "a.nii", "back", node))
    assert node_ids(scene) == before
    assert back.GetScene() is None
    np.testing.assert_array_equal(bridge.local_affine(back), bridge.local_affine(node))
    bridge.add_volume(scene, back, node, kind="pseudo-clear", source=node)
    np.testing.assert_array_equal(bridge.world_affine(back), bridge.world_affine(node))
    assert bridge.same_grid(back, node)
    np.testing.assert_allclose(marker_place(bridge.voxels(back), bridge.world_affine(back)), PLACE_MM, atol=0.05)


@pytest.mark.parametrize("grid", GRIDS)
def test_without_a_reference_the_file_tells_the_place(scene, tmp_path, grid):
    shape, world = GRIDS[grid]
    write_volume(tmp_path / "a.nii", Volume(a_marker(shape, world, PLACE_MM), world))
    node = finish(bridge.volume_node_steps(tmp_path / "a.nii", "a", None))
    bridge.add_volume(scene, node, None, kind=None, source=None)
    np.testing.assert_allclose(marker_place(bridge.voxels(node), bridge.world_affine(node)), PLACE_MM, atol=0.05)


@pytest.mark.parametrize("order", "<>")
def test_scaled_and_big_endian_files_are_read_as_nibabel_does(scene, tmp_path, order):
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype("i2")
    image = nib.Nifti1Image(np.arange(120, dtype=order + "i2").reshape(6, 5, 4), np.eye(4), header)
    for slope, name in ((1, "plain.nii"), (0.25, "scaled.nii")):
        image.header.set_slope_inter(slope, 0 if slope == 1 else -3)
        nib.save(image, tmp_path / name)
        node = finish(bridge.volume_node_steps(tmp_path / name, "a", None))
        np.testing.assert_allclose(bridge.voxels(node), nib.load(tmp_path / name).get_fdata().T)


def test_a_file_that_ends_early_or_is_missing_is_told(scene, tmp_path):
    write_volume(tmp_path / "a.nii", Volume(np.ones((4, 5, 6), "f4"), np.eye(4)))
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(data[:-1])
    for path, code in (("a.nii", "truncated-file"), ("b.nii", "unreadable-file")):
        with pytest.raises(InputError) as caught:
            finish(bridge.volume_node_steps(tmp_path / path, "a", None))
        assert caught.value.code == code


def test_a_file_of_another_shape_than_the_reference_is_our_bug(scene, tmp_path):
    write_volume(tmp_path / "a.nii", Volume(np.ones((4, 5, 6), "f4"), np.eye(4)))
    node = a_volume_node(scene, np.ones((6, 5, 4), "f4"), np.eye(4))
    with pytest.raises(ValueError, match="shape") as caught:
        finish(bridge.volume_node_steps(tmp_path / "a.nii", "a", node))
    assert not isinstance(caught.value, InputError)


def test_the_header_written_is_the_one_of_the_core(scene, tmp_path):
    array, world = np.ones((4, 5, 6), "f4"), an_affine((5, 6, 7), (1, 2, 3), (4, 5, 6))
    finish(bridge.write_volume_steps(a_volume_node(scene, array, world), tmp_path / "a.nii"))
    head = (tmp_path / "a.nii").read_bytes()[:352]
    assert struct.unpack_from("<8h", head, 40) == (3, 6, 5, 4, 1, 1, 1, 1)
    write_volume(tmp_path / "b.nii", Volume(array, bridge.world_affine(a_volume_node(scene, array, world))))
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


# ---------------------------------------------------------------- into the scene


def an_image(scene, name="image"):
    array = np.random.default_rng(3).uniform(0, 500, (9, 8, 7)).astype("f4")
    return a_volume_node(scene, array, np.eye(4), name)


def a_new_one(source, tmp_path, name="image_motion"):
    finish(bridge.write_volume_steps(source, tmp_path / "a.nii"))
    return finish(bridge.volume_node_steps(tmp_path / "a.nii", name, source))


@pytest.mark.parametrize("auto", [True, False])
def test_a_new_volume_is_shown_like_its_source_and_knows_it(scene, tmp_path, auto):
    source = an_image(scene)
    source.CreateDefaultDisplayNodes()
    if not auto:
        source.GetDisplayNode().SetAutoWindowLevel(False)
        source.GetDisplayNode().SetWindowLevel(123, 45)
    node = bridge.add_volume(scene, a_new_one(source, tmp_path), source, kind="motion", source=source)
    a, b = source.GetDisplayNode(), node.GetDisplayNode()
    assert (b.GetWindow(), b.GetLevel()) == (a.GetWindow(), a.GetLevel())
    assert auto or b.GetWindow() == 123
    assert not b.GetAutoWindowLevel()
    assert b.GetID() != a.GetID()
    assert b.GetColorNodeID() == a.GetColorNodeID()
    assert node.GetAttribute("DABSeg.Kind") == "motion"
    assert node.GetNodeReference("DABSeg.Source") is source
    assert node.GetName() == "image_motion"


def test_without_a_source_the_window_is_chosen_from_the_voxels(scene, tmp_path):
    node = a_new_one(an_image(scene), tmp_path)
    bridge.add_volume(scene, node, None, kind=None, source=None)
    display = node.GetDisplayNode()
    assert display.GetLevel() - display.GetWindow() / 2 == 0
    assert display.GetLevel() + display.GetWindow() / 2 == pytest.approx(500, rel=0.02)
    assert node.GetAttribute("DABSeg.Kind") is None


def test_an_image_of_zeros_has_a_window_all_the_same(scene):
    assert bridge.window_level(a_volume_node(scene, np.zeros((4, 5, 6), "i2"), np.eye(4))) == (1.0, 0.5)


def test_a_name_is_used_once(scene, tmp_path):
    source = an_image(scene)
    names = [
        bridge.add_volume(scene, a_new_one(source, tmp_path), source, kind="motion", source=source).GetName()
        for _ in range(2)
    ]
    assert names == ["image_motion", "image_motion_1"]


def test_a_new_volume_lies_beside_its_reference_in_the_hierarchy(scene, tmp_path):
    source = an_image(scene)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(source) or hierarchy.CreateItem(study, source), study)
    node = bridge.add_volume(scene, a_new_one(source, tmp_path), source, kind="motion", source=source)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), hierarchy.GetSceneItemID())
    bridge.put_beside(scene, node, source)  # the application makes an item of its own, at the top
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_a_scene_without_a_hierarchy_will_do(scene, tmp_path):
    bare = slicer.vtkMRMLScene()
    assert bare.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") is None
    source = an_image(bare)
    node = bridge.add_volume(bare, a_new_one(source, tmp_path), source, kind="motion", source=source)
    assert node.GetScene() is bare
