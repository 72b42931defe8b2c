from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore import pipeline, quality, segment
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.metrics import dice
from DABSegCore.motion import corrupt_case
from DABSegCore.pipeline import Engine, Notebook, Options, decide, stability
from DABSegCore.preprocess import prepare
from DABSegCore.progress import Progress
from DABSegCore.quality import REVIEW_MOTION, assess, is_sound, motion_index, row, sentence
from DABSegCore.report import read_report, summary_row

ALIKE = dict.fromkeys(MODALITIES, 0.0)
FOUND = {"ET": 1.0, "TC": 2.0, "WT": 3.0}


def blobs(seed: int = 0, edge: int = 44, width: float = 3) -> np.ndarray:
    """Smooth structures [edge, edge, edge] in [0, 1]."""
    from scipy import ndimage

    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(edge,) * 3), width)
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def brain_of(image: np.ndarray) -> np.ndarray:
    """All but a rim of two voxels."""
    brain = np.zeros(image.shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    return brain


def slow_index(image: np.ndarray, brain: np.ndarray) -> dict[str, float]:
    """The definition, one voxel at a time."""
    d, h, w = (edge // 2 for edge in brain.shape)
    blocks = [
        (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2), slice(2 * k, 2 * k + 2))
        for i in range(d)
        for j in range(h)
        for k in range(w)
    ]
    half = [np.array([x[block].mean() for block in blocks]).reshape(d, h, w) for x in image]
    full = np.array([brain[block].all() for block in blocks]).reshape(d, h, w)
    around = np.pad(full, 2)
    strength = [[] for _ in image]
    for i, j, k in zip(*np.nonzero(full), strict=True):
        if not around[i : i + 5, j : j + 5, k : k + 5].all():
            continue
        for x, values in zip(half, strength, strict=True):
            slopes = x[i + 1, j, k] - x[i - 1, j, k], x[i, j + 1, k] - x[i, j - 1, k], x[i, j, k + 1] - x[i, j, k - 1]
            values.append(sum(slope**2 for slope in slopes) ** 0.5 / 2)
    logs = [np.log(np.array(values) / np.mean(values) + 0.2) for values in strength]
    others = range(len(image))
    return {
        m: 1 - max(float(np.corrcoef(logs[a], logs[b])[0, 1]) for b in others if b != a)
        for a, m in enumerate(MODALITIES)
    }


def test_the_index_is_what_the_definition_says() -> None:
    one, two, three, four = (blobs(seed, 34) for seed in range(4))
    image = np.stack([one, one + 0.3 * two, three, three * four])
    brain = brain_of(image[0])
    assert motion_index(image, brain) == pytest.approx(slow_index(image, brain), abs=2e-4)


def test_contrast_and_units_do_not_matter_but_the_place_of_edges_does() -> None:
    image = blobs()
    moved = np.roll(image, (5, 5, 0), (0, 1, 2))
    index = motion_index(np.stack([image, 1 - image, 0.1 * image + 0.5, moved]), brain_of(image))
    assert all(index[m] == pytest.approx(0, abs=1e-3) for m in ("t1", "t1ce", "t2"))
    assert index["flair"] > 0.7
    pair = motion_index(np.stack([image, moved, image, moved]), brain_of(image))
    assert max(pair.values()) == pytest.approx(0, abs=1e-3)  # the best match counts, not the mean of all


def test_where_nothing_can_be_compared_there_is_no_index() -> None:
    image = blobs()
    nothing = np.zeros_like(image)
    one_flat = motion_index(np.stack([image, image, nothing, image]), brain_of(image))
    assert one_flat["t2"] is None
    assert [one_flat[m] for m in ("t1", "t1ce", "flair")] == pytest.approx([0, 0, 0], abs=1e-6)
    unknown = dict.fromkeys(MODALITIES)
    assert motion_index(np.stack([image, nothing, nothing, nothing]), brain_of(image)) == unknown
    assert motion_index(np.stack([image] * 4)[:, :20, :20, :20], brain_of(image[:20, :20, :20])) == unknown
    assert motion_index(np.ones((4, 1, 3, 2), np.float32), np.ones((1, 3, 2), bool)) == unknown
    assert assess(unknown, None, FOUND)["review"] is False


def test_the_index_rises_with_motion() -> None:
    image = blobs(width=1.5)
    brain = brain_of(image)
    images = torch.from_numpy(np.stack([image, 1 - image, image**2, np.sqrt(image)]) * brain)
    moved = [corrupt_case(images, (2.0,) * 3, severity, "a")[0].numpy() for severity in (0, 2, 4)]
    means = [np.mean(list(motion_index(twin, brain).values())) for twin in moved]
    assert means[0] + 0.05 < means[1] < means[2] - 0.5


def test_a_case_is_to_be_looked_at_from_the_bound_on_or_where_nothing_was_found() -> None:
    same = dict.fromkeys(REGIONS, 1.0)
    good = assess(ALIKE, same, FOUND)
    assert good == {"stability": same, "motion": ALIKE, "review": False, "reasons": []}
    assert not assess(dict.fromkeys(MODALITIES, REVIEW_MOTION - 0.01), None, FOUND)["review"]
    moved = assess({**ALIKE, "t1ce": REVIEW_MOTION}, None, FOUND)  # one is enough
    assert moved["review"]
    assert sentence(moved).startswith("look at this case")
    assert f"t1ce {REVIEW_MOTION:.2f};" in sentence(moved)
    assert assess(ALIKE, None, {**FOUND, "WT": 0.0})["reasons"] == ["no tumour was found"]
    both = assess({**ALIKE, "t2": 1.0}, None, {**FOUND, "WT": 0.0})
    assert len(both["reasons"]) == 2
    json.dumps(both, allow_nan=False)


def test_a_table_has_a_column_for_all_that_a_report_may_say() -> None:
    full = row(assess(ALIKE, dict.fromkeys(REGIONS, 0.9), {**FOUND, "WT": 0.0}))
    assert tuple(full) == quality.COLUMNS
    assert full["review"] == "yes"
    assert full["stability_WT"] == 0.9
    assert row(assess(ALIKE, None, FOUND)) == {"review": "no", **{f"motion_{m}": 0.0 for m in MODALITIES}}
    assert row(None) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"motion": {"t1": 0.1}},
        {"motion": {**ALIKE, "t1": float("nan")}},
        {"stability": {"ET": 1.0}},
        {"stability": dict.fromkeys(REGIONS, float("inf"))},
        {"review": "no"},
        {"reasons": "none"},
    ],
)
def test_an_odd_quality_is_none(change: dict) -> None:
    sound = assess(ALIKE, dict.fromkeys(REGIONS, 1.0), FOUND)
    assert is_sound(sound)
    assert is_sound(None)  # an older report
    assert not is_sound(sound | change)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the network is asked, and what it answers, in place of a network: the first of the list that is left."""
    told: list[SimpleNamespace] = []

    def infer(_model: object, image: torch.Tensor, **_: object) -> SimpleNamespace:
        answer = next(answer for answer in told if answer.asked is None)
        answer.asked = image.numpy()
        return answer

    monkeypatch.setattr(pipeline, "infer", infer)
    return told


def answer(probabilities: np.ndarray, restored: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(
        probabilities=torch.from_numpy(probabilities), restored=torch.from_numpy(restored), asked=None
    )


@pytest.fixture
def engine() -> Engine:
    meta = {"thresholds": dict.fromkeys(REGIONS, 0.5), "et_min_ml": 0.01}
    return Engine(torch.nn.Identity(), meta, {}, torch.device("cpu"), Progress("quiet"))


def test_stability_is_the_dice_of_two_answers_of_which_the_second_is_to_the_restored_images(
    answers: list[SimpleNamespace], engine: Engine
) -> None:
    prepared = prepare(tiny_patient()[0], AFFINE)
    shape, generator = prepared.grid.shape, np.random.default_rng(5)
    first, second = (generator.random((3, *shape), np.float32) for _ in range(2))
    restored = generator.normal(0.5, 1.0, (4, *shape)).astype(np.float32)
    answers.append(answer(second, restored))
    found = stability(prepared, answer(first, restored), None, engine, Options(), Notebook(engine.progress))
    np.testing.assert_array_equal(answers[0].asked, np.clip(restored, 0, 1) * prepared.brain)
    maps = [decide(p * prepared.brain, engine.meta["thresholds"], 1e-3, 0.01) for p in (first, second)]
    pairs = zip(REGIONS, *map(regions_from_labels, maps), strict=True)
    assert found == pytest.approx({region: dice(a, b) for region, a, b in pairs}, abs=1e-4)
    assert 0.2 < found["WT"] < 0.95


def test_stability_of_a_part_counts_within_it_alone(answers: list[SimpleNamespace], engine: Engine) -> None:
    prepared = prepare(tiny_patient()[0], AFFINE)
    part = pipeline.part_of(prepared, (14, 20, 20, 30, 16, 26))
    shape = tuple(side.stop - side.start for side in part.around)
    inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part.inside, part.around, strict=True))
    first, images = np.zeros((3, *shape), np.float32), np.ones((4, *shape), np.float32)
    first[(slice(None), *inside)] = 1
    second = np.ones_like(first)  # differs from the first in the context of the part alone
    answers.append(answer(second, images))
    args = part, engine, Options(), Notebook(engine.progress)
    assert stability(prepared, answer(first, images), *args) == dict.fromkeys(REGIONS, 1.0)
    assert answers[0].asked.shape == (4, *shape)
    assert shape != tuple(side.stop - side.start for side in part.inside)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return write_case(tmp_path / "cases" / "a", "a", *tiny_patient(), AFFINE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", thresholds={"WT": 0.45})


def test_segment_asks_twice_where_it_is_told_to_and_reports_it(
    case: Path, tmp_path: Path, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["--case", str(case), "--out", str(out), "--weights", str(weights), "--no-picture", "--progress", "json"]

    def stages() -> list[str]:
        events = map(json.loads, capfd.readouterr().out.splitlines())
        return [event["stage"] for event in events if event["event"] == "stage"]

    assert segment.main([*command, "--stability"]) == 0
    assert stages() == ["weights", "read", "prepare", "network", "write", "stability"]
    report = read_report(out / "a_report.json")
    assert set(report["quality"]["stability"]) == set(REGIONS)
    assert all(0 <= value <= 1 for value in report["quality"]["stability"].values())
    assert report["timings_s"]["quality"] > 0
    assert segment.main([*command, "--no-stability"]) == 0
    assert "stability" not in stages()
    assert read_report(out / "a_report.json")["quality"]["stability"] is None


def test_a_case_to_be_looked_at_is_told_as_a_warning_and_in_the_table(
    case: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_case(case.with_name("b"), "b", *tiny_patient(4), AFFINE)
    indices = iter([{**ALIKE, "t1": 0.25}, dict.fromkeys(MODALITIES, 0.9)])
    monkeypatch.setattr("DABSegCore.quality.motion_index", lambda *_: next(indices))
    out = tmp_path / "out"
    command = ["--data", str(case.parent), "--out", str(out), "--weights", str(weights), "--no-restored"]
    assert segment.main([*command, "--no-picture"]) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "look at this case" in line]
    assert len(said) == 1
    assert said[0].removeprefix("warning: ") in read_report(out / "b_report.json")["warnings"]
    assert read_report(out / "a_report.json")["warnings"] == []
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["review"], r["motion_t1"], r["stability_WT"], r["warnings"]) for r in rows] == [
        ("no", "0.25", "", "0"),
        ("yes", "0.9", "", "1"),
    ]


def test_an_older_report_is_still_read(case: Path, tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "out" / "a_report.json"
    segment.main(["--case", str(case), "--out", str(path.parent), "--weights", str(weights), "--no-picture"])
    report = json.loads(path.read_text(encoding="utf-8"))
    del report["quality"], report["options"]["stability"]
    path.write_text(json.dumps(report), encoding="utf-8")
    older = read_report(path)
    assert older == report
    assert "review" not in summary_row(older, "done")
    assert dataclasses.asdict(Options())["stability"] is False
