"""Patches: cut at one place, decided by seed and step alone, made ahead or not, by one process or many."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from DABSegCore.errors import InputError
from DABSegCore.training import stream
from DABSegCore.training.augment import random_theta
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.dataset import Cases, TrainingCase, Twin, make_twin, regions_of, training_case
from DABSegCore.training.processes import Processes
from DABSegCore.training.stream import Patch, PatchStream, Prefetched, _center, _reach, cut_patch, generator_of

CPU = torch.device("cpu")


def noise_case(name: str = "noise", real: bool = True) -> TrainingCase:
    """A cube of noise with a tumour of all three kinds, a little larger than a patch."""
    images = np.zeros((4, 44, 42, 40), dtype=np.float32)
    images[:, 2:-2, 2:-2, 2:-2] = np.random.default_rng(5).uniform(10, 500, (4, 40, 38, 36))
    label = np.zeros(images.shape[1:], dtype=np.uint8)
    label[8:24, 8:24, 8:24], label[12:20, 12:20, 12:20], label[14:18, 14:18, 14:18] = 2, 1, 4
    return training_case(name, images, label, np.diag([-1.0, -1.0, 1.0, 1.0]), real)


NOISE = noise_case()


def cases_of(real: int, virtual: int = 0) -> Cases:
    """Cases that are all alike but for name and kind: r0, r1, ... and v0, v1, ..."""
    names = [f"r{i}" for i in range(real)] + [f"v{i}" for i in range(virtual)]
    readers = [lambda name=name: dataclasses.replace(NOISE, case_id=name, real=name[0] == "r") for name in names]
    return Cases(readers, names, [name[0] == "r" for name in names], CPU, residence="memory", on_fault=pytest.fail)


def config(**changes: object) -> TrainConfig:
    given = {"patch": 32, "batch": 2, "severities": (0, 2), "pool": 4, "patches_per_twin": 2, "seed": 5}
    return TrainConfig(**{**given, **changes})


def patches(steps: range, cases: Cases | None = None, **changes: object) -> list[Patch]:
    """The patches of some steps, of all places in one part."""
    source = PatchStream(cases or cases_of(2), config(**changes))
    return [source.parts(step, [range(source.config.batch)])[0] for step in steps]


def same(a: Patch, b: Patch) -> bool:
    return a.names == b.names and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("corrupted", "sharp", "regions", "brain")
    )


# Cutting


def place_twin() -> Twin:
    """A twin whose voxels name their own place (d, h, w) / 64 in three modalities, sharp half of corrupted."""
    shape = (40, 44, 48)
    place = torch.stack(torch.meshgrid(*(torch.arange(1, n + 1) for n in shape), indexing="ij")) / 64
    place = torch.cat([place, place[:1]])
    label = torch.from_numpy(np.random.default_rng(3).choice(np.array([0, 1, 2, 4], dtype=np.uint8), size=shape))
    tumour = tuple(region.nonzero().short() for region in regions_of(label))
    case = TrainingCase("place", torch.ones(4, *shape, dtype=torch.uint8), label, tumour, real=False)
    return Twin(case, 2, place.half(), (place / 2).half())


def test_without_augmentation_every_voxel_of_a_patch_is_the_one_it_names():
    twin = place_twin()
    generator = torch.Generator().manual_seed(1)
    corners = set()
    for _ in range(50):
        corrupted, sharp, regions, brain = cut_patch(twin, 32, generator, augment=False)
        place = (corrupted[:3] * 64).round().long() - 1
        corner = place[:, 0, 0, 0]
        steps = torch.stack(torch.meshgrid(*(torch.arange(32),) * 3, indexing="ij"))
        assert torch.equal(place, corner.view(3, 1, 1, 1) + steps)
        assert torch.equal(sharp, corrupted / 2)
        assert torch.equal(regions > 0, twin.case.regions[:, place[0], place[1], place[2]])
        assert brain.all()
        corners.add(tuple(corner.tolist()))
    assert len(corners) > 25


def painted_twin() -> Twin:
    """A twin that shows 1 exactly where its tumour is, corrupted and sharp; the brain ends beside it."""
    shape = (40, 44, 48)
    label = torch.zeros(shape, dtype=torch.uint8)
    label[20:30, 10:30, 20:40] = 4
    images = torch.ones(4, *shape, dtype=torch.uint8)
    images[:, 30:] = 0
    tumour = tuple(region.nonzero().short() for region in regions_of(label))
    painted = (label > 0).expand(4, *shape).half()
    return Twin(TrainingCase("painted", images, label, tumour, real=False), 2, painted, painted)


def test_corrupted_sharp_regions_and_brain_are_cut_at_one_place(monkeypatch):
    """200 random patches, warped or not: images and label agree voxel by voxel (nearest and linear meet at 1/2)."""
    monkeypatch.setattr(stream, "change_intensity", lambda volume, gamma, gain: volume)
    monkeypatch.setattr(stream, "random_bias", lambda generator, modalities, size, device: torch.ones(4, 1, 1, 1))
    twin = painted_twin()
    generator = torch.Generator().manual_seed(0)
    tumours = 0
    for _ in range(200):
        corrupted, sharp, regions, brain = cut_patch(twin, 32, generator)
        assert corrupted.shape == sharp.shape == (4, 32, 32, 32)
        assert regions.shape == (3, 32, 32, 32)
        assert brain.shape == (1, 32, 32, 32)
        assert torch.equal(corrupted, sharp)
        sure = (sharp[0] < 0.05) | (sharp[0] > 0.7)
        assert sure.float().mean() > 0.7
        assert torch.equal(sharp[0][sure] > 0.5, regions[2][sure] > 0.5)
        assert set(regions.unique().tolist()) <= {0.0, 1.0}
        assert set(brain.unique().tolist()) <= {0.0, 1.0}
        assert not sharp[:, brain[0] == 0].any()
        tumours += bool(regions.any())
    assert tumours > 150


def test_intensities_change_alike_in_corrupted_and_sharp():
    """The same gain, gamma and bias for both: where they were equal they still are, and elsewhere keep their order."""
    twin = place_twin()
    generator = torch.Generator().manual_seed(2)
    changed = 0
    for _ in range(30):
        corrupted, sharp, _, _ = cut_patch(dataclasses.replace(twin, sharp=twin.corrupted), 32, generator)
        assert torch.equal(corrupted, sharp)
        assert 0 <= corrupted.min() <= corrupted.max() <= 1
        values = (corrupted * 64).sub((corrupted * 64).round()).abs()
        changed += bool((values > 1e-3).any())
    assert changed > 20


def test_a_warped_patch_never_reads_past_what_was_cropped():
    for seed in range(100):
        theta = random_theta(torch.Generator().manual_seed(seed))
        corner = torch.tensor([[sx, sy, sz] for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)]) * 31 / 2
        assert (corner @ theta.T).abs().max() <= (_reach(theta, 32) - 1) / 2


def test_patches_may_be_centred_near_the_tumour():
    """A tumour of one voxel in the corner of a volume: always seen if wanted, otherwise by chance."""
    twin = painted_twin()
    label = torch.zeros_like(twin.case.label)
    label[37, 40, 4] = 4  # no matter that the brain has ended there
    tumour = tuple(region.nonzero().short() for region in regions_of(label))
    twin = dataclasses.replace(twin, case=dataclasses.replace(twin.case, label=label, tumour=tumour))
    generator = torch.Generator().manual_seed(0)
    seen = {
        share: sum(bool(cut_patch(twin, 32, generator, tumour_share=share, augment=False)[2].any()) for _ in range(100))
        for share in (0.0, 1.0)
    }
    assert seen[1.0] == 100
    assert seen[0.0] < 60


def test_a_case_without_tumour_gives_patches_too():
    twin = painted_twin()
    none = torch.zeros_like(twin.case.label)
    case = dataclasses.replace(twin.case, label=none, tumour=(torch.zeros(0, 3, dtype=torch.int16),) * 3)
    regions = cut_patch(dataclasses.replace(twin, case=case), 32, torch.Generator(), tumour_share=1.0)[2]
    assert not regions.any()


def test_a_patch_larger_than_the_volume_holds_all_of_it():
    twin = place_twin()
    corrupted, sharp, _, brain = cut_patch(twin, 64, torch.Generator(), augment=False)
    assert brain.sum() == 40 * 44 * 48
    assert corrupted.sum().item() == pytest.approx(twin.corrupted.float().sum().item(), rel=1e-6)
    assert not corrupted[:, brain[0] == 0].any()
    assert not sharp[:, brain[0] == 0].any()


# Drawing


def test_generators_depend_on_their_words_alone_and_on_each_of_them():
    """The number is that of another machine; it may not change, for runs are resumed elsewhere."""
    assert generator_of(1, "a", True).initial_seed() == 1438497422897237114
    words = [(0,), (1,), (0, "patch"), (0, "order"), (0, "patch", 1), (1, "patch", 0), (0, "patch", 0, 1)]
    assert len({generator_of(*word).initial_seed() for word in words}) == len(words)


@pytest.mark.parametrize(
    ("pool", "per_twin", "windows"),
    [
        (3, 2, [(0, 0), (0, 1), (0, 2), (0, 2), (1, 3), (1, 3), (2, 4), (2, 4), (3, 5)]),
        (2, 3, [(0, 0), (0, 1), (0, 1), (0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]),
        (1, 1, [(0, 0), (1, 1), (2, 2), (3, 3)]),
        (1, 2, [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2)]),
    ],
)
def test_the_pool_fills_and_then_one_enters_as_the_oldest_leaves(pool, per_twin, windows):
    source = PatchStream(cases_of(1), config(batch=2, pool=2 * pool, patches_per_twin=per_twin))
    assert [source._window(step) for step in range(len(windows))] == windows


def test_every_place_has_its_share_of_the_pool_but_at_least_one():
    for batch, pool, expected in ((1, 16, 16), (2, 16, 8), (4, 6, 1), (8, 2, 1)):
        assert PatchStream(cases_of(1), config(batch=batch, pool=pool)).pool == expected


def test_a_pool_holds_no_twin_that_has_left(monkeypatch):
    made: list[weakref.ref] = []

    def remembered(*args: object) -> Twin:
        twin = make_twin(*args)
        made.append(weakref.ref(twin))
        return twin

    monkeypatch.setattr(stream, "make_twin", remembered)
    source = PatchStream(cases_of(1), config(pool=4, patches_per_twin=1, severities=(0,)))
    for step in range(12):
        source.parts(step, [[0, 1]])
        first, last = source._window(step)
        assert {place for place, _ in source._twins} == {0, 1}
        assert all(first <= number <= last for _, number in source._twins)
        assert sum(twin() is not None for twin in made) == len(source._twins) <= 4
    assert len(made) > 10


def test_the_patches_of_a_step_are_the_same_whatever_was_made_before():
    """A run killed before step 7 sees, resumed, what it would have seen."""
    expected = patches(range(10))
    for first in (0, 1, 6, 7):
        found = patches(range(first, 10))
        assert all(same(a, b) for a, b in zip(found, expected[first:], strict=True))
    backwards = patches(range(9, -1, -1))
    assert all(same(a, b) for a, b in zip(backwards, expected[::-1], strict=True))
    assert not any(same(a, b) for a, b in zip(expected, expected[1:], strict=False))


def test_another_seed_gives_other_patches():
    assert not any(same(a, b) for a, b in zip(patches(range(3)), patches(range(3), seed=6), strict=True))


def test_parts_and_processes_make_together_what_one_makes():
    """Places 0 to 7 of a step: all at once, in two parts, by two processes, by both in two parts."""
    cases = cases_of(3)
    settings = config(batch=8, pool=8)
    whole = {step: PatchStream(cases, settings).parts(step, [range(8)])[0] for step in (0, 5)}
    for size, parts in ((1, 2), (2, 1), (2, 2), (4, 2)):
        for step, expected in whole.items():
            found: dict[int, tuple[Patch, int]] = {}
            for rank in range(size):
                places = Processes(CPU, rank, size).places(8, parts)
                assert len(places) == parts
                made = PatchStream(cases, settings).parts(step, places)
                for part, numbers in zip(made, places, strict=True):
                    found.update({place: (part, i) for i, place in enumerate(numbers)})
            assert sorted(found) == list(range(8))
            for place, (part, i) in found.items():
                assert part.names[i] == expected.names[place]
                assert torch.equal(part.corrupted[i], expected.corrupted[place])
                assert torch.equal(part.regions[i], expected.regions[place])


def test_part_by_part_the_places_are_those_of_one_process():
    """So that Dice over a part is over the same patches with two processes as with one."""
    alone = Processes(CPU).places(8, 2)
    shared = [Processes(CPU, rank, 2).places(8, 2) for rank in (0, 1)]
    for p in range(2):
        assert sorted(shared[0][p] + shared[1][p]) == list(alone[p])


def counted(cases: Cases, rounds: range, **changes: object) -> list[int]:
    source = PatchStream(cases, config(**changes))
    return [source.pick(n) for n in rounds]


@pytest.mark.parametrize(("real", "virtual"), [(5, 0), (0, 5), (5, 3), (4, 4), (1, 1)])
def test_every_case_comes_once_a_round_each_time_in_another_order(real, virtual):
    count = real + virtual
    picked = counted(cases_of(real, virtual), range(30 * count))
    rounds = [picked[i : i + count] for i in range(0, len(picked), count)]
    assert all(sorted(one) == list(range(count)) for one in rounds)
    if count > 2:
        assert len(set(map(tuple, rounds))) > 10
    assert counted(cases_of(real, virtual), range(30 * count), seed=6) != picked or count == 2


def test_many_virtual_patients_are_half_of_the_draws():
    picked = Counter(counted(cases_of(2, 8), range(160)))
    assert [picked[i] for i in range(2)] == [40, 40]
    assert [picked[i] for i in range(2, 10)] == [10] * 8


def test_few_virtual_patients_come_as_often_as_real_ones():
    picked = Counter(counted(cases_of(9, 1), range(100)))
    assert set(picked.values()) == {10}


def test_who_comes_instead_is_the_next_case():
    source = PatchStream(cases_of(4), config())
    assert [(source.pick(7, attempt) - source.pick(7)) % 4 for attempt in range(4)] == [0, 1, 2, 3]


@pytest.fixture
def draws(monkeypatch) -> list[tuple[str, int, int]]:
    """Case, severity and draw of every twin made; making one takes no time."""
    made: list[tuple[str, int, int]] = []

    def note(case: TrainingCase, severity: int, seed: int, draw: int, cause: str) -> Twin:
        assert (seed, cause) == (5, "motion")
        made.append((case.case_id, severity, draw))
        return Twin(case, severity, case.images.half(), case.images.half())

    monkeypatch.setattr(stream, "make_twin", note)
    return made


def test_severities_come_as_often_as_they_are_named(draws):
    source = PatchStream(cases_of(3), config(severities=(0, 2, 2, 4)))
    for n in range(800):
        source._draw(n)
    found = Counter(severity for _, severity, _ in draws)
    assert set(found) == {0, 2, 4}
    assert 340 < found[2] < 460
    assert 150 < found[0] < 250


def test_what_spoils_images_comes_as_often_as_it_is_named(monkeypatch):
    causes: Counter[str] = Counter()

    def note(case: TrainingCase, severity: int, seed: int, draw: int, cause: str) -> Twin:
        causes[cause] += 1
        return Twin(case, severity, case.images.half(), case.images.half())

    monkeypatch.setattr(stream, "make_twin", note)
    source = PatchStream(cases_of(3), config(degrade=("motion", "motion", "noise", "bias")))
    for n in range(800):
        source._draw(n)
    assert set(causes) == {"motion", "noise", "bias"}
    assert 340 < causes["motion"] < 460
    assert 150 < causes["noise"] < 250


@pytest.mark.parametrize("fresh", [True, False])
def test_motion_is_fresh_every_time_or_one_for_each_case(draws, fresh):
    patches(range(12), pool=2, patches_per_twin=1, fresh_motion=fresh)
    assert len(draws) == 24
    assert len({draw for _, _, draw in draws}) == (24 if fresh else 1)
    assert {draw for _, _, draw in draws} == (set(range(24)) if fresh else {0})


def test_frozen_motion_is_the_same_when_a_case_comes_again():
    source = PatchStream(cases_of(1), config(severities=(2,), fresh_motion=False))
    first, again = source._draw(0), source._draw(17)
    assert torch.equal(first.corrupted, again.corrupted)
    fresh = PatchStream(cases_of(1), config(severities=(2,)))
    assert not torch.equal(fresh._draw(0).corrupted, fresh._draw(17).corrupted)


def test_names_tell_case_and_severity():
    (patch,) = patches(range(1), cases_of(1), severities=(2,))
    assert patch.names == ("r0 (S2)", "r0 (S2)")


def test_a_case_that_breaks_hands_over_to_the_next_and_the_others_go_on():
    said: list[str] = []
    torn: set[str] = set()

    def read(name: str) -> Callable[[], TrainingCase]:
        def reader() -> TrainingCase:
            if name in torn:
                raise InputError("torn")
            return dataclasses.replace(NOISE, case_id=name)

        return reader

    names = ["a", "b", "c"]
    cases = Cases([read(name) for name in names], names, [True] * 3, CPU, residence="disk", on_fault=said.append)
    source = PatchStream(cases, config(severities=(0,), patches_per_twin=1, pool=2))
    before = {name for step in range(6) for name in source.parts(step, [[0, 1]])[0].names}
    assert before == {"a (S0)", "b (S0)", "c (S0)"}
    torn.add("b")
    after = {name for step in range(6, 12) for name in source.parts(step, [[0, 1]])[0].names}
    assert after == {"a (S0)", "c (S0)"}
    assert (said, cases.failed) == (["b is left out: torn"], ["b"])
    torn |= {"a", "c"}
    with pytest.raises(InputError, match="no training case can be used any more") as fault:
        source.parts(20, [[0, 1]])
    assert fault.value.code == "no-cases"


# Making ahead


class Made:
    """A stream that gives numbers, breaks at a step, and can be held up."""

    def __init__(self, breaks_at: int | None = None, takes_s: float = 0.0) -> None:
        self.breaks_at, self.takes_s, self.made = breaks_at, takes_s, 0

    def parts(self, step: int, places: object) -> list[int]:
        time.sleep(self.takes_s)
        if step == self.breaks_at:
            raise InputError("torn", code="no-cases")
        self.made += 1
        return [step]


def patiently(reached: Callable[[], bool]) -> None:
    """Wait for another thread, for ten seconds at most."""
    end = time.monotonic() + 10
    while not reached() and time.monotonic() < end:
        time.sleep(0.005)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "patches"}


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_patches_made_ahead_are_the_same(depth):
    expected = patches(range(3, 9))
    ahead = Prefetched(PatchStream(cases_of(2), config()), [[0], [1]], 3, depth, CPU)
    try:
        for whole in expected:
            parts = ahead.next()
            assert [part.names[0] for part in parts] == list(whole.names)
            for i, part in enumerate(parts):
                assert torch.equal(part.corrupted[0], whole.corrupted[i])
                assert torch.equal(part.sharp[0], whole.sharp[i])
                assert torch.equal(part.regions[0], whole.regions[i])
    finally:
        ahead.close()


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_a_fault_reaches_who_wants_the_patches_and_not_before(depth):
    ahead = Prefetched(Made(breaks_at=2), [], 0, depth, CPU)
    assert [ahead.next(), ahead.next()] == [[0], [1]]
    with pytest.raises(InputError, match="torn"):
        ahead.next()
    ahead.close()
    assert not threads()


@pytest.mark.parametrize("wanted", [0, 1, 5])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_closing_ends_the_thread_wherever_it_is(depth, wanted):
    ahead = Prefetched(Made(takes_s=0.01), [], 0, depth, CPU)
    assert len(threads()) == bool(depth)
    assert [ahead.next() for _ in range(wanted)] == [[step] for step in range(wanted)]
    ahead.close()
    assert not threads()
    ahead.close()


def test_no_more_is_made_ahead_than_asked_for():
    source = Made()
    ahead = Prefetched(source, [], 0, 3, CPU)
    for taken in range(3):
        expected = taken + 4  # three lie ready, a fourth is in hand
        patiently(lambda expected=expected: source.made >= expected)
        time.sleep(0.05)
        assert source.made == expected
        ahead.next()
    ahead.close()


def test_waiting_is_what_the_caller_waits():
    alone = Prefetched(Made(takes_s=0.05), [], 0, 0, CPU)
    for _ in range(4):
        alone.next()
    assert alone.waited_s >= 0.2
    source = Made(takes_s=0.05)
    ahead = Prefetched(source, [], 0, 4, CPU)
    patiently(lambda: source.made >= 5)
    for _ in range(4):
        ahead.next()
    assert ahead.waited_s < 0.1
    ahead.close()


def test_patches_anywhere_are_anywhere_with_equal_chance():
    """Drawn over the whole volume and then pushed inwards, patches would stick to its faces."""
    label = np.zeros((64, 72, 96), dtype=np.uint8)
    label[30:40, 30:40, 30:40] = 4
    images = np.random.default_rng(0).uniform(10, 500, (4, *label.shape)).astype(np.float32)
    twin = make_twin(training_case("box", images, label, np.diag([-1.0, -1.0, 1.0, 1.0]), True), 0, seed=0, draw=0)
    room = torch.tensor(label.shape) - 32
    corners = torch.stack([_center(twin, 32, generator_of(7, n), tumour_share=0.0) for n in range(600)]) - 16
    assert (corners >= 0).all()
    assert (corners <= room).all()
    for axis in range(3):
        for quarter in range(4):
            inside = (corners[:, axis] / room[axis] * 4).floor() == quarter
            assert inside.float().mean() == pytest.approx(0.25, abs=0.06)
