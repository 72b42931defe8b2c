"""Checks: what is told of four volumes before anything runs is what the core would say, and nothing of good ones."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import slicer
from DABSegLib import checks
from DABSegLib.naming import TITLES
from DABSegLib.nodes import summary
from nodes import a_transform, a_volume_node, a_warp, an_affine, finish

from DABSegCore.cases import case_from_paths, load_case
from DABSegCore.errors import InputError
from DABSegCore.volume import Volume, write_volume

SHAPE = (30, 32, 34)


@pytest.fixture
def volumes(scene):
    """Four volumes that nothing is wrong with: a ball of 12 voxels' radius, 2 mm each, in noise of its own."""
    return {modality: an_image(scene, n, f"{title} image") for n, (modality, title) in enumerate(TITLES.items())}


def an_image(scene, seed, name, affine=None, shape=SHAPE):
    return a_volume_node(scene, a_ball(seed, shape), np.diag([2.0, 2, 2, 1]) if affine is None else affine, name)


def a_ball(seed, shape=SHAPE):
    array = np.random.default_rng(seed).uniform(10, 900, shape).astype("f4")
    from_centre = sum((index - 15) ** 2 for index in np.indices(shape))
    return array * (from_centre <= 12**2)


def codes(findings):
    return [(finding.level, finding.code) for finding in findings]


def closely(volumes, reference="t1ce"):
    return finish(checks.look_closely_steps(volumes, reference))


def read_by_core(volumes, folder):
    """What the core says to the same images: the code of its error, or its warnings."""
    for modality, node in volumes.items():
        volume = checks.as_volume(node)
        write_volume(folder / f"{modality}.nii", Volume(volume.array, volume.affine))
    told = []
    try:
        load_case(case_from_paths(*(folder / f"{modality}.nii" for modality in TITLES)), on_warning=told.append)
    except InputError as fault:
        return fault.code
    return told


def test_nothing_is_said_of_good_volumes(volumes, tmp_path):
    assert checks.look(volumes, "t1ce") == []
    assert closely(volumes) == []
    assert read_by_core(volumes, tmp_path) == []


@pytest.mark.parametrize("level", ["stop", "warn"])
def test_every_sentence_has_one_form(scene, volumes, level):
    volumes["t2"] = volumes["t1"]
    volumes["flair"] = an_image(scene, 7, "far", an_affine(origin=(999, 0, 0)))
    volumes["t1"] = an_image(scene, 8, "turned", an_affine((0, 9, 0), (2, 2, 2)))
    checks.voxels(volumes["t1"])[0, 0, 0] = -1
    findings = [f for f in [*checks.look(volumes, "t1ce"), *closely(volumes)] if f.level == level]
    assert findings
    for finding in findings:
        assert finding.text[0] in '"N'
        assert finding.text[-1] not in ".;"
        assert finding.text.count("; ") == 1  # what is wrong; what to do
        assert not {"t1", "t1ce", "flair"} & set(finding.text.split())


def test_what_is_missing_is_named(volumes):
    for modality in TITLES:
        found = checks.look({**volumes, modality: None}, "t1ce")
        assert codes(found) == [("stop", "missing-modality")]
        assert f"for {TITLES[modality]}," in found[0].text
    (found,) = checks.look({}, "t1ce")
    assert "T1, T1ce, T2 and FLAIR" in found.text


def test_one_volume_for_two_modalities(volumes):
    found = checks.look({**volumes, "t2": volumes["t1"], "flair": volumes["t1"]}, "t1ce")
    assert codes(found) == [("stop", "same-volume-twice")]
    assert found[0].text.startswith('"T1 image" is chosen for T1, T2 and FLAIR,')
    assert len(checks.look({**volumes, "t2": volumes["t1"], "flair": volumes["t1ce"]}, "t1ce")) == 2


def test_a_volume_on_another_grid_is_told_with_its_share(scene, volumes, tmp_path):
    # moved by half of its 60 mm: its first half is beyond the reference's
    volumes["t2"] = an_image(scene, 9, "moved", an_affine(spacing=(2, 2, 2), origin=(0, 0, 30)))
    (found,) = checks.look(volumes, "t1ce")
    assert (found.level, found.code) == ("warn", "other-grid")
    assert '"moved" lies on another grid than "T1ce image" and covers 52% of it' in found.text
    assert "resampled onto the T1ce grid, not registered" in found.text
    assert "covers 52%" in read_by_core(volumes, tmp_path)[0]


def test_the_reference_decides_which_grids_are_other(scene, volumes):
    volumes["t2"] = an_image(scene, 9, "turned", an_affine((0, 3, 0), (2, 2, 2)))
    assert codes(checks.look(volumes, "t1ce")) == [("warn", "other-grid")]
    assert codes(checks.look(volumes, "t2")) == [("warn", "other-grid")] * 3


def test_the_same_place_by_another_way_is_the_same_grid(scene, volumes):
    turn = an_affine((10, 20, 30), origin=(5, 5, 5))
    volumes["t2"] = an_image(scene, 9, "moved", np.linalg.inv(turn) @ np.diag([2.0, 2, 2, 1]))
    volumes["t2"].SetAndObserveTransformNodeID(a_transform(scene, turn).GetID())
    assert checks.look(volumes, "t1ce") == []


def test_volumes_that_do_not_meet_stop(scene, volumes, tmp_path):
    volumes["flair"] = an_image(scene, 9, "far", an_affine(spacing=(2, 2, 2), origin=(0, 70, 0)))
    assert codes(checks.look(volumes, "t1ce")) == [("stop", "no-overlap")]
    assert read_by_core(volumes, tmp_path) == "no-overlap"


def test_what_has_no_place_or_no_voxels_stops(scene, volumes):
    warped = an_image(scene, 5, "warped")
    warped.SetAndObserveTransformNodeID(a_warp(scene).GetID())
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    leaning = an_image(scene, 6, "leaning")
    leaning.SetAndObserveTransformNodeID(a_transform(scene, sheared).GetID())
    wrong = {
        "no-image": scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"),
        "nonlinear-transform": warped,
        "bad-geometry": leaning,
        "not-scalar": a_volume_node(scene, np.zeros((*SHAPE, 3), "u1"), np.eye(4), "colour"),
        "not-3d": a_volume_node(scene, np.zeros((1, 32, 34), "f4"), np.diag([2.0, 2, 2, 1]), "slice"),
    }
    for modality, (code, node) in itertools.product(("t1", "t1ce"), wrong.items()):
        found = checks.look({**volumes, modality: node}, "t1ce")
        assert ("stop", code) == codes(found)[0]
        assert f'"{node.GetName()}"' in found[0].text


def test_the_worst_comes_first(scene, volumes):
    volumes["t1"] = an_image(scene, 9, "turned", an_affine((0, 3, 0), (2, 2, 2)))
    volumes["flair"] = None
    assert [finding.level for finding in checks.look(volumes, "t1ce")] == ["stop", "warn"]


@pytest.mark.parametrize(("kind", "told"), [("pseudo-clear", True), ("difference", True), ("motion", False)])
def test_what_a_network_made_is_no_image_to_segment(volumes, kind, told):
    volumes["t1"].SetAttribute("DABSeg.Kind", kind)
    assert codes(checks.look(volumes, "t1ce")) == [("warn", "synthetic-volume")] * told


def test_a_first_look_reads_no_voxels(volumes, monkeypatch):
    monkeypatch.setattr(checks, "summary_steps", None)
    checks.look(volumes, "t1ce")
    began = time.perf_counter()
    for _ in range(20):
        checks.look(volumes, "t1ce")
    assert (time.perf_counter() - began) / 20 < 0.02


# ---------------------------------------------------------------- a closer look


def changed(node):
    slicer.util.arrayFromVolumeModified(node)


def test_an_image_of_one_value_stops(volumes, tmp_path):
    checks.voxels(volumes["t2"])[:] = 3
    changed(volumes["t2"])
    found = closely(volumes)
    assert codes(found) == [("stop", "constant-image")]
    assert '"T2 image" has the value 3' in found[0].text
    assert read_by_core(volumes, tmp_path) == "constant-image"


def test_two_constant_images_are_not_called_copies(volumes):
    for modality in ("t1", "t2"):
        checks.voxels(volumes[modality])[:] = 3
        changed(volumes[modality])
    assert codes(closely(volumes)) == [("stop", "constant-image")] * 2


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_copies_stop_whatever_their_type(scene, volumes, tmp_path, dtype):
    volumes["flair"] = a_volume_node(
        scene, checks.voxels(volumes["t1"]).astype(dtype), np.diag([2.0, 2, 2, 1]), "a copy"
    )
    found = closely(volumes)
    assert codes(found) == [("stop", "same-volume-twice")]
    assert '"T1 image" (T1) and "a copy" (FLAIR)' in found[0].text
    assert read_by_core(volumes, tmp_path) == "same-file-twice"


def test_one_other_voxel_makes_another_image(scene, volumes):
    array = checks.voxels(volumes["t1"]).copy()
    array[15, 15, 15] += 1
    volumes["flair"] = a_volume_node(scene, array, np.diag([2.0, 2, 2, 1]), "nearly a copy")
    assert closely(volumes) == []


def test_one_volume_in_two_places_is_left_to_the_first_look(volumes):
    assert closely({**volumes, "t2": volumes["t1"]}) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stops(volumes, value):
    checks.voxels(volumes["t1"])[3, 4, 5] = value
    changed(volumes["t1"])
    found = closely(volumes)
    assert codes(found) == [("stop", "not-finite")]
    assert "holds 1 voxels" in found[0].text


def test_a_head_with_its_skull_is_told(scene, volumes, tmp_path):
    # 30 x 32 x 34 voxels of 4.4 mm are 2780 ml
    everywhere = np.random.default_rng(1).uniform(1, 9, SHAPE).astype("f4")
    volumes["t1"] = a_volume_node(scene, everywhere, np.diag([4.4, 4.4, 4.4, 1]), "a head")
    (found,) = closely(volumes)
    assert (found.level, found.code) == ("warn", "not-skull-stripped")
    assert '"a head" does not look skull-stripped: 2780 ml' in found.text
    same_size = {m: an_image(scene, n, m, np.diag([4.4, 4.4, 4.4, 1])) for n, m in enumerate(TITLES)}
    assert "does not look skull-stripped" in read_by_core({**same_size, "t1": volumes["t1"]}, tmp_path)[0]


def test_negative_values_are_told(volumes, tmp_path):
    for modality in ("t1", "flair"):
        checks.voxels(volumes[modality])[15, 15, 15] = -2
        changed(volumes[modality])
    (found,) = closely(volumes)
    assert (found.level, found.code) == ("warn", "negative-values")
    assert found.text.startswith('"T1 image" and "FLAIR image" have negative values')
    assert "negative intensities in t1, flair" in read_by_core(volumes, tmp_path)[0]


@pytest.mark.parametrize(("spacing_mm", "level"), [(20.0, "stop"), (0.1, "warn")])
def test_a_brain_of_a_wrong_size_is_told_of_the_reference(scene, volumes, spacing_mm, level):
    # the ball is 25 voxels across: 500 mm or 2.5 mm
    volumes["t2"] = an_image(scene, 9, "wrong", np.diag([spacing_mm, 2, 2, 1]))
    assert "brain-extent" not in [finding.code for finding in closely(volumes)]
    found = [finding for finding in closely(volumes, "t2") if finding.code == "brain-extent"]
    assert codes(found) == [(level, "brain-extent")]
    assert f"{25 * spacing_mm:.3g} x 50 x 50 mm" in found[0].text


def test_a_closer_look_at_what_has_no_voxels_passes_it_over(scene, volumes):
    volumes["t1"] = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert closely({**volumes, "t2": None}) == []
    assert closely({}) == []


def test_pieces_tell_the_same_as_the_whole(volumes, monkeypatch):
    whole = [finish(summary.summary_steps(node)) for node in volumes.values()]
    summary._KNOWN.clear()
    monkeypatch.setattr("DABSegLib.nodes.bridge.PIECE_BYTES", 3 * 32 * 34 * 8)
    for node, told in zip(volumes.values(), whole, strict=True):
        steps = summary.summary_steps(node)
        assert sum(1 for _ in steps) == 10
        assert finish(summary.summary_steps(node)) == told
        array = checks.voxels(node)
        assert (told.low, told.high, told.filled) == (array.min(), array.max(), (array != 0).sum())
        assert told.box == (3, 28, 3, 28, 3, 28)


def test_a_second_look_is_remembered_until_the_voxels_change(volumes):
    closely(volumes)
    assert list(checks.look_closely_steps(volumes, "t1ce")) == []
    checks.voxels(volumes["t1"])[15, 15, 15] = -1
    changed(volumes["t1"])
    assert codes(closely(volumes)) == [("warn", "negative-values")]


def test_what_changes_while_it_is_looked_at_is_not_remembered(volumes):
    steps = checks.look_closely_steps({"t1": volumes["t1"]}, "t1ce")
    next(steps)
    checks.voxels(volumes["t1"])[0, 0, 0] = -1
    changed(volumes["t1"])
    finish(steps)
    assert codes(closely({"t1": volumes["t1"]})) == [("warn", "negative-values")]


def test_no_more_than_some_summaries_are_kept(scene):
    for seed in range(40):
        finish(summary.summary_steps(an_image(scene, seed, "many", shape=(4, 5, 6))))
    assert len(summary._KNOWN) == 32
