"""Figure: one picture of a case, stages of its treatment by modalities, with the tumour outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from DABSegCore.errors import packages_for
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.lettering import Face, paint, text_coverage

Colour = tuple[float, float, float]

REGION_COLOURS = {"ET": (1.0, 0.2, 0.2), "TC": (0.2, 0.5, 1.0), "WT": (0.95, 0.85, 0.2)}
REGION_NAMES = {"ET": "ET enhancing tumour", "TC": "TC tumour core", "WT": "WT whole tumour"}
HEADINGS = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
PAPER, INK, FAINT = (0.055, 0.06, 0.07), (0.94, 0.94, 0.94), (0.60, 0.62, 0.65)
CAPTION = "Research use only. Pseudo-clear volumes are synthetic."

_CELL_WIDTH = 300  # pixels; the height follows from the brain
_GAP, _MARGIN, _LINE = 6, 22, 30  # pixels
_BLACK = (0.0, 0.0, 0.0)
_OUTLINE_PX, _HALO_PX = 1.6, 3.4
# Where regions share an edge their outlines would hide each other; these levels set them half a voxel apart.
_LEVELS = {"ET": 0.5, "TC": 0.25, "WT": 0.12}


@dataclass(frozen=True)
class Cell:
    """One slice of a picture.

    Attributes:
        image: Intensities in [0, 1] [H, W].
        regions: Masks to outline, bool [R, H, W]; None for none.
        note: Short text in its lower left corner (a measurement, say).
    """

    image: np.ndarray
    regions: np.ndarray | None = None
    note: str = ""


def tumour_slice(regions: np.ndarray | None, brain: np.ndarray) -> int:
    """The axial slice that shows the tumour best.

    Args:
        regions: Masks, bool [R, D, H, W], or None.
        brain: Mask, bool [D, H, W].

    Returns:
        The index k with the largest area of ET; of TC where there is no ET, then of WT, then of brain.
    """
    for mask in (*(() if regions is None else regions), brain):
        area = np.count_nonzero(mask, axis=(1, 2))
        if area.any():
            return int(area.argmax())
    return brain.shape[0] // 2


def case_panel(
    rows: Mapping[str, np.ndarray],
    regions: Mapping[str, np.ndarray] | np.ndarray | None = None,
    *,
    title: str = "",
    notes: Mapping[str, Sequence[str]] | None = None,
    slice_index: int | None = None,
    caption: str = CAPTION,
    cell_width: int = _CELL_WIDTH,
) -> np.ndarray:
    """Draw a case: one row of axial slices per entry, one column per modality, all in the same window.

    The arrays are on the working grid (1 mm, i to the left, j to the back), so that a slice as it lies in
    memory is the radiological view: the patient's right is on the left of the picture.

    Args:
        rows: Name of each row, from the top, and its intensities in [0, 1] [M, D, H, W].
        regions: Masks to outline, bool [R, D, H, W]: on every row, or by name of the row; None for none.
        title: Heading of the picture.
        notes: By name of a row, a short text for each of its M cells (a measurement, say).
        slice_index: k of the slice; None to let `tumour_slice` choose by the first masks given.
        caption: Small print at the foot.
        cell_width: Width of a slice in pixels.

    Returns:
        RGB, uint8 [height, width, 3].

    Raises:
        InputError: If SciPy is not installed.
    """
    if not isinstance(regions, Mapping):
        regions = {} if regions is None else dict.fromkeys(rows, regions)
    brain = np.any([np.any(images > 0, axis=0) for images in rows.values()], axis=0)
    k = tumour_slice(next(iter(regions.values()), None), brain) if slice_index is None else slice_index
    box = brain_box(brain[k])
    grid = []
    for name, images in rows.items():
        masks = cut(np.asarray(regions[name], bool)[:, k], box) if name in regions else None
        said = (notes or {}).get(name) or [""] * len(images)
        cells = [Cell(image, masks, note) for image, note in zip(cut(images[:, k], box), said, strict=True)]
        grid.append((name, cells))
    headings = [HEADINGS[modality] for modality in MODALITIES]
    return draw_grid(grid, headings, title=title, caption=caption, cell_width=cell_width)


@packages_for("drawing a figure")
def draw_grid(
    rows: Sequence[tuple[str, Sequence[Cell]]],
    headings: Sequence[str],
    *,
    title: str = "",
    caption: str = CAPTION,
    cell_width: int = _CELL_WIDTH,
) -> np.ndarray:
    """Draw slices in rows and columns, the patient's sides marked on the first, with a legend if any is outlined.

    Args:
        rows: Name of each row, from the top, and its cells; slices of a row are of one shape, and all of one width.
        headings: What each column shows.
        title: Heading of the picture.
        caption: Small print at the foot.
        cell_width: Width of a cell in pixels.

    Returns:
        RGB, uint8 [height, width, 3].

    Raises:
        InputError: If SciPy is not installed.
    """
    drawn = [(name, _row(cells, cell_width)) for name, cells in rows]
    _mark_sides(drawn[0][1][:, :cell_width])
    outlined = any(cell.regions is not None for _, cells in rows for cell in cells)
    return _assemble(drawn, headings, cell_width, title, caption, legend=outlined)


def brain_box(brain: np.ndarray, margin: int = 12) -> tuple[slice, slice]:
    """Rows and columns of the brain's box [H, W] and a margin, which may lie outside the slice; all if it is empty."""
    sides = []
    for axis in (1, 0):
        found = np.flatnonzero(brain.any(axis=axis))
        first, last = (found[0], found[-1]) if found.size else (0, brain.shape[1 - axis] - 1)
        sides.append(slice(int(first) - margin, int(last) + 1 + margin))
    return sides[0], sides[1]


def cut(array: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """What lies in a box of slices [..., H, W], zeros where it lies outside them."""
    lengths = array.shape[-2:]
    around = [(max(-side.start, 0), max(side.stop - n, 0)) for side, n in zip(box, lengths, strict=True)]
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + around)
    rows, columns = (slice(s.start + before, s.stop + before) for s, (before, _) in zip(box, around, strict=True))
    return padded[..., rows, columns]


def _row(cells: Sequence[Cell], width: int) -> np.ndarray:
    """The enlarged slices side by side, RGB float32 [h, w, 3]."""
    from scipy import ndimage

    outlines: dict[int, list[tuple[np.ndarray, Colour]]] = {}  # cells of a row often share their masks
    parts = []
    for cell in cells:
        scale = width / cell.image.shape[-1]
        grey = ndimage.zoom(cell.image.astype(np.float32), scale, order=3, mode="nearest", grid_mode=True)
        part = np.repeat(grey.clip(0, 1)[..., None], 3, axis=-1)
        if id(cell.regions) not in outlines:
            outlines[id(cell.regions)] = _outlines(cell.regions, scale)
        lines = outlines[id(cell.regions)]
        for distance, _ in lines:
            paint(part, 0.6 * (0.5 + _HALO_PX / 2 - distance).clip(0, 1), 0, 0, _BLACK)
        for distance, colour in lines:
            paint(part, (0.5 + _OUTLINE_PX / 2 - distance).clip(0, 1), 0, 0, colour)
        if cell.note:
            _write(part, cell.note, part.shape[0] - 26, 8, shadow=True)
        parts += [part, np.full((part.shape[0], _GAP, 3), PAPER, np.float32)]
    return np.concatenate(parts[:-1], axis=1)


def _outlines(regions: np.ndarray | None, scale: float) -> list[tuple[np.ndarray, Colour]]:
    """Distance in pixels from the outline, and colour, of each region seen in [R, H, W], the outermost first."""
    masks = {} if regions is None else dict(zip(REGIONS, regions, strict=True))
    return [
        (_distance_px(mask, scale, region), REGION_COLOURS[region])
        for region, mask in reversed(masks.items())
        if mask.any()
    ]


def _distance_px(mask: np.ndarray, scale: float, region: str) -> np.ndarray:
    """Distance in pixels from the outline of the enlarged mask, |f - level| / |grad f|, good near it."""
    from scipy import ndimage

    enlarged = ndimage.zoom(mask.astype(np.float32), scale, order=1, mode="nearest", grid_mode=True)
    smooth = ndimage.gaussian_filter(enlarged, 0.35 * scale)
    slope = np.hypot(*np.gradient(smooth))
    return np.abs(smooth - _LEVELS[region]) / np.maximum(slope, 1e-3)


def _assemble(
    rows: Sequence[tuple[str, np.ndarray]],
    headings: Sequence[str],
    cell_width: int,
    title: str,
    caption: str,
    *,
    legend: bool,
) -> np.ndarray:
    """Rows of cells with everything that is written around them, uint8 [height, width, 3]."""
    width = rows[0][1].shape[1]
    top, left = _MARGIN + (_LINE + 8 if title else 0) + _LINE, _MARGIN + _LINE
    foot = top + sum(len(row) + _GAP for _, row in rows) + 8
    canvas = np.empty((foot + 2 * _LINE - 4, left + width + _MARGIN, 3), np.float32)
    canvas[:] = PAPER
    _write(canvas, title, _MARGIN, left, face="title")
    for c, heading in enumerate(headings):
        _write(canvas, heading, top - _LINE + 2, left + c * (cell_width + _GAP) + cell_width / 2, centred=True)
    for name, row in rows:
        canvas[top : top + len(row), left : left + width] = row
        label = np.rot90(text_coverage(name))
        paint(canvas, label, top + (len(row) - label.shape[0]) / 2, _MARGIN - 2, INK)
        top += len(row) + _GAP
    x = left
    for region in REGIONS if legend else ():
        paint(canvas, np.ones((3, 24)), foot + 9, x, REGION_COLOURS[region])
        x += 58 + _write(canvas, REGION_NAMES[region], foot, x + 32)
    _write(canvas, caption, foot + (_LINE - 4 if legend else 0), left, colour=FAINT)
    return np.round(canvas.clip(0, 1) * 255).astype(np.uint8)


def _mark_sides(cell: np.ndarray) -> None:
    """Patient's right, left and front on a cell."""
    height, width = cell.shape[:2]
    _write(cell, "R", height / 2 - 10, 8, shadow=True)
    _write(cell, "L", height / 2 - 10, width - 18, shadow=True)
    _write(cell, "A", 2, width / 2, centred=True, shadow=True)


def _write(
    canvas: np.ndarray,
    text: str,
    top: float,
    left: float,
    *,
    face: Face = "text",
    colour: tuple[float, ...] = INK,
    centred: bool = False,
    shadow: bool = False,
) -> int:
    """Write one line, where asked on a dark shadow that keeps it legible; returns its width in pixels."""
    ink = text_coverage(text, face)
    left -= ink.shape[1] / 2 if centred else 0
    if shadow:
        from scipy import ndimage

        around = ndimage.gaussian_filter(ndimage.grey_dilation(np.pad(ink, 4), (3, 3)), 1.0)
        paint(canvas, 0.8 * around, top - 4, left - 4, _BLACK)
    paint(canvas, ink, top, left, colour)
    return ink.shape[1]
