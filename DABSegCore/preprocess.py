"""Preprocess: a case onto the network's grid and intensities, and what comes out of it back onto the case's own.

The grid is BraTS's: array axes k to superior, j to posterior, i to left, 1 mm, cropped to the brain. A case that is
1 mm already is only permuted and flipped, so the way back is exact. Intensities are windowed as in Open_brats
(Henry et al. 2020): 1st to 99th percentile of the brain to [0, 1].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import Volume, resample

WORKING_SPACING_MM = 1.0
SPACING_TOLERANCE = 0.05
"""Voxels within 5 % of 1 mm are used as they are: a lossless grid is worth more than a 5 % larger brain."""

BOX_MARGIN_MM = 2.0
BRAIN_EXTENT_MM = (10.0, 400.0)
"""No brain, and no head, is smaller or larger than this along an axis; wrong voxel sizes make it seem so."""

PERCENTILES = (1.0, 99.0)

WORKING_AXES = np.diag([-1.0, -1.0, 1.0])
"""Direction of i, j and k in RAS: to left, posterior and superior."""


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """The network's grid within a reference grid: turn, crop, and resample where voxels are not 1 mm.

    Args:
        reference_shape: (D, H, W) of the reference.
        axes: Which reference array axis becomes each working array axis.
        flips: Working array axes that are then reversed.
        box: The crop of the turned array, in reference voxels.
        zoom: Working voxels per reference voxel along each working array axis, or None if nothing is resampled.
        affine: Working voxel (i, j, k) to RAS mm [4, 4].
    """

    reference_shape: tuple[int, ...]
    axes: tuple[int, ...]
    flips: tuple[int, ...]
    box: tuple[slice, ...]
    zoom: np.ndarray | None
    affine: np.ndarray

    @property
    def box_shape(self) -> tuple[int, ...]:
        """Shape of the crop in reference voxels."""
        return tuple(side.stop - side.start for side in self.box)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (d, h, w) of the working grid."""
        return self.box_shape if self.zoom is None else _zoomed(self.box_shape, self.zoom)

    def to_working(self, array: np.ndarray, order: str = "linear") -> np.ndarray:
        """Take channels from the reference grid [C, D, H, W] to the working grid [C, d, h, w]."""
        return _zoom(self._crop_of(array), self.shape, self.zoom, order)

    def box_to_working(self, sides: Sequence[tuple[int, int]]) -> list[slice]:
        """The smallest box of the working grid, of a voxel at least, around one of the reference grid.

        Args:
            sides: First voxel and the one after the last along D, H and W; what the crop leaves out is left out.
        """
        place = []
        for axis, (crop, edge) in enumerate(zip(self.box, self.shape, strict=True)):
            first, end = sides[self.axes[axis]]
            if axis in self.flips:
                length = self.reference_shape[self.axes[axis]]
                first, end = length - end, length - first
            zoom, centre = 1.0 if self.zoom is None else self.zoom[axis], (crop.start + crop.stop) / 2
            low, high = ((face - centre) * zoom + edge / 2 for face in (first, end))
            start = min(max(math.floor(low), 0), edge - 1)
            place.append(slice(start, max(min(math.ceil(high), edge), start + 1)))
        return place

    def to_reference(self, array: np.ndarray, order: str = "linear") -> np.ndarray:
        """Take channels from the working grid [C, d, h, w] back to the reference grid [C, D, H, W], 0 outside."""
        out = np.zeros((len(array), *self.reference_shape), dtype=array.dtype)
        self._crop_of(out)[...] = self._unzoomed(array, order)
        return out

    def add_to_reference(self, change: np.ndarray, images: np.ndarray) -> None:
        """Add channels on the working grid [C, d, h, w] to those of the reference grid [C, D, H, W], in place."""
        self._crop_of(images)[...] += self._unzoomed(change, "linear")

    def _crop_of(self, array: np.ndarray) -> np.ndarray:
        """A view of channels [C, D, H, W], turned and cropped: writing it writes the array."""
        return _turn(array, self.axes, self.flips)[(slice(None), *self.box)]

    def _unzoomed(self, array: np.ndarray, order: str) -> np.ndarray:
        """Channels [C, d, h, w] in voxels of the reference."""
        return _zoom(array, self.box_shape, None if self.zoom is None else 1 / self.zoom, order)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case ready for the network, with what undoes it.

    Args:
        image: Windowed intensities [M, d, h, w] in [0, 1], 0 outside the brain.
        brain: Where any modality is not 0 [d, h, w].
        windows: Intensities that became 0 and 1 [M, 2].
        grid: The working grid.
        native: The images it came from [M, D, H, W].
    """

    image: np.ndarray
    brain: np.ndarray
    windows: np.ndarray
    grid: WorkingGrid
    native: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        """Working voxel (i, j, k) to RAS mm [4, 4]."""
        return self.grid.affine

    def to_working(self, array: np.ndarray, order: str = "linear") -> np.ndarray:
        """Take a label (as one channel, "nearest") or a sharp twin to the working grid."""
        return self.grid.to_working(array, order)

    def to_reference(self, array: np.ndarray, order: str = "linear") -> np.ndarray:
        """Take probabilities ("linear") or masks ("nearest") [C, d, h, w] to the reference grid [C, D, H, W]."""
        return self.grid.to_reference(array, order)

    def restore_intensity(self, restored: np.ndarray) -> np.ndarray:
        """Restored volumes on the reference grid in the case's own intensity units.

        What the network changed is added to the input, so voxels beyond the window keep their excess, and on a
        resampled grid the input keeps its detail.

        Args:
            restored: Network output [M, d, h, w]; clipped to [0, 1].

        Returns:
            Intensities [M, D, H, W], float32, 0 outside the brain.
        """
        width = (self.windows[:, 1] - self.windows[:, 0])[:, None, None, None]
        change = np.clip(restored, 0, 1, dtype=np.float32)
        change -= self.image
        change *= width
        change *= self.brain
        out = self.native.copy()
        self.grid.add_to_reference(change, out)
        if self.grid.zoom is not None:
            out *= (self.native != 0).any(axis=0)
        return out


def prepare(images: np.ndarray, affine: np.ndarray) -> Prepared:
    """Bring a case to the network's grid and intensities.

    Args:
        images: Intensities [M, D, H, W], float32, 0 outside the brain.
        affine: Voxel (i, j, k) to RAS mm [4, 4].

    Returns:
        The prepared case; re-oriented input gives the identical image.

    Raises:
        InputError: If no voxel differs from 0, the brain has no brain's size, or a modality has one value in it.
    """
    native_brain = (images != 0).any(axis=0)
    grid = working_grid(native_brain, affine)
    # Nearest, so that resampling does not grow the brain by voxels half of which are air.
    brain = grid.to_working(native_brain[None], "nearest")[0]
    working = grid.to_working(images) * brain
    image, windows = window_intensities(working, brain)
    return Prepared(image, brain, windows, grid, images)


def window_intensities(images: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map the 1st to 99th percentile of each modality's brain voxels to [0, 1].

    Args:
        images: Intensities [M, d, h, w]; only those > 0 within the brain are counted.
        brain: Brain mask [d, h, w].

    Returns:
        Windowed images [M, d, h, w], float32, and the windows [M, 2], float32.

    Raises:
        InputError: If a modality has one value, but for 1 % above and below it, or none above 0.
    """
    windows = np.zeros((len(images), 2), dtype=np.float32)
    for m, image in enumerate(images):
        inside = image[brain & (image > 0)]
        windows[m] = np.percentile(inside, PERCENTILES) if inside.size else 0
        if not windows[m, 1] > windows[m, 0]:
            value = f"the value {windows[m, 0]:g} in nearly all of its voxels" if inside.size else "no voxel"
            raise InputError(
                f"the {MODALITIES[m]} image has {value} above 0 in the brain, but an image must show something; "
                "give intensities, not a mask",
                code="constant-image",
            )
    return apply_windows(images, brain, windows), windows


def apply_windows(images: np.ndarray, brain: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Window images [M, d, h, w] with given windows [M, 2]: those of the corrupted twin for a sharp one."""
    out = np.empty(images.shape, dtype=np.float32)
    for m, (low, high) in enumerate(windows):
        np.subtract(images[m], low, out=out[m])
        out[m] /= high - low
        np.clip(out[m], 0, 1, out=out[m])
        out[m] *= brain
    return out


def working_grid(brain: np.ndarray, affine: np.ndarray) -> WorkingGrid:
    """The network's grid around a brain.

    Args:
        brain: Brain mask on the reference grid [D, H, W].
        affine: Reference voxel (i, j, k) to RAS mm [4, 4].

    Raises:
        InputError: If the mask is empty, or the brain too small or too large for one.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes, flips = _nearest_turn(affine[:3, :3] / spacing)
    zoom = spacing[::-1][list(axes)] / WORKING_SPACING_MM
    box = _bounding_box(_turn(brain[None], axes, flips)[0])
    _check_extent(box, zoom * WORKING_SPACING_MM)
    margin = np.ceil(BOX_MARGIN_MM / WORKING_SPACING_MM / zoom).astype(int)
    turned = (brain.shape[axis] for axis in axes)
    box = tuple(
        slice(max(0, side.start - more), min(size, side.stop + more))
        for side, more, size in zip(box, margin.tolist(), turned, strict=True)
    )
    exact = bool((np.abs(zoom - 1) <= SPACING_TOLERANCE).all())
    grid = WorkingGrid(brain.shape, axes, flips, box, None if exact else zoom, np.eye(4))
    to_reference = _index_map(grid)
    return WorkingGrid(brain.shape, axes, flips, box, grid.zoom, affine @ to_reference)


def _nearest_turn(direction: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Array axes and flips that bring unit voxel axes (columns, in RAS) nearest to `WORKING_AXES`."""
    cosines = (WORKING_AXES.T @ direction)[::-1, ::-1]  # [working array axis, reference array axis]
    rows = np.arange(3)
    axes = max(itertools.permutations(range(3)), key=lambda order: np.abs(cosines[rows, order]).sum())
    return axes, tuple(int(row) for row in rows if cosines[row, axes[row]] < 0)


def _turn(array: np.ndarray, axes: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """A view of channels [C, D, H, W] with spatial axes permuted, then reversed."""
    turned = array.transpose(0, *(axis + 1 for axis in axes))
    return np.flip(turned, [axis + 1 for axis in flips])


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        if inside.size == 0:
            raise InputError("all four images are 0 everywhere, so there is no brain; check the files", code="no-brain")
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _check_extent(box: tuple[slice, ...], spacing_mm: np.ndarray) -> None:
    """Refuse a brain of a size that only wrong voxel sizes give, before anything is resampled to 1 mm."""
    extent_mm = [(side.stop - side.start) * mm for side, mm in zip(box, spacing_mm.tolist(), strict=True)]
    low, high = BRAIN_EXTENT_MM
    if min(extent_mm) < low or max(extent_mm) > high:
        extent, spacing = (" x ".join(f"{mm:.3g}" for mm in values) for values in (extent_mm, spacing_mm))
        raise InputError(
            f"the brain is {extent} mm large in voxels of {spacing} mm, but a brain has {low:g} to {high:g} mm along "
            "each axis; correct the voxel sizes in the header",
            code="brain-extent",
        )


def _zoomed(shape: tuple[int, ...], zoom: np.ndarray) -> tuple[int, ...]:
    """Voxels needed to cover the same extent at another size, at least two an axis."""
    return tuple(max(2, round(float(n * factor))) for n, factor in zip(shape, zoom, strict=True))


def _zoom(array: np.ndarray, shape: tuple[int, ...], zoom: np.ndarray | None, order: str) -> np.ndarray:
    """Resample channels [C, ...] to a shape about the same centre; without zoom, a contiguous copy.

    No low-pass comes first: voxels well under 1 mm are as a rule interpolated by the scanner and hold no finer detail.
    """
    if zoom is None:
        return np.ascontiguousarray(array)
    # In a frame of its own (origin at the centre, no rotation), so that equal voxels give equal results
    # wherever in space they lie.
    source, target = _centred(array.shape[1:], zoom), _centred(shape, np.ones(3))
    grid = Volume(np.empty(shape, dtype=np.uint8), target)
    return np.stack([resample(Volume(np.ascontiguousarray(x), source), grid, order).array for x in array])


def _centred(shape: tuple[int, ...], size: np.ndarray) -> np.ndarray:
    """Affine of a grid with voxels of a size (in array axis order) whose centre is the origin."""
    affine = np.diag([*size[::-1], 1.0])
    affine[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * size[::-1]
    return affine


def _index_map(grid: WorkingGrid) -> np.ndarray:
    """Working voxel (i, j, k) to reference voxel (i, j, k) [4, 4]: un-zoom, un-crop, un-flip, un-permute."""
    to_reference = np.zeros((4, 4))
    to_reference[3, 3] = 1
    step = np.ones(3) if grid.zoom is None else 1 / grid.zoom
    for axis in range(3):
        source = grid.axes[axis]
        first = grid.box[axis].start + (grid.box_shape[axis] - 1) / 2 - (grid.shape[axis] - 1) / 2 * step[axis]
        sign = 1.0
        if axis in grid.flips:
            first, sign = grid.reference_shape[source] - 1 - first, -1.0
        to_reference[2 - source, 2 - axis] = sign * step[axis]  # array axis a is index 2 - a of (i, j, k)
        to_reference[2 - source, 3] = first
    return to_reference
