"""Published tables: as they are printed, and caveats whose numbers follow from them."""

from __future__ import annotations

import pytest

from DABSegCore.comparison.published import (
    CAVEATS,
    OURS,
    PAPER_CASES,
    PAPER_PENALTY,
    PAPER_REGIONS,
    PAPER_ROWS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLES,
    is_ablation,
    mean_dice,
)

# What the text of the paper says of its tables: "Dice scores of 86.88%, 82.43%, and 67.44% for WT, TC, and ET,
# respectively, while the corresponding HD95 values are reduced to 8.71, 6.46, and 6.74".
SAID = {"WT": (86.88, 8.71), "TC": (82.43, 6.46), "ET": (67.44, 6.74)}


def said(table: str) -> str:
    return " ".join(CAVEATS[table])


def test_our_copy_agrees_with_the_text_of_the_paper():
    for row in (TABLE_1.rows[OURS], TABLE_3.rows["DAMI + FDMDS + ET weight (lambda 0.1)"]):
        for region, score in zip(PAPER_REGIONS, row, strict=True):
            assert (score.dice, score.hd95) == pytest.approx(SAID[region], abs=0.006)


def test_every_table_is_whole():
    assert [len(table.rows) for table in TABLES] == [7, 7, 4]
    assert [table.number for table in TABLES] == [1, 2, 3]
    assert list(TABLE_1.rows) == list(TABLE_2.rows)
    scores = [score for table in TABLES for row in table.rows.values() for score in row]
    assert all(40 < score.dice < 93 and 4 < score.hd95 < 57 for score in scores)
    assert [score.sd is not None for score in scores] == 21 * [True] + 33 * [False]


def test_differences_between_rows_that_the_caveats_tell():
    dami, stem = TABLE_3.rows["DAMI"], TABLE_3.rows["DAMI + FDMDS (lambda 0.2)"]
    gains = {region: b.dice - a.dice for region, a, b in zip(PAPER_REGIONS, dami, stem, strict=True)}
    assert f"{gains['WT']:.1f} (WT), {gains['TC']:.1f} (TC) and {gains['ET']:.1f} (ET)" in said("Table 3")
    other, ours = TABLE_1.rows["CKD-TransBTS"], TABLE_1.rows[OURS]
    points = [ours[i].dice - other[i].dice for i in (1, 2)]
    shares = [100 * point / other[i].dice for point, i in zip(points, (1, 2), strict=True)]
    assert f"{points[0]:.1f} and {points[1]:.1f} points, or {shares[0]:.0f} % and {shares[1]:.0f} %" in said("Table 1")
    assert f"{PAPER_PENALTY / PAPER_CASES:.1f} to the mean" in said("Table 1")


def test_numbers_that_the_caveats_doubt_are_printed_so():
    whole, core, enhancing = TABLE_2.rows["Open_brats"]
    official = {"ET": (0.79, 20.4), "WT": (0.89, 6.7), "TC": (0.84, 19.5)}  # Henry et al. 2020, hidden test set
    dice = {"WT": whole.dice, "TC": core.dice, "ET": enhancing.dice}
    assert {region: round(value / 100, 2) for region, value in dice.items()} == {r: d for r, (d, _) in official.items()}
    assert round(enhancing.hd95, 1) == official["ET"][1]
    assert (round(whole.hd95, 1), round(core.hd95, 1)) == (official["TC"][1], official["WT"][1])  # exchanged
    assert TABLE_1.rows["DiffBTS"][0].hd95 == 7.620
    assert TABLE_2.rows["DiffBTS"][0].hd95 == 5.040
    assert len({row[2].dice for row in list(TABLE_3.rows.values())[-2:]}) == 1


def test_the_loss_that_calibrates_the_severities():
    sharp, moved = mean_dice(TABLE_2.rows["CKD-TransBTS"]), mean_dice(TABLE_3.rows["DAMI"])
    assert sharp == pytest.approx((87.418 + 82.394 + 74.975) / 3)
    assert sharp - moved == pytest.approx(22.8, abs=0.05)


def test_which_methods_belong_beside_table_3():
    assert {name for name in (*PAPER_ROWS, None, "mine") if is_ablation(name)} == {*TABLE_3.rows, "ablation"}
