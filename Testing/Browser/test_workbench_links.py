"""Links: what is written is read again, and what is not understood is told and left out."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from DABSegExtension.browser.links import Wish, read, write

CASES = ("Ann", "Bob & Eve / 50 %")


@pytest.mark.parametrize(
    "wish",
    [
        Wish(case="Ann"),
        Wish(case="Bob & Eve / 50 %", severity=4, seed=999_999_999, plane="Sagittal", offset_mm=-12.25, run=True),
        Wish(virtual=0, run=True),
        Wish(virtual=7, severity=1, plane="Coronal", offset_mm=0.0),
        Wish(),
    ],
)
def test_what_is_written_is_read_again(wish: Wish) -> None:
    assert read(dict(parse_qsl(write(wish))), CASES) == (wish, [])


def test_a_link_is_as_short_as_it_can_be() -> None:
    assert write(Wish(virtual=5, severity=2, seed=3, run=True, plane="Axial", offset_mm=10.0)) == (
        "virtual=5&severity=2&seed=3&run=1&plane=Axial&offset=10"
    )
    assert write(Wish(case="Ann", seed=3)) == "case=Ann"  # without motion its seed says nothing


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("case", "Carl"),
        ("case", "../Ann"),
        ("virtual", "-1"),
        ("virtual", "1e3"),
        ("virtual", "1234567890"),
        ("virtual", "\u0663"),  # a digit, though of another script
        ("severity", "5"),
        ("severity", "2.0"),
        ("seed", ""),
        ("plane", "axial"),
        ("offset", "nan"),
        ("offset", "inf"),
        ("offset", "1e9"),
        ("offset", "left"),
        ("run", "yes"),
        ("colour", "red"),
    ],
)
def test_a_bad_word_is_told_and_left_out(key: str, value: str) -> None:
    wish, wrong = read({"case": "Ann", key: value}, CASES)
    assert len(wrong) == 1
    assert key in wrong[0]
    assert wish == (Wish() if key == "case" else Wish(case="Ann"))


def test_two_cases_are_one_too_many() -> None:
    wish, wrong = read({"case": "Ann", "virtual": "5"}, CASES)
    assert wish == Wish(case="Ann")
    assert "one is opened at a time" in wrong[0]


def test_a_link_without_a_case_says_so() -> None:
    assert "names no case" in read({"severity": "2"}, CASES)[1][0]
    assert read({}, CASES) == (Wish(), [])


def test_what_is_told_back_is_short_and_no_markup() -> None:
    _, wrong = read({"case": "<script>alert('x')</script>" * 100}, CASES)
    assert "<" not in wrong[0]
    assert len(wrong[0]) < 150
