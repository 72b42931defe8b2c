"""Tables: a comparison as tables of a page, laid out as the paper's; published ones stand apart from measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from DABSegCore.comparison.published import ABLATION, PAPER, PAPER_REGIONS, PAPER_ROWS, Score, Table
from DABSegCore.comparison.selection import case_count, differences, entries, is_significant, reference, tested
from DABSegCore.evaluation.page import Markup, element, markup, table
from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.results import ALL_REGIONS
from DABSegCore.evaluation.sections import counted, number, signed
from DABSegCore.evaluation.statistics import bootstrap_interval

if TYPE_CHECKING:
    from DABSegCore.comparison.results import Comparison, MethodResult

Row = Mapping[str, Any]

NOT_MEASURED = "not measured"
COSTS = {  # heading; factor; digits
    "parameters": ("Parameters, million", 1e-6, 2),
    "gflop": ("GFLOP", 1.0, 0),
    "total_s": ("Seconds a case", 1.0, 1),
    "network_s": ("of these, network", 1.0, 1),
    "training_minutes": ("Training, min", 1.0, 1),
    "training_steps": ("Steps", 1.0, 0),
    "peak_memory_mb": ("Peak memory, MB", 1.0, 0),
}
"""Columns of the table of costs, by their keys in `MethodResult.cost`."""

_ABOVE = [("", 1), *((region, 2) for region in PAPER_REGIONS)]


def measured(comparison: Comparison, kind: str, level: Level, methods: Sequence[MethodResult]) -> Markup:
    """Dice and HD95 of methods at one severity, as the paper's Tables 1 and 2 have them.

    Args:
        comparison: They are of.
        kind: Of the cases.
        level: Severity of the motion.
        methods: Its rows; all were judged there.
    """
    tests = tested(comparison, kind, level)
    counts = {method.name: entries(method, kind, level)[ALL_REGIONS, "dice"]["n"] for method in methods}
    groups = {}
    for method in methods:
        found = entries(method, kind, level)
        cells = []
        for region in PAPER_REGIONS:
            cells.append(_dice(found[region, "dice"], tests.get((method.name, region))))
            cells.append(_distance(found[region, "hd95_mm"]))
        cells.append(_dice(found[ALL_REGIONS, "dice"], tests.get((method.name, ALL_REGIONS))))
        said = f"n = {counts[method.name]}" if len(set(counts.values())) > 1 else ""
        groups[_named(comparison, method, said)] = [cells]
    headings = ["Measured here", *["Dice, %", "HD95, mm"] * len(PAPER_REGIONS), "Dice, %"]
    cases = counted(case_count(methods, kind), kind)
    small = f"Over {cases}. Dice: mean ± sd, below it the 95 % interval of the mean; HD95: mean, below it the median. "
    small += f"*: differs from {comparison.reference}, p < 0.05 after Holm's correction."
    return table(headings, groups, small, above=[*_ABOVE, ("Mean of a case", 1)])


def printed(published: Table) -> Markup:
    """A published table as it is printed, set apart."""
    groups = {name: [_printed_cells(row)] for name, row in published.rows.items()}
    headings = ["Published", *["Dice, %", "HD95"] * len(PAPER_REGIONS)]
    heading = f"Published, not measured here: Table {published.number} of {PAPER}"
    caution = f"{published.caption}. The paper's own method is called DABSeg here. Other cases, other motion, other "
    caution += "training than above: see “What is published” below before comparing anything with it."
    return element("div", element("h4", heading), table(headings, groups, caution, above=_ABOVE), cls="apart")


def ablation(comparison: Comparison, kind: str, level: Level, methods: Sequence[MethodResult]) -> Markup:
    """Dice of variants, and how far each is from the reference on the same cases.

    Args:
        comparison: They are of.
        kind: Of the cases.
        level: Severity of the motion.
        methods: The variants; the reference comes first whether it is among them or not.
    """
    first = reference(comparison)
    groups = {}
    for method in (first, *(method for method in methods if method is not first)):
        found = entries(method, kind, level)
        regions = (*PAPER_REGIONS, ALL_REGIONS)
        changes = [differences(comparison, method, kind, level, region) for region in regions]
        cells = [
            markup(element("b", percent(found[region, "dice"]["mean"])), element("small", _change(values)))
            if method is not first
            else element("b", percent(found[region, "dice"]["mean"]))
            for region, values in zip(regions, changes, strict=True)
        ]
        groups[_named(comparison, method)] = [cells]
    headings = ["Measured here", *(f"{region} Dice, %" for region in PAPER_REGIONS), "Mean of a case, %"]
    small = f"Below each mean: mean difference to {comparison.reference} on the same cases, in points, and its 95 % "
    return table(headings, groups, small + "interval.")


def wilcoxon_table(comparison: Comparison, kind: str, level: Level) -> Markup:
    """Median difference to the reference and p values; nothing where nothing was tested."""
    tests = tested(comparison, kind, level)
    regions = [r for r in (ALL_REGIONS, *PAPER_REGIONS) if any(region == r for _, region in tests)]
    names = dict.fromkeys(name for name, _ in tests)
    groups = {name: [[_tested(tests.get((name, region))) for region in regions]] for name in names}
    headings = ["", *("Mean of a case" if region == ALL_REGIONS else region for region in regions)]
    small = f"Median difference to {comparison.reference} in points of Dice; two-sided p of Wilcoxon's test "
    small += "of signed ranks, and p after Holm's correction; pairs that differ."
    return table(headings, groups, small) if groups else Markup()


def cost_table(methods: Sequence[MethodResult]) -> Markup:
    """What methods cost."""
    groups = {
        method.name: [[_cost(method.cost.get(key), factor, digits) for key, (_, factor, digits) in COSTS.items()]]
        for method in methods
    }
    small = "GFLOP: of one forward of a volume of 4 x 128³ voxels, an addition and a multiplication counted as two. "
    small += "Seconds: medians over cases and severities, on the hardware above. Training includes that of a restorer. "
    small += "Peak memory: of the process that judged the method."
    return table(["", *(heading for heading, _, _ in COSTS.values())], groups, small)


def percent(value: float | None, digits: int = 1) -> str:
    """A share of one in per cent, or a dash."""
    return number(None if value is None else 100 * value, digits)


def points(value: float | None, digits: int = 1) -> str:
    """A difference of shares in points, with its sign, or a dash."""
    return number(None) if value is None else signed(100 * value, digits)


def p_words(value: float | None) -> str:
    """A p value, as precise as is sensible."""
    if value is None:
        return number(None)
    return "< 0.001" if value < 0.001 else "1" if value == 1 else f"{value:.3f}"


def _named(comparison: Comparison, method: MethodResult, said: str = "") -> Markup:
    """Name of a method, and in small print what it is here and in the paper."""
    small = ["the reference"] if method.name == comparison.reference else []
    small += [f"in the paper: {method.paper}"] if _has_row(method.paper) else []
    small += [said] if said else []
    return markup(method.name, element("small", "; ".join(small)) if small else "")


def _has_row(paper: str | None) -> bool:
    return paper in PAPER_ROWS and paper != ABLATION


def _dice(entry: Row, test: Row | None) -> Markup:
    """Mean and sd in per cent, below them the interval; a star where the test says so."""
    spread = "" if entry["sd"] is None else f" ± {percent(entry['sd'])}"
    below = "" if entry["low"] is None else f"{percent(entry['low'])} to {percent(entry['high'])}"
    star = " *" if is_significant(test) else ""
    mean = element("span", element("b", percent(entry["mean"])), spread, star, cls="line")
    return markup(mean, element("small", below) if below else "")


def _distance(entry: Row) -> Markup:
    """Mean HD95, below it the median."""
    below = element("small", f"median {number(entry['median'], 1)}") if entry["n"] > 1 else ""
    return markup(number(entry["mean"], 1), below)


def _printed_cells(row: Sequence[Score]) -> list[str]:
    cells = []
    for score in row:
        spread = "" if score.sd is None else f" ± {score.sd:.3f}"
        cells += [element("span", f"{score.dice:.3f}{spread}", cls="line"), f"{score.hd95:.3f}"]
    return cells


def _change(values: Sequence[float]) -> str:
    """Mean difference in points and its interval."""
    if not values:
        return "no case in common"
    mean = points(sum(values) / len(values))
    if len(values) == 1:
        return mean
    low, high = bootstrap_interval(values)
    return f"{mean} ({points(low)} to {points(high)})"


def _tested(test: Row | None) -> Markup:
    """Median difference, p, p after the correction, pairs."""
    if test is None:
        return markup(number(None))
    star = " *" if is_significant(test) else ""
    below = f"p {p_words(test['p'])}, Holm {p_words(test['p_holm'])}; {test['n']}"
    return markup(element("b", points(test["median_difference"])), star, element("small", below))


def _cost(value: float | None, factor: float, digits: int) -> Markup:
    return element("span", NOT_MEASURED, cls="faint") if value is None else markup(f"{factor * value:,.{digits}f}")
