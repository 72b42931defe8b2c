"""Page: the report of a comparison as one file that opens without network; published numbers stand apart from ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DABSegCore.comparison.analysis import LOSS_POINTS
from DABSegCore.comparison.figures import CALIBRATION, draw_calibration, draw_figures, write_figures
from DABSegCore.comparison.published import CAVEATS, TABLE_1, TABLE_2, TABLE_3, is_ablation, mean_dice
from DABSegCore.comparison.selection import (
    ALPHA,
    SHARP,
    case_count,
    entries,
    holm_family,
    is_significant,
    judged,
    kinds,
    least_p,
    least_pairs,
    levels,
    main_level,
    moving_level,
    reference,
    tested,
)
from DABSegCore.comparison.tables import ablation, cost_table, measured, percent, printed, wilcoxon_table
from DABSegCore.evaluation.page import Markup, bullets, document, element, facts, markup, picture, table
from DABSegCore.evaluation.records import level_name
from DABSegCore.evaluation.results import ALL_REGIONS
from DABSegCore.evaluation.sections import KIND_WORDS, counted, number
from DABSegCore.evaluation.theme import DARK
from DABSegCore.evaluation.words import REGION_WORDS, SEVERITY_WORDS, STATISTICS_WORDS, metric_words, shown_path
from DABSegCore.files import write_bytes
from DABSegCore.report import NOTICE

if TYPE_CHECKING:
    from DABSegCore.comparison.results import Comparison

REPORT = "report.html"

Pictures = Mapping[str, bytes]

_FIGURES = {  # alternative text; caption
    "robustness": (
        "Chart with a row per method: mean Dice at each severity of motion",
        "A short bar is a method that does not mind motion; far right is good.",
    ),
    "differences": (
        "Forest plot with a row per method: difference of Dice to the reference at each severity",
        "Where the thick line crosses zero, these cases do not tell the two methods apart. With fewer than ten or so "
        "cases the intervals are too narrow: trust the tests.",
    ),
    "cost": (
        "Scatter plot: mean Dice of each method against what a case costs",
        "Methods on one vertical are variants of one network.",
    ),
    CALIBRATION: (
        "Line chart: mean Dice of a network that never saw motion against the severity of motion",
        "What each level of motion costs a network that never saw any.",
    ),
}


def build(comparison: Comparison, out: Path) -> Path:
    """Write the figures and the report of a comparison.

    Args:
        comparison: What was found.
        out: Its folder.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: If something cannot be written.
    """
    light = write_figures(comparison, out)
    found = kinds(comparison)
    parts = [_head(comparison, found), *(_lead(comparison, kind) for kind in found)]
    parts += [_problems(comparison), _compared(comparison)]
    for place, kind in enumerate(found):  # the published tables once, beside the first
        parts.append(_results(comparison, kind, light[kind], with_published=place == 0))
    parts += [_cost(comparison), _calibration(comparison, light[CALIBRATION])]
    parts += [_caveats(), _definitions(comparison), _repeat(comparison)]
    path = out / REPORT
    write_bytes(path, document(comparison.title, parts).encode())
    return path


def _head(comparison: Comparison, found: Sequence[str]) -> Markup:
    """Title, date and what it may be used for."""
    said = [element("p", NOTICE)]
    if "virtual" in found:
        said.append(element("p", "Virtual patients are procedural: they test software, they do not replace data."))
    return markup(
        element("h1", comparison.title),
        element("p", str(comparison.meta.get("created", "")).replace("T", " ").replace("+00:00", " UTC"), cls="faint"),
        element("div", *said, cls="box"),
        "" if found else element("p", "No method could be judged.", cls="lead"),
    )


def _lead(comparison: Comparison, kind: str) -> Markup:
    """Where the methods lie, where the reference does, and whether these cases can tell them apart at all."""
    level = main_level(comparison, kind)
    methods = judged(comparison, kind, level)
    of = {method.name: entries(method, kind, level)[ALL_REGIONS, "dice"]["mean"] for method in methods}
    known = {name: mean for name, mean in of.items() if mean is not None}
    if not known:
        return Markup()
    worst, best = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    n = case_count(methods, kind)
    said = f"{level_name(level)}, {counted(n, kind)}: mean Dice of ET, TC and WT from {percent(known[worst])} % "
    said += f"({worst}) to {percent(known[best])} % ({best})"
    if comparison.reference in known and comparison.reference not in (worst, best):
        said += f"; the reference, {comparison.reference}, has {percent(known[comparison.reference])} %"
    return markup(element("p", f"{said}.", cls="lead"), element("p", _doubt(comparison, kind)))


def _doubt(comparison: Comparison, kind: str) -> str:
    """What the tests say and what so few cases allow them to say."""
    n, family = case_count(comparison.methods, kind), holm_family(comparison, kind)
    if not family:
        return f"{comparison.reference} was compared with no other method on {KIND_WORDS[kind]}."
    holding = sum(
        is_significant(test)
        for level in levels(comparison, kind)
        for (_, region), test in tested(comparison, kind, level).items()
        if region == ALL_REGIONS
    )
    said = f"{holding or 'None'} of {family} tests of mean Dice against {comparison.reference} "
    said += f"{'have' if holding > 1 else 'has'} p < {ALPHA:g} after Holm's correction over all of them"
    if family * least_p(n) >= ALPHA:
        said += f", and none could: {counted(n, kind)} give a two-sided p of 2 / 2^{n} = {least_p(n):.3g} at best, and "
        said += f"so many tests need {least_pairs(family)} cases at least, so this does not mean that methods are equal"
    return said + ". Each method was trained once: another seed may change the order."


def _problems(comparison: Comparison) -> Markup:
    """Methods that failed, and what was not equal among the others: they belong before the numbers."""
    faults = [f"{method.name}: {method.fault}" for method in comparison.methods if method.fault]
    of_methods = comparison.meta.get("warnings") or {}
    warnings = [f"{name}: {said}" for name, sentences in of_methods.items() for said in sentences]
    protocol = comparison.meta.get("protocol") or {}
    if protocol.get("validation") and not protocol.get("choose"):
        chosen = "Weights and thresholds" if protocol.get("checkpoint") == "best" else "Thresholds"
        warnings.append(f"{chosen} were chosen on the very cases that are judged, which flatters what is trained here.")
    faults += _case_faults(comparison)
    parts: list[str] = []
    for words, sentences in (
        ("Methods that failed, or failed in part:", faults),
        ("Not equal among the methods:", list(comparison.meta.get("unequal", ()))),
        ("Warnings:", warnings),
    ):
        parts += [element("p", element("b", words)), bullets(sentences)] if sentences else []
    return element("div", *parts, cls="box") if parts else element("p", "No failures, no warnings.", cls="faint")


def _case_faults(comparison: Comparison) -> list[str]:
    """A sentence on each method that some cases failed with."""
    counts = {m.name: len(m.evaluation.meta.get("failures", ())) for m in comparison.methods if m.evaluation}
    return [
        f"{name}: {n} case{'s' * (n != 1)} failed and {'are' if n > 1 else 'is'} left out of its numbers"
        for name, n in counts.items()
        if n
    ]


def _compared(comparison: Comparison) -> Markup:
    """The methods, the protocol, and whether they had equal chances."""
    meta = comparison.meta
    versions = {"DABSeg": "version", "torch": "torch", "Python": "python", "": "system"}
    common, own = _settings(meta.get("trained") or {})
    rows = {
        "plan": shown_path(meta.get("plan")),
        **{_words(key): _plain(value) for key, value in (meta.get("protocol") or {}).items()},
        "training of all": _plain(common),
        "device": ", ".join(dict.fromkeys([*meta.get("device", ()), *meta.get("device_name", ())])),
        "versions": ", ".join(f"{key} {meta[name]}".strip() for key, name in versions.items() if name in meta),
    }
    notes = {m.name: m.note for m in comparison.methods}
    notes |= {name: f"{facts['note']} (not judged by itself)" for name, facts in (meta.get("helpers") or {}).items()}
    said = {name: "; ".join(filter(None, (note, own.get(name, "")))) for name, note in notes.items()}
    equal = "" if meta.get("unequal") else element("p", "Every method was trained for as long as every other.")
    heading, listed = element("h2", "What was compared"), element("h3", "The methods")
    return markup(heading, equal, facts(rows), listed, facts(said))


def _settings(trained: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that all trainings share, and in words those of each method that they do not."""
    first: Mapping[str, Any] = next(iter(trained.values()), {})
    common = {key: value for key, value in first.items() if all(s.get(key) == value for s in trained.values())}
    own = {name: _plain({k: v for k, v in s.items() if k not in common}) for name, s in trained.items()}
    return common, own


def _results(comparison: Comparison, kind: str, light: Pictures, *, with_published: bool) -> Markup:
    """Everything about one kind of cases, in the order of the paper's tables."""
    moving = moving_level(comparison, kind)
    parts: list[str] = [element("h2", f"Results: {KIND_WORDS[kind]}")]
    dark = draw_figures(comparison, kind, DARK)
    shown = [(moving, TABLE_1, "Table 1. With motion")] if moving is not None else []
    shown += [(SHARP, TABLE_2, "Table 2. Without motion")] if SHARP in levels(comparison, kind) else []
    for level, published, heading in shown:
        parts += [element("h3", f"{heading} ({level_name(level)})")]
        parts += [measured(comparison, kind, level, judged(comparison, kind, level))]
        parts += [printed(published)] if with_published else []
    parts.append(_parts_of_it(comparison, kind, with_published=with_published))
    for level in levels(comparison, kind):
        methods = judged(comparison, kind, level)
        if level not in (moving, SHARP) and len(methods) > 1:  # one alone is the control: see the calibration
            parts += [element("h3", f"At {level_name(level)}"), measured(comparison, kind, level, methods)]
    parts += _figure("Robustness", "robustness", light, dark)
    parts += _figure("Differences, case by case", "differences", light, dark)
    parts += [_tests(comparison, kind), *_figure("What accuracy costs", "cost", light, dark)]
    return markup(*parts)


def _parts_of_it(comparison: Comparison, kind: str, *, with_published: bool) -> Markup:
    """The ablation: what each part brings."""
    level = main_level(comparison, kind)
    variants = [method for method in judged(comparison, kind, level) if is_ablation(method.paper)]
    parts: list[str] = []
    if len(variants) > 1 and reference(comparison) in judged(comparison, kind, level):
        parts.append(ablation(comparison, kind, level, variants))
    parts += [printed(TABLE_3)] if with_published else []
    return markup(element("h3", f"Table 3. What each part brings ({level_name(level)})"), *parts) if parts else Markup()


def _tests(comparison: Comparison, kind: str) -> Markup:
    """Tables of the tests, at the severities of Tables 1 and 2."""
    parts: list[str] = []
    for level in dict.fromkeys((SHARP, main_level(comparison, kind))):
        if tested(comparison, kind, level):
            parts += [element("h3", f"Tests at {level_name(level)}"), wilcoxon_table(comparison, kind, level)]
    if not parts:
        return Markup()
    said = "Holm's correction is over all methods and severities, for one kind of cases and one column. The first "
    said += "column is what methods should be told apart by; the regions explain it. Every test is in tests.csv."
    return markup(*parts, element("p", said))


def _cost(comparison: Comparison) -> Markup:
    """The table of costs."""
    known = [method for method in comparison.methods if any(value is not None for value in method.cost.values())]
    return markup(element("h2", "Cost"), cost_table(known)) if known else Markup()


def _calibration(comparison: Comparison, light: Pictures) -> Markup:
    """What motion costs the control, and which severity is the paper's S2 by that."""
    found = comparison.calibration
    if found is None:
        return Markup()
    sharp, moved = mean_dice(TABLE_2.rows["CKD-TransBTS"]), mean_dice(TABLE_3.rows["DAMI"])
    said = f"{found['method']} never saw motion, so its loss of Dice tells how strong a level is. In the paper the "
    said += f"same network has {sharp:.1f} % on sharp images (CKD-TransBTS, Table 2) and {moved:.1f} % on its S2 "
    said += f"(DAMI, Table 3), {sharp - moved:.1f} points less: so its S2 is where about {LOSS_POINTS:g} points are "
    said += "lost, if that row is of a network that never saw motion. "
    level = found["level_of_20_points"]
    if level is None:
        said += "Here it lost so much at no level, so none of ours can be called so."
    else:
        said += f"Here that is at S{level:.1f} on {KIND_WORDS[found['kind']]} (interpolated)."
    heads = ["", "", "mean Dice, %", "loss, points", "n"]
    groups: dict[str, list[list[str]]] = {}
    for row in found["rows"]:
        cells = [level_name(row["severity"]), percent(row["dice"]), number(row["loss_points"], 1), str(row["n"])]
        groups.setdefault(KIND_WORDS[row["kind"]], []).append(cells)
    shown = _figure("", CALIBRATION, light, draw_calibration(comparison, DARK))
    return markup(element("h2", "Calibration of the severities"), element("p", said), *shown, table(heads, groups))


def _caveats() -> Markup:
    """What one must know to read the published tables."""
    parts: list[str] = []
    for heading, sentences in CAVEATS.items():
        parts += [element("h3", heading), bullets(sentences)]
    return markup(element("h2", "What is published"), *parts)


def _definitions(comparison: Comparison) -> Markup:
    """What every number is."""
    options: Mapping[str, Any] = next(
        (m.evaluation.meta.get("method") or {} for m in comparison.methods if m.evaluation), {}
    )
    words = metric_words(options.get("tolerance_mm"), options.get("penalty_mm"))
    of_masks = {name: words[name] for name in ("Dice", "HD95")}
    parts = (REGION_WORDS, SEVERITY_WORDS, of_masks, STATISTICS_WORDS)
    return markup(element("h2", "Definitions"), *map(facts, parts))


def _repeat(comparison: Comparison) -> Markup:
    """The command, and what lies beside the report."""
    command = comparison.meta.get("command")
    words = "What is done is skipped, so an interrupted comparison is simply started again. Schedules of minutes give "
    words += "other weights on other hardware, and slightly other ones on the same; schedules of steps do not, on one "
    words += "CPU. Every mean is in methods.csv beside this file, every test in tests.csv, every case in evaluations/."
    return markup(element("h2", "Repeat it"), element("pre", command), element("p", words)) if command else Markup()


def _figure(heading: str, name: str, light: Pictures, dark: Pictures) -> list[str]:
    """A heading and a figure, if it was drawn."""
    if name not in light:
        return []
    described, caption = _FIGURES[name]
    return [element("h3", heading) if heading else "", picture(described, light[name], dark.get(name), caption)]


def _plain(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        said = {_words(key): _plain(entry) for key, entry in value.items()}
        return ", ".join(f"{key} {words}" for key, words in said.items() if words)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown_path(None if value is None else str(value))


def _words(key: str) -> str:
    return str(key).replace("_", " ")
