"""Report of an evaluation: one page, whose numbers and words are true and which asks nothing of a network."""

from __future__ import annotations

import base64
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluated import an_evaluation, together

from DABSegCore.evaluation.html import build
from DABSegCore.evaluation.page import Markup, element, facts, markup, table
from DABSegCore.evaluation.results import Evaluation
from DABSegCore.evaluation.sections import lead, lowest
from DABSegCore.evaluation.words import EMPTY, empty_rules, metric_words
from DABSegCore.labels import REGIONS
from DABSegCore.metrics import region_scores

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a page holds; refuses one whose tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += f"{data}|"

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def table_with(self, heading: str) -> list[list[str]]:
        return next(rows for rows in self.tables if f"{heading}|" in rows[0])


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: a report of numbers alone."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def page_of(evaluation: Evaluation, out: Path) -> Page:
    return Page(build(evaluation, out).read_text(encoding="utf-8"))


def by_case(case: int, severity: int | str, region: str) -> float:
    """Means over three cases: ET 0.4, TC 0.5, WT 0.6 at S2, 0.2 more at S0; sd 0.1."""
    return {"ET": 0.3, "TC": 0.4, "WT": 0.5}[region] + 0.1 * case + (0.2 if severity == 0 else 0.0)


def test_one_file_that_needs_nothing_else(tmp_path):
    pytest.importorskip("matplotlib")
    path = build(an_evaluation(), tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "a", "form"} == set()
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert len(addresses) == 8  # four figures, each on light and on dark
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "url(" not in path.read_text(encoding="utf-8")
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_figures_of_the_page_are_those_beside_it_and_all_are_described(tmp_path):
    pytest.importorskip("matplotlib")
    page = page_of(an_evaluation(severities=(2,)), tmp_path)
    light = [image for image in page.images() if image["class"] == "light"]
    inside = {base64.b64decode(image["src"].partition(",")[2]) for image in light}
    assert inside == {path.read_bytes() for path in tmp_path.glob("*.png")}
    assert len(light) == len(page.images()) / 2 == 3
    assert all(len(image["alt"]) > 20 for image in page.images())
    assert {image["src"] for image in light} & {image["src"] for image in page.images() if image not in light} == set()


def test_the_same_evaluation_gives_the_same_page(tmp_path, no_figures):
    pages = [build(an_evaluation(), tmp_path).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


def test_tables_tell_mean_spread_interval_and_median(tmp_path, no_figures):
    evaluation = an_evaluation(3, (0, 2), by_case)
    rows = page_of(evaluation, tmp_path).table_with("HD95, mm")
    assert [row[0] for row in rows] == ["", "ET|", "S2|", "TC|", "S2|", "WT|", "S2|", "Mean|", "S2|"]
    low, high = next(
        (entry["low"], entry["high"])
        for entry in evaluation.summary
        if (entry["severity"], entry["region"], entry["metric"]) == (2, "ET", "dice")
    )
    assert rows[2][1:3] == ["3|", f"0.400| ± 0.100|{low:.3f} to {high:.3f}; median 0.400|"]
    assert rows[5][3].startswith("0.800| ± 0.100|")  # WT at S0
    assert rows[2][3].startswith("6.0| ± 1.0|")  # HD95 is 10 (1 - Dice)
    assert rows[8][2].startswith("0.500| ± 0.100|")  # mean over regions


def test_missed_and_invented_regions_are_counted(tmp_path, no_figures):
    evaluation = an_evaluation(4, (2,), lambda case, severity, region: 0.0 if region == "ET" and case < 3 else 0.5)
    evaluation.rows[0]["reference_ml"] = 0.0  # ET of the first case: neither there nor found
    evaluation.rows[1]["reference_ml"] = 0.0  # TC: found, not there
    rows = page_of(evaluation, tmp_path).table_with("missed, invented")
    assert [row[-1] for row in rows[1:]] == ["2, 0|", "0, 1|", "0, 0|", ""]


def test_the_first_sentence(tmp_path):
    said = str(lead(an_evaluation(3, (0, 2), by_case)))
    assert "At motion severity S2 the mean Dice of ET, TC and WT over 3 real cases is 0.500 (95 % interval 0." in said
    assert (
        "; without motion it is 0.700 (\N{MINUS SIGN}0.200). Restoring changed the PSNR of the images by +1.00 dB, "
        in said
    )
    assert "nearer to the sharp ones in 3 of 3 cases." in said
    assert "With 3 cases the intervals are too narrow" in said


def test_motion_is_charged_to_cases_that_were_evaluated_with_and_without_it():
    whole = an_evaluation(3, (0, 2), by_case)
    rows = [row for row in whole.rows if (row["case_id"], row["severity"]) != ("Case_2", 0)]
    said = str(lead(Evaluation(rows, whole.images, whole.summary, {})))
    assert "without motion it is 0.650 (\N{MINUS SIGN}0.200) on the 2 of them that were also evaluated so" in said


def test_one_case_has_no_interval_and_the_page_says_so(tmp_path, no_figures):
    page = page_of(an_evaluation(1), tmp_path)
    assert "over 1 real case is 0.500; " in page.text()
    assert "One case tells nothing about others: there are no intervals." in page.text()
    assert page.table_with("HD95, mm")[1][3] == "0.500|"
    assert "median" not in " ".join(page.table_with("HD95, mm")[1])


def test_predictions_have_no_severity_and_no_images(tmp_path, no_figures):
    evaluation = an_evaluation(2, ("given",), decibels=None)
    evaluation.meta.update(weights=None, predictions="somewhere/else")
    page = page_of(evaluation, tmp_path)
    assert "In the predictions given the mean Dice of ET, TC and WT over 2 real cases is 0.500" in page.text()
    assert "Restored images" not in page.text()
    assert "PSNR" not in page.text()
    assert "DABSeg evaluation: somewhere/else" in page.text()


def test_what_failed_comes_before_the_numbers_and_is_escaped(tmp_path, no_figures):
    failures = [
        {"case_id": "<b>&\"'", "severity": 2, "message": "<script>alert(1)</script>"},
        {"case_id": "other", "severity": None, "message": "gone"},
    ]
    page = page_of(an_evaluation(failures=failures, warnings=["a < b"]), tmp_path)
    text = page.text()
    assert "2 failures, left out of all numbers:" in text
    assert "<b>&\"', S2: <script>alert(1)</script>" in text  # as text
    assert {tag for tag, _ in page.tags} & {"script"} == set()
    assert "other: gone" in text
    assert text.index("left out of all") < text.index("a < b") < text.index("Results: real cases")
    assert "No failures, no warnings." in page_of(an_evaluation(), tmp_path).text()


def test_a_page_of_nothing_but_failures(tmp_path, no_figures):
    failures = [{"case_id": "c", "severity": None, "message": "broken"}]
    text = page_of(an_evaluation(0, failures=failures), tmp_path).text()
    assert "Nothing could be evaluated." in text
    assert "c: broken" in text


def test_what_was_run_and_how_to_repeat_it(tmp_path, no_figures):
    evaluation = an_evaluation(
        command="python -m DABSegCore.evaluate --data 'a b'",
        data=str(Path.home() / "my" / "cases"),
        method={"weights": "x", "seed": 7, "window": None, "tta": True, "tolerance_mm": 2.0, "penalty_mm": 347.0},
        seconds={"read": 1.25, "network": 2.0},
        severities=[0, 2],
        device="cuda:0",
        device_name="A card",
        processes=4,
    )
    evaluation.meta.update(weights={"path": "w.pt", "sha256": "f" * 64}, cases={"real": 3, "virtual": 1})
    text = page_of(evaluation, tmp_path).text()
    for words in (
        "python -m DABSegCore.evaluate --data 'a b'",
        "3 real cases, 1 virtual patient",
        "~/my/cases" if sys.platform != "win32" else "my",
        "seed 7, window as trained, tta yes, tolerance_mm 2, penalty_mm 347",
        "f" * 64,
        "cuda:0, A card, 4 processes",
        "read 1.25, network 2.00; 3.2 in all",
        "costs 347 mm, as in the published code of DABSeg",
        "lies within 2 mm of the other",
    ):
        assert words in text


def test_virtual_patients_are_told_apart_and_told_of(tmp_path, no_figures):
    both = together(an_evaluation(2, (2,)), an_evaluation(2, (2,), lambda *_: 0.9, kind="virtual"))
    text = page_of(both, tmp_path).text()
    assert text.index("Results: real cases") < text.index("Results: virtual patients")
    assert "over 2 real cases is 0.500" in text
    assert "over 2 virtual patients is 0.900" in text
    assert "they do not replace data" in text
    assert "they do not replace data" not in page_of(an_evaluation(), tmp_path).text()


def test_pictures_of_cases_that_there_are(tmp_path, no_figures):
    evaluation = an_evaluation(3, (2,), by_case)
    assert page_of(evaluation, tmp_path).images() == []
    (tmp_path / "panels").mkdir()
    for role in ("best", "only"):  # the latter of another evaluation
        (tmp_path / "panels" / f"{role}.png").write_bytes(role.encode())
    images = page_of(evaluation, tmp_path).images()
    assert [base64.b64decode(image["src"].partition(",")[2]) for image in images] == [b"best"]
    assert images[0]["alt"] == "The best case by mean Dice, S2: Case_2. Dice ET 0.50, TC 0.60, WT 0.70."


def test_the_lowest_cases_at_one_severity_lowest_first():
    section = str(lowest(an_evaluation(12, (0, 2), lambda case, severity, region: 0.9 - 0.05 * case)))
    page = Page(section)
    assert "The 10 lowest" in page.text()
    assert [row[0] for row in page.tables[0][1:]] == [f"Case_{case}|" for case in range(11, 1, -1)]
    assert page.tables[0][1][1:3] == ["0.350|", "0.350|5.0 of 10.0 ml|"]
    assert "All cases" in Page(str(lowest(an_evaluation(10)))).text()


def test_rules_for_what_is_empty_are_those_of_the_metrics():
    full, empty = np.zeros((1, 8, 8, 8), bool), np.zeros((1, 8, 8, 8), bool)
    full[0, 2:6, 2:6, 2:6] = True
    stacks = {name: np.repeat(mask, len(REGIONS), axis=0) for name, mask in (("full", full), ("empty", empty))}
    columns = (("empty", "empty"), ("empty", "full"), ("full", "empty"))
    keys = {"Dice": "dice", "NSD": "nsd", "HD95": "hd95_mm", "Lesion-wise Dice": "lesion_dice"}
    keys |= {"Sensitivity": "sensitivity", "Specificity": "specificity"}
    assert set(keys) == set(EMPTY)
    for place, (prediction, reference) in enumerate(columns):
        scores = region_scores(stacks[prediction], stacks[reference], (1.0, 1.0, 1.0), penalty_mm=300.0)["WT"]
        for metric, rule in empty_rules(300.0).items():
            word, value = rule[place], scores[keys[metric]]
            if word == "left out":
                assert np.isnan(value)
            elif word == "as defined":
                assert value == pytest.approx(1 - 64 / 512)
            else:
                assert value == float(word.removesuffix(" mm"))


def test_every_column_is_defined(tmp_path, no_figures):
    defined = set(metric_words(None, None))
    page = page_of(an_evaluation(), tmp_path)
    for first in ("HD95, mm", "Sensitivity"):
        names = {cell.removesuffix("|").removesuffix(", mm") for cell in page.table_with(first)[0]}
        assert names - {"", "n"} <= defined


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "a & b", Markup("<b>c</b>"), cls='"x"') == '<p class="&quot;x&quot;">a &amp; b<b>c</b></p>'
    assert isinstance(markup("<"), Markup)
    assert markup("<") == "&lt;"
    assert facts({"a": "1", "b": ""}) == "<dl><dt>a</dt><dd>1</dd></dl>"


def test_the_name_of_a_group_spans_its_rows():
    page = Page(table(["", "x"], {"g": [["1"], ["2"]], "h": [["3"]]}, "small"))
    assert page.tables == [[["", "x|"], ["g|", "1|"], ["2|"], ["h|", "3|"]]]
    assert [a["rowspan"] for tag, a in page.tags if "rowspan" in a] == ["2", "1"]
