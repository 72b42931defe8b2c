"""Pictures of cases of an evaluation: which cases are shown, in which slice, and whose outlines in which row."""

from __future__ import annotations

import numpy as np
import pytest
from evaluated import an_evaluation, together

from DABSegCore.evaluation.panels import Pick, panel_path, pick_cases, rank_cases, usual_severity, write_panel
from DABSegCore.figure import REGION_COLOURS
from DABSegCore.labels import MODALITIES, REGIONS

PICK = Pick("worst", "Case_1", "real", 2, {"ET": 0.1, "TC": 0.2, "WT": 0.6})


def shown(evaluation, **options) -> list[tuple[str, str]]:
    return [(pick.role, pick.case_id) for pick in pick_cases(evaluation.rows, **options)]


@pytest.mark.parametrize(
    ("dice", "cases"),
    [
        ([], []),
        ([0.5], [("only", "Case_0")]),
        ([0.5, 0.6], [("best", "Case_1"), ("worst", "Case_0")]),
        ([0.5, 0.9, 0.7], [("best", "Case_1"), ("median", "Case_2"), ("worst", "Case_0")]),
        ([0.5, 0.9, 0.7, 0.6], [("best", "Case_1"), ("median", "Case_2"), ("worst", "Case_0")]),
        ([0.5, 0.5, 0.5], [("best", "Case_2"), ("median", "Case_1"), ("worst", "Case_0")]),
    ],
)
def test_best_median_and_worst_by_mean_dice(dice, cases):
    of_region = {"ET": -0.1, "TC": 0.0, "WT": 0.1}
    assert shown(an_evaluation(len(dice), (2,), lambda c, s, region: dice[c] + of_region[region])) == cases


def test_the_mean_of_the_regions_decides():
    dice = {0: {"ET": 0.9, "TC": 0.0, "WT": 0.0}, 1: {"ET": 0.2, "TC": 0.4, "WT": 0.4}}
    picks = pick_cases(an_evaluation(2, (2,), lambda case, severity, region: dice[case][region]).rows)
    assert [(pick.case_id, pick.mean, pick.dice) for pick in picks] == [
        ("Case_1", pytest.approx(1 / 3), dice[1]),
        ("Case_0", pytest.approx(0.3), dice[0]),
    ]


def test_one_severity_is_shown_the_second_if_there_is_one():
    evaluation = an_evaluation(2, (0, 1, 2, 4), lambda case, severity, region: 0.5 + 0.1 * case * (-1) ** severity)
    assert {pick.severity for pick in pick_cases(evaluation.rows)} == {2}
    assert shown(evaluation) == [("best", "Case_1"), ("worst", "Case_0")]
    assert shown(evaluation, severity=1) == [("best", "Case_0"), ("worst", "Case_1")]
    for severities, usual in (((0, 1, 4), 4), ((0,), 0), (("given",), "given"), ((), None)):
        assert usual_severity(an_evaluation(severities=severities).rows) == usual


def test_real_cases_before_virtual_patients():
    virtual = an_evaluation(3, (2,), lambda *_: 0.9, kind="virtual")
    assert [case for _, case in shown(virtual)] == ["Virtual_2", "Virtual_1", "Virtual_0"]
    assert shown(together(virtual, an_evaluation(1, (2,)))) == [("only", "Case_0")]


def test_all_cases_are_ranked_from_the_worst():
    ranked = rank_cases(an_evaluation(2, (0, 2), lambda case, severity, region: 0.9 - 0.1 * case - 0.2 * severity).rows)
    assert [(case.case_id, case.severity) for case in ranked] == [
        *(("Case_1", 2), ("Case_0", 2)),
        *(("Case_1", 0), ("Case_0", 0)),
    ]


def arrays(*names: str) -> dict[str, np.ndarray]:
    """A flat brain, ever brighter; the reference has its largest ET in slice 2, what was found in slice 6."""
    out: dict[str, np.ndarray] = {}
    for name, level in (("input", 0.3), ("pseudo-clear", 0.5), ("sharp", 0.7)):
        out[name] = np.full((len(MODALITIES), 8, 40, 40), level, np.float32)
        out[name][:, 2] += 0.1
    for name, k in (("reference", 2), ("segmentation", 6)):
        out[name] = np.zeros((len(REGIONS), 8, 40, 40), bool)
        out[name][:, k, 10:30, 10:30] = True
    out["segmentation"][REGIONS.index("WT"), :, 10:30, 10:30] = True
    return {name: out[name] for name in (*names, "segmentation", "reference") if name in out}


def count(picture: np.ndarray, colour: tuple[float, ...]) -> int:
    return int((np.abs(picture - np.array(colour) * 255).max(axis=-1) < 40).sum())


def test_a_panel_shows_what_was_found_in_what_was_made_and_the_reference_in_the_sharp(tmp_path):
    pytest.importorskip("scipy")
    path = write_panel(tmp_path, PICK, arrays("input", "pseudo-clear", "sharp"))
    assert path == panel_path(tmp_path, "worst") == tmp_path / "panels" / "worst.png"
    image = pytest.importorskip("matplotlib.image")
    picture = np.round(image.imread(path)[..., :3] * 255).astype(int)
    height = (len(picture) - 150) // 3
    for place, level in enumerate((0.4, 0.6, 0.8)):  # of slice 2, which is the reference's
        row = picture[90 + place * height : 90 + (place + 1) * height - 20]
        assert (row == round(255 * level)).all(axis=-1).sum() > 20000
        coloured = {r: count(row, colour) > 50 for r, colour in REGION_COLOURS.items()}
        assert coloured == {"ET": place == 2, "TC": place == 2, "WT": place > 0}


@pytest.mark.parametrize(
    ("names", "rows"),
    [(("input", "pseudo-clear", "sharp"), 3), (("input",), 2), (("sharp",), 2), (("input", "sharp"), 2)],
)
def test_rows_of_whatever_images_there_are(tmp_path, names, rows):
    pytest.importorskip("scipy")
    image = pytest.importorskip("matplotlib.image")
    heights = [len(image.imread(write_panel(tmp_path, PICK, arrays(*some)))) for some in (("input",), names)]
    row = (heights[0] - 150) // 2
    assert round((heights[1] - heights[0]) / row) == rows - 2


def test_no_panel_without_images(tmp_path):
    with pytest.raises(ValueError, match="intensities"):
        write_panel(tmp_path, PICK, arrays())


def test_a_case_without_tumour_is_shown_too(tmp_path):
    pytest.importorskip("scipy")
    empty = {name: a & (a.dtype != bool) if a.dtype == bool else a for name, a in arrays("input").items()}
    assert write_panel(tmp_path, PICK, empty).is_file()


def test_decibels_are_written_on_the_slices_of_this_case_alone(tmp_path):
    pytest.importorskip("scipy")
    evaluation = an_evaluation()
    some = arrays("input", "pseudo-clear", "sharp")
    plain = write_panel(tmp_path, PICK, some).read_bytes()
    other = [row for row in evaluation.images if (row["case_id"], row["severity"]) != ("Case_1", 2)]
    assert write_panel(tmp_path, PICK, some, other).read_bytes() == plain
    assert write_panel(tmp_path, PICK, some, evaluation.images).read_bytes() != plain
