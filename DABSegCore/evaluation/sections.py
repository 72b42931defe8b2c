"""Sections: what a report says of one kind of cases, as tables, figures and a sentence or two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from DABSegCore.evaluation.figures import gains, severities_of
from DABSegCore.evaluation.page import Markup, element, markup, picture, table
from DABSegCore.evaluation.panels import Pick, rank_cases, usual_severity
from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.evaluation.results import ALL_IMAGES, ALL_REGIONS, case_means
from DABSegCore.labels import REGIONS

if TYPE_CHECKING:
    from DABSegCore.evaluation.results import Evaluation

Row = Mapping[str, Any]

KIND_WORDS = {"real": "real cases", "virtual": "virtual patients"}
LISTED = 10
"""Cases of the list of the lowest."""

_FEW = 10
_MINUS, _NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"
_FIGURES = {  # heading; alternative text; caption
    "robustness": (
        "Robustness",
        "Two line charts: mean Dice and mean HD95 of each region against the severity of motion",
        "Means over cases with their 95 % intervals, and medians of HD95. A flat line is a method that does not mind "
        "motion.",
    ),
    "sorted": (
        "Case by case",
        "Three line charts, one per region: Dice of the cases from the worst to the best, a line per severity",
        "Every case, sorted by Dice, separately for each line: one place on the axis is not one case.",
    ),
    "cumulative": (
        "",
        "Three step charts, one per region: share of cases with at most a given Dice, a line per severity",
        "Share of the cases that reach no more than a given Dice: the farther to the right a line rises, the better.",
    ),
}


def lead(part: Evaluation) -> Markup:
    """The findings of one kind of cases in two or three sentences."""
    severity = usual_severity(part.rows)
    here = next(e for e in part.summary if (e["severity"], e["region"], e["metric"]) == (severity, ALL_REGIONS, "dice"))
    cases, mean = counted(here["n"], part.rows[0]["kind"]), number(here["mean"])
    said = f"{_where(severity)} the mean Dice of ET, TC and WT over {cases} is {mean}{_interval(here)}"
    caution = ""
    if here["n"] == 1:
        caution = "One case tells nothing about others: there are no intervals."
    elif here["n"] < _FEW:
        caution = f"With {here['n']} cases the intervals are too narrow; take them for the least of the doubt there is."
    said += f"{_cost(part, severity)}. {_restored(part, severity)}"
    return markup(element("p", said.strip(), cls="lead"), element("p", caution) if caution else "")


def segmentation(part: Evaluation) -> Markup:
    """The table of the metrics that matter most."""
    columns = {"dice": ("Dice", 3), "hd95_mm": ("HD95, mm", 1), "nsd": ("NSD", 3)}
    return _metrics(part, columns, counted=True)


def more_metrics(part: Evaluation) -> Markup:
    """The table of the other metrics of masks."""
    columns = {
        "lesion_dice": ("Lesion-wise Dice", 3),
        "sensitivity": ("Sensitivity", 3),
        "specificity": ("Specificity", 4),
    }
    return markup(element("h3", "More measures"), _metrics(part, columns, counted=False))


def figures(pictures: Mapping[str, bytes], dark: Mapping[str, bytes]) -> Markup:
    """The figures of segmentation that were drawn."""
    parts: list[str] = []
    for name, (heading, described, caption) in _FIGURES.items():
        if name in pictures:
            parts += [element("h3", heading) if heading else ""]
            parts += [picture(described, pictures[name], dark.get(name), caption)]
    return markup(*parts)


def restoring(part: Evaluation, light: bytes | None, dark: bytes | None) -> Markup:
    """How much nearer to the sharp images restoring brings them; nothing for predictions."""
    if not part.images:
        return Markup()
    columns = {
        "psnr_corrupted_db": 2,
        "psnr_restored_db": 2,
        "psnr_gain_db": 2,
        "ssim_corrupted": 4,
        "ssim_restored": 4,
        "nmse_corrupted": 4,
        "nmse_restored": 4,
    }
    found = {(e["severity"], e["metric"]): e for e in part.summary if e["region"] == ALL_IMAGES}
    rows = {
        level_name(severity): [
            [
                _gain(found[severity, m]) if m == "psnr_gain_db" else number(found[severity, m]["mean"], digits)
                for m, digits in columns.items()
            ]
        ]
        for severity in severities_of(part.images)
    }
    headings = [
        "",
        "PSNR, dB, with motion",
        "restored",
        "gain",
        "SSIM with motion",
        "restored",
        "NMSE with motion",
        "restored",
    ]
    caption = (
        "Mean over cases of the mean of T1, T1ce, T2 and FLAIR. At S0 the input is the sharp image itself, and "
        "what is left is what restoring takes away from it."
    )
    parts = [element("h3", "Restored images"), table(headings, rows, caption)]
    if light:
        described = "PSNR of every case with motion and after restoring, in a group per severity"
        parts.append(picture(described, light, dark, "A blue line up is a gain, an orange one down a loss."))
    return markup(*parts)


def lowest(part: Evaluation) -> Markup:
    """The cases with the lowest mean Dice at the usual severity, with what was found and what is there."""
    severity = usual_severity(part.rows)
    rows = [row for row in part.rows if row["severity"] == severity]
    of = {(row["case_id"], row["region"]): row for row in rows}
    cases = rank_cases(rows)[:LISTED]
    groups = {case.case_id: [[number(case.mean), *(_found(of[case.case_id, r]) for r in REGIONS)]] for case in cases}
    caption = f"Dice, and below it the volume found of the volume there. {_where(severity)}; lowest mean first."
    few = f"The {len(cases)} lowest" if len(cases) < len({row["case_id"] for row in rows}) else "All cases"
    return markup(element("h3", few), table(["Case", "mean Dice", *REGIONS], groups, caption))


def panel_words(pick: Pick) -> str:
    """Caption of the picture of a case."""
    role = "The only case" if pick.role == "only" else f"The {pick.role} case by mean Dice"
    dice = ", ".join(f"{region} {number(value, 2)}" for region, value in pick.dice.items())
    return f"{role}, {level_name(pick.severity)}: {pick.case_id}. Dice {dice}."


def counted(n: int, kind: str) -> str:
    """`1 real case`, `12 virtual patients`."""
    return f"{n} {KIND_WORDS[kind][: -1 if n == 1 else None]}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, or a dash."""
    return _NOTHING if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def signed(value: float, digits: int) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def _metrics(part: Evaluation, columns: Mapping[str, tuple[str, int]], *, counted: bool) -> Markup:
    """A table of some metrics, regions down and severities within them."""
    found = {(entry["region"], entry["severity"], entry["metric"]): entry for entry in part.summary}
    groups: dict[str, list[list[str]]] = {}
    for region in (*REGIONS, ALL_REGIONS):
        for severity in severities_of(part.rows):
            entries = [found[region, severity, metric] for metric in columns]
            cells = [_cell(entry, digits) for entry, (_, digits) in zip(entries, columns.values(), strict=True)]
            line = [level_name(severity), str(entries[0]["n"]), *cells]
            line += [_misses(part.rows, region, severity)] if counted else []
            groups.setdefault("Mean" if region == ALL_REGIONS else region, []).append(line)
    headings = ["", "", "n", *(heading for heading, _ in columns.values())]
    small = "Mean ± sd over n cases; below, the 95 % interval of the mean, and the median. Last rows: of the mean of a "
    small += "case's regions."
    return table([*headings, "missed, invented"] if counted else headings, groups, small)


def _cell(entry: Row, digits: int) -> Markup:
    """Mean and sd, and below them interval and median."""
    spread = "" if entry["sd"] is None else f" ± {number(entry['sd'], digits)}"
    below = "" if entry["low"] is None else f"{number(entry['low'], digits)} to {number(entry['high'], digits)}; "
    below += f"median {number(entry['median'], digits)}" if entry["n"] > 1 else ""
    below += f"{'; ' if below else ''}{entry['left_out']} left out" if entry["left_out"] else ""
    return markup(element("b", number(entry["mean"], digits)), spread, element("small", below))


def _gain(entry: Row) -> Markup:
    """Mean gain in dB and its interval."""
    if entry["mean"] is None:
        return markup(_NOTHING)
    around = "" if entry["low"] is None else f"{signed(entry['low'], 2)} to {signed(entry['high'], 2)}"
    return markup(element("b", signed(entry["mean"], 2)), element("small", around))


def _misses(rows: Iterable[Row], region: str, severity: Level) -> str:
    """In how many cases a region is there and not found, and found and not there."""
    if region == ALL_REGIONS:
        return ""
    here = [row for row in rows if (row["region"], row["severity"]) == (region, severity)]
    missed = sum(row["reference_ml"] > 0 == row["predicted_ml"] for row in here)
    return f"{missed}, {sum(row['predicted_ml'] > 0 == row['reference_ml'] for row in here)}"


def _found(row: Row) -> Markup:
    """Dice of a region and its volumes."""
    volumes = f"{number(row['predicted_ml'], 1)} of {number(row['reference_ml'], 1)} ml"
    return markup(number(row["dice"]), element("small", volumes))


def _cost(part: Evaluation, severity: Level | None) -> str:
    """What motion costs, on the cases that were evaluated with and without it."""
    moved, sharp = (case_means(part.rows, "dice", lambda row, s=s: row["severity"] == s) for s in (severity, 0))
    both = sorted(moved.keys() & sharp.keys())
    if severity == 0 or not both:
        return ""
    without, cost = (
        sum(values) / len(both) for values in ((sharp[c] for c in both), (moved[c] - sharp[c] for c in both))
    )
    only = "" if len(both) == len(moved) else f" on the {len(both)} of them that were also evaluated so"
    return f"; without motion it is {number(without)} ({signed(cost, 3)}){only}"


def _restored(part: Evaluation, severity: Level | None) -> str:
    """What restoring did to the images."""
    pairs = gains(part.images).get(severity)
    if pairs is None:
        return ""
    nearer = sum(after > before for before, after in pairs)
    share = f", nearer to the sharp ones in {nearer} of {len(pairs)} cases" if len(pairs) > 1 else ""
    return (
        f"Restoring changed the PSNR of the images by {signed(float((pairs[:, 1] - pairs[:, 0]).mean()), 2)} dB{share}."
    )


def _interval(entry: Row) -> str:
    if entry["low"] is None:
        return ""
    return f" (95 % interval {number(entry['low'])} to {number(entry['high'])})"


def _where(severity: Level | None) -> str:
    if isinstance(severity, str):
        return "In the predictions given"
    return f"At motion severity {level_name(severity)}" if severity else "Without motion (S0)"
