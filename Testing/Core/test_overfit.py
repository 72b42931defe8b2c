"""Companions learn: shown one virtual patient again and again, their loss falls and their answers become right.

The patient is coarse, 2.5 mm, and moved as far as motion goes (S4). Thresholds leave a third or more of what was
reached; nothing here says how good a method is.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tiny import TINY_RMR
from torch import Tensor

from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.networks import (
    NETWORKS,
    AnyConfig,
    BTSegDiffConfig,
    MedDeblurConfig,
    NAFNetConfig,
    PeerConfig,
)
from DABSegCore.phantom import virtual_patient
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.dataset import Twin, make_twin, training_case
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch

EDGE = 32
MILLIMETRES = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -10], [0, 0, 0, 1]])
"""Called 1 mm, so that nothing is resampled."""

DIFFUSION = BTSegDiffConfig("btsegdiff", 8, (1, 1, 2), 1, 8, grid=32, steps=2, samples=2)
NOISE = dataclasses.replace(
    DIFFUSION, preset="btsegdiff-axial", form="axial", predicts="noise", fusion="highway", attention=(1,)
)
MEDDEBLUR_AXIAL = MedDeblurConfig("meddeblur-axial", 8, form="axial", residual=False, every_scale=False)
RMR = dataclasses.replace(TINY_RMR, preset="rmr", reads=(1, 3))


@dataclass(frozen=True)
class Lesson:
    """What a network is taught, and what it must be able to do then.

    Attributes:
        config: The network.
        rate: Learning rate.
        steps: Of the whole training.
        slices: Of the crops; axial forms need few.
        gain_db: Least PSNR that restoring brings; None for what restores nothing.
        dice: Least Dice of ET, TC, WT, where 0 asks for nothing; None for what outlines nothing.
    """

    config: AnyConfig
    rate: float
    steps: int
    slices: int = EDGE
    gain_db: float | None = None
    dice: tuple[float, float, float] | None = None


RESTORING = Lesson(NAFNetConfig("nafnet", 16, (1, 1), 1, (1, 1), fold=True), 1e-3, 60, gain_db=0.8)
LESSONS = (
    RESTORING,
    Lesson(NAFNetConfig("nafnet-axial", 8, (1, 1), 1, (1, 1), form="axial"), 1e-2, 60, 2, gain_db=1.8),
    Lesson(MedDeblurConfig("meddeblur", 4, fold=True), 5e-3, 30, gain_db=0.4),
    Lesson(MEDDEBLUR_AXIAL, 5e-3, 60, 1, gain_db=1.5),
    Lesson(DIFFUSION, 5e-3, 60, dice=(0.1, 0.5, 0.5)),
    Lesson(NOISE, 1e-2, 60, 4, dice=(0.2, 0.55, 0.6)),
    pytest.param(Lesson(RMR, 1.5e-2, 60, gain_db=0.0, dice=(0, 0, 0.5)), marks=pytest.mark.slow),
)


@cache
def a_twin() -> Twin:
    """A virtual patient with all three regions, before and after motion."""
    patient = virtual_patient(2, shape=(62, 96, 96), spacing_mm=2.5)
    return make_twin(training_case("one", patient.images, patient.label, MILLIMETRES, real=False), 4, seed=0, draw=0)


@cache
def a_patch(slices: int) -> Patch:
    """Two crops of the patient around the tumour, a little apart."""
    twin = a_twin()
    middle = (twin.case.label == 4).nonzero().float().mean(0).round().long().tolist()
    volumes = (twin.corrupted, twin.sharp, twin.case.regions, twin.case.brain[None])
    crops = []
    for shift in (0, 4):
        first = [middle[0] - slices // 2, *(at + shift - EDGE // 2 for at in middle[1:])]
        most = [length - edge for length, edge in zip(twin.case.label.shape, (slices, EDGE, EDGE), strict=True)]
        starts = [min(max(0, at), limit) for at, limit in zip(first, most, strict=True)]
        box = tuple(slice(at, at + edge) for at, edge in zip(starts, (slices, EDGE, EDGE), strict=True))
        crops.append([volume[(..., *box)].float() for volume in volumes])
    return Patch(*(torch.stack(pair) for pair in zip(*crops, strict=True)), names=("one", "one"))


@cache
def learned(lesson: Lesson, restorer: Path | None = None) -> tuple[Run, list[dict[str, Tensor]]]:
    """A whole training, and what it logged."""
    with mock.patch.dict(NETWORKS, {"tiny": lesson.config}):
        config = TrainConfig(
            preset="tiny", restorer=restorer, patch=EDGE, steps=lesson.steps, warm_up_steps=5, learning_rate=lesson.rate
        )
        run = Run(config, Processes(torch.device("cpu")), Schedule.of(config, cases=1))
    return run, [run.advance([a_patch(lesson.slices)], step / lesson.steps) for step in range(lesson.steps)]


def gain_db(restored: Tensor, patch: Patch) -> float:
    """How much more PSNR the restored crops have in the brain than the moved ones."""
    left, there = (((x - patch.sharp).square() * patch.brain).sum() for x in (restored, patch.corrupted))
    return 10 * (there / left).log10().item()


def dice_of(found: Tensor, truth: Tensor) -> list[float]:
    axes = (0, 2, 3, 4)
    return (2 * (found * truth).sum(axes) / (found.sum(axes) + truth.sum(axes))).tolist()


def check(run: Run, logs: list[dict[str, Tensor]], lesson: Lesson) -> None:
    """The loss fell, and the averaged weights, which are those that are kept, restore and outline."""
    assert torch.stack([log["loss"] for log in logs[-5:]]).mean() < logs[0]["loss"]
    patch = a_patch(lesson.slices)
    with torch.no_grad():
        said = run.average.eval()(patch.corrupted)
    if lesson.gain_db is not None:
        assert gain_db(said.restored, patch) > lesson.gain_db
    if lesson.dice is not None:
        found = dice_of(said.logits > 0, patch.regions)
        assert all(dice >= least for dice, least in zip(found, lesson.dice, strict=True)), found


def test_the_crops_show_the_patient_moved_and_all_regions():
    for slices in (1, 2, 4, EDGE):
        patch = a_patch(slices)
        assert patch.corrupted.shape == (2, 4, slices, EDGE, EDGE)
        assert patch.regions.sum((2, 3, 4)).min() > 20
        assert ((patch.corrupted - patch.sharp).square() * patch.brain).mean() > 1e-3
        assert gain_db((patch.corrupted + patch.sharp) / 2, patch) == pytest.approx(20 * math.log10(2), abs=1e-3)
        assert dice_of(patch.regions * 0, patch.regions) == [0, 0, 0]
        assert dice_of(patch.regions, patch.regions) == [1, 1, 1]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.config.preset)
def test_it_learns_one_patient(lesson: Lesson):
    check(*learned(lesson), lesson)


def test_a_segmenter_learns_behind_a_restorer_that_stays_as_good_as_it_was(tmp_path: Path):
    restoring, _ = learned(RESTORING)
    save_checkpoint(tmp_path / "restorer.pt", restoring.average, RESTORING.config, {})
    lesson = Lesson(PeerConfig("segresnet", "segresnet", 8), 1e-2, 40, gain_db=RESTORING.gain_db, dice=(0, 0.45, 0.55))
    check(*learned(lesson, tmp_path / "restorer.pt"), lesson)
