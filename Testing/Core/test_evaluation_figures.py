"""Figures of an evaluation: what is drawn where, seen in single pixels, and colours that everyone can tell apart."""

from __future__ import annotations

import io
import itertools
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from evaluated import a_decibel, an_evaluation, together

from DABSegCore.evaluation.figures import draw_figures, gains, severity_colours, write_figures
from DABSegCore.evaluation.results import Evaluation
from DABSegCore.evaluation.theme import DARK, LIGHT, Colour, Theme
from DABSegCore.labels import REGIONS

BAND = 0.16
# Machado, Oliveira and Fernandes 2009: what is left of linear RGB to those who lack one kind of cone.
LACKING = {
    "none": np.eye(3),
    "long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65


def drawn(evaluation: Evaluation, name: str, theme: Theme = LIGHT) -> np.ndarray:
    """A figure as RGB in [0, 1]."""
    image = pytest.importorskip("matplotlib.image")
    return image.imread(io.BytesIO(draw_figures(evaluation, theme, [name])[name]))[..., :3]


def near(picture: np.ndarray, colour: Colour, tolerance: float = 0.03) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=-1) < tolerance


def linear(colour: Colour) -> np.ndarray:
    c = np.array(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour: Colour, lacking: str = "none") -> np.ndarray:
    """CIE 1976 L*a*b* of a colour as seen."""
    seen = (np.array(LACKING[lacking]) @ linear(colour)).clip(0, 1)
    f = np.cbrt(TO_XYZ @ seen / TO_XYZ.sum(axis=1))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of two colours (WCAG 2)."""
    bright, dim = sorted((float(TO_XYZ[1] @ linear(colour)) + 0.05 for colour in (one, other)), reverse=True)
    return bright / dim


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("lacking", LACKING)
def test_colours_are_told_apart_by_all_eyes(theme, lacking):
    pairs = [*itertools.combinations(theme.regions.values(), 2), (theme.gain, theme.loss)]
    assert min(np.linalg.norm(lab(a, lacking) - lab(b, lacking)) for a, b in pairs) > 20


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_drawn_stands_out_from_the_paper(theme):
    assert min(contrast(colour, theme.paper) for colour in (*theme.regions.values(), theme.gain, theme.loss)) > 3
    assert min(contrast(colour, theme.paper) for colour in (theme.ink, theme.faint)) > 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_neighbouring_severities_differ(theme):
    pytest.importorskip("matplotlib")
    colours = severity_colours(theme, 5)
    assert min(np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.pairwise(colours)) > 15
    assert min(contrast(colour, theme.paper) for colour in colours) > 2.4


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"robustness", "sorted", "cumulative", "gain"}),
        ({"cases": 1}, {"robustness", "gain"}),
        ({"severities": (2,)}, {"sorted", "cumulative", "gain"}),
        ({"severities": (0,)}, {"sorted", "cumulative"}),
        ({"severities": ("given",), "decibels": None}, {"sorted", "cumulative"}),
        ({"cases": 1, "severities": ("given",), "decibels": None}, set()),
        ({"cases": 0}, set()),
    ],
)
def test_figures_that_there_are_numbers_for(options, names):
    pytest.importorskip("matplotlib")
    assert set(draw_figures(an_evaluation(**options))) == names


def test_no_figures_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_figures(an_evaluation()) == {}
    assert write_figures(an_evaluation(), tmp_path) == {"real": {}}


def test_dice_is_drawn_where_it_belongs():
    level = {"ET": 0.25, "TC": 0.0, "WT": 1.0}
    picture = drawn(an_evaluation(dice=lambda case, severity, region: level[region]), "robustness")
    left = picture[:, : int(0.45 * picture.shape[1])]
    height = {region: np.median(np.nonzero(near(left, LIGHT.regions[region]))[0]) for region in REGIONS}
    assert (height["TC"] - height["ET"]) / (height["TC"] - height["WT"]) == pytest.approx(0.25, abs=0.01)


def test_a_band_where_there_is_an_interval():
    def band(evaluation: Evaluation) -> int:
        colour = (1 - BAND) * np.array(LIGHT.paper) + BAND * np.array(LIGHT.regions["WT"])
        return int(near(drawn(evaluation, "robustness"), tuple(colour), 0.01).sum())

    def by_case(case: int, severity: int, region: str) -> float:
        return 0.4 + 0.2 * case if region == "WT" else 0.1

    assert band(an_evaluation(dice=by_case)) > 5000
    assert band(an_evaluation(1, dice=by_case)) < 500  # edges of letters and lines alone


def test_severities_in_their_order_whatever_that_of_the_rows():
    pytest.importorskip("matplotlib")
    whole = an_evaluation(4, (0, 1, 2), lambda case, severity, region: 0.9 - 0.1 * severity - 0.05 * case)
    mixed = {
        name: random.Random(1).sample(getattr(whole, name), len(getattr(whole, name)))
        for name in vars(whole)
        if name != "meta"
    }
    names = ["robustness", "sorted"]
    assert draw_figures(replace(whole, **mixed), LIGHT, names) == draw_figures(whole, LIGHT, names)


def test_sorted_dice_never_falls():
    values = [0.9, 0.1, 0.5, 0.3, 0.7]
    picture = drawn(an_evaluation(5, (2,), lambda case, severity, region: values[case], None), "sorted")
    third = near(picture[: int(0.8 * len(picture)), : picture.shape[1] // 3], severity_colours(LIGHT, 1)[0])
    columns = np.flatnonzero(third.sum(axis=0) > 0)
    tops = np.array([np.flatnonzero(third[:, column])[0] for column in columns])
    assert columns.size > 300
    assert (np.diff(tops) <= 4).all()  # markers are round
    assert tops[0] - tops[-1] > 250


def test_the_cumulative_share_jumps_where_all_cases_are():
    picture = drawn(an_evaluation(4, (2,), lambda case, severity, region: 0.5, None), "cumulative")
    line = near(picture[: int(0.8 * len(picture)), : int(0.365 * picture.shape[1])], severity_colours(LIGHT, 1)[0])
    rows, columns = np.nonzero(line)
    middle, jump = (columns.min() + columns.max()) / 2, columns[np.abs(rows - np.median(np.unique(rows))) < 20]
    assert np.abs(jump - middle).max() < 6
    assert rows[columns < middle - 20].min() > rows.max() - 10  # nobody below 0.5
    assert rows[columns > middle + 20].max() < rows.min() + 10  # everybody above


def test_gains_are_means_of_a_case_and_leave_out_what_is_undefined():
    evaluation = an_evaluation(3, (0, 2, 1), decibels=a_decibel)
    evaluation.images[0]["psnr_restored_db"] = 99.0  # S0, where there is no value before
    two = [row for row in evaluation.images if row["severity"] == 2]
    two[0]["psnr_restored_db"] += 8.0  # one of four modalities
    two[-1]["psnr_corrupted_db"] = None
    found = gains(evaluation.images)
    assert list(found) == [1, 2]
    np.testing.assert_allclose(found[1], [[30, 31], [31, 32], [32, 33]])
    np.testing.assert_allclose(found[2], [[30, 33], [31, 32]])


@pytest.mark.parametrize("change", [1.0, -1.0])
def test_gains_are_blue_and_losses_orange(change):
    picture = drawn(an_evaluation(8, (1, 2), decibels=lambda case, severity: (30.0, 30.0 + change)), "gain")
    below_legend = picture[int(0.12 * len(picture)) :]
    blue, orange = (int(near(below_legend, colour).sum()) for colour in (LIGHT.gain, LIGHT.loss))
    assert (blue > 2000, orange > 2000) == (change > 0, change < 0)
    assert min(blue, orange) == 0


def test_real_cases_and_virtual_patients_are_drawn_apart_and_old_figures_go(tmp_path):
    pytest.importorskip("matplotlib")
    both = together(an_evaluation(), an_evaluation(2, severities=(2,), kind="virtual"))
    pictures = write_figures(both, tmp_path)
    assert list(pictures) == ["real", "virtual"]
    assert pictures["virtual"]["gain"] != pictures["real"]["gain"]
    assert (tmp_path / "sorted-virtual.png").read_bytes() == pictures["virtual"]["sorted"]
    assert (tmp_path / "sorted.png").read_bytes() == pictures["real"]["sorted"]
    assert not (tmp_path / "robustness-virtual.png").exists()
    write_figures(an_evaluation(severities=(2,), kind="virtual"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"sorted.png", "cumulative.png", "gain.png"}


def test_the_style_of_the_user_is_neither_used_nor_changed():
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"axes.linewidth": 8, "font.size": 30}):
        before = dict(mpl.rcParams)
        styled = draw_figures(an_evaluation(), names=["gain"])
        assert dict(mpl.rcParams) == before
    assert styled == draw_figures(an_evaluation(), names=["gain"])
