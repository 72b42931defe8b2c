"""The training stream: twins on one window, patches cut at one place, everything repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from DABSegCore.augment import random_theta
from DABSegCore.labels import regions_from_labels
from DABSegCore.phantom import virtual_patient
from DABSegCore.stream import PatchStream, TrainingCase, Twin, _reach, cut_patch, make_twin, training_case


def coarse_case(seed: int = 1) -> TrainingCase:
    """A virtual patient on a coarse grid that claims 1 mm voxels: small, and all the same to the stream."""
    patient = virtual_patient(seed, shape=(52, 64, 52), spacing_mm=3.0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    return training_case(f"coarse_{seed}", patient.images, patient.label, affine, real=False)


@pytest.fixture(scope="module")
def case() -> TrainingCase:
    return coarse_case()


def stream(case: TrainingCase, **changes) -> PatchStream:
    settings = {"size": 32, "batch": 2, "severities": (0, 2), "pool": 2, "patches_per_twin": 3, "seed": 5}
    return PatchStream([case], **{**settings, **changes})


def test_a_case_is_cropped_to_its_brain_and_scaled(case):
    assert case.images.shape[1:] == case.brain.shape == case.regions.shape[1:]
    margin = 2
    for axis in range(3):
        hit = case.brain.amax(dim=tuple(a for a in range(3) if a != axis)).nonzero()
        assert hit[0] <= margin
        assert case.brain.shape[axis] - 1 - hit[-1] <= margin
    for image in case.images.float():
        assert float(np.percentile(image[image > 0].numpy(), 99.9)) == pytest.approx(1, abs=0.01)
    for voxels, mask in zip(case.tumour, case.regions, strict=True):
        assert mask[tuple(voxels.long().T)].all()
        assert len(voxels) > 0


def test_twins_share_one_window_and_the_sharp_one_is_the_target(case):
    still, moved = (make_twin(case, severity, seed=0, draw=0) for severity in (0, 3))
    assert torch.equal(still.corrupted, still.sharp)
    assert not torch.equal(moved.corrupted, moved.sharp)
    # Same window: the map from the case to the sharp twin is one line per modality.
    inside = (moved.sharp > 0.05) & (moved.sharp < 0.95)
    for m in range(4):
        x, y = case.images[m][inside[m]].float(), moved.sharp[m][inside[m]].float()
        slope, offset = np.polyfit(x.numpy(), y.numpy(), 1)
        assert np.abs(slope * x.numpy() + offset - y.numpy()).max() < 5e-3
    assert not moved.corrupted[:, ~case.brain].any()


def ramp_twin() -> Twin:
    """A twin whose voxels name their own place, so that misaligned crops would show; sharp is twice corrupted."""
    shape = (40, 44, 48)
    place = torch.arange(1.0, 1 + 40 * 44 * 48).reshape(shape) / (40 * 44 * 48)
    brain = torch.ones(shape, dtype=torch.bool)
    label = np.zeros(shape, dtype=np.uint8)
    label[20:30, 10:30, 20:40] = 4
    regions = torch.from_numpy(regions_from_labels(label))
    tumour = tuple(r.nonzero().short() for r in regions)
    case = TrainingCase("ramp", place.expand(4, -1, -1, -1), regions, brain, tumour, real=False)
    # The region itself is painted into the images: sharp shows 1 exactly where the label is.
    painted = regions[2].float().expand(4, -1, -1, -1)
    return Twin(case, 2, painted.half(), painted.half())


def test_corrupted_sharp_regions_and_brain_are_cut_at_one_place(monkeypatch):
    """200 random patches, warped or not: images and label agree voxel by voxel (nearest and linear meet at 1/2)."""
    monkeypatch.setattr("DABSegCore.stream.change_intensity", lambda volume, gamma, gain: volume)
    monkeypatch.setattr("DABSegCore.stream.random_bias", lambda generator, modalities, size: torch.ones(()))
    twin = ramp_twin()
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        corrupted, sharp, regions, brain = cut_patch(twin, 32, generator)
        assert corrupted.shape == sharp.shape == (4, 32, 32, 32)
        assert torch.equal(corrupted, sharp)
        sure = (sharp[0] < 0.05) | (sharp[0] > 0.7)
        assert sure.float().mean() > 0.7
        assert torch.equal(sharp[0][sure] > 0.5, regions[2][sure] > 0.5)
        assert set(regions.unique().tolist()) <= {0.0, 1.0}
        assert not sharp[:, brain[0] == 0].any()


def test_a_warped_patch_never_reads_past_what_was_cropped():
    for seed in range(100):
        theta = random_theta(torch.Generator().manual_seed(seed))
        corner = torch.tensor([[sx, sy, sz] for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)]) * 31 / 2
        assert (corner @ theta.T).abs().max() <= (_reach(theta, 32) - 1) / 2


def test_same_seed_same_patches_and_another_seed_others(case):
    first, again, other = stream(case), stream(case), stream(case, seed=6)
    for _ in range(3):
        a, b, c = first.next(), again.next(), other.next()
        assert all(torch.equal(x, y) for x, y in zip(a.__dict__.values(), b.__dict__.values(), strict=True))
        assert not torch.equal(a.corrupted, c.corrupted)


def test_fresh_motion_enters_and_the_oldest_leaves(case):
    patches = stream(case, batch=1, severities=(2,), pool=2, patches_per_twin=3)
    patches.next()
    patches.next()
    old = patches.pool[0]
    for _ in range(3):
        patches.next()
    assert len(patches.pool) == 2
    assert all(twin is not old for twin in patches.pool)
    assert patches.drawn == 3


def test_real_and_virtual_cases_come_equally_often():
    import dataclasses

    virtual = coarse_case()
    real = dataclasses.replace(virtual, case_id="real", real=True)
    patches = PatchStream([real] + [virtual] * 9, size=32, batch=1, severities=(0,), pool=1, patches_per_twin=1, seed=0)
    names = []
    for _ in range(120):
        patches.next()
        names.append(patches.pool[-1].case.case_id)
    assert 40 <= names.count("real") <= 80
