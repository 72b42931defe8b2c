"""Reference segmentations in the forms users have them, against one label map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from a_scene_of import LEFT_HANDED, OBLIQUE, a_segmentation, a_transform, a_volume, finish
from DABSegLib.nodes.truth import masks_steps

from DABSegCore.errors import InputError
from DABSegCore.volume import read_volume

SHAPE = (6, 8, 9)
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[1:5, 2:7, 3:8] = 2
LABEL[2:4, 3:6, 4:7] = 1
LABEL[3, 4, 4:6] = 4
ET, TC, WT = LABEL == 4, np.isin(LABEL, (1, 4)), LABEL > 0
REGIONS = {"ET": ET, "TC": TC, "WT": WT}
SHIFT = np.array([[1, 0, 0, 3], [0, 1, 0, -2], [0, 0, 1, 6], [0, 0, 0, 1.0]])


@pytest.fixture
def reference(scene: Any) -> Any:
    return a_volume(scene, np.ones(SHAPE, np.float32), OBLIQUE, "t1ce")


def masks_of(node: Any, reference: Any, folder: Path) -> dict[str, np.ndarray]:
    """The regions as they are written [D, H, W]."""
    paths = finish(masks_steps(node, reference, folder))
    for path in paths.values():
        np.testing.assert_allclose(read_volume(path).affine, OBLIQUE, atol=1e-4)
    return {name: read_volume(path).array > 0 for name, path in paths.items()}


def assert_regions(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


@pytest.mark.parametrize(
    "names",
    [
        ("ET", "TC", "WT"),
        ("Enhancing tumor", "tumour core", "Whole_Tumor"),
    ],
)
def test_segments_named_by_region(scene: Any, reference: Any, tmp_path: Path, names: tuple[str, ...]) -> None:
    truth = a_segmentation(scene, dict(zip(names, (ET, TC, WT), strict=True)), reference)
    assert_regions(masks_of(truth, reference, tmp_path), REGIONS)


@pytest.mark.parametrize(
    "names",
    [
        ("NCR", "ED", "ET"),
        ("necrosis", "peritumoral edema", "Enhancing Tumor"),
        ("1", "2", "4"),
        ("1", "2", "3"),
        ("Segment_1", "Segment_2", "Segment_4"),
        ("Label 1", "Label 2", "Label 3"),
        ("tissue", "bone", "connective tissue"),
        ("NETC", "SNFH", "ET"),
    ],
)
def test_segments_named_by_label(scene: Any, reference: Any, tmp_path: Path, names: tuple[str, ...]) -> None:
    truth = a_segmentation(scene, dict(zip(names, (LABEL == 1, LABEL == 2, LABEL == 4), strict=True)), reference)
    assert_regions(masks_of(truth, reference, tmp_path), REGIONS)


def test_a_label_without_a_segment_is_not_there(scene: Any, reference: Any, tmp_path: Path) -> None:
    truth = a_segmentation(scene, {"ED": LABEL > 0}, reference)
    none = np.zeros(SHAPE, bool)
    assert_regions(masks_of(truth, reference, tmp_path), {"ET": none, "TC": none, "WT": WT})


def test_a_region_without_a_segment_is_not_told_of(scene: Any, reference: Any, tmp_path: Path) -> None:
    truth = a_segmentation(scene, {"WT": WT, "ventricles": ~WT, "Segment_1": ET}, reference)
    assert_regions(masks_of(truth, reference, tmp_path), {"WT": WT})


@pytest.mark.parametrize(("enhancing", "dtype"), [(4, np.uint8), (3, np.int16), (3, np.float32), (4, np.float64)])
@pytest.mark.parametrize("kind", ["vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"])
def test_volumes_of_labels(scene: Any, reference: Any, tmp_path: Path, enhancing: int, dtype: type, kind: str) -> None:
    truth = scene.AddNewNodeByClass(kind, "truth")
    slicer.util.updateVolumeFromArray(truth, np.where(ET, enhancing, LABEL).astype(dtype))
    truth.CopyOrientation(reference)
    assert_regions(masks_of(truth, reference, tmp_path), REGIONS)


def test_labels_on_another_grid_under_a_transform_meet_in_the_world(scene: Any, reference: Any, tmp_path: Path) -> None:
    reversed_k = LABEL[::-1]
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = SHAPE[0] - 1
    place = np.linalg.inv(SHIFT) @ OBLIQUE @ flip
    assert np.linalg.det(place[:3, :3]) * np.linalg.det(LEFT_HANDED[:3, :3]) > 0
    truth = a_volume(scene, reversed_k, place, "truth", under=a_transform(scene, SHIFT))
    assert_regions(masks_of(truth, reference, tmp_path), REGIONS)


def test_no_tumour_is_a_truth_too(scene: Any, reference: Any, tmp_path: Path) -> None:
    none = np.zeros(SHAPE, np.uint8)
    found = masks_of(a_volume(scene, none, OBLIQUE, "truth"), reference, tmp_path)
    assert_regions(found, dict.fromkeys(REGIONS, none > 0))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"lungs": ET, "heart": TC}, 'the segments "lungs", "heart"'),
        ({}, "the segments none"),
        ({"3": ET, "4": TC}, "numbered both 3 and 4"),
        ({"1": TC, "5": ET}, "numbered 5"),
    ],
)
def test_unknown_segments_are_told(
    scene: Any, reference: Any, tmp_path: Path, names: dict[str, np.ndarray], found: str
) -> None:
    with pytest.raises(InputError, match=found) as refused:
        finish(masks_steps(a_segmentation(scene, names, reference), reference, tmp_path))
    assert refused.value.code == "unknown-label"
    assert "a segmentation" in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (np.where(ET, 7, LABEL), "the value 7"),
        (np.where(ET, 0.5, LABEL), "the value 0.5"),
        (np.where(LABEL == 1, 3, LABEL), "the values 3 and 4"),
    ],
)
def test_unknown_labels_are_told(scene: Any, reference: Any, tmp_path: Path, label: np.ndarray, found: str) -> None:
    with pytest.raises(InputError, match=found) as refused:
        finish(masks_steps(a_volume(scene, label.astype(np.float32), OBLIQUE, "truth"), reference, tmp_path))
    assert refused.value.code == "unknown-label"


def test_a_truth_of_another_place_is_refused(scene: Any, reference: Any, tmp_path: Path) -> None:
    away = OBLIQUE.copy()
    away[0, 3] += 500
    with pytest.raises(InputError, match="lies nowhere on") as refused:
        finish(masks_steps(a_volume(scene, LABEL, away, "truth"), reference, tmp_path))
    assert refused.value.code == "no-overlap"
