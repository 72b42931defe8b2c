"""Scores and thresholds of validation, against masks counted by hand and the way segmentation itself decides."""

from __future__ import annotations

import pickle
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from DABSegCore.errors import InputError
from DABSegCore.inference import Inferred, Plan
from DABSegCore.labels import REGIONS, regions_from_labels
from DABSegCore.metrics import dice, psnr
from DABSegCore.pipeline import decide
from DABSegCore.training import validation
from DABSegCore.training.validation import (
    ET_MIN_ML,
    THRESHOLDS,
    Score,
    mean_dice,
    mean_restored,
    score_twin,
    summarise,
    tune,
)

CPU = torch.device("cpu")
USUAL = dict.fromkeys(REGIONS, 0.5)
EDGE = 14  # 2744 voxels, so that the largest volume in question, 1 ml, is a part of it


class Copier(nn.Module):
    """Says what its input holds: t1, t1ce and t2 are the probabilities, and restoration halves every intensity."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((1, 1, 2, 2, 2), 0.5))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> SimpleNamespace:
        assert not self.training
        self.shapes.append(tuple(image.shape[2:]))
        return SimpleNamespace(logits=torch.logit(image[:, :3], 1e-6), restored=image * self.factor[0, 0, 0, 0, 0])


def a_twin(seed: int = 0, *, real: bool = True, severity: int = 2, case_id: str = "") -> SimpleNamespace:
    """A twin of noise with a brain and nested tumour regions, each off centre and filled by halves."""
    generator = np.random.default_rng(seed)
    label = np.zeros((EDGE,) * 3, np.uint8)
    for value, edge in ((2, 11), (1, 9), (4, 7)):
        label[1:edge, 2:edge, 2:edge] = value
    label[generator.random(label.shape) < 0.3] = 0
    brain = np.zeros(label.shape, bool)
    brain[1:-1, 1:-1, 1:-1] = True
    corrupted = generator.random((4, *label.shape)) * brain
    sharp = (corrupted + 0.1 * generator.standard_normal(corrupted.shape)).clip(0, 1) * brain
    regions = torch.from_numpy(regions_from_labels(label))
    case = SimpleNamespace(case_id=case_id or f"case_{seed}", real=real, regions=regions, brain=torch.from_numpy(brain))
    return SimpleNamespace(
        case=case,
        severity=severity,
        corrupted=torch.from_numpy(corrupted).half(),
        sharp=torch.from_numpy(sharp).half(),
    )


def nested_probabilities(twin: SimpleNamespace, seed: int) -> np.ndarray:
    """Probabilities that find the tumour, with errors; sure of TC wherever ET is in question, and so on outwards.

    Thresholds then cannot contradict the nesting of regions, whichever they are.
    """
    generator = np.random.default_rng(seed)
    regions = twin.case.regions.numpy()
    inside, outside = (generator.beta(a, b, regions.shape) for a, b in ((1 + seed % 5, 2), (1, 2 + seed // 3)))
    said = np.where(regions, inside, outside)
    said *= generator.random(said.shape) < (0.12, 0.5, 0.8)[seed % 3]  # a small ET, too
    for inner, outer in ((0, 1), (1, 2)):
        said[outer][said[inner] >= THRESHOLDS[0]] = 1.0
    return said.astype(np.float32)


def answering(monkeypatch, *answers: np.ndarray, restored: torch.Tensor | None = None) -> None:
    """Let the network answer with these probabilities, one call after the other."""
    turns = iter(answers)

    def infer(model: object, image: torch.Tensor, **kwargs: object) -> Inferred:
        back = torch.zeros_like(image) if restored is None else restored
        return Inferred(torch.from_numpy(next(turns)), back, Plan(CPU, None, 1, CPU), "float32")

    monkeypatch.setattr(validation, "infer", infer)


def scored(twin: SimpleNamespace, **kwargs: object) -> Score:
    return score_twin(Copier(), twin, device=CPU, window=32, **kwargs)


def a_score(kind: str, severity: int, case_id: str, et: int, db: tuple[float, float] = (20.0, 21.0)) -> Score:
    """A score whose ET overlaps in `et` of 100 voxels, TC and WT in all of theirs, at every threshold."""
    overlap = np.tile(np.array([[et], [100], [100]]), (1, len(THRESHOLDS)))
    return Score(case_id, kind, severity, overlap, np.full(overlap.shape, 100), np.full(3, 100), *db)


def a_cohort(seed: int) -> tuple[list[SimpleNamespace], list[np.ndarray]]:
    """Five twins and what a network might say of them; some have no ET, where it is sure of a few voxels of it."""
    twins = [a_twin(10 * seed + i) for i in range(5)]
    answers = [nested_probabilities(twin, 3 * seed + i) for i, twin in enumerate(twins)]
    for twin, probabilities in zip(twins[3 - seed % 3 :], answers[3 - seed % 3 :], strict=True):
        twin.case.regions[0] = False
        probabilities[0] = 0
        probabilities[:, 2 : 2 + seed, 2:8, 2:8] = 0.95
    return twins, answers


def test_counts_are_those_of_masks_compared_one_by_one(monkeypatch):
    twin = a_twin()
    probabilities = np.random.default_rng(1).random((3, EDGE, EDGE, EDGE), dtype=np.float32)
    answering(monkeypatch, probabilities)
    score = scored(twin)
    brain, regions = twin.case.brain.numpy(), twin.case.regions.numpy()
    for r in range(3):
        assert score.reference[r] == regions[r].sum()
        for t, threshold in enumerate(THRESHOLDS):
            mask = (probabilities[r] >= threshold) & brain
            assert score.predicted[r, t] == mask.sum()
            assert score.overlap[r, t] == (mask & regions[r]).sum()
        assert score.dice[r] == dice((probabilities[r] >= 0.5) & brain, regions[r])
    assert (score.case_id, score.kind, score.severity, score.view) == ("case_0", "real", 2, None)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_probability_on_the_threshold_counts_as_in_segmentation(monkeypatch, threshold):
    twin = a_twin()
    twin.case.regions[:, 5, 5, 5:8] = torch.tensor([True, False, True])
    exactly = np.float32(threshold)
    below = np.nextafter(exactly, np.float32(0))
    probabilities = np.full((3, EDGE, EDGE, EDGE), below)
    probabilities[:, 5, 5, 5:8] = exactly
    answering(monkeypatch, probabilities)
    score = scored(twin)
    label = decide(probabilities * twin.case.brain.numpy(), dict.fromkeys(REGIONS, threshold), 0.001)
    assert score.predicted[:, THRESHOLDS.index(threshold)].tolist() == [3, 3, 3]
    assert score.overlap[:, THRESHOLDS.index(threshold)].tolist() == [2, 2, 2]
    assert regions_from_labels(label).sum((1, 2, 3)).tolist() == [3, 3, 3]


def test_what_is_said_outside_the_brain_does_not_count_but_a_tumour_there_is_missed(monkeypatch):
    twin = a_twin()
    twin.case.regions[:, 0, 0, 0] = True
    answering(monkeypatch, np.ones((3, EDGE, EDGE, EDGE), np.float32))
    score = scored(twin)
    assert (score.predicted == (EDGE - 2) ** 3).all()
    assert (score.overlap == score.reference[:, None] - 1).all()


def test_dice_of_empty_masks_is_one_and_of_one_empty_mask_is_zero(monkeypatch):
    twin = a_twin()
    twin.case.regions[0] = False
    probabilities = np.zeros((3, EDGE, EDGE, EDGE), np.float32)
    probabilities[2, 5, 5, 5] = 1
    twin.case.regions[2] = False
    twin.case.regions[2, 5, 5, 5] = True
    answering(monkeypatch, probabilities)
    assert scored(twin).dice.tolist() == [1, 0, 1]


def test_the_network_works_in_windows_and_its_restoration_is_measured_in_the_brain():
    twin, model, events = a_twin(), Copier(), []
    score = score_twin(model, twin, device=CPU, window=8, autocast="off", on_event=events.append)
    assert set(model.shapes) == {(8, 8, 8)}
    assert len(model.shapes) == 27  # edges of 14 voxels, windows of 8 that overlap by half
    assert events == []
    brain = twin.case.brain.numpy()
    volumes = [v.float().numpy() for v in (twin.corrupted, twin.corrupted.float() / 2)]
    sharp = twin.sharp.float().numpy()
    before, after = (np.mean([psnr(v[m], sharp[m], brain) for m in range(4)]) for v in volumes)
    assert score.psnr_corrupted == pytest.approx(before)
    assert score.psnr_restored == pytest.approx(after, abs=1e-3)
    assert after < before - 5
    certain = (twin.corrupted[:3].float().numpy() - 0.5 > 1e-3).sum((1, 2, 3))
    perhaps = (twin.corrupted[:3].float().numpy() - 0.5 > -1e-3).sum((1, 2, 3))
    said = score.predicted[:, THRESHOLDS.index(0.5)]
    assert (certain <= said).all()
    assert (said <= perhaps).all()


def test_restored_intensities_are_clipped_as_they_are_written_and_equal_volumes_are_capped(monkeypatch):
    twin = a_twin()
    twin.sharp.fill_(1.0)
    answering(monkeypatch, np.zeros((3, EDGE, EDGE, EDGE), np.float32), restored=torch.full((4, EDGE, EDGE, EDGE), 7.0))
    assert scored(twin).psnr_restored == validation.MOST_DB == 60


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_left_as_it_was(training):
    model = Copier().train(training)
    model.factor.data = model.factor.data.contiguous(memory_format=torch.channels_last_3d)
    parameter, address, strides = model.factor, model.factor.data_ptr(), model.factor.stride()
    score_twin(model, a_twin(), device=CPU, window=32)
    assert model.factor is parameter
    assert (model.factor.data_ptr(), model.factor.stride()) == (address, strides)
    assert model.training is training
    assert model.factor.requires_grad


def test_a_fallen_network_is_named_with_its_case_and_left_as_it_was():
    model = Copier()
    model.factor.data.fill_(float("nan"))
    with pytest.raises(InputError, match="validation of Patient_7 at severity 2 failed: .*NaN") as caught:
        score_twin(model, a_twin(case_id="Patient_7"), device=CPU, window=32)
    assert caught.value.code == "not-finite"
    assert model.training


def test_a_view_is_the_slice_of_the_largest_enhancing_tumour_and_keeps_no_volume_alive(monkeypatch):
    twin = a_twin()
    twin.case.regions[0, 4] = twin.case.regions[1, 4]
    twin.case.regions[0, 4, :9, :9] = True
    probabilities = nested_probabilities(twin, 1)
    probabilities[:, :, 0, 0] = 1  # outside the brain
    answering(monkeypatch, probabilities, restored=twin.corrupted.float() + 0.4)
    view = scored(twin, keep_view=True).view
    brain = twin.case.brain.numpy()[4]
    assert np.array_equal(view.corrupted, twin.corrupted[:, 4].float().numpy())
    assert np.array_equal(view.sharp, twin.sharp[:, 4].float().numpy())
    assert np.array_equal(view.restored, ((twin.corrupted[:, 4].float() + 0.4).clamp(0, 1).numpy() * brain))
    assert np.array_equal(view.predicted, (probabilities[:, 4] >= 0.5) & brain)
    assert np.array_equal(view.reference, twin.case.regions[:, 4].numpy())
    assert [array.dtype for array in view] == [np.float32] * 3 + [bool] * 2
    for array in view:
        assert (array if array.base is None else array.base).size == array.size


def test_scores_travel_between_processes(monkeypatch):
    twin = a_twin()
    answering(monkeypatch, nested_probabilities(twin, 2), nested_probabilities(twin, 2))
    assert len(pickle.dumps(scored(twin))) < 3000
    score = scored(twin, keep_view=True)
    back = pickle.loads(pickle.dumps(score))
    assert np.array_equal(back.overlap, score.overlap)
    assert np.array_equal(back.view.reference, score.view.reference)
    assert mean_dice([back]) == mean_dice([score])


def test_a_summary_has_a_row_for_every_kind_and_severity():
    scores = [
        a_score("virtual", 2, "v", 10, (30.0, 29.0)),
        a_score("real", 2, "b", 20, (20.0, 24.0)),
        a_score("real", 0, "a", 60),
        a_score("real", 2, "a", 40, (22.0, 21.0)),
    ]
    rows = summarise(scores)
    assert [(row["kind"], row["severity"], row["cases"], row["nearer"]) for row in rows] == [
        ("real", 0, 1, 1),
        ("real", 2, 2, 1),
        ("virtual", 2, 1, 0),
    ]
    assert [row["ET"] for row in rows] == pytest.approx([0.6, 0.3, 0.1])
    assert rows[1] == {
        "kind": "real",
        "severity": 2,
        "cases": 2,
        "ET": pytest.approx(0.3),
        "TC": 1.0,
        "WT": 1.0,
        "psnr_corrupted": 21.0,
        "psnr_restored": 22.5,
        "nearer": 1,
    }
    assert {type(value) for row in rows for value in row.values()} == {str, int, float}
    assert summarise([]) == []


def test_the_criterion_counts_real_cases_and_every_severity_the_same():
    real = [a_score("real", 0, "a", 90), a_score("real", 0, "b", 30), a_score("real", 2, "a", 0)]
    virtual = [a_score("virtual", 0, "v", 12)]
    mild, severe = (0.6 + 2) / 3, 2 / 3
    assert mean_dice(real) == pytest.approx((mild + severe) / 2)
    assert mean_dice(virtual + real) == mean_dice(real)
    assert mean_dice(virtual) == pytest.approx((0.12 + 2) / 3)


def test_what_a_restorer_is_chosen_by_is_the_mean_error_of_real_cases_not_of_decibels():
    real = [a_score("real", 0, "a", 0, (60.0, 60.0)), a_score("real", 2, "a", 0, (20.0, 20.0))]
    assert mean_restored(real) == pytest.approx(-10 * np.log10((1e-6 + 1e-2) / 2))
    better = [a_score("real", 0, "a", 0, (60.0, 40.0)), a_score("real", 2, "a", 0, (20.0, 22.0))]
    assert mean_restored([*better, a_score("virtual", 2, "v", 0, (9.0, 9.0))]) > mean_restored(real)


def test_the_criterion_does_not_depend_on_who_scored_what():
    generator = np.random.default_rng(4)
    scores = [a_score("real", i % 2, f"case_{i}", int(generator.integers(101))) for i in range(60)]
    orders = [[scores[i] for i in generator.permutation(60)] for _ in range(20)]
    assert len({mean_dice(order) for order in orders}) == 1
    assert len({str(tune(order)) for order in orders}) == 1


def test_nothing_to_decide_by_is_our_mistake():
    for decision in (mean_dice, tune):
        with pytest.raises(ValueError, match="no scores"):
            decision([])


def dice_as_decided(twins, answers, thresholds, et_min_ml) -> np.ndarray:
    """Dice [cases, R] of what segmentation makes of these probabilities: the slow, obvious way."""
    every = []
    for twin, probabilities in zip(twins, answers, strict=True):
        label = decide(probabilities * twin.case.brain.numpy(), thresholds, 0.001, et_min_ml)
        masks = regions_from_labels(label)
        every.append([dice(mask, truth) for mask, truth in zip(masks, twin.case.regions.numpy(), strict=True)])
    return np.array(every)


def worth_it(tried: dict[float, np.ndarray], usual: float) -> float:
    """The best key by the mean over cases, unless its gain is small or no larger than its standard error."""
    best = max(tried, key=lambda key: tried[key].mean())
    gain = tried[best] - tried[usual]
    error = statistics.stdev(gain.tolist()) / len(gain) ** 0.5
    return best if gain.mean() >= 0.002 and gain.mean() > 1.000001 * error else usual


@pytest.mark.parametrize("seed", range(6))
def test_tuning_finds_what_trying_everything_on_the_probabilities_finds(monkeypatch, seed):
    twins, answers = a_cohort(seed)
    answering(monkeypatch, *answers)
    decision = tune([scored(twin) for twin in twins])

    thresholds = {}
    for r, region in enumerate(REGIONS):
        tried = {t: dice_as_decided(twins, answers, USUAL | {region: t}, 0.0)[:, r] for t in THRESHOLDS}
        thresholds[region] = worth_it(tried, 0.5)
    et_min_ml = worth_it({ml: dice_as_decided(twins, answers, thresholds, ml)[:, 0] for ml in ET_MIN_ML}, 0.0)

    assert decision.thresholds == thresholds
    assert decision.et_min_ml == et_min_ml
    assert decision.dice_before == pytest.approx(dice_as_decided(twins, answers, USUAL, 0.0).mean(), abs=1e-12)
    assert decision.dice_after == pytest.approx(
        dice_as_decided(twins, answers, thresholds, et_min_ml).mean(), abs=1e-12
    )
    assert decision.dice_after >= decision.dice_before


def test_the_cohorts_above_ask_for_more_than_the_usual(monkeypatch):
    """Else the comparison would pass for a tuner that never chooses."""
    chosen = []
    for seed in range(6):
        twins, answers = a_cohort(seed)
        answering(monkeypatch, *answers)
        chosen.append(tune([scored(twin) for twin in twins]))
    assert len({d.et_min_ml for d in chosen}) > 2
    assert len({t for d in chosen for t in d.thresholds.values()}) > 2


def test_where_regions_contradict_each_other_et_is_still_exact(monkeypatch):
    """And the other regions hold at least what their own threshold gives: segmentation nests them."""
    twins = [a_twin(i) for i in range(3)]
    answers = [np.random.default_rng(i).random((3, EDGE, EDGE, EDGE), dtype=np.float32) for i in range(3)]
    answering(monkeypatch, *answers)
    for twin, probabilities, score in zip(twins, answers, [scored(twin) for twin in twins], strict=True):
        masks = regions_from_labels(decide(probabilities * twin.case.brain.numpy(), USUAL, 0.001))
        assert masks[0].sum() == score.predicted[0, THRESHOLDS.index(0.5)]
        assert (masks[1:].sum((1, 2, 3)) > score.predicted[1:, THRESHOLDS.index(0.5)]).all()


def one_region(score: Score, region: int, dice_by_threshold: list[float]) -> Score:
    """The score with these Dice values, in thousandths, for a region of 1000 voxels of which as many are predicted."""
    overlap, predicted, reference = (array.copy() for array in (score.overlap, score.predicted, score.reference))
    overlap[region] = np.round(1000 * np.array(dice_by_threshold))
    predicted[region], reference[region] = 1000, 1000
    return Score(score.case_id, score.kind, score.severity, overlap, predicted, reference, 20.0, 20.0)


@pytest.mark.parametrize(
    ("dice_by_threshold", "chosen"),
    [
        ([0.5, 0.5, 0.501, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 0.5),  # too little to gain
        ([0.5, 0.5, 0.503, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 0.3),
        ([0.9, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9], 0.3),  # the nearest of equals
        ([0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5], 0.2),  # the lower of two as near
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 0.9),
    ],
)
def test_the_usual_threshold_stays_unless_another_gains_enough(dice_by_threshold, chosen):
    decision = tune([one_region(a_score("real", 0, c, 50), REGIONS.index("WT"), dice_by_threshold) for c in "ab"])
    assert decision.thresholds == {"ET": 0.5, "TC": 0.5, "WT": chosen}
    assert decision.et_min_ml == 0


def false_alarm(case_id: str, voxels: int) -> Score:
    """A case without ET in which the network sees some, and all is well otherwise."""
    score = a_score("real", 0, case_id, 0)
    score.predicted[0], score.reference[0] = voxels, 0
    return score


def test_the_smallest_volume_that_ends_the_false_alarms_is_chosen():
    found = a_score("real", 0, "found", 100)  # 0.1 ml, which must stay above the bound
    alarms = [false_alarm(name, 24) for name in ("one", "two", "three")]
    decision = tune([*alarms, found])
    assert decision.et_min_ml == 0.025
    assert decision.dice_before == pytest.approx((1 / 4 + 2) / 3)
    assert decision.dice_after == 1
    assert tune([*alarms, false_alarm("more", 25), found]).et_min_ml == 0.05  # 0.025 ml is not below 0.025 ml
    assert tune([false_alarm("alarm", 100), found]).et_min_ml == 0  # it would cost as much as it gains


def test_one_odd_case_does_not_decide():
    """Gains 0.4 and -0.1: mean 0.15, standard error 0.25. With 0.4 and 0.1 they are 0.25 and 0.15."""
    wt = REGIONS.index("WT")
    odd = one_region(a_score("real", 0, "odd", 50), wt, [0.1] * 4 + [0.5, 0.1, 0.1, 0.9, 0.1])
    loses = one_region(a_score("real", 0, "loses", 50), wt, [0.1] * 4 + [0.5, 0.1, 0.1, 0.4, 0.1])
    gains = one_region(a_score("real", 0, "gains", 50), wt, [0.1] * 4 + [0.5, 0.1, 0.1, 0.6, 0.1])
    assert tune([odd, loses]).thresholds["WT"] == 0.5
    assert tune([odd, gains]).thresholds["WT"] == 0.8
    assert tune([odd]).thresholds["WT"] == 0.5


def test_only_real_cases_decide_where_there_are_any():
    virtual = [one_region(a_score("virtual", 0, c, 100), 2, [0.9, *[0.1] * 8]) for c in "ab"]
    real = [one_region(a_score("real", 0, c, 100), 2, [*[0.1] * 8, 0.9]) for c in "ab"]
    assert tune([*virtual, *real]).thresholds["WT"] == 0.9
    assert tune(virtual).thresholds["WT"] == 0.1
