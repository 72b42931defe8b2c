"""Curves: the history of a run in one picture; what it is worth, how it learns and what it costs."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DABSegCore.figure import FAINT, INK, PAPER, REGION_COLOURS
from DABSegCore.files import write_bytes
from DABSegCore.labels import REGIONS
from DABSegCore.training.history import read_steps, read_validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "curves.png"

_GRID, _WAIT = (0.27, 0.28, 0.31), (1.0, 0.58, 0.2)
_PLACE = {"left": 0.045, "right": 0.93, "bottom": 0.115, "top": 0.86, "hspace": 0.5, "wspace": 0.5}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.facecolor": PAPER,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.limits": (-4, 5),
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.7,
    "lines.markersize": 3,
    "axes.labelcolor": FAINT,
    "axes.labelpad": 1,
    "lines.solid_capstyle": "round",
}
_KINDS: dict[str, dict[str, Any]] = {
    "real": {"marker": "o"},
    "virtual": {"marker": ".", "linestyle": (0, (3, 2)), "linewidth": 1.2, "alpha": 0.8},
}
_LEGEND = (
    "Validation: real cases solid, virtual patients dashed.  "
    "Training: thin lines are single rows of the log, bold ones their running mean."
)

Rows = list[dict[str, Any]]
"""Rows of `validation.csv`."""
Columns = Mapping[str, np.ndarray]
"""Columns of `steps.csv`."""
Colour = tuple[float, float, float]
Ending = tuple[float, str, Colour]
"""Where a line ends, what is written there, and its colour."""


def draw_curves(out: Path) -> Path | None:
    """Draw the history of a run as small multiples, to be opened in any viewer.

    Args:
        out: Folder of the run, with `steps.csv` and `validation.csv`.

    Returns:
        The picture's path, `curves.png` in the same folder; None without matplotlib, or with nothing to draw.

    Raises:
        InputError: If the picture cannot be written.
    """
    steps, validation = read_steps(out), read_validation(out)
    if not (steps or validation):
        return None
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    last = max([*steps.get("step", ()), *(row["step"] for row in validation)])
    picture = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever style the user has set
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(10, 7.2), dpi=160, facecolor=PAPER)
        axes = figure.subplots(3, 3, gridspec_kw=_PLACE)
        for each in axes.flat:
            _prepare(each, last)
        _draw_validation(axes[0], validation)
        _draw_learning(axes[1], steps)
        _draw_cost(axes[2], steps)
        for each in axes[2]:
            each.set_xlabel("step")
        _draw_words(figure, out.resolve().name, steps, validation)
        figure.savefig(picture, format="png")
    write_bytes(out / CURVES, picture.getvalue())
    return out / CURVES


def running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of each row [n] and those at most `reach` before or after it.

    Rows that are NaN count for nothing; where none is left, the mean is NaN. Near the ends the window is cut.
    """
    known = np.isfinite(values)
    place = np.arange(len(values))
    first, after = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    total, count = (np.insert(np.cumsum(part), 0, 0) for part in (np.where(known, values, 0.0), known))
    with np.errstate(invalid="ignore"):
        return (total[after] - total[first]) / (count[after] - count[first])


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights [n] moved apart until neighbours are at least `gap` from each other, in the same order.

    The change is the least in squares: groups that would collide are centred on their mean (pool adjacent violators).
    """
    order = np.argsort(heights, kind="stable")
    ladder = gap * np.arange(len(order))
    groups: list[list[float]] = []
    for height in np.asarray(heights, float)[order] - ladder:
        groups.append([height])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = np.array([np.mean(group) for group in groups for _ in group]) + ladder
    return placed[np.argsort(order)].tolist()


def _prepare(axes: Axes, last: float) -> None:
    """Axes over the steps from 0 to `last`."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0, max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step >= 1000 else f"{step:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _draw_validation(row: Sequence[Axes], validation: Rows) -> None:
    """Dice without and with motion, and how much nearer to the sharp volume restoring brought it."""
    severities = {entry["severity"] for entry in validation} or {0}
    low, high = min(severities), max(severities | {1})  # without motion there is nothing to restore
    for axes, severity in zip(row[:2], (low, high), strict=True):
        axes.set_title(f"Validation Dice, {'motion' if severity else 'no motion'} (S{severity})")
        axes.set_ylim(0, 1)
        _write_ends(axes, _validation_lines(axes, validation, severity, REGION_COLOURS, "{:.2f}"))
    row[2].set_title(f"Gain of restoring (S{high}), dB PSNR")
    gains = [{**entry, "": entry["psnr_restored"] - entry["psnr_corrupted"]} for entry in validation]
    ends = _validation_lines(row[2], gains, high, {"": INK}, "{:+.2f}")
    if ends:
        row[2].axhline(0, color=FAINT, linewidth=0.9)
        row[2].margins(y=0.15)
    _write_ends(row[2], ends)


def _validation_lines(
    axes: Axes, validation: Rows, severity: int, colours: Mapping[str, Colour], form: str
) -> list[Ending]:
    """A line per column and kind of case; ends are told of real cases, of virtual ones where there are no others."""
    ends: list[Ending] = []
    for kind, style in _KINDS.items():
        entries = [entry for entry in validation if (entry["kind"], entry["severity"]) == (kind, severity)]
        at = [entry["step"] for entry in entries]
        lines = {name: [entry[name] for entry in entries] for name in colours} if entries else {}
        for name, values in lines.items():
            axes.plot(at, values, color=colours[name], clip_on=False, **style)
        if not ends:
            ends = [(v[-1], f"{name} {form.format(v[-1])}".strip(), colours[name]) for name, v in lines.items()]
    return ends


def _draw_learning(row: Sequence[Axes], steps: Columns) -> None:
    """Both terms of the loss, and Dice on the patches trained on."""
    _draw_noisy(row[0], "Segmentation loss", steps, {"seg": ("{:.3f}", INK)})
    _draw_noisy(row[1], "Reconstruction loss", steps, {"rec": ("{:.4f}", INK)})
    names = {f"dice_{region}": (region + " {:.2f}", REGION_COLOURS[region]) for region in REGIONS}
    _draw_noisy(row[2], "Dice on training patches", steps, names, top=1.0)


def _draw_cost(row: Sequence[Axes], steps: Columns) -> None:
    """Learning rate, gradient norm, and the time of a step with the part of it spent waiting for data."""
    rate = {name: 1000 * values if name == "learning_rate" else values for name, values in steps.items()}
    _draw_noisy(row[0], "Learning rate, thousandths", rate, {"learning_rate": ("", INK)}, reach=0)
    _draw_noisy(row[1], "Gradient norm", steps, {"grad_norm": ("{:.2g}", INK)})
    times, unit = _step_times(steps)
    form = "{:.1f}" if unit == "s" else "{:.0f}"
    lines = {"taken": (form, INK), "waited": ("wait " + form, _WAIT)}
    _draw_noisy(row[2], f"Time of a step, {unit}", {**steps, **times}, lines)


def _draw_noisy(
    axes: Axes,
    title: str,
    steps: Columns,
    lines: Mapping[str, tuple[str, Colour]],
    *,
    reach: int | None = None,
    top: float | None = None,
) -> None:
    """Per column a thin line of its values and a bold one of their running mean, whose end is written beside it."""
    axes.set_title(title)
    ends, highest = [], 0.0
    for column, (form, colour) in lines.items():
        values = steps.get(column, np.array([]))
        known = values[np.isfinite(values)]
        if known.size == 0:
            continue
        mean = running_mean(values, len(values) // 60 if reach is None else reach)
        axes.plot(steps["step"], values, color=colour, linewidth=0.5, alpha=0.6 / (1 + len(lines)), zorder=1.5)
        axes.plot(steps["step"], mean, color=colour)
        end = float(mean[np.isfinite(mean)][-1])
        ends.append((end, form.format(end), colour))
        highest = max(highest, 1.1 * float(np.percentile(known, 99)))  # first steps may be far above all others
    axes.set_ylim(0, top or highest or 1)
    _write_ends(axes, ends)


def _step_times(steps: Columns) -> tuple[dict[str, np.ndarray], str]:
    """Time a step takes, the part of it spent waiting for data, and their unit."""
    if "it_s" not in steps:
        return {}, "ms"
    taken = 1 / np.where(steps["it_s"] > 0, steps["it_s"], np.nan)
    slow = np.count_nonzero(taken > 1) > len(taken) / 2
    taken = taken if slow else 1000 * taken
    return {"taken": taken, "waited": taken * steps.get("wait_share", np.nan)}, "s" if slow else "ms"


def _write_ends(axes: Axes, ends: Sequence[Ending]) -> None:
    """Write at the right edge what each line is and where it ended, no two one over the other."""
    ends = [end for end in ends if math.isfinite(end[0])]
    if not ends:
        axes.text(0.5, 0.5, "nothing logged yet", color=FAINT, ha="center", va="center", transform=axes.transAxes)
        return
    bottom, top = axes.get_ylim()
    heights = spread([float(np.clip((end[0] - bottom) / (top - bottom), 0, 1)) for end in ends], gap=0.13)
    for (_, text, colour), height in zip(ends, heights, strict=True):
        axes.text(
            1.03, height, text.replace("-", "\N{MINUS SIGN}"), color=colour, va="center", transform=axes.transAxes
        )


def _draw_words(figure: Figure, name: str, steps: Columns, validation: Rows) -> None:
    """Heading, facts of the run below it, and how to read the lines at the foot."""
    figure.text(0.02, 0.968, f"Training of {name}", fontsize=13, fontweight="bold", va="center")
    figure.text(0.02, 0.934, _facts(steps, validation), color=FAINT, va="center")
    figure.text(0.02, 0.022, _LEGEND, color=FAINT, va="center")


def _facts(steps: Columns, validation: Rows) -> str:
    """Length of the run, the share of it spent waiting, and the most memory it took."""
    step, seconds, waited, memory = (
        np.array([v for v in (*steps.get(name, ()), *(row.get(name, np.nan) for row in validation)) if np.isfinite(v)])
        for name in ("step", "seconds", "wait_share", "memory_gib")
    )
    facts = [f"{step.max():,.0f} steps in {timedelta(seconds=round(seconds.max(initial=0)))} h"]
    if waited.size:
        facts.append(f"{waited.mean():.1%} of it waiting for data")
    if memory.any():
        facts.append(f"{memory.max():.1f} GiB of GPU memory")
    return "  ·  ".join(facts)
