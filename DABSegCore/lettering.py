"""Lettering: anti-aliased text on an image, from a bundled atlas; no plotting library needed."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

Face = Literal["text", "title"]
_ATLAS = Path(__file__).parent / "glyphs" / "dejavu-sans.npz"


def text_coverage(text: str, face: Face = "text") -> np.ndarray:
    """How much of each pixel the ink of one line of text covers.

    Args:
        text: One line; a character the atlas lacks becomes its plain letter, or a question mark.
        face: `text` (16 px) or `title` (20 px, bold).

    Returns:
        Coverage in [0, 1], float32 [height, width].
    """
    glyphs = _glyphs(face)
    letters = [glyphs[letter] for character in text for letter in _known(character, glyphs)]
    return np.concatenate(letters, axis=1) if letters else np.zeros((glyphs[" "].shape[0], 0), np.float32)


def paint(canvas: np.ndarray, coverage: np.ndarray, top: float, left: float, colour: tuple[float, ...]) -> None:
    """Lay a colour over the canvas where the coverage says; what falls off the canvas is lost.

    Args:
        canvas: RGB in [0, 1], float [H, W, 3]; changed in place.
        coverage: Opacity in [0, 1] [h, w].
        top: Row of the coverage's first row, in pixels; rounded.
        left: Column of its first column.
        colour: Red, green, blue in [0, 1].
    """
    top, left = round(top), round(left)
    rows = slice(max(top, 0), min(top + coverage.shape[0], canvas.shape[0]))
    columns = slice(max(left, 0), min(left + coverage.shape[1], canvas.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    seen = coverage[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None]
    canvas[rows, columns] += seen * (np.asarray(colour, canvas.dtype) - canvas[rows, columns])


def _known(character: str, glyphs: dict[str, np.ndarray]) -> list[str]:
    """The character itself, or the letters it is made of that the atlas holds."""
    if character in glyphs:
        return [character]
    plain = [part for part in unicodedata.normalize("NFKD", character) if part in glyphs]
    return plain or ["?"]


@cache
def _glyphs(face: Face) -> dict[str, np.ndarray]:
    """Coverage of every character of a face, float32 [height, advance]."""
    with np.load(_ATLAS, allow_pickle=False) as atlas:
        coverage = atlas[f"{face}_coverage"].astype(np.float32) / 255
        starts = atlas[f"{face}_starts"]
        return dict(zip(str(atlas["characters"]), np.split(coverage, starts[1:-1], axis=1), strict=True))
