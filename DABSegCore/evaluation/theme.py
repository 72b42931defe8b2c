"""Theme: colours and lettering of the figures of an evaluation, on white and on black paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from DABSegCore import figure

Colour = tuple[float, float, float]

MARKERS = {"ET": "o", "TC": "s", "WT": "^"}
"""Regions differ in shape as well as in colour, for those who see fewer colours and for printers that have none."""


@dataclass(frozen=True)
class Theme:
    """Colours of a figure, RGB in [0, 1].

    Args:
        name: "light" or "dark".
        paper, ink, faint, grid: Background, lettering, lesser lettering, lines of the grid.
        regions: Of each region: red, blue and yellow as in the pictures of cases, darker on white paper.
        gain, loss: Nearer to the sharp image after restoring, and farther from it.
        ramp: Part of the colour map "plasma", from no motion to the most.
    """

    name: str
    paper: Colour
    ink: Colour
    faint: Colour
    grid: Colour
    regions: dict[str, Colour]
    gain: Colour
    loss: Colour
    ramp: tuple[float, float]

    def style(self) -> dict[str, Any]:
        """Settings of matplotlib."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": self.ink,
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.grid,
            "axes.labelcolor": self.faint,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.titlepad": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "xtick.color": self.faint,
            "ytick.color": self.faint,
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "lines.solid_capstyle": "round",
            "legend.frameon": False,
        }


LIGHT = Theme(
    name="light",
    paper=(1.0, 1.0, 1.0),
    ink=(0.10, 0.11, 0.13),
    faint=(0.36, 0.38, 0.42),
    grid=(0.86, 0.87, 0.89),
    regions={"ET": (0.78, 0.06, 0.18), "TC": (0.10, 0.36, 0.80), "WT": (0.68, 0.49, 0.0)},
    gain=(0.10, 0.36, 0.80),
    loss=(0.80, 0.38, 0.0),
    ramp=(0.02, 0.68),
)
DARK = Theme(
    name="dark",
    paper=figure.PAPER,
    ink=figure.INK,
    faint=(0.68, 0.70, 0.73),
    grid=(0.23, 0.24, 0.27),
    regions=figure.REGION_COLOURS,
    gain=(0.36, 0.62, 1.0),
    loss=(1.0, 0.58, 0.2),
    ramp=(0.38, 0.97),
)
