"""The weights that ship: they load, they are small, and on an unseen virtual patient they do what the card says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from DABSegCore.checkpoint import load_checkpoint, shipped_weights
from DABSegCore.inference import Inferred, infer
from DABSegCore.labels import REGIONS, regions_from_labels
from DABSegCore.metrics import dice, psnr, ssim
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import VirtualPatient, virtual_patient
from DABSegCore.pipeline import decide, window_of
from DABSegCore.preprocess import Prepared, apply_windows, prepare

UNSEEN = 920_001
"""No training and no table of the model card uses this seed."""


@pytest.fixture(scope="module")
def network() -> tuple[torch.nn.Module, dict]:
    return load_checkpoint(shipped_weights(), expect_preset="small")


@pytest.fixture(scope="module")
def patient() -> VirtualPatient:
    return virtual_patient(UNSEEN)


def processed(
    patient: VirtualPatient, severity: int, network: tuple[torch.nn.Module, dict]
) -> tuple[Prepared, Inferred]:
    """The patient after motion, and what the network makes of it."""
    corrupted, _ = corrupt_case(torch.from_numpy(patient.images), (1.0, 1.0, 1.0), severity, "unseen")
    prepared = prepare(corrupted.numpy(), patient.affine)
    return prepared, infer(network[0], torch.from_numpy(prepared.image), window=window_of(network[1], None))


def test_they_are_small_and_carry_no_path(network):
    assert shipped_weights().stat().st_size < 12e6
    assert not [value for value in network[1]["training"].values() if isinstance(value, str) and "/" in value]


@pytest.mark.parametrize(("severity", "floor"), [(0, 0.80), (2, 0.75)])
def test_they_find_the_tumour_and_bring_images_nearer(network, patient, severity, floor):
    prepared, said = processed(patient, severity, network)
    label = decide(said.probabilities.numpy() * prepared.brain, network[1]["thresholds"], 1e-3)
    truth = prepared.to_working(patient.label[None], "nearest")[0]
    scores = [dice(a, b) for a, b in zip(regions_from_labels(label), regions_from_labels(truth), strict=True)]
    assert scores[REGIONS.index("WT")] > floor
    if severity == 0:
        return
    sharp = apply_windows(prepared.to_working(patient.images), prepared.brain, prepared.windows)
    restored = np.clip(said.restored.numpy(), 0, 1) * prepared.brain
    for measure in (psnr, ssim):
        before, after = (
            np.mean([measure(a, b, prepared.brain) for a, b in zip(images, sharp, strict=True)])
            for images in (prepared.image, restored)
        )
        assert after > before
