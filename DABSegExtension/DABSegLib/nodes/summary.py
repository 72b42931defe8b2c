"""Summary: what all voxels of a volume say in a few numbers, read once and remembered until they change."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from DABSegLib.nodes.bridge import pieces
from DABSegLib.nodes.geometry import Box, voxels


@dataclass(frozen=True)
class Summary:
    """What the voxels of a volume say.

    Args:
        low: Smallest value.
        high: Largest value.
        bad: Voxels that are NaN or infinite.
        filled: Voxels that are not 0.
        box: Around these, half-open; of no size where there are none.
        digest: The same for two volumes with the same values, whatever type they are stored in.
    """

    low: float
    high: float
    bad: int
    filled: int
    box: Box
    digest: bytes


_KNOWN: dict[int, Summary] = {}
"""Modification time of image data -> its summary; VTK gives out each time once in a process."""

_KNOWN_AT_MOST = 32


def summary_steps(node: Any) -> Generator[None, None, Summary]:
    """Read all voxels of a node, in pieces.

    Args:
        node: Volume node.

    Yields:
        After every piece; not at all where the summary is known.

    Raises:
        InputError: As for `geometry.voxels`.
    """
    time = node.GetImageData().GetMTime()
    if time in _KNOWN:
        return _KNOWN[time]
    array = voxels(node)
    low, high, bad = np.inf, -np.inf, 0
    filled = [np.zeros(n, dtype=np.int64) for n in array.shape]  # voxels that are not 0 in each slice, by axis
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    for piece in pieces(array.shape, max(array.itemsize, 8)):
        part = np.ascontiguousarray(array[piece], dtype=np.float32)
        if not np.isfinite(part.sum(dtype=np.float64)):
            finite = np.isfinite(part)
            bad += int((~finite).sum())
            part = np.where(finite, part, np.float32(0))
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        rows = np.count_nonzero(part, axis=2)  # [d, H]
        filled[0][piece], filled[1] = rows.sum(axis=1), filled[1] + rows.sum(axis=0)
        filled[2] += np.count_nonzero(part, axis=(0, 1))
        digest.update(part)
        yield
    summary = Summary(low, high, bad, int(filled[0].sum()), _box(filled), digest.digest())
    while len(_KNOWN) >= _KNOWN_AT_MOST:
        del _KNOWN[next(iter(_KNOWN))]
    _KNOWN[time] = summary  # by the time before: had anybody drawn in it meanwhile, nobody would ask for it again
    return summary


def _box(filled: list[np.ndarray]) -> Box:
    """The box around what is in each slice, by axis."""
    inside = [np.flatnonzero(count) for count in filled]
    (d0, d1), (h0, h1), (w0, w1) = ((int(i[0]), int(i[-1]) + 1) if i.size else (0, 0) for i in inside)
    return d0, d1, h0, h1, w0, w1
