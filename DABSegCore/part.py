"""Part: a box of the reference's grid that the network is asked about, in place of the whole brain.

The network sees the box with some of its surroundings; what it says counts within the box only. Intensities are
prepared as ever, by the windows of the whole brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.preprocess import Prepared

CONTEXT = 16
"""Working voxels that the network sees around a box, as far as there are some."""

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Part:
    """A box in the voxels of both grids.

    Args:
        box: On the reference grid.
        inside: The same place on the working grid; a voxel partly in it is in it.
        around: With its context, on the working grid.
    """

    box: Slices
    inside: Slices
    around: Slices

    def crop(self, image: np.ndarray) -> np.ndarray:
        """What the network sees of channels on the working grid [C, d, h, w]."""
        return image[(slice(None), *self.around)]


def part_of(prepared: Prepared, box: Sequence[int]) -> Part:
    """The part of a prepared case that a box asks for.

    Args:
        prepared: The whole case.
        box: First voxel and the one after the last along each array axis: D0, D1, H0, H1, W0, W1.

    Raises:
        InputError: If the box is empty, leaves the grid or has no brain in it.
    """
    grid = prepared.grid
    _check_box(box, prepared.native)
    inside = grid.box_to_working([(box[2 * axis], box[2 * axis + 1]) for axis in range(3)])
    around = [
        slice(max(side.start - CONTEXT, 0), min(side.stop + CONTEXT, edge))
        for side, edge in zip(inside, grid.shape, strict=True)
    ]
    return Part(_slices(box), tuple(inside), tuple(around))


def place(array: np.ndarray, where: Slices, into: np.ndarray) -> np.ndarray:
    """Write channels [C, ...] to a place within others [C, D, H, W], which are returned."""
    into[(slice(None), *where)] = array
    return into


def keep(array: np.ndarray, where: Slices, into: np.ndarray) -> np.ndarray:
    """Write channels [C, D, H, W] into others as far as they lie within a place; returns these."""
    return place(array[(slice(None), *where)], where, into)


def _slices(box: Sequence[int]) -> Slices:
    return tuple(slice(first, end) for first, end in zip(box[::2], box[1::2], strict=True))


def _check_box(box: Sequence[int], images: np.ndarray) -> None:
    """Refuse a box that holds nothing of the images [M, D, H, W]."""
    shape = images.shape[1:]
    text = " ".join(map(str, box))
    if not all(0 <= box[2 * axis] < box[2 * axis + 1] <= shape[axis] for axis in range(3)):
        raise InputError(
            f"--box {text} is no box of the reference image, which has {' x '.join(map(str, shape))} voxels; along "
            "each axis give the first voxel and the one after the last",
            code="bad-box",
        )
    if not images[(slice(None), *_slices(box))].any():
        raise InputError(
            f"--box {text} has no brain in it, only zeros; move it onto what is to be outlined", code="no-brain-in-box"
        )
