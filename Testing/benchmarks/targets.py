"""Targets: what was asked of the network's speed, and whether the rows of a run of `bench.py` meet it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Target(NamedTuple):
    """One thing asked for.

    Attributes:
        part: Of the benchmark.
        forms: Ways of doing it; the best of those that ran counts.
        column: Of their rows.
        bound: At most that; at least that of a `ratio`.
    """

    part: str
    forms: tuple[str, ...]
    column: str
    bound: float


def _forms(name: str) -> tuple[str, ...]:
    return (name, f"{name}, recorded", f"{name}, compiled")


H200 = (
    *(Target("forward", _forms(name), "median_s", bound) for name, bound in (("paper", 0.025), ("base", 0.012))),
    *(Target("step", _forms(name), "median_s", bound) for name, bound in (("paper", 0.130), ("base", 0.060))),
    *(Target("case", (f"{n}, whole", n), "median_s", bound) for n, bound in (("paper", 0.100), ("base", 0.040))),
    *(Target("case", (f"{n}, whole, mirrored",), "median_s", bound) for n, bound in (("paper", 0.8), ("base", 0.3))),
    *(Target("case", (f"{n}, whole", n), "peak_gib", 4.0) for n in ("paper", "base")),
    Target("motion", ("S2, four modalities",), "median_s", 0.060),
)
"""Of one H200, steps at batch 2."""

TWO_CORES = (
    Target("command", ("segment --case",), "median_s", 20.0),
    Target("forward", ("paper", "paper, float32"), "ratio", 2.0),
    Target("motion", ("S2, four modalities",), "median_s", 4.0),
)


def verdicts(rows: Sequence[dict[str, Any]], targets: Sequence[Target]) -> list[str]:
    """A line for every target of which a form ran.

    Args:
        rows: As `bench.py` writes them.
        targets: What was asked for.
    """
    lines = []
    for part, forms, column, bound in targets:
        found = {row["form"]: row[column] for row in rows if row["part"] == part and row["form"] in forms}
        if not found:
            continue
        most = column == "ratio"
        form = (max if most else min)(found, key=found.__getitem__)
        met = found[form] >= bound if most else found[form] <= bound
        asked = f"{'at least' if most else 'at most'} {bound:g}"
        lines.append(f"{'met   ' if met else 'MISSED'}  {part}: {form}, {column} {found[form]:.3f}, asked {asked}")
    return lines
