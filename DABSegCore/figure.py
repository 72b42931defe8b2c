"""Figure: one picture of a case, stages of its treatment by modalities, with the tumour outlined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.lettering import Face, paint, text_coverage

REGION_COLOURS = {"ET": (1.0, 0.2, 0.2), "TC": (0.2, 0.5, 1.0), "WT": (0.95, 0.85, 0.2)}
REGION_NAMES = {"ET": "ET enhancing tumour", "TC": "TC tumour core", "WT": "WT whole tumour"}
HEADINGS = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
CAPTION = "Research use only. Pseudo-clear volumes are synthetic."

_CELL_WIDTH = 300  # pixels; the height follows from the brain
_GAP, _MARGIN, _LINE = 6, 22, 30  # pixels
_PAPER, _BLACK, _INK, _FAINT = (0.055, 0.06, 0.07), (0.0, 0.0, 0.0), (0.94, 0.94, 0.94), (0.60, 0.62, 0.65)
_OUTLINE_PX, _HALO_PX = 1.6, 3.4
# Where regions share an edge their outlines would hide each other; these levels set them half a voxel apart.
_LEVELS = {"ET": 0.5, "TC": 0.25, "WT": 0.12}


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

    Returns:
        RGB, uint8 [height, width, 3].
    """
    if not isinstance(regions, Mapping):
        regions = {} if regions is None else dict.fromkeys(rows, regions)
    brain = np.any([np.any(images > 0, axis=0) for images in rows.values()], axis=0)
    k = tumour_slice(next(iter(regions.values()), None), brain) if slice_index is None else slice_index
    cut = _cutter(brain[k])
    drawn = {
        name: _row(cut(images[:, k]), _outlined(regions.get(name), k, cut), (notes or {}).get(name))
        for name, images in rows.items()
    }
    _mark_sides(next(iter(drawn.values()))[:, :_CELL_WIDTH])
    return _assemble(drawn, title, caption, legend=bool(regions))


def _cutter(brain: np.ndarray, margin: int = 12) -> Callable[[np.ndarray], np.ndarray]:
    """What cuts slices [..., H, W] to the box of the brain [H, W] and a margin, which may lie outside the slice."""
    found = ndimage.find_objects(brain.astype(np.uint8))
    sides = found[0] if found else tuple(slice(0, length) for length in brain.shape)
    box = tuple(slice(side.start, side.stop + 2 * margin) for side in sides)  # of the padded slice

    def cut(array: np.ndarray) -> np.ndarray:
        around = [(0, 0)] * (array.ndim - 2) + [(margin, margin)] * 2
        return np.pad(array, around)[(..., *box)]

    return cut


def _row(images: np.ndarray, outlined: list[tuple[str, np.ndarray]], notes: Sequence[str] | None) -> np.ndarray:
    """The enlarged slices of all modalities [M, H, W] side by side, RGB float32 [h, w, 3]."""
    scale = _CELL_WIDTH / images.shape[-1]
    lines = [(_distance_px(mask, scale, region), REGION_COLOURS[region]) for region, mask in outlined]
    cells = []
    for m, image in enumerate(images):
        grey = ndimage.zoom(image.astype(np.float32), scale, order=3, mode="nearest", grid_mode=True)
        cell = np.repeat(grey.clip(0, 1)[..., None], 3, axis=-1)
        for distance, _ in lines:
            paint(cell, 0.6 * (0.5 + _HALO_PX / 2 - distance).clip(0, 1), 0, 0, _BLACK)
        for distance, colour in lines:
            paint(cell, (0.5 + _OUTLINE_PX / 2 - distance).clip(0, 1), 0, 0, colour)
        if notes:
            _write(cell, notes[m], cell.shape[0] - 26, 8, shadow=True)
        cells += [cell, np.full((cell.shape[0], _GAP, 3), _PAPER, np.float32)]
    return np.concatenate(cells[:-1], axis=1)


def _outlined(
    regions: np.ndarray | None, k: int, cut: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """Name and slice [H, W] of each region to be seen there, from the outermost to the innermost."""
    if regions is None:
        return []
    masks = dict(zip(REGIONS, cut(np.asarray(regions, bool)[:, k]), strict=True))
    return [(region, mask) for region, mask in reversed(masks.items()) if mask.any()]


def _distance_px(mask: np.ndarray, scale: float, region: str) -> np.ndarray:
    """Distance in pixels from the outline of the enlarged mask, |f - level| / |grad f|, good near it."""
    enlarged = ndimage.zoom(mask.astype(np.float32), scale, order=1, mode="nearest", grid_mode=True)
    smooth = ndimage.gaussian_filter(enlarged, 0.35 * scale)
    slope = np.hypot(*np.gradient(smooth))
    return np.abs(smooth - _LEVELS[region]) / np.maximum(slope, 1e-3)


def _assemble(rows: Mapping[str, np.ndarray], title: str, caption: str, *, legend: bool) -> np.ndarray:
    """Rows of cells with everything that is written around them, uint8 [height, width, 3]."""
    height, width = next(iter(rows.values())).shape[:2]
    top, left = _MARGIN + (_LINE + 8 if title else 0) + _LINE, _MARGIN + _LINE
    foot = top + len(rows) * (height + _GAP) + 8
    canvas = np.empty((foot + 2 * _LINE - 4, left + width + _MARGIN, 3), np.float32)
    canvas[:] = _PAPER
    _write(canvas, title, _MARGIN, left, face="title")
    for m, modality in enumerate(MODALITIES):
        middle = left + m * (_CELL_WIDTH + _GAP) + _CELL_WIDTH / 2
        _write(canvas, HEADINGS[modality], top - _LINE + 2, middle, centred=True)
    for r, (name, row) in enumerate(rows.items()):
        corner = top + r * (height + _GAP)
        canvas[corner : corner + height, left : left + width] = row
        label = np.rot90(text_coverage(name))
        paint(canvas, label, corner + (height - label.shape[0]) / 2, _MARGIN - 2, _INK)
    x = left
    for region in REGIONS if legend else ():
        paint(canvas, np.ones((3, 24)), foot + 9, x, REGION_COLOURS[region])
        x += 58 + _write(canvas, REGION_NAMES[region], foot, x + 32)
    _write(canvas, caption, foot + (_LINE - 4 if legend else 0), left, colour=_FAINT)
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
    colour: tuple[float, ...] = _INK,
    centred: bool = False,
    shadow: bool = False,
) -> int:
    """Write one line, where asked on a dark shadow that keeps it legible; returns its width in pixels."""
    ink = text_coverage(text, face)
    left -= ink.shape[1] / 2 if centred else 0
    if shadow:
        around = ndimage.gaussian_filter(ndimage.grey_dilation(np.pad(ink, 4), (3, 3)), 1.0)
        paint(canvas, 0.8 * around, top - 4, left - 4, _BLACK)
    paint(canvas, ink, top, left, colour)
    return ink.shape[1]
