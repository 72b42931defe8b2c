"""Export: the label map of segments in all their states, on the grid of their reference and in small steps."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from a_scene_of import LEFT_HANDED, a_segmentation, a_volume, finish
from DABSegLib.export import export_steps
from DABSegLib.nodes import links

from DABSegCore.errors import InputError
from DABSegCore.volume import read_labels

SHAPE = (6, 7, 8)


@pytest.fixture
def reference(scene):
    return a_volume(scene, np.ones(SHAPE, np.float32), LEFT_HANDED, "Ann_t1ce")


def a_result(scene, reference, **boxes):
    """A segmentation as Apply leaves it, with segments of the voxels in these boxes."""
    masks = {}
    for region, box in boxes.items():
        masks[region] = np.zeros(SHAPE, bool)
        masks[region][box] = True
    node = a_segmentation(scene, masks, reference)
    node.SetName("Ann tumour")
    node.SetNodeReferenceID(links.REFERENCE, reference.GetID())
    return node


def test_the_inner_region_wins_wherever_it_lies(scene, reference, tmp_path):
    inside, outside = np.s_[2, 3, 4], np.s_[0, 0, :2]  # an edited ET may reach out of TC, and out of WT
    node = a_result(scene, reference, ET=outside, TC=inside, WT=np.s_[1:4, 2:5, 3:6])
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:4, 2:5, 3:6] = 2
    expected[inside], expected[outside] = 1, 4
    finish(export_steps(node, tmp_path))
    label = read_labels(tmp_path / "Ann_seg.nii.gz")
    np.testing.assert_array_equal(label.array, expected)
    np.testing.assert_allclose(label.affine, LEFT_HANDED, atol=1e-5)


def test_a_region_whose_segment_was_deleted_is_nowhere(scene, reference, tmp_path):
    node = a_result(scene, reference, ET=np.s_[2, 3, 4], WT=np.s_[1:4, 2:5, 3:6])
    finish(export_steps(node, tmp_path))
    values, counts = np.unique(read_labels(tmp_path / "Ann_seg.nii.gz").array, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 6 * 7 * 8 - 27, 2: 26, 4: 1}


def test_cancelled_at_any_step_no_half_file_is_left(scene, reference, tmp_path):
    node = a_result(scene, reference, ET=np.s_[2, 3, 4], TC=np.s_[2, 3, 4], WT=np.s_[2, 3, 4])
    restored = a_volume(scene, np.ones(SHAPE, np.float32), LEFT_HANDED)
    links.connect(node, "pseudo-clear", {"t1": restored})
    number, ended = 0, False
    while not ended:
        folder = tmp_path / str(number)
        steps = export_steps(node, folder)
        ended = sum(1 for _ in zip(range(number), steps, strict=False)) < number
        steps.close()
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        assert names <= {
            f"Ann_{what}" for what in ("seg.nii.gz", "t1_pseudo-clear.nii.gz", "regions.csv", "report.json")
        }
        number += 1
    assert len(names) == 4


def test_without_the_volume_of_its_grid_it_is_refused(scene, reference, tmp_path):
    node = a_result(scene, reference, WT=np.s_[2, 3, 4])
    slicer.mrmlScene.RemoveNode(reference)
    with pytest.raises(InputError, match="lost the volume") as fault:
        finish(export_steps(node, tmp_path / "out"))
    assert fault.value.code == "no-reference"
    assert not (tmp_path / "out").exists()
