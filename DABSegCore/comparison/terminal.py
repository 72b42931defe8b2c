"""Terminal: a comparison as a few plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from DABSegCore.comparison.published import PAPER, TABLES, Table
from DABSegCore.comparison.selection import (
    case_count,
    entries,
    is_significant,
    judged,
    kinds,
    levels,
    tested,
)
from DABSegCore.comparison.tables import COSTS
from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.evaluation.results import ALL_REGIONS
from DABSegCore.evaluation.sections import counted
from DABSegCore.labels import REGIONS

if TYPE_CHECKING:
    from DABSegCore.comparison.results import Comparison, MethodResult

_HEADINGS = {
    "parameters": "M params",
    "gflop": "GFLOP",
    "total_s": "s/case",
    "training_minutes": "min",
    "training_steps": "steps",
    "peak_memory_mb": "MB",
}
_PUBLISHED_ORDER = {"WT": 0, "TC": 1, "ET": 2}
_WIDEST = 40


def terminal_table(comparison: Comparison) -> str:
    """Means of all methods by kind of case and severity, their cost, those that failed, and the published tables."""
    width = _width([method.name for method in comparison.methods])
    parts = [f"{comparison.title}\nreference: {comparison.reference}; *: differs from it, p < 0.05 after Holm"]
    for kind in kinds(comparison):
        parts += [_scores(comparison, kind, level, width) for level in levels(comparison, kind)]
    shown = [method for method in comparison.methods if method.evaluation is not None]
    parts += [_costs(shown, width)] if shown else ["no method could be judged"]
    faults = [f"{method.name}: {method.fault}" for method in comparison.methods if method.fault]
    parts += ["\n".join(["failed, or failed in part", *faults])] if faults else []
    heading = f"PUBLISHED, NOT MEASURED HERE ({PAPER}): other cases, other motion, other training"
    parts += [heading, *map(_published, TABLES)]
    return "\n" + "\n\n".join(parts) + "\n"


def _scores(comparison: Comparison, kind: str, level: Level, width: int) -> str:
    """Dice and HD95 of all methods at one severity."""
    methods = judged(comparison, kind, level)
    tests = tested(comparison, kind, level)
    head = f"{counted(case_count(methods, kind), kind)} at {level_name(level)}; mean Dice in %, mean HD95 in mm"
    lines = [head, *_headings(width, (*REGIONS, "mean of a case"), n=True)]
    for method in methods:
        found = entries(method, kind, level)
        cells = ""
        for region in REGIONS:
            star = "*" if is_significant(tests.get((method.name, region))) else " "
            dice, distance = (found[region, metric]["mean"] for metric in ("dice", "hd95_mm"))
            cells += f"{_share(dice):>8}{star}{_text(distance, 1):>7}"
        whole = found[ALL_REGIONS, "dice"]
        star = "*" if is_significant(tests.get((method.name, ALL_REGIONS))) else " "
        lines.append(f"{_cut(method.name, width)}{cells}{_share(whole['mean']):>8}{star}{whole['n']:>7}".rstrip())
    return "\n".join(lines)


def _headings(width: int, names: Sequence[str], *, n: bool = False) -> list[str]:
    """Two lines: regions, and what is below them."""
    regions = "".join(f"{name:>9}{'':7}" for name in names[:3]) + (f"{names[3]:>16}" if n else "")
    below = f"{'Dice':>8} {'HD95':>7}" * 3 + (f"{'Dice':>8} {'n':>7}" if n else "")
    return [f"{'':{width}}{regions}".rstrip(), f"{'':{width}}{below}"]


def _costs(methods: Sequence[MethodResult], width: int) -> str:
    """What methods cost; a dash for what was not measured."""
    lines = [f"{'cost':{width}}" + "".join(f"{heading:>10}" for heading in _HEADINGS.values())]
    for method in methods:
        values = [(method.cost.get(key), *COSTS[key][1:]) for key in _HEADINGS]
        cells = (_text(None if value is None else factor * value, digits) for value, factor, digits in values)
        lines.append(_cut(method.name, width) + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _published(table: Table) -> str:
    """A published table, its regions in the order of the measured ones."""
    width = _width(list(table.rows))
    lines = [f"Table {table.number}: {table.caption}; HD95 in voxels", *_headings(width, REGIONS)]
    for name, row in table.rows.items():
        scores = [row[_PUBLISHED_ORDER[region]] for region in REGIONS]
        lines.append(_cut(name, width) + "".join(f"{score.dice:>8.3f} {score.hd95:>7.3f}" for score in scores))
    return "\n".join(lines)


def _text(value: float | None, digits: int) -> str:
    """A number in letters that every terminal has."""
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    """A share of one in per cent."""
    return _text(None if value is None else 100 * value, 1)


def _width(names: Sequence[str]) -> int:
    return min(max(map(len, names), default=0), _WIDEST) + 1


def _cut(name: str, width: int) -> str:
    """A name in a column of that width."""
    return f"{name if len(name) < width else name[: width - 2] + '~':<{width}}"
