"""Charts: the robustness of a case as a small picture, Dice of the three regions over the level of motion."""

from __future__ import annotations

from collections.abc import Sequence

from DABSegLib.nodes.regions import TUMOUR_REGIONS

from DABSegExtension.browser.state import RobustnessRow

WIDTH, HEIGHT = 268, 132
LEFT, RIGHT, TOP, BOTTOM = 26, 30, 8, 20
"""Margins in pixels, for the numbers of the axes and the names of the lines."""

LEVELS = 5
NAME_GAP = 11
"""Pixels that names of lines keep from one another."""


def robustness_svg(rows: Sequence[RobustnessRow]) -> str:
    """An inline SVG of the rows so far; "" without rows.

    Args:
        rows: Of some of the levels 0 to 4; a level that is missing breaks no line.
    """
    if not rows:
        return ""
    parts = [_grid(), *(_line(name, rows) for name in TUMOUR_REGIONS), _names(rows)]
    title = "Agreement with the outline without motion" if rows[0].kind == "agreement" else "Dice with the reference"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}, by level of motion">'
        f"{''.join(parts)}</svg>"
    )


def x_of(severity: int) -> float:
    """Pixels from the left of a level."""
    return LEFT + (WIDTH - LEFT - RIGHT) * severity / (LEVELS - 1)


def y_of(dice: float) -> float:
    """Pixels from the top of a Dice from 0 to 1."""
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - dice)


def _grid() -> str:
    """Lines and numbers of the axes."""
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(dice):.1f}" y2="{y_of(dice):.1f}"/>'
        f'<text class="tick" x="{LEFT - 5}" y="{y_of(dice) + 3.5:.1f}" text-anchor="end">{dice:g}</text>'
        for dice in (0, 0.5, 1)
    ]
    levels = [
        f'<text class="tick" x="{x_of(level):.1f}" y="{HEIGHT - 6}" text-anchor="middle">S{level}</text>'
        for level in range(LEVELS)
    ]
    return "".join(lines + levels)


def _line(name: str, rows: Sequence[RobustnessRow]) -> str:
    """One region's line, with a dot a level that tells its number."""
    known = [(row.severity, value) for row in rows if (value := getattr(row, name)) is not None]
    points = " ".join(f"{x_of(severity):.1f},{y_of(value):.1f}" for severity, value in known)
    dots = "".join(
        f'<circle cx="{x_of(severity):.1f}" cy="{y_of(value):.1f}" r="3">'
        f"<title>{name} at S{severity}: {value:.2f}</title></circle>"
        for severity, value in known
    )
    return f'<g class="line {name}"><polyline points="{points}"/>{dots}</g>'


def _names(rows: Sequence[RobustnessRow]) -> str:
    """Names at the ends of the lines, moved apart where they would lie on each other."""
    ends = []
    for name in TUMOUR_REGIONS:
        known = [(row.severity, value) for row in rows if (value := getattr(row, name)) is not None]
        if known:
            severity, value = max(known)
            ends.append([y_of(value), x_of(severity), name])
    ends.sort()
    for above, below in zip(ends, ends[1:], strict=False):
        below[0] = max(below[0], above[0] + NAME_GAP)
    lowest = HEIGHT - BOTTOM
    for index, end in enumerate(reversed(ends)):
        end[0] = min(end[0], lowest - index * NAME_GAP)
    return "".join(f'<text class="name {name}" x="{x + 7:.1f}" y="{y + 4:.1f}">{name}</text>' for y, x, name in ends)
