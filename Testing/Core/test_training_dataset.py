"""Training cases as bytes, their twins on one window, and where the cases lie: the same ones everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_patient, write_case

from DABSegCore.cases import find_case
from DABSegCore.degradation import degrade_case
from DABSegCore.errors import InputError
from DABSegCore.labels import regions_from_labels
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import VirtualPatient
from DABSegCore.preprocess import BOX_MARGIN_MM, apply_windows, prepare, window_intensities
from DABSegCore.strengths import STRENGTHS
from DABSegCore.training import dataset
from DABSegCore.training.dataset import (
    BRIGHT,
    TUMOUR_VOXELS,
    Cases,
    TrainingCase,
    make_twin,
    real_case,
    regions_of,
    training_case,
    virtual_case,
)

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Of the working grid itself, so that nothing is turned or resampled."""

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case(a_small_patient: VirtualPatient) -> TrainingCase:
    return training_case("small", a_small_patient.images, a_small_patient.label, AFFINE, real=False)


def blob(side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, D, H, W] that shine in a cube within a margin of 5, and a label in its middle."""
    images = np.zeros((4, side + 10, side + 10, side + 10), dtype=np.float32)
    images[:, 5:-5, 5:-5, 5:-5] = np.random.default_rng(0).uniform(50, 900, (4, side, side, side))
    label = np.zeros(images.shape[1:], dtype=np.uint8)
    label[9:13, 9:13, 9:13] = 2
    return images, label


def same(a: TrainingCase, b: TrainingCase) -> bool:
    return (
        (a.case_id, a.real) == (b.case_id, b.real)
        and torch.equal(a.images, b.images)
        and torch.equal(a.label, b.label)
        and all(torch.equal(x, y) for x, y in zip(a.tumour, b.tumour, strict=True))
    )


def test_the_brain_is_what_is_not_0_in_every_image_and_nothing_else(a_small_patient, case):
    expected = prepare(a_small_patient.images, AFFINE).brain
    assert case.images.dtype == torch.uint8
    assert np.array_equal(case.brain.numpy(), expected)
    for image in case.images:
        assert np.array_equal((image != 0).numpy(), expected)


def test_voxels_of_the_brain_that_are_dark_or_0_in_one_image_stay_in_it():
    images, label = blob()
    images[0, 7, 7, 7] = 1e-3
    images[1, 8, 8, 8] = 0
    found = training_case("dark", images, label, AFFINE, real=True)
    assert found.images.shape[1:] == (20, 20, 20)
    assert found.images[0, 4, 4, 4] == found.images[1, 5, 5, 5] == 1
    assert found.brain.sum() == 16**3


def test_bytes_are_proportional_with_the_percentile_at_its_place(a_small_patient, case):
    brain = prepare(a_small_patient.images, AFFINE)
    working = brain.to_working(a_small_patient.images)
    for image, stored in zip(working, case.images.numpy(), strict=True):
        top = np.percentile(image[image > 0], 99.9)
        assert np.percentile(stored[image > 0], 99.9) == pytest.approx(BRIGHT, abs=1)
        expected = np.clip(image * (BRIGHT / top), 1, 255)[brain.brain]
        assert np.abs(expected - stored[brain.brain]).max() <= 0.501


def test_the_label_goes_with_the_images(a_small_patient, case):
    expected = prepare(a_small_patient.images, AFFINE).to_working(a_small_patient.label[None], "nearest")[0]
    assert case.label.dtype == torch.uint8
    assert np.array_equal(case.label.numpy(), expected)


def test_a_case_is_cropped_to_its_brain(case):
    for axis in range(3):
        hit = case.brain.amax(dim=tuple(a for a in range(3) if a != axis)).nonzero()
        assert hit[0] <= BOX_MARGIN_MM
        assert case.brain.shape[axis] - 1 - hit[-1] <= BOX_MARGIN_MM


def test_a_case_stored_the_other_way_round_is_the_same_case():
    images, label = blob()
    label[9, 9, 9:11] = 4
    turned = training_case("x", images[..., ::-1].copy(), label[..., ::-1].copy(), np.eye(4) * [1, -1, 1, 1], True)
    assert same(turned, training_case("x", images, label, AFFINE, True))


def test_regions_are_those_of_labels():
    label = np.random.default_rng(1).choice(np.array([0, 1, 2, 4], dtype=np.uint8), size=(5, 6, 7))
    found = regions_of(torch.from_numpy(label))
    assert found.dtype == torch.bool
    assert np.array_equal(found.numpy(), regions_from_labels(label))
    assert np.array_equal(regions_of(torch.zeros(2, 2, 2, dtype=torch.uint8)).numpy(), np.zeros((3, 2, 2, 2), bool))


def test_tumour_voxels_lie_in_their_regions(case):
    assert torch.equal(case.regions, regions_of(case.label))
    for voxels, mask in zip(case.tumour, case.regions, strict=True):
        assert mask[tuple(voxels.long().T)].all()
        assert len(voxels) == min(int(mask.sum()), TUMOUR_VOXELS) > 0


def test_of_a_large_region_few_voxels_are_kept_from_all_of_it_and_of_an_absent_one_none():
    images, label = blob(side=40)
    label[5:-5, 5:-5, 5:-5] = 2
    et, tc, wt = training_case("large", images, label, AFFINE, real=True).tumour
    assert et.shape == tc.shape == (0, 3)
    assert wt.dtype == torch.int16
    assert TUMOUR_VOXELS / 2 < len(wt) <= TUMOUR_VOXELS
    for axis in range(3):
        assert wt[:, axis].min() < 2 + 8  # the cube's first voxel after the crop is 2, its last 41
        assert wt[:, axis].max() > 41 - 8


def test_an_image_that_shows_nothing_is_refused():
    images, label = blob()
    images[2] = 0
    with pytest.raises(InputError, match="^Nobody has an image without any voxel above 0") as fault:
        training_case("Nobody", images, label, AFFINE, real=True)
    assert fault.value.code == "constant-image"


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 1, 1), (1, 1, 2), (60, 61, 62)])
def test_windows_are_those_of_preprocess(shape):
    draws = np.random.default_rng(2)
    images = draws.gamma(2.0, 100.0, (4, *shape)).astype(np.float32)
    brain = np.ones(shape, dtype=bool)
    if min(shape) > 1:
        brain[0] = False
        images[:, 1] = 0  # within the brain, but not counted
        expected = window_intensities(images, brain)[1]
    else:
        expected = np.stack([np.percentile(image, (1.0, 99.0)) for image in images])
    found = dataset._windows(torch.from_numpy(images), torch.from_numpy(brain))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_both_twins_are_on_the_corrupted_ones_window(case):
    twin = make_twin(case, 3, seed=1, draw=2)
    sharp, brain = case.images.float(), case.brain.numpy()
    corrupted, _ = corrupt_case(sharp, (1.0, 1.0, 1.0), 3, case.case_id, seed=1, draw=2)
    expected, windows = window_intensities(corrupted.numpy(), brain)
    assert twin.corrupted.dtype == twin.sharp.dtype == torch.float16
    np.testing.assert_allclose(twin.corrupted.float().numpy(), expected, atol=1e-3)
    np.testing.assert_allclose(twin.sharp.float().numpy(), apply_windows(sharp.numpy(), brain, windows), atol=1e-3)
    assert (twin.corrupted.float() - twin.sharp.float()).abs().max() > 0.2
    assert not twin.corrupted[:, ~case.brain].any()
    assert not twin.sharp[:, ~case.brain].any()
    assert (twin.case, twin.severity) == (case, 3)


def test_a_twin_without_motion_is_one_tensor(case):
    twin = make_twin(case, 0, seed=0, draw=5)
    assert twin.corrupted is twin.sharp
    np.testing.assert_allclose(
        twin.sharp.float().numpy(), window_intensities(case.images.float().numpy(), case.brain.numpy())[0], atol=1e-3
    )


def test_motion_is_decided_by_case_seed_and_draw():
    images, label = blob()
    case = training_case("a", images, label, AFFINE, real=True)
    first = make_twin(case, 2, seed=0, draw=0).corrupted
    assert torch.equal(make_twin(case, 2, seed=0, draw=0).corrupted, first)
    for other, seed, draw in ((case, 1, 0), (case, 0, 1), (dataclasses.replace(case, case_id="b"), 0, 0)):
        assert not torch.equal(make_twin(other, 2, seed=seed, draw=draw).corrupted, first)


@pytest.mark.parametrize("cause", STRENGTHS)
def test_what_takes_the_place_of_motion_spoils_as_simulate_does(cause):
    images, label = blob()
    case = training_case("a", images, label, AFFINE, real=True)
    twin = make_twin(case, 2, 3, 1, cause)
    spoilt = degrade_case(case.images.float(), (1.0, 1.0, 1.0), cause, 2, "a", seed=3, draw=1).numpy()
    windowed, _ = window_intensities(spoilt, case.brain.numpy())
    np.testing.assert_allclose(twin.corrupted.numpy(), windowed, atol=1e-3)
    assert not torch.equal(twin.corrupted, twin.sharp)
    unspoilt = make_twin(case, 0, 3, 1, cause)
    assert unspoilt.corrupted is unspoilt.sharp


def test_a_virtual_patient_is_named_by_its_seed(monkeypatch, a_small_patient):
    asked = []
    monkeypatch.setattr(dataset, "virtual_patient", lambda seed: asked.append(seed) or a_small_patient)
    found = virtual_case(7)
    assert (found.case_id, found.real, asked) == ("virtual_7", False, [7])


class Reader:
    """Makes a case like a file would: counts, and breaks when told to."""

    def __init__(self, name: str) -> None:
        images, label = blob()
        self.case = training_case(name, images * (1 + len(name)), label, AFFINE, real=True)
        self.fault: str | None = None
        self.reads = 0

    def __call__(self) -> TrainingCase:
        self.reads += 1
        if self.fault:
            raise InputError(self.fault)
        return self.case


def cases_of(readers: list[Callable[[], TrainingCase]], said: list[str], **settings: object) -> Cases:
    names = ["a", "bb", "ccc"][: len(readers)]
    return Cases(readers, names, [True, False, True][: len(readers)], CPU, on_fault=said.append, **settings)


@pytest.mark.parametrize("residence", ["auto", "device", "memory", "disk"])
def test_cases_are_the_same_wherever_they_lie(residence):
    readers, said, steps = [Reader(name) for name in ("a", "bb", "ccc")], [], []
    cases = cases_of(readers, said, residence=residence, on_step=steps.append)
    for _ in range(2):
        assert [same(cases[i], reader.case) for i, reader in enumerate(readers)] == [True] * 3
    assert (len(cases), cases.names, cases.real, cases.virtual) == (3, ["a", "bb", "ccc"], [0, 2], [1])
    assert (said, cases.failed, sum(steps)) == ([], [], 3)
    assert cases.residence in ({"memory", "disk"} if residence == "auto" else {residence})


@pytest.mark.parametrize("residence", ["device", "memory"])
def test_what_is_held_is_read_once(residence):
    readers = [Reader(name) for name in ("a", "bb", "ccc")]
    cases = cases_of(readers, [], residence=residence)
    assert all(cases[i] is not None for i in (0, 1, 2, 0, 1, 2))
    assert [reader.reads for reader in readers] == [1, 1, 1]


def test_what_is_not_held_is_read_every_time():
    readers = [Reader(name) for name in ("a", "bb")]
    cases = cases_of(readers, [], residence="disk")
    before = readers[1].reads
    assert cases[1] is not None
    assert cases[1] is not None
    assert readers[1].reads == before + 2


def test_memory_decides_where_cases_lie(monkeypatch):
    """Three cases of 5 * 20^3 bytes may take half of what is free, for every process on the machine."""
    readers, needed = [Reader(name) for name in ("a", "bb", "ccc")], 3 * 5 * 20**3
    for free, share, expected in (
        (2 * needed + 2, 1, "memory"),
        (2 * needed, 1, "disk"),
        (8 * needed + 2, 4, "memory"),
        (8 * needed, 4, "disk"),
        (None, 1, "memory"),
    ):
        monkeypatch.setattr(dataset, "available_memory", lambda free=free: free)
        assert cases_of(readers, [], share=share).residence == expected


def test_a_gpu_comes_first_where_it_has_room(monkeypatch):
    readers, needed = [Reader(name) for name in ("a", "bb", "ccc")], 3 * 5 * 20**3
    cases = cases_of(readers, [], residence="disk")
    cases.device = torch.device("cuda", 0)
    monkeypatch.setattr(dataset, "available_memory", lambda: None)
    for free, expected in ((2 * needed + 2, "device"), (2 * needed, "memory")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert cases._place(readers[0].case, share=1) == expected


@pytest.mark.parametrize("residence", ["auto", "device", "memory", "disk"])
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_case_that_cannot_be_read_is_named_counted_and_left_out(residence, broken):
    readers, said, steps = [Reader(name) for name in ("a", "bb", "ccc")], [], []
    readers[broken].fault = "its T2 is torn"
    cases = cases_of(readers, said, residence=residence, on_step=steps.append)
    for _ in range(2):
        assert [cases[i] is None for i in range(3)] == [i == broken for i in range(3)]
    assert said == [f"{cases.names[broken]} is left out: its T2 is torn"]
    assert cases.failed == [cases.names[broken]]
    assert sum(steps) == 3


def test_cases_none_of_which_can_be_used_are_refused():
    for residence in ("auto", "device", "memory", "disk"):
        readers, said = [Reader("a"), Reader("bb")], []
        for reader in readers:
            reader.fault = "torn"
        with pytest.raises(InputError, match="none of the 2 cases can be used") as fault:
            cases_of(readers, said, residence=residence)
        assert fault.value.code == "no-cases"
        assert said == ["a is left out: torn", "bb is left out: torn"]


def test_a_fault_of_the_program_is_not_taken_for_a_bad_case():
    def broken() -> TrainingCase:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cases_of([Reader("a"), broken], [], residence="memory")


def folder_of(tmp_path: Path, name: str, label: np.ndarray | None = None) -> Path:
    images, own = tiny_patient()
    return write_case(tmp_path / name, name, images, own if label is None else label, AFFINE)


def test_real_cases_are_read_and_one_that_breaks_in_the_middle_of_a_run_is_left_out(tmp_path):
    folders = [folder_of(tmp_path, name) for name in ("a", "bb")]
    said: list[str] = []
    readers = [partial(real_case, find_case(folder), said.append) for folder in folders]
    cases = cases_of(readers, said, residence="disk")
    images, label = tiny_patient()
    expected = training_case("bb", images, label, AFFINE, real=True)
    assert same(cases[1], expected)

    torn = folders[0] / "a_t2.nii.gz"
    torn.write_bytes(torn.read_bytes()[:2000])
    assert cases[0] is None
    assert cases[0] is None
    assert same(cases[1], expected)
    assert cases.failed == ["a"]
    assert len(said) == 1
    assert said[0].startswith("a is left out: ")
    assert "a_t2.nii.gz" in said[0]


def test_a_case_with_unknown_labels_is_left_out(tmp_path):
    label = tiny_patient()[1].copy()
    label[label == 1] = 7
    folders = [folder_of(tmp_path, "a", label), folder_of(tmp_path, "bb")]
    said: list[str] = []
    cases = cases_of([partial(real_case, find_case(folder), said.append) for folder in folders], said)
    assert [cases[i] is None for i in (0, 1)] == [True, False]
    assert len(said) == 1
    assert "the value 7" in said[0]
