"""Pictures of a run: what is drawn where, seen in single pixels, and the arithmetic behind it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from DABSegCore.figure import REGION_COLOURS
from DABSegCore.labels import REGIONS
from DABSegCore.training.curves import running_mean, spread
from DABSegCore.training.history import History
from DABSegCore.training.pictures import MOST_ROWS, draw_curves, draw_panel, missing
from DABSegCore.training.validation import THRESHOLDS, Score, View

M, R, T = 4, len(REGIONS), len(THRESHOLDS)


def is_colour(picture: np.ndarray, region: str, tolerance: int = 40) -> np.ndarray:
    return np.abs(picture.astype(int) - np.array(REGION_COLOURS[region]) * 255).max(axis=-1) < tolerance


def test_running_mean_equals_the_obvious_one():
    values = np.random.default_rng(0).normal(size=23)
    values[[0, 7, 8, 9, 10, 11]] = np.nan
    for reach in (0, 1, 2, 40):
        slow = [values[max(i - reach, 0) : i + reach + 1] for i in range(len(values))]
        slow = [np.mean(window[np.isfinite(window)]) if np.isfinite(window).any() else np.nan for window in slow]
        np.testing.assert_allclose(running_mean(values, reach), slow, atol=1e-12)


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.9, 0.5, 0.48], [0.9, 0.54, 0.44]),
        ([0.5, 0.5, 0.5], [0.4, 0.5, 0.6]),
        ([0.3], [0.3]),
        ([], []),
    ],
)
def test_labels_move_apart_no_further_than_needed(heights, placed):
    np.testing.assert_allclose(spread(heights, gap=0.1), placed, atol=1e-12)


def a_run(out: Path, dice: float = 0.5, *, steps: int = 12, kinds: Sequence[str] = ("real", "virtual")) -> Path:
    """Made-up logs; in the validation WT reaches `dice`, the other regions nothing."""
    history = History(out, 0, say=lambda text: None)
    for step in range(1, steps + 1):
        history.log_step(step, {"seconds": step, "seg": 1 / step, "dice_ET": np.nan, "it_s": 4.0, "memory_gib": 0.0})
    for step in (5, 10) if kinds else ():
        for_all = {"cases": 2, "ET": 0.0, "TC": 0.0, "WT": dice, "psnr_corrupted": 24.0, "psnr_restored": 24.5}
        groups = [{"kind": kind, "severity": severity, **for_all} for kind in kinds for severity in (0, 2)]
        history.log_validation(step, 60.0, groups)
    history.close()
    return out


def read_png(path: Path) -> np.ndarray:
    image = pytest.importorskip("matplotlib.image")
    return np.round(image.imread(path)[..., :3] * 255).astype(np.uint8)


def test_a_better_dice_is_drawn_higher(tmp_path):
    pytest.importorskip("matplotlib")
    heights = []
    for dice in (0.2, 0.9):
        path = draw_curves(a_run(tmp_path / str(dice), dice, kinds=("real",)))
        rows, columns = np.nonzero(is_colour(read_png(path), "WT"))
        heights.append(np.median(rows))
        assert columns.min() < 500  # the validation without motion
        assert columns.max() < 1100  # the one with motion; training on patches has logged none
    assert heights[0] - heights[1] == pytest.approx(0.7 * 215, abs=15)  # axes are 215 pixels high


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"kinds": ()}, {"steps": 1}, {"kinds": ("virtual",)}, {"steps": 900}]
)
def test_curves_of_any_part_of_a_log(tmp_path, options):
    pytest.importorskip("matplotlib")
    path = draw_curves(a_run(tmp_path, **options))
    assert path == tmp_path / "curves.png"
    assert read_png(path).shape == (1152, 1600, 3)


def test_real_cases_are_solid_and_virtual_patients_dashed(tmp_path):
    pytest.importorskip("matplotlib")
    holes = {}
    for kind in ("real", "virtual"):
        picture = read_png(draw_curves(a_run(tmp_path / kind, kinds=(kind,))))
        first = picture[:, :427]  # axes without their labels
        drawn = np.flatnonzero(is_colour(first, "WT", tolerance=80).any(axis=0))
        holes[kind] = np.count_nonzero(np.diff(drawn) > 1)
    assert holes["real"] == 0
    assert holes["virtual"] > 3


def test_without_motion_in_the_validation_nothing_is_told_of_motion(tmp_path):
    pytest.importorskip("matplotlib")
    history = History(tmp_path, 0, say=lambda text: None)
    scores = {"ET": 0.0, "TC": 0.0, "WT": 0.5, "psnr_corrupted": 60.0, "psnr_restored": 45.0}
    history.log_validation(5, 1.0, [{"kind": "real", "severity": 0, **scores}])
    yellow = is_colour(read_png(draw_curves(tmp_path)), "WT")
    assert yellow[:, :530].any()
    assert not yellow[:, 530:].any()


def test_no_curves_without_a_log_or_without_matplotlib(tmp_path, monkeypatch):
    assert draw_curves(tmp_path) is None
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_curves(a_run(tmp_path)) is None
    assert not (tmp_path / "curves.png").exists()


def test_the_style_of_the_user_is_neither_used_nor_changed(tmp_path):
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"axes.linewidth": 8, "font.size": 30}):
        before = dict(mpl.rcParams)
        styled = read_png(draw_curves(a_run(tmp_path)))
        assert dict(mpl.rcParams) == before
    np.testing.assert_array_equal(styled, read_png(draw_curves(tmp_path)))


def a_score(name: str = "case", severity: int = 2, side: int = 60, *, seen: bool = True, psnr: float = 24.0) -> Score:
    """A square brain of `side` voxels; corrupted, restored and sharp are ever brighter. Whole tumour only."""
    brain = np.zeros((M, 90, 80), np.float32)
    brain[:, 10 : 10 + side, 10 : 10 + side] = 1.0
    masks = np.zeros((2, R, 90, 80), bool)
    masks[:, REGIONS.index("WT"), 20:40, 20:40] = True
    masks[0, REGIONS.index("ET"), 25:35, 25:35] = True  # predicted, but not there
    view = View(0.3 * brain, 0.5 * brain, 0.7 * brain, masks[0], masks[1])
    counts = np.full((R, T), 10)
    return Score(name, "real", severity, counts, counts, counts[:, 0], psnr, psnr, view if seen else None)


def columns_of(picture: np.ndarray) -> list[np.ndarray]:
    """The five columns of cells of a panel."""
    return [picture[:, 52 + 246 * c : 52 + 246 * c + 240] for c in range(5)]


def test_a_panel_shows_blurred_restored_and_sharp_with_the_outlines_of_each():
    pytest.importorskip("scipy")
    columns = columns_of(draw_panel([a_score()], "Title"))
    for column, level in zip(columns, (0.3, 0.5, 0.7, 0.3, 0.7), strict=True):
        assert (column == round(255 * level)).all(axis=-1).sum() > 5000
    cells = [column[90:-90] for column in columns]
    assert [bool(is_colour(cell, "WT").any()) for cell in cells] == [False, False, True, True, True]
    assert [bool(is_colour(cell, "ET").any()) for cell in cells] == [False, False, False, True, False]


def test_rows_of_a_panel_are_the_most_severe_of_each_case_that_was_kept():
    pytest.importorskip("scipy")
    one = draw_panel([a_score()], "").shape[0]
    row = draw_panel([a_score("a"), a_score("b")], "").shape[0] - one
    mixed = [a_score("a", 0, psnr=60.0), a_score("a", 2), a_score("b", seen=False), a_score("c", 2), a_score("c", 0)]
    np.testing.assert_array_equal(draw_panel(mixed, ""), draw_panel([a_score("a"), a_score("c")], ""))
    many = draw_panel([a_score(str(n)) for n in range(MOST_ROWS + 3)], "")
    assert many.shape[0] == one + (MOST_ROWS - 1) * row
    with pytest.raises(ValueError, match="keep_view"):
        draw_panel([a_score(seen=False)], "")


def test_all_brains_of_a_panel_are_at_one_scale():
    pytest.importorskip("scipy")
    column = columns_of(draw_panel([a_score("large", side=60), a_score("small", side=30)], ""))[1]
    widths = (column[..., 0] > 64).sum(axis=1)
    above, below = widths[: len(widths) // 2], widths[len(widths) // 2 :]
    assert np.median(above[above > 40]) / np.median(below[below > 40]) == pytest.approx(2, rel=0.03)


def test_two_cases_whose_long_names_look_alike_keep_their_rows():
    pytest.importorskip("scipy")
    names = [f"a_very_long_name_of_{middle}_a_case_of_ours" for middle in ("this", "that")]
    assert draw_panel([a_score(name) for name in names], "").shape == draw_panel([a_score("a"), a_score("b")], "").shape


def test_missing_names_the_packages_that_are_not_there(monkeypatch):
    assert set(missing()) <= {"matplotlib", "scipy"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else object())
    assert missing() == ["matplotlib"]
