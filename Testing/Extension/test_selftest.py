"""Self test: it goes the module's whole way, and it notices when something is wrong with it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from DABSegLib import selftest

from DABSegCore.labels import MODALITIES, REGIONS

SCORES = {
    "regions": {region: {"dice": 0.9} for region in REGIONS},
    "images": {modality: {"psnr_db": {}, "ssim": {}} for modality in MODALITIES},
}


def test_the_whole_way(scene):
    said: list[str] = []
    selftest.run(said.append)
    assert said[-1] == "The self test passed"
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 3 * len(MODALITIES)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2  # the truth and what was found


def test_without_torch_it_says_what_it_left_out(scene, monkeypatch):
    monkeypatch.setattr(selftest.torch_offer, "is_ready", lambda: False)
    monkeypatch.setattr(selftest.torch_offer, "explain", lambda: "PyTorch is needed.")
    said: list[str] = []
    selftest.run(said.append)
    assert said[-1] == "The rest is left out. PyTorch is needed."
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == len(MODALITIES)


def test_good_scores_pass_and_each_bad_one_does_not():
    selftest._check_scores(SCORES)
    missed, region_less, image_less = (copy.deepcopy(SCORES) for _ in range(3))
    missed["regions"]["WT"]["dice"] = 0.5
    del region_less["regions"]["TC"]
    del image_less["images"]["t2"]
    for bad, why in ((missed, "missed"), (region_less, "regions are"), (image_less, "images are")):
        with pytest.raises(AssertionError, match=why):
            selftest._check_scores(bad)


@pytest.mark.parametrize(
    "volumes_ml",
    [{"ET": 0.0, "TC": 2.0, "WT": 3.0}, {"ET": 3.0, "TC": 2.0, "WT": 4.0}, {"ET": 1.0, "WT": 4.0}],
    ids=["empty", "not nested", "missing"],
)
def test_wrong_segments_do_not_pass(volumes_ml):
    selftest._check_volumes_ml({"ET": 1.0, "TC": 2.0, "WT": 3.0})
    with pytest.raises(AssertionError):
        selftest._check_volumes_ml(volumes_ml)


def test_volumes_that_are_not_in_the_scene_do_not_pass(scene):
    import slicer

    volumes: dict[str, Any] = {modality: slicer.vtkMRMLScalarVolumeNode() for modality in MODALITIES}
    with pytest.raises(AssertionError, match="not in the scene"):
        selftest._check_volumes(scene, volumes)
