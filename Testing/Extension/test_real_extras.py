"""Extras, for real: weights of the networks that give them, from the command to the views; nobody has trained them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import torch
from DABSegLib.nodes import bridge, links
from DABSegLib.process import scratch
from DABSegLib.views import layout
from DABSegLib.work import Inputs, Work, run_to_end, segment_steps
from nodes import a_volume_node
from panel_user import type_path
from standins.mrml import load_scene, save_scene
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore.cases import find_case
from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.models import build_model
from DABSegCore.networks import NETWORKS
from DABSegCore.pipeline import Options, load_engine, segment_case
from DABSegCore.progress import Progress
from DABSegCore.volume import read_volume

STEPS = 2
"""Of sampling, in place of ten."""

UNCERTAINTY = [layout.view_name("uncertainty", region) for region in REGIONS]


def volumes_of_a_patient(scene: Any) -> dict[str, Any]:
    images, _ = tiny_patient()
    return {m: a_volume_node(scene, image, AFFINE, f"Ann_{m}") for m, image in zip(MODALITIES, images, strict=True)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights, by network."""
    folder = tmp_path_factory.mktemp("weights")
    diffusion = dataclasses.replace(NETWORKS["btsegdiff-small"], steps=STEPS, samples=2)
    configs = {"rmr": NETWORKS["rmr-small"], "btsegdiff": diffusion}
    for name, config in configs.items():
        if name == "rmr":
            pytest.importorskip("monai", reason="monai, for the head of RMR, is not here")
        torch.manual_seed(5)
        save_checkpoint(folder / f"{name}.pt", build_model(config), config, {})
    tiny_weights(folder / "tiny.pt")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where temporary folders go; empty in the end."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr(scratch, "temporary_root", lambda: root)
    yield
    assert list(root.iterdir()) == []


def said_by_the_core(weights: Path, folder: Path) -> dict[str, np.ndarray]:
    """What the network gives for the same patient as files, by the part of their names."""
    case = find_case(write_case(folder / "Ann", "Ann", tiny_patient()[0], None, AFFINE))
    engine = load_engine(weights, torch.device("cpu"), Progress("quiet"))
    report, _ = segment_case(case, engine, folder / "out", Options(save_extras=True, picture=False))
    names = [name for name in report["outputs"] if "fused" in name or "uncertainty" in name]
    return {name[len("Ann_") : -len(".nii.gz")]: read_volume(folder / "out" / name).array for name in names}


def test_the_fused_volume_of_rmr_is_that_of_the_command(scene, weights, tmp_path):
    volumes = volumes_of_a_patient(scene)
    result = run_to_end(Work(segment_steps(scene, Inputs(volumes), weights=weights["rmr"], device="cpu")))
    expected = said_by_the_core(weights["rmr"], tmp_path)
    assert list(result.extras) == ["fused"]
    fused = result.extras["fused"]["fused"]
    np.testing.assert_allclose(bridge.voxels(fused), expected["fused"], atol=1e-4)
    assert np.ptp(bridge.voxels(fused)) > 0.001
    assert (bridge.voxels(fused)[(tiny_patient()[0] == 0).all(axis=0)] == 0).all()
    assert set(result.pseudo_clear) == set(MODALITIES)
    assert not [text for text in result.report["warnings"] if "fused" in text]


def test_the_uncertainty_of_btsegdiff_is_that_of_the_command(scene, weights, tmp_path):
    volumes = volumes_of_a_patient(scene)
    result = run_to_end(Work(segment_steps(scene, Inputs(volumes), weights=weights["btsegdiff"], device="cpu")))
    expected = said_by_the_core(weights["btsegdiff"], tmp_path)
    assert {role: list(volumes) for role, volumes in result.extras.items()} == {"uncertainty": list(REGIONS)}
    for region, node in result.extras["uncertainty"].items():
        array = bridge.voxels(node)
        np.testing.assert_allclose(array, expected[f"uncertainty_{region}"], atol=1e-4)
        assert 0 <= array.min() < 0.05 < array.max() <= 1 / math.e + 1e-6
    assert result.pseudo_clear == {}


def test_weights_that_give_none_are_not_blamed_for_it(scene, weights):
    inputs = Inputs(volumes_of_a_patient(scene))
    result = run_to_end(Work(segment_steps(scene, inputs, weights=weights["tiny"], device="cpu")))
    assert result.extras == {}
    assert not [text for text in result.report["warnings"] if "uncertainty" in text]
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 4 + 4


def shown() -> list[str]:
    return slicer.app.layoutManager().views.names()


@pytest.fixture
def unsure(user, scene, weights):
    """Somebody who has segmented with weights that tell where they are unsure, and looks at all side by side."""
    volumes_of_a_patient(scene)
    user.until(lambda: user.can("applyButton"))
    assert not user.is_there("uncertaintyCheck"), "there is nothing yet"
    type_path(user.ui.weightsPath, weights["btsegdiff"])
    user.choose("deviceCombo", "cpu")
    message = user.presses_and_waits("applyButton")
    assert user.parameters.segmentation is not None, message
    user.press("compareButton")
    return user


def test_the_box_puts_the_row_there_and_takes_it_away(unsure, scene):
    blurred = [layout.view_name("blurred", modality) for modality in MODALITIES]
    assert (unsure.is_there("uncertaintyCheck"), unsure.is_there("fusedCheck")) == (True, False)
    assert shown() == [*blurred, *UNCERTAINTY]
    unsure.press("uncertaintyCheck")
    assert shown() == blurred
    unsure.press("uncertaintyCheck")
    assert shown() == [*blurred, *UNCERTAINTY]
    unsure.sees()
    views = slicer.app.layoutManager().views
    for name in UNCERTAINTY:
        picture = views.view(name).grab()[24:-20].astype(int)
        assert (picture[..., 0] - picture[..., 1]).max() > 60, f"{name} has nothing violet"
    scene.RemoveNode(links.connected(unsure.parameters.segmentation, "uncertainty")["TC"])
    unsure.waits(0.05)
    assert shown() == blurred
    assert not unsure.is_there("uncertaintyCheck"), "a row of two regions is none"


def test_a_saved_scene_has_its_rows_again(unsure, scene, tmp_path):
    unsure.press("compareButton")
    unsure.press("uncertaintyCheck")
    file = save_scene(tmp_path / "saved")
    scene.Clear(False)
    unsure.settle()
    assert not unsure.is_there("uncertaintyCheck")
    load_scene(file)
    unsure.settle()
    assert unsure.is_there("uncertaintyCheck")
    assert not unsure.ui.uncertaintyCheck.checked
    unsure.press("compareButton")
    assert not set(UNCERTAINTY) & set(shown())
    unsure.press("uncertaintyCheck")
    assert set(UNCERTAINTY) <= set(shown())
    assert set(links.connected(unsure.parameters.segmentation, "uncertainty")) == set(REGIONS)
