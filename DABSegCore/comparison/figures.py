"""Figures: a comparison as pictures: Dice by method and severity, against cost, differences, and the calibration."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DABSegCore.comparison.analysis import LOSS_POINTS
from DABSegCore.comparison.selection import (
    SHARP,
    case_count,
    differences,
    entries,
    is_significant,
    judged,
    kinds,
    levels,
    main_level,
    moving_level,
    tested,
)
from DABSegCore.evaluation.figures import Drawing, foot, render, severity_colours
from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.evaluation.results import ALL_REGIONS
from DABSegCore.evaluation.statistics import bootstrap_interval
from DABSegCore.evaluation.theme import LIGHT, Theme
from DABSegCore.files import write_bytes
from DABSegCore.training.curves import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from DABSegCore.comparison.results import Comparison, MethodResult

CALIBRATION = "calibration"
OF_KIND = ("robustness", "differences", "cost")
"""Figures of one kind of cases; `CALIBRATION` says itself which it is of."""

_ROW, _FRAME = 0.27, 1.1  # inches: a method's, and all around the methods
_MINUS = "\N{MINUS SIGN}"


def draw_figures(
    comparison: Comparison, kind: str, theme: Theme = LIGHT, names: Collection[str] = OF_KIND
) -> dict[str, bytes]:
    """Draw the figures of one kind of cases that there are numbers for.

    Args:
        comparison: What was found.
        kind: Of the cases.
        theme: Colours.
        names: Only these of `OF_KIND`.

    Returns:
        PNG by name: robustness, differences (needs a second method), cost (of two methods or more); none without
        matplotlib.
    """
    rows = _FRAME + _ROW * len(judged(comparison, kind))
    drawings: dict[str, Drawing] = {
        "robustness": (partial(_draw_robustness, comparison=comparison, kind=kind), rows),
        "differences": (partial(_draw_differences, comparison=comparison, kind=kind), rows),
        "cost": (partial(_draw_cost, comparison=comparison, kind=kind), max(3.2, rows)),
    }
    return render({name: drawings[name] for name in names}, theme)


def draw_calibration(comparison: Comparison, theme: Theme = LIGHT) -> dict[str, bytes]:
    """Draw what motion costs a network that never saw any; nothing where that was not measured."""
    if comparison.calibration is None:
        return {}
    return render({CALIBRATION: (partial(_draw_calibration, calibration=comparison.calibration), 3.4)}, theme)


def write_figures(comparison: Comparison, out: Path) -> dict[str, dict[str, bytes]]:
    """Write the figures, on white, into a folder as `<name>.png`; those of an earlier run are removed.

    Virtual patients are never drawn into one figure with real cases: where there are both, theirs are
    `<name>-virtual.png`.

    Returns:
        By kind of case, what `draw_figures` gave; and under `CALIBRATION` what `draw_calibration` did.

    Raises:
        InputError: If a picture cannot be written.
    """
    found = kinds(comparison)
    drawn = {kind: draw_figures(comparison, kind) for kind in found} | {CALIBRATION: draw_calibration(comparison)}
    for name in (*OF_KIND, *(f"{name}-virtual" for name in OF_KIND), CALIBRATION):
        with suppress(OSError):
            (out / f"{name}.png").unlink()
    for kind, pictures in drawn.items():
        end = "-virtual" if kind == "virtual" and len(found) > 1 else ""
        for name, picture in pictures.items():
            write_bytes(out / f"{name}{end}.png", picture)
    return drawn


def _draw_robustness(figure: Figure, comparison: Comparison, kind: str, theme: Theme) -> bool:
    """Mean Dice of every method, a mark per severity, the best with motion on top."""
    at = main_level(comparison, kind)
    methods = sorted(judged(comparison, kind), key=lambda method: _mean(method, kind, at))
    severities = levels(comparison, kind)
    colours = severity_colours(theme, len(severities))
    axes = figure.subplots()
    for place, method in enumerate(methods):
        known = [value for level in severities if math.isfinite(value := _mean(method, kind, level))]
        if known:
            axes.hlines(place, min(known), max(known), color=theme.grid, linewidth=3)
    for level, colour in zip(severities, colours, strict=True):
        found = [entries(method, kind, level).get((ALL_REGIONS, "dice")) for method in methods]
        means, low, high = ([_percent(entry, name) for entry in found] for name in ("mean", "low", "high"))
        axes.hlines(range(len(methods)), low, high, color=colour, linewidth=1.0, alpha=0.55)
        axes.plot(means, range(len(methods)), "o", color=colour, label=level_name(level), zorder=3)
    _name_rows(axes, methods, comparison, theme)
    axes.set_xlim(0, 100)
    axes.set_xlabel("Mean Dice of ET, TC and WT, %")
    figure.legend(loc="outside upper right", ncols=len(severities), handletextpad=0.1, columnspacing=1.2)
    n = case_count(methods, kind)
    thin = "; thin lines: 95 % interval of the mean" if n > 1 else ""
    foot(figure, f"n = {n} {_cases(kind, n)}{thin}. Sorted by {level_name(at)}.", theme)
    return bool(methods)


def _draw_differences(figure: Figure, comparison: Comparison, kind: str, theme: Theme) -> bool:
    """Differences to the reference on the same cases, in axes per severity: every case, the mean and its interval."""
    methods = [method for method in judged(comparison, kind) if method.name != comparison.reference][::-1]
    shown = [level for level in (SHARP, moving_level(comparison, kind)) if level in levels(comparison, kind)]
    found = {level: [differences(comparison, method, kind, level) for method in methods] for level in shown}
    if not any(values for rows in found.values() for values in rows):
        return False
    every = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, level in zip(every, shown, strict=True):
        tests = tested(comparison, kind, level)
        axes.axvline(0, color=theme.faint, linewidth=1.0)
        for place, (method, values) in enumerate(zip(methods, found[level], strict=True)):
            star = is_significant(tests.get((method.name, ALL_REGIONS)))
            _draw_difference(axes, place, 100 * np.array(values), theme, star=star)
        axes.set_title(f"{level_name(level)}{', sharp' if level == SHARP else ''}")
        axes.set_xlabel(f"{_MINUS} worse          points of Dice          better +")
    _name_rows(every[0], methods, comparison, theme)
    any_star = any(is_significant(test) for level in shown for test in tested(comparison, kind, level).values())
    said = "coloured and *: p < 0.05 after Holm" if any_star else "no difference is significant after Holm's correction"
    words = f"Method minus {comparison.reference}: each case, the mean and its bootstrap 95 % interval; {said}."
    foot(figure, words, theme)
    return True


def _draw_difference(axes: Axes, place: int, values: np.ndarray, theme: Theme, *, star: bool) -> None:
    """One row: cases as faint marks, the mean with its interval on top, coloured where it is significant."""
    if not len(values):
        axes.text(0, place, "  no case in common", va="center", color=theme.faint, fontsize=8)
        return
    mean = values.mean()
    colour = theme.ink if not star else theme.gain if mean > 0 else theme.loss
    axes.plot(values, np.full(len(values), place), "|", color=theme.faint, markersize=7, alpha=0.7)
    if len(values) > 1:
        low, high = bootstrap_interval(values)
        axes.hlines(place, low, high, color=colour, linewidth=2.2)
    axes.plot(mean, place, "o", color=colour, markersize=6, zorder=3)
    if star:
        axes.annotate("*", (mean, place), (0, 3), textcoords="offset points", ha="center", color=colour)


def _draw_cost(figure: Figure, comparison: Comparison, kind: str, theme: Theme) -> bool:
    """Mean Dice with motion against what a case costs, or the size of the network where no time was taken."""
    at = main_level(comparison, kind)
    methods = [method for method in judged(comparison, kind) if math.isfinite(_mean(method, kind, at))]
    keys = {"total_s": (1.0, "Median seconds a case"), "parameters": (1e-6, "Parameters, million")}
    key = max(keys, key=lambda name: sum(method.cost.get(name) is not None for method in methods))
    factor, words = keys[key]
    known = [method for method in methods if method.cost.get(key) is not None]
    if len(known) < 2:
        return False
    x = [factor * float(method.cost[key] or 0.0) for method in known]
    y = [_mean(method, kind, at) for method in known]
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(min(x) / 1.3, max(x) * 1.3)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", length=0, pad=4, labelsize=8)
    axes.set_ylim(max(min(y) - 6, 0), min(max(y) + 6, 100))
    ours = [method.name == comparison.reference for method in known]
    axes.scatter(x, y, s=34, c=[theme.gain if mine else theme.ink for mine in ours], zorder=3)
    _label_points(axes, x, y, known, comparison, theme)
    axes.set_xlabel(words)
    axes.set_ylabel(f"Mean Dice at {level_name(at)}, %")
    missing = len(methods) - len(known)
    left_out = f" {missing} without a measured cost left out." if missing else ""
    foot(figure, f"Left and up is better; logarithmic axis. n = {case_count(known, kind)}.{left_out}", theme)
    return True


def _label_points(
    axes: Axes, x: Sequence[float], y: Sequence[float], methods: Sequence[MethodResult], comparison: Any, theme: Theme
) -> None:
    """Name every point at the right edge, joined to it by a thin line, no name over another."""
    bottom, top = axes.get_ylim()
    gap = min(0.075, 0.98 / len(methods))
    heights = spread([(value - bottom) / (top - bottom) for value in y], gap)
    shift = max(max(heights) - 1.0, 0.0) - max(-min(heights), 0.0)
    for across, up, height, method in zip(x, y, heights, methods, strict=True):
        mine = method.name == comparison.reference
        axes.annotate(
            method.name,
            (across, up),
            (1.04, height - shift),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            fontweight="bold" if mine else "normal",
            color=theme.gain if mine else theme.ink,
            arrowprops={"arrowstyle": "-", "color": theme.grid, "linewidth": 0.8, "shrinkB": 3},
        )


def _draw_calibration(figure: Figure, calibration: Mapping[str, Any], theme: Theme) -> bool:
    """Mean Dice of the control against severity, and the severity at which it has lost 20 points."""
    kind = calibration["kind"]
    rows = sorted((row for row in calibration["rows"] if row["kind"] == kind), key=lambda row: row["severity"])
    if len(rows) < 2 or rows[0]["severity"] != SHARP:
        return False
    axes = figure.subplots()
    x, y = [row["severity"] for row in rows], [100 * row["dice"] for row in rows]
    axes.plot(x, y, "o-", color=theme.loss, clip_on=False, zorder=3)
    for row, height in zip(rows[1:], y[1:], strict=True):
        words = f"{-row['loss_points']:+.1f} points".replace("-", _MINUS)
        axes.annotate(words, (row["severity"], height), (6, 6), textcoords="offset points", fontsize=8)
    axes.axhline(y[0] - LOSS_POINTS, color=theme.faint, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.text(x[0], y[0] - LOSS_POINTS + 1, f" {LOSS_POINTS:g} points lost", color=theme.faint, fontsize=8)
    level = calibration["level_of_20_points"]
    if level is not None:
        axes.plot([level] * 2, [0, y[0] - LOSS_POINTS], color=theme.faint, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.text(level, 1, f" S{level:.1f}", color=theme.ink, va="bottom")
    axes.set(xlim=(x[0], x[-1] + 0.45), ylim=(0, 100))
    axes.set_xticks(x, [level_name(severity) for severity in x])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("Mean Dice of ET, TC and WT, %")
    n = rows[0]["n"]
    foot(figure, f"{calibration['method']}, {_cases(kind, n)}, n = {n}. Dashed: its Dice at S0 less 20 points.", theme)
    return True


def _name_rows(axes: Axes, methods: Sequence[MethodResult], comparison: Comparison, theme: Theme) -> None:
    """Names of methods down the left edge, the reference in bold."""
    axes.set_yticks(range(len(methods)), [method.name for method in methods], color=theme.ink)
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_fontweight("bold" if method.name == comparison.reference else "normal")
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.grid(visible=False, axis="y")


def _mean(method: MethodResult, kind: str, level: Level) -> float:
    """Mean over cases of the mean Dice over regions, per cent; NaN where there is none."""
    return _percent(entries(method, kind, level).get((ALL_REGIONS, "dice")), "mean")


def _percent(entry: Mapping[str, Any] | None, name: str) -> float:
    return math.nan if entry is None or entry[name] is None else 100 * entry[name]


def _cases(kind: str, n: int) -> str:
    return {"real": "real case", "virtual": "virtual patient"}[kind] + "s" * (n != 1)
