"""Figures: an evaluation as four pictures: against severity, sorted, cumulative, and the gain of restoring."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DABSegCore.evaluation.records import Level, level_name
from DABSegCore.evaluation.theme import LIGHT, MARKERS, Colour, Theme
from DABSegCore.files import write_bytes
from DABSegCore.labels import REGIONS
from DABSegCore.training.curves import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from DABSegCore.evaluation.results import Evaluation

Row = Mapping[str, Any]
Drawing = tuple[Callable[..., bool], float]

_DPI = 200  # 1760 pixels: sharp on fine screens where the page is 880 wide
_LEAST_DB = 3.0
_MOST_MARKED = 40  # cases; with more, markers run into each other


def draw_figures(
    evaluation: Evaluation, theme: Theme = LIGHT, names: Collection[str] | None = None
) -> dict[str, bytes]:
    """Draw the figures that the evaluation has numbers for.

    Args:
        evaluation: Of one kind of cases.
        theme: Its colours.
        names: Only these figures; None for all.

    Returns:
        PNG by name: robustness (needs two severities), sorted and cumulative (two cases), gain (restored images);
        none without matplotlib.
    """
    chosen = {name: _FIGURES[name] for name in (_FIGURES if names is None else names)}
    return render({name: (partial(draw, evaluation=evaluation), tall) for name, (draw, tall) in chosen.items()}, theme)


def render(drawings: Mapping[str, Drawing], theme: Theme = LIGHT) -> dict[str, bytes]:
    """Have figures drawn in the style of a theme.

    Args:
        drawings: By name, what draws into the figure (and tells whether there was anything to draw), and its height.
        theme: Its colours.

    Returns:
        PNG by name; those that there was nothing to draw for are absent, and all of them without matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return {}
    pictures = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever style the user has set
        mpl.rcParams.update(theme.style())
        for name, (draw, height) in drawings.items():
            figure = Figure(figsize=(8.8, height), dpi=_DPI, layout="constrained")
            if draw(figure, theme=theme):
                picture = io.BytesIO()
                figure.savefig(picture, format="png")
                pictures[name] = picture.getvalue()
    return pictures


def write_figures(evaluation: Evaluation, out: Path) -> dict[str, dict[str, bytes]]:
    """Write the figures, on white, into a folder as `<name>.png`; those of an earlier run are removed.

    Real cases and virtual patients are never drawn into one figure: where there are both, these have
    `<name>-virtual.png`.

    Returns:
        By kind of case, what `draw_figures` gave.

    Raises:
        InputError: If a picture cannot be written.
    """
    kinds = kinds_of(evaluation.rows)
    drawn = {kind: draw_figures(of_kind(evaluation, kind)) for kind in kinds}
    for name in _FIGURES:
        for end in ("", "-virtual"):
            with suppress(OSError):
                (out / f"{name}{end}.png").unlink()
    for kind, pictures in drawn.items():
        end = "" if kind == kinds[0] else f"-{kind}"
        for name, picture in pictures.items():
            write_bytes(out / f"{name}{end}.png", picture)
    return drawn


def kinds_of(rows: Iterable[Row]) -> list[str]:
    """The kinds of cases there are, real before virtual."""
    return sorted({row["kind"] for row in rows})


def of_kind(evaluation: Evaluation, kind: str) -> Evaluation:
    """The part of an evaluation that is of one kind of cases."""
    parts = {
        name: [row for row in getattr(evaluation, name) if row["kind"] == kind]
        for name in ("rows", "images", "summary")
    }
    return replace(evaluation, **parts)


def severities_of(rows: Iterable[Row]) -> list[Level]:
    """The severities there are, from no motion to the most."""
    return sorted({row["severity"] for row in rows}, key=str)


def severity_colours(theme: Theme, n: int) -> list[Colour]:
    """A colour for each of n severities: the more motion, the hotter."""
    import matplotlib as mpl

    low, high = theme.ramp
    return [mpl.colormaps["plasma"](float(share))[:3] for share in np.linspace(low, high, n)]


def gains(images: Iterable[Row]) -> dict[Level, np.ndarray]:
    """PSNR before and after restoring, by severity.

    Args:
        images: Rows of images.

    Returns:
        Decibels [n, 2], a row per case with the mean of its modalities, in the order of PSNR before. Cases in which one
        is undefined are left out, and so are severities without any other, as S0, where PSNR before is infinite.
    """
    cases: dict[tuple[Level, str], list[tuple[float, float]]] = {}
    for row in images:
        pair = _number(row["psnr_corrupted_db"]), _number(row["psnr_restored_db"])
        cases.setdefault((row["severity"], row["case_id"]), []).append(pair)
    found: dict[Level, list[list[float]]] = {}
    for (severity, _), pairs in cases.items():
        mean = np.mean(pairs, axis=0)
        if np.isfinite(mean).all():
            found.setdefault(severity, []).append(mean.tolist())
    return {severity: np.array(sorted(found[severity])) for severity in sorted(found, key=str)}


def _draw_robustness(figure: Figure, evaluation: Evaluation, theme: Theme) -> bool:
    """Mean Dice and HD95 against severity, a line per region in the band of its interval; of HD95 the median, too."""
    severities = [s for s in severities_of(evaluation.rows) if not isinstance(s, str)]
    if len(severities) < 2:
        return False
    for axes, metric, title in zip(
        figure.subplots(1, 2),
        ("dice", "hd95_mm"),
        ("Dice (higher is better)", "HD95, mm (lower is better)"),
        strict=True,
    ):
        axes.set_title(title)
        ends = [
            _draw_region(axes, region, _entries(evaluation.summary, region, metric, severities), theme)
            for region in REGIONS
        ]
        axes.set_ylim(0, 1 if metric == "dice" else None)
        axes.set_xlim(min(severities), max(severities))
        axes.set_xticks(severities, [level_name(s) for s in severities])
        axes.grid(visible=False, axis="x")
        _write_ends(axes, [(end, region, theme.regions[region]) for end, region in zip(ends, REGIONS, strict=True)])
    counts = sorted({entry["n"] for entry in evaluation.summary if entry["metric"] == "dice"})
    few = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    band = "; bands: bootstrap 95 % interval of the mean" if counts[-1] > 1 else ", so no interval"
    foot(figure, f"Motion severity, S0 = sharp.  Lines: mean over cases, {few}{band}; dotted: median.", theme)
    return True


def _draw_region(axes: Axes, region: str, entries: Sequence[Row], theme: Theme) -> float:
    """One line in its band; returns where it ends, NaN where there is none."""
    x = [entry["severity"] for entry in entries]
    mean, low, high = (np.array([_number(entry[name]) for entry in entries]) for name in ("mean", "low", "high"))
    colour = theme.regions[region]
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, mean, color=colour, marker=MARKERS[region], clip_on=False, zorder=3)
    if entries and entries[0]["metric"] == "hd95_mm":  # one missed region outweighs all others in a mean
        median = [_number(entry["median"]) for entry in entries]
        axes.plot(x, median, color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
    known = mean[np.isfinite(mean)]
    return float(known[-1]) if known.size else math.nan


def _draw_sorted(figure: Figure, evaluation: Evaluation, theme: Theme) -> bool:
    """Dice of the cases from the worst to the best, a line per severity."""

    def line(axes: Axes, dice: np.ndarray, **style: Any) -> None:
        share = 100 * (np.arange(len(dice)) + 0.5) / len(dice)
        axes.plot(share, dice, marker="." if len(dice) <= _MOST_MARKED else None, clip_on=False, **style)

    return _draw_distribution(
        figure, evaluation, theme, line, x=("Cases from worst to best, %", 0, 100), y=("Dice", 0, 1)
    )


def _draw_cumulative(figure: Figure, evaluation: Evaluation, theme: Theme) -> bool:
    """Share of the cases whose Dice is at most x, a line per severity."""

    def line(axes: Axes, dice: np.ndarray, **style: Any) -> None:
        share = 100 * np.arange(len(dice) + 1) / len(dice)
        axes.step([0, *dice, 1], [*share, 100], where="post", clip_on=False, **style)

    return _draw_distribution(
        figure, evaluation, theme, line, x=("Dice", 0, 1), y=("Cases with at most this Dice, %", 0, 100)
    )


def _draw_distribution(
    figure: Figure,
    evaluation: Evaluation,
    theme: Theme,
    line: Callable[..., None],
    *,
    x: tuple[str, float, float],
    y: tuple[str, float, float],
) -> bool:
    """Axes per region, in which `line` draws the sorted Dice of each severity."""
    severities = severities_of(evaluation.rows)
    if len({row["case_id"] for row in evaluation.rows}) < 2:
        return False
    colours = severity_colours(theme, len(severities))
    every = figure.subplots(1, 3, sharey=True)
    for axes, region in zip(every, REGIONS, strict=True):
        axes.set_title(region, color=theme.regions[region], fontweight="bold")
        axes.set(xlabel=x[0], xlim=x[1:], ylim=y[1:])
        for severity, colour in zip(severities, colours, strict=True):
            dice = _values(evaluation.rows, severity, region)
            if dice.size:
                label = f"{level_name(severity)} (n = {dice.size})"
                line(axes, dice, color=colour, label=label)
    every[0].set_ylabel(y[0])
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), handlelength=1.6, columnspacing=1.6)
    return True


def _draw_gain(figure: Figure, evaluation: Evaluation, theme: Theme) -> bool:
    """PSNR of every case before and after restoring, joined by a line, in a group per severity."""
    found = gains(evaluation.images)
    if not found:
        return False
    axes = figure.subplots()
    most = max(len(pairs) for pairs in found.values())
    size = float(np.clip(220 / (most * len(found)), 2, 6))
    names = []
    for place, (severity, pairs) in enumerate(found.items()):
        at = place + (np.arange(len(pairs)) - (len(pairs) - 1) / 2) * 0.8 / most
        for nearer, colour in ((True, theme.gain), (False, theme.loss)):
            chosen = (pairs[:, 1] > pairs[:, 0]) == nearer
            before, after = pairs[chosen].T
            axes.vlines(at[chosen], before, after, color=colour, linewidth=max(size / 3, 0.8))
            axes.plot(at[chosen], after, "o", color=colour, markersize=size)
            axes.plot(at[chosen], before, "o", mec=theme.faint, mfc=theme.paper, mew=1.0, markersize=size)
        change = (pairs[:, 1] - pairs[:, 0]).mean()
        nearer = np.count_nonzero(pairs[:, 1] > pairs[:, 0])
        names.append(f"{level_name(severity)}\n{_signed(change)} dB, {nearer} of {len(pairs)} nearer")
    axes.set_xticks(range(len(found)), names, color=theme.ink)
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.08)
    bottom, top = axes.get_ylim()
    short = max(_LEAST_DB - (top - bottom), 0) / 2  # a tenth of a decibel should look like one
    axes.set_ylim(bottom - short, top + short)
    axes.set_ylabel("PSNR to the sharp images, dB")
    figure.legend(handles=_gain_marks(theme), loc="outside upper right", ncols=3, handletextpad=0.2, columnspacing=1.2)
    foot(figure, "Each pair of marks is a case: mean of its modalities, inside the brain.", theme)
    return True


def _gain_marks(theme: Theme) -> list[Any]:
    """Entries of the legend of the gain."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], marker="o", linestyle="", mec=theme.faint, mfc=theme.paper, label="with motion"),
        Line2D([], [], marker="o", linestyle="", color=theme.gain, label="restored, nearer"),
        Line2D([], [], marker="o", linestyle="", color=theme.loss, label="restored, farther"),
    ]


_FIGURES: dict[str, Drawing] = {  # and its height in inches
    "robustness": (_draw_robustness, 3.5),
    "sorted": (_draw_sorted, 3.3),
    "cumulative": (_draw_cumulative, 3.3),
    "gain": (_draw_gain, 3.7),
}


def _entries(summary: Iterable[Row], region: str, metric: str, severities: Sequence[Any]) -> list[Row]:
    """Rows of the summary for a line against severity."""
    chosen = [e for e in summary if (e["region"], e["metric"]) == (region, metric) and e["severity"] in severities]
    return sorted(chosen, key=lambda entry: entry["severity"])


def _values(rows: Iterable[Row], severity: Level, region: str) -> np.ndarray:
    """Dice of all cases, sorted [n]; those that have none are left out."""
    values = [_number(row["dice"]) for row in rows if (row["severity"], row["region"]) == (severity, region)]
    return np.sort([value for value in values if math.isfinite(value)])


def _write_ends(axes: Axes, ends: Iterable[tuple[float, str, Colour]]) -> None:
    """Write at the right edge what each line is, no two one over the other."""
    known = [end for end in ends if math.isfinite(end[0])]
    bottom, top = axes.get_ylim()
    heights = spread([(end[0] - bottom) / (top - bottom) for end in known], gap=0.08)
    for (_, text, colour), height in zip(known, heights, strict=True):
        place = {"va": "center", "transform": axes.transAxes}
        axes.text(1.03, height, text, color=colour, fontweight="bold", **place)


def foot(figure: Figure, text: str, theme: Theme) -> None:
    """Small print below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=theme.faint)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
