"""Figure: what is drawn where, seen in single pixels."""

from __future__ import annotations

import numpy as np
import pytest

from DABSegCore.figure import REGION_COLOURS, Cell, brain_box, case_panel, cut, draw_grid, tumour_slice
from DABSegCore.lettering import paint, text_coverage


def a_block(slices: slice, shape: tuple[int, int, int] = (10, 60, 50)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[slices, 20:40, 15:35] = True
    return mask


def count_near(picture: np.ndarray, colour: tuple[float, ...], tolerance: int = 40) -> int:
    return int((np.abs(picture.astype(int) - np.array(colour) * 255).max(axis=-1) < tolerance).sum())


def test_slice_of_the_largest_innermost_region():
    brain = np.ones((10, 60, 50), bool)
    empty, low, high = a_block(slice(0, 0)), a_block(slice(2, 3)), a_block(slice(7, 8))
    assert tumour_slice(np.stack([low, high, high]), brain) == 2
    assert tumour_slice(np.stack([empty, high, low]), brain) == 7
    assert tumour_slice(np.stack([empty, empty, low]), brain) == 2
    brain[:4] = False
    brain[4, :30] = False
    assert tumour_slice(np.stack([empty] * 3), brain) == 5
    assert tumour_slice(None, brain) == 5
    assert tumour_slice(None, np.zeros((10, 4, 4), bool)) == 5


def test_each_region_has_its_colour_and_no_masks_no_colour():
    images = np.full((4, 10, 60, 50), 0.5, np.float32)
    nested = np.stack([a_block(slice(5, 6)) for _ in range(3)])
    nested[0, :, :24], nested[0, :, 30:] = False, False
    nested[2, 5, 10:50, 8:42] = True
    outlined, plain = case_panel({"sharp": images}, nested), case_panel({"sharp": images})
    assert outlined.dtype == np.uint8
    for colour in REGION_COLOURS.values():
        assert count_near(outlined, colour) > 150
        assert count_near(plain, colour) == 0


def test_outlines_only_on_the_rows_named():
    images = np.full((4, 10, 60, 50), 0.5, np.float32)
    masks = np.stack([a_block(slice(5, 6))] * 3)
    picture = case_panel({"above": images, "below": images}, {"below": masks})
    yellow = np.abs(picture.astype(int) - np.array(REGION_COLOURS["WT"]) * 255).max(axis=-1) < 40
    middle = picture.shape[0] // 2
    assert not yellow[: middle - 30].any()
    assert yellow[middle + 30 : -80].any()


def test_radiological_view_front_up_and_patient_right_on_the_left():
    images = np.full((4, 3, 60, 50), 0.3, np.float32)
    images[:, 1, :30, :25] = 0.9  # small j is the front, small i the patient's right
    picture = case_panel({"sharp": images}, slice_index=1)
    is_bright = (picture > 215).all(axis=-1) & (picture < 245).all(axis=-1)
    rows, columns = np.nonzero(is_bright[:, -320:])  # the last cell, which carries no letters
    assert rows.size > 10000
    assert rows.mean() < picture.shape[0] / 2
    assert columns.mean() < 160


def test_values_are_shown_as_they_are():
    images = np.stack([np.full((3, 40, 40), level, np.float32) for level in (0.2, 0.4, 0.6, 0.8)])
    picture = case_panel({"sharp": images})
    middle = picture[picture.shape[0] // 2]
    for level in (0.2, 0.4, 0.6, 0.8):
        assert (middle == round(level * 255)).all(axis=-1).sum() > 100


def test_an_empty_case_is_drawn_too():
    picture = case_panel({"sharp": np.zeros((4, 5, 20, 20), np.float32)}, np.zeros((3, 5, 20, 20), bool))
    assert picture.ndim == 3


def test_text_is_as_wide_as_its_letters_and_unknown_ones_are_spelt_plainly():
    assert text_coverage("AB").shape[1] == text_coverage("A").shape[1] + text_coverage("B").shape[1]
    assert text_coverage("").shape[1] == 0
    np.testing.assert_array_equal(text_coverage("Ǎ"), text_coverage("A"))
    np.testing.assert_array_equal(text_coverage("脳"), text_coverage("?"))
    assert text_coverage("T1", "title").shape[0] > text_coverage("T1").shape[0]


@pytest.mark.parametrize(("top", "left", "covered"), [(0, 0, 4), (-1, 0, 2), (3, 3, 1), (9, 9, 0), (-5, 0, 0)])
def test_paint_loses_what_falls_off(top, left, covered):
    canvas = np.zeros((4, 4, 3), np.float32)
    paint(canvas, np.ones((2, 2)), top, left, (1.0, 1.0, 1.0))
    assert canvas.sum() == 3 * covered


def test_a_box_may_lie_outside_its_slice():
    brain = np.zeros((20, 30), bool)
    brain[2:8, 25:30] = True
    box = brain_box(brain, margin=4)
    assert box == (slice(-2, 12), slice(21, 34))
    part = cut(np.stack([brain, ~brain]), box)
    assert part.shape == (2, 14, 13)
    np.testing.assert_array_equal(np.argwhere(part[0])[[0, -1]], [[4, 4], [9, 8]])
    assert not part[1][:2].any()  # beyond the slice there is nothing
    assert not part[1][:, 9:].any()
    assert brain_box(np.zeros((20, 30), bool), margin=1) == (slice(-1, 21), slice(-1, 31))


def test_rows_of_a_grid_may_differ_in_height_and_bear_one_name():
    rows = [("same", [Cell(np.full((n, 30), 0.4))] * 3) for n in (20, 60, 20)]
    picture = draw_grid(rows, ["a", "b", "c"], cell_width=60)
    filled = np.flatnonzero((picture[:, -50:-30] == 102).all(axis=(1, 2)))  # within the last column
    assert len(filled) == 2 * (20 + 60 + 20)  # enlarged twice
    assert np.count_nonzero(np.diff(filled) > 1) == 2  # three rows, two gaps
