"""Report of a comparison: tables, figures and words that are true, with published numbers apart from measured ones."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compared import METHODS, REFERENCE, a_comparison, a_method
from test_evaluation_report import Page

from DABSegCore.comparison.figures import draw_calibration, draw_figures, write_figures
from DABSegCore.comparison.page import build
from DABSegCore.comparison.published import PAPER, TABLES
from DABSegCore.comparison.results import Comparison
from DABSegCore.comparison.selection import differences, holm_family, least_p, least_pairs, main_level, moving_level
from DABSegCore.comparison.tables import p_words
from DABSegCore.comparison.terminal import terminal_table
from DABSegCore.evaluation.statistics import paired_test
from DABSegCore.evaluation.theme import DARK, LIGHT

CALIBRATION = {
    "method": "DAMI, sharp only",
    "kind": "real",
    "rows": [
        {"kind": "real", "severity": level, "dice": 0.8 - 0.15 * level, "loss_points": 15.0 * level, "n": 4}
        for level in (0, 1, 2)
    ],
    "level_of_20_points": 1.33,
}


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: a report of numbers alone."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def page_of(comparison: Comparison, out: Path) -> Page:
    return Page(build(comparison, out).read_text(encoding="utf-8"))


def tables_with(page: Page, heading: str) -> list[list[list[str]]]:
    """Tables with that heading in the last line of their head."""
    return [rows for rows in page.tables if f"{heading}|" in rows[1] + rows[0]]


def many(cases: int, **more: float) -> Comparison:
    """The comparison of `METHODS` on so many cases."""
    return a_comparison([a_method(name, level, cases) for name, level in {**METHODS, **more}.items()])


def test_the_first_table_tells_what_was_measured(tmp_path, no_figures):
    comparison = a_comparison()
    rows = tables_with(page_of(comparison, tmp_path), "Measured here")[0]
    assert rows[0] == ["", "WT|", "TC|", "ET|", "Mean of a case|"]
    assert rows[1] == ["Measured here|", *["Dice, %|", "HD95, mm|"] * 3, "Dice, %|"]
    assert [row[0].split("|")[0] for row in rows[2:]] == list(METHODS)
    # Four cases of TC 0.50, 0.52, 0.54, 0.56 with HD95 of 10 (1 - Dice); sd sqrt(20/3) / 100.
    assert rows[2][3].startswith("53.0| ± 2.6|")
    assert rows[2][4] == "4.7|median 4.7|"
    assert [rows[2][i].split("|")[0] for i in (1, 5, 7)] == ["63.0", "43.0", "53.0"]
    sharp = tables_with(page_of(comparison, tmp_path), "Measured here")[1]
    assert sharp[2][3].startswith("73.0|")


def test_published_and_measured_numbers_never_share_a_table(tmp_path, no_figures):
    page = page_of(a_comparison(), tmp_path)
    measured = {cell for table in tables_with(page, "Measured here") for row in table for cell in row}
    published = tables_with(page, "Published")
    assert [len(rows) - 2 for rows in published] == [7, 7, 4]
    assert all(rows[1][0] == "Published|" for rows in published)
    for table, rows in zip(TABLES, published, strict=True):
        first = next(iter(table.rows.values()))
        assert [float(rows[2][i].split()[0].strip("|")) for i in (1, 3, 5)] == [score.dice for score in first]
        assert [float(rows[2][i].strip("|")) for i in (2, 4, 6)] == [score.hd95 for score in first]
        assert f"Published, not measured here: Table {table.number} of {PAPER}" in page.text()
    printed = {cell for rows in published for row in rows[2:] for cell in row[1:]}
    assert printed & measured == set()


def test_published_tables_are_shown_once_and_beside_real_cases(tmp_path, no_figures):
    methods = [a_method(name, level, kinds=("real", "virtual")) for name, level in METHODS.items()]
    text = page_of(a_comparison(methods), tmp_path).text()
    assert [text.count(f"not measured here: Table {n}") for n in (1, 2, 3)] == [1, 1, 1]
    assert text.index("Results: real cases") < text.index("not measured here: Table 3 of")
    assert text.index("not measured here: Table 3 of") < text.index("Results: virtual patients")
    assert "they do not replace data" in text


def test_four_cases_cannot_tell_and_the_page_says_so(tmp_path, no_figures):
    text = page_of(many(4), tmp_path).text()
    assert "None of 4 tests of mean Dice against DABSeg small has p < 0.05" in text  # two methods at two levels
    assert "none could: 4 real cases give a two-sided p of 2 / 2^4 = 0.125 at best" in text
    assert "so many tests need 8 cases at least, so this does not mean that methods are equal" in text  # 4 / 128 < 0.05


def test_eight_cases_can_tell_and_stars_say_where(tmp_path, no_figures):
    comparison = many(8)
    page = page_of(comparison, tmp_path)
    assert "4 of 4 tests of mean Dice against DABSeg small have p < 0.05" in page.text()
    assert "none could" not in page.text()
    table = tables_with(page, "Measured here")[0]
    assert ["*" in row[3] for row in table[2:]] == [False, True, True]  # the reference is not tested against itself
    tests = next(rows for rows in page.tables if rows[0][:2] == ["", "Mean of a case|"])
    assert tests[2][1] == "+5.0| *|p 0.008, Holm 0.031; 8|"  # SegResNet at S0: 2 / 2^8, four times


def test_what_so_few_pairs_allow():
    values = [float(i) for i in range(1, 7)]
    assert least_p(6) == paired_test([0.0] * 6, values).p == 2 / 64
    assert [least_p(n) for n in (0, 1, 4)] == [1.0, 1.0, 0.125]
    for family in (1, 7, 32):
        fewest = least_pairs(family)
        assert family * least_p(fewest) < 0.05 <= family * least_p(fewest - 1)
    assert holm_family(a_comparison(), "real") == 4
    assert holm_family(a_comparison(), "virtual") == 0


def test_differences_are_of_the_same_cases():
    methods = [a_method(name, level) for name, level in METHODS.items()]
    evaluation = methods[1].evaluation
    fewer = replace(evaluation, rows=[row for row in evaluation.rows if row["case_id"] != "Case_3"])
    comparison = a_comparison([methods[0], replace(methods[1], evaluation=fewer), methods[2]])
    assert differences(comparison, comparison.methods[1], "real", 2) == pytest.approx([-0.2] * 3)
    assert differences(comparison, comparison.methods[2], "real", 2, "ET") == pytest.approx([0.05] * 4)


def test_table_3_holds_the_variants_and_their_distance_to_the_reference(tmp_path, no_figures):
    methods = [
        a_method(REFERENCE, 0.5, paper="DABSeg"),
        a_method("sharp only", 0.3, paper="DAMI"),
        a_method("lambda 0", 0.45, paper="ablation"),
        a_method("SegResNet", 0.7),
    ]
    page = page_of(a_comparison(methods), tmp_path)
    rows = next(rows for rows in page.tables if "WT Dice, %|" in rows[0])
    names = [REFERENCE + "|the reference; in the paper: DABSeg|", "sharp only|in the paper: DAMI|", "lambda 0|"]
    assert [row[0] for row in rows[1:]] == names
    assert rows[2][1] == "43.0|\N{MINUS SIGN}20.0 (\N{MINUS SIGN}20.0 to \N{MINUS SIGN}20.0)|"  # the same on every case
    assert "SegResNet|" in [row[0] for row in tables_with(page, "Measured here")[0]]


def test_what_failed_and_what_was_unequal_come_before_the_numbers_and_are_escaped(tmp_path, no_figures):
    broken = a_method("<i>x</i>", 0.5, evaluation=None, cost={}, fault="no <b>memory</b> & so on")
    comparison = a_comparison([a_method(REFERENCE, 0.6), a_method("other", 0.5), broken])
    comparison.meta.update(unequal=["other trains for 2 minutes"], warnings={"other": ["a < b"]})
    page = page_of(comparison, tmp_path)
    text = page.text()
    assert "<i>x</i>: no <b>memory</b> & so on" in text
    assert {tag for tag, _ in page.tags} & {"i", "script", "link"} == set()
    assert text.index("no <b>memory") < text.index("other trains for 2") < text.index("Results: real cases")
    assert "other: a < b" in text
    assert "for as long as every other" not in text
    assert "No failures, no warnings." in page_of(a_comparison(), tmp_path).text()
    assert "Every method was trained for as long as every other." in page_of(a_comparison(), tmp_path).text()


@pytest.mark.parametrize("failed", [REFERENCE, "all"])
def test_a_page_without_the_reference_or_of_nothing(failed, tmp_path, no_figures):
    whole = [a_method(name, level) for name, level in METHODS.items()]
    methods = [replace(m, evaluation=None, cost={}, fault="gone") if failed in (m.name, "all") else m for m in whole]
    comparison = a_comparison(methods)
    text = page_of(comparison, tmp_path).text()
    assert f"{REFERENCE}: gone" in text
    assert ("No method could be judged." in text) == (failed == "all")
    assert f"{REFERENCE}: gone" in terminal_table(comparison)


def test_no_differences_are_drawn_without_a_reference():
    pytest.importorskip("matplotlib")
    methods = [replace(a_method(REFERENCE, 0.5), evaluation=None), a_method("other", 0.4), a_method("third", 0.4)]
    assert draw_figures(a_comparison(methods), "real", names=["differences"]) == {}


def test_costs_are_told_and_what_was_not_measured_is_called_so(tmp_path, no_figures):
    rows = tables_with(page_of(a_comparison(), tmp_path), "Parameters, million")[0]
    assert rows[1][1:] == ["2.90|", "64|", "2.5|", "1.5|", "4.0|", "240|", "not measured|"]


def test_settings_shared_by_all_and_those_of_each_method(tmp_path, no_figures):
    comparison = a_comparison()
    comparison.meta["trained"] = {
        name: {"patch": 96, "aligned": False, "preset": f"p{i}"} for i, name in enumerate(METHODS)
    }
    comparison.meta["helpers"] = {"NAFNet": {"note": "restorer", "fault": None}}
    text = page_of(comparison, tmp_path).text()
    assert "training of all patch 96, aligned no" in text
    assert "DAMI, sharp only preset p1" in text
    assert "NAFNet restorer (not judged by itself)" in text


def test_severity_that_stands_for_motion():
    def at(*severities: int) -> Comparison:
        return a_comparison([a_method(name, level, 2, severities) for name, level in METHODS.items()])

    assert [moving_level(at(*s), "real") for s in ((0, 1, 2, 4), (0, 1, 3), (0,))] == [2, 3, None]
    assert main_level(at(0), "real") == 0


def test_thresholds_chosen_on_the_cases_judged_are_told(tmp_path, no_figures):
    def said(**protocol: object) -> str:
        comparison = a_comparison()
        comparison.meta["protocol"] = {"validation": ["a"], "choose": [], "checkpoint": "last", **protocol}
        return page_of(comparison, tmp_path).text()

    assert "Thresholds were chosen on the very cases that are judged" in said()
    assert "Weights and thresholds were chosen on the very cases" in said(checkpoint="best")
    assert "very cases" not in said(choose=["b"]) + said(validation=[])


def test_levels_at_which_one_method_alone_was_judged_have_no_table(tmp_path, no_figures):
    methods = [a_method(REFERENCE, 0.6), a_method("control", 0.4, severities=(0, 1, 2)), a_method("other", 0.5)]
    text = page_of(a_comparison(methods), tmp_path).text()
    assert "At S1" not in text
    methods[2] = a_method("other", 0.5, severities=(0, 1, 2))
    assert "At S1" in page_of(a_comparison(methods), tmp_path).text()


def test_calibration_is_told_with_its_level(tmp_path, no_figures):
    text = page_of(a_comparison(calibration=CALIBRATION), tmp_path).text()
    assert "Here that is at S1.3 on real cases (interpolated)." in text
    assert "81.6 % on sharp images (CKD-TransBTS, Table 2) and 58.8 % on its S2 (DAMI, Table 3), 22.8 points" in text
    none = a_comparison(calibration={**CALIBRATION, "level_of_20_points": None})
    assert "at no level, so none of ours can be called so" in page_of(none, tmp_path).text()
    assert "Calibration" not in page_of(a_comparison(), tmp_path).text()


def test_figures_that_there_are_numbers_for(tmp_path):
    pytest.importorskip("matplotlib")
    comparison = a_comparison(calibration=CALIBRATION)
    for name in ("cost-virtual", "differences-virtual"):
        (tmp_path / f"{name}.png").write_bytes(b"of an earlier run")
    drawn = write_figures(comparison, tmp_path)
    assert {kind: set(pictures) for kind, pictures in drawn.items()} == {
        "real": {"robustness", "differences", "cost"},
        "calibration": {"calibration"},
    }
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"{name}.png" for pictures in drawn.values() for name in pictures
    }
    alone = a_comparison([a_method(REFERENCE, 0.6, 1)])
    assert set(draw_figures(alone, "real")) == {"robustness"}
    assert draw_calibration(alone) == {}


def test_differences_are_coloured_only_where_they_are_significant():
    image = pytest.importorskip("matplotlib.image")

    def marks(cases: int) -> int:
        png = draw_figures(many(cases), "real", names=["differences"])["differences"]
        picture = image.imread(io.BytesIO(png))[..., :3]
        return int((np.abs(picture - np.array(LIGHT.loss)).max(axis=-1) < 0.03).sum())

    assert marks(4) == 0
    assert marks(8) > 100  # DAMI, sharp only


def test_one_page_for_light_and_dark_that_needs_nothing_else(tmp_path):
    pytest.importorskip("matplotlib")
    page = page_of(a_comparison(calibration=CALIBRATION), tmp_path)
    assert len(page.images()) == 8  # four figures, each on light and on dark
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 20 for image in page.images())
    assert len({image["src"] for image in page.images()}) == 8
    assert LIGHT.paper != DARK.paper


def test_the_terminal_has_all_tables_in_plain_letters():
    broken = a_method("broken", 0.5, evaluation=None, cost={}, fault="gone")
    text = terminal_table(a_comparison([*a_comparison().methods, broken]))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120
    assert "4 real cases at S2; mean Dice in %, mean HD95 in mm" in text
    line = next(line for line in text.splitlines() if line.startswith(REFERENCE))  # at S0
    assert line.split()[2:] == ["63.0", "3.7", "73.0", "2.7", "83.0", "1.7", "73.0", "4"]
    assert re.search(r"DABSeg small +2\.90 +64 +2\.5 +4\.0 +240 +-\n", text)
    assert "broken: gone" in text
    assert text.index("PUBLISHED, NOT MEASURED HERE") > text.index("broken: gone")
    dami = next(line for line in text.splitlines() if line.startswith("DAMI  "))
    assert dami.split()[1:] == ["52.790", "44.919", "56.014", "43.466", "67.621", "43.420"]  # ET, TC, WT


def test_the_terminal_stars_what_is_significant():
    lines = [line for line in terminal_table(many(8)).splitlines() if line.startswith("SegResNet small")]
    assert [line.count("*") for line in lines] == [4, 4, 0]  # S0, S2, cost
    assert terminal_table(many(6)).count("*") == 1  # p is 2 / 64, but of four tests: only the word on stars has one


def test_p_values_are_told_as_precisely_as_is_sensible():
    assert [p_words(p) for p in (None, 1.0, 0.125, 0.0312, 0.0002)] == ["\N{EN DASH}", "1", "0.125", "0.031", "< 0.001"]
