"""Links: the query that opens a view again, written and read.

`case=NAME` or `virtual=SEED` says what is open, `severity` and `seed` how it moved, `run=1` that the network has looked
at it, `plane` and `offset` where the page looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

PLANES = ("Axial", "Sagittal", "Coronal")
LEVELS = range(5)
"""Of motion, none to severe."""

MOST_SEED = 999_999_999
MOST_OFFSET_MM = 10_000.0
KEYS = ("case", "virtual", "severity", "seed", "plane", "offset", "run")
LONGEST = 40
"""Characters of what somebody wrote that are told back."""


@dataclass(frozen=True)
class Wish:
    """What a link asks for; None for what it does not say.

    Args:
        case: Name of a case.
        virtual: Seed of a virtual patient.
        severity: Level of motion, 0 to 4.
        seed: Of the motion.
        plane: One of `PLANES`.
        offset_mm: Of the slice.
        run: Whether the network is to look at it.
    """

    case: str | None = None
    virtual: int | None = None
    severity: int = 0
    seed: int = 0
    plane: str | None = None
    offset_mm: float | None = None
    run: bool = False


def read(query: Mapping[str, str], cases: Collection[str]) -> tuple[Wish, list[str]]:
    """What a link asks for, as far as it can be had.

    Args:
        query: Its words.
        cases: Names of the cases there are.

    Returns:
        The wish, and a sentence for each word that was not understood and is not in it.
    """
    found: dict[str, Any] = {}
    wrong = [f"The link says {_told(key)}, which means nothing here." for key in query if key not in KEYS]
    for key, (name, parse, allowed) in _parsers(cases).items():
        if key in query:
            value = parse(str(query[key]))
            if value is None:
                wrong.append(f"The link says {key}={_told(query[key])}, but {allowed}.")
            else:
                found[name] = value
    if "case" in found and "virtual" in found:
        wrong.append("The link names a case and a virtual patient, but one is opened at a time; the case was taken.")
        del found["virtual"]
    if found and "case" not in found and "virtual" not in found and not {"case", "virtual"} & set(query):
        wrong.append("The link names no case, so nothing was opened; it needs case=NAME or virtual=SEED.")
    return Wish(**found), wrong


def write(wish: Wish) -> str:
    """The query of a link; what is as in a new session is left out."""
    words: dict[str, str] = {}
    if wish.case is not None:
        words["case"] = wish.case
    if wish.virtual is not None:
        words["virtual"] = str(wish.virtual)
    if wish.severity:
        words |= {"severity": str(wish.severity), "seed": str(wish.seed)}
    if wish.run:
        words["run"] = "1"
    if wish.plane is not None:
        words["plane"] = wish.plane
    if wish.offset_mm is not None:
        words["offset"] = f"{wish.offset_mm:.2f}".rstrip("0").rstrip(".")
    return urlencode(words)


def _parsers(cases: Collection[str]) -> dict[str, tuple[str, Callable[[str], Any], str]]:
    """Key -> field of a wish, what makes its value (None where it is bad), and what would be good."""
    return {
        "case": ("case", lambda text: text if text in cases else None, "no case of that name is here; choose another"),
        "virtual": ("virtual", seed_of, f"virtual patients are numbered 0 to {MOST_SEED}"),
        "severity": ("severity", _level, f"levels of motion are {LEVELS[0]} to {LEVELS[-1]}"),
        "seed": ("seed", seed_of, f"seeds are whole numbers from 0 to {MOST_SEED}"),
        "plane": ("plane", lambda text: text if text in PLANES else None, f"planes are {', '.join(PLANES)}"),
        "offset": ("offset_mm", _offset, "the place of a slice is a number of mm"),
        "run": ("run", {"0": False, "1": True}.get, "run is 0 or 1"),
    }


def seed_of(text: str) -> int | None:
    """A seed as it is written, or None where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _level(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-4]", text) else None


def _offset(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= MOST_OFFSET_MM else None


def _told(text: object) -> str:
    """What somebody wrote, in quotes, as far as it is fit to be shown."""
    shown = re.sub(r"[^\w .,+-]", "?", str(text))
    return f'"{shown[:LONGEST]}{"..." if len(shown) > LONGEST else ""}"'
