"""Lesions: lesion-wise Dice against lesions counted by hand, and against the rules followed one lesion at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from DABSegCore.metrics import LesionScores, lesion_dice, lesion_scores

MM = (1.0, 1.0, 1.0)


def blocks(*corners: tuple[int, int, int], size: tuple[int, int, int] = (4, 4, 4)) -> np.ndarray:
    """Blocks, of 64 voxels unless said otherwise, in a volume of 30 x 32 x 34."""
    array = np.zeros((30, 32, 34), bool)
    for corner in corners:
        array[tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))] = True
    return array


NOTHING = blocks()


def test_found_missed_and_false_lesions_by_hand():
    two, first = blocks((0, 0, 0), (20, 20, 20)), blocks((0, 0, 0))
    half = blocks((0, 0, 0), size=(4, 4, 2))
    false = blocks((20, 0, 0), size=(1, 1, 1))
    assert lesion_scores(two, two, MM) == LesionScores((1, 1), missed=0, false=0, ignored=0)
    assert lesion_scores(first, two, MM) == LesionScores((1, 0), missed=1, false=0, ignored=0)
    assert lesion_scores(two, first, MM) == LesionScores((1,), missed=0, false=1, ignored=0)
    assert lesion_scores(half, first, MM) == LesionScores((2 * 32 / 96,), missed=0, false=0, ignored=0)
    assert lesion_dice(first, two, MM) == lesion_dice(two, first, MM) == 0.5
    assert lesion_dice(half | false, two, MM) == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_of_empty_masks():
    assert lesion_dice(NOTHING, NOTHING, MM) == 1
    assert lesion_dice(blocks((3, 3, 3)), NOTHING, MM) == 0
    assert lesion_dice(NOTHING, blocks((3, 3, 3)), MM) == 0


@pytest.mark.parametrize(("size", "counts"), [((1, 5, 10), False), ((1, 3, 17), True)])
def test_lesions_of_50_mm3_do_not_count_and_those_of_51_do(size, counts):
    lesion = blocks((3, 3, 3), size=size)
    missed = lesion_scores(NOTHING, lesion, MM)
    assert missed == LesionScores((0,) * counts, missed=int(counts), false=0, ignored=int(not counts))
    assert missed.mean() == (0 if counts else 1)
    found = lesion_scores(lesion, lesion, MM)  # what is found of a small one is not held against the prediction
    assert found == LesionScores((1,) * counts, missed=0, false=0, ignored=int(not counts))


def test_small_is_told_in_mm3():
    lesion = blocks((3, 3, 3), size=(1, 5, 10))
    assert lesion_scores(NOTHING, lesion, (1.0, 1.0, 1.1)).ignored == 0
    assert lesion_scores(NOTHING, lesion, (1.0000001, 1.0, 1.0)).ignored == 1  # a spacing in single precision
    assert lesion_scores(NOTHING, lesion, (0.5, 0.5, 0.5), ignored_mm3=6).ignored == 0
    assert lesion_scores(NOTHING, lesion, (0.5, 0.5, 0.5), ignored_mm3=6.25).ignored == 1


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0000001,) * 3, (1.5, 1.5, 1.5), (4.0, 4.0, 4.0)])
def test_blocks_within_twice_3_mm_of_each_other_are_one_lesion(axis, spacing_mm):
    steps = int(3.001 / spacing_mm[0])  # that each is dilated by; then they need only touch
    corner = [2, 2, 2]
    for gap, lesions in [(2 * steps, 1), (2 * steps + 1, 2)]:
        corner[axis] = 2 + 4 + gap
        both = blocks((2, 2, 2), tuple(corner))
        assert len(lesion_scores(NOTHING, both, spacing_mm).dice) == lesions


def test_a_piece_belongs_to_a_lesion_3_mm_away_but_not_4():
    lesion = blocks((2, 2, 2))
    for gap, belongs in [(2, True), (3, False)]:
        piece = blocks((2, 2, 2 + 4 + gap), size=(1, 1, 1))
        scores = lesion_scores(lesion | piece, lesion, MM)
        assert scores == LesionScores((2 * 64 / 129,) if belongs else (1,), missed=0, false=int(not belongs), ignored=0)
    near = lesion_scores(blocks((2, 2, 8), size=(1, 1, 1)), lesion, MM)  # beside it, not in it
    assert near == LesionScores((0,), missed=0, false=0, ignored=0)


def test_a_piece_that_bridges_two_lesions_belongs_to_both():
    lesions = blocks((2, 2, 2), (2, 2, 20))
    bridge = blocks((2, 2, 2), size=(4, 4, 22))
    assert lesion_scores(bridge, lesions, MM).dice == pytest.approx([2 * 64 / (64 + 16 * 22)] * 2)


def test_voxels_that_share_a_corner_are_one_piece():
    steps = np.zeros((9, 9, 9), bool)
    steps[range(9), range(9), range(9)] = True
    assert lesion_scores(steps, np.zeros_like(steps), MM).false == 1


def one_at_a_time(found: np.ndarray, there: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[list[float], int, int]:
    """The rules on whole volumes, lesion by lesion: Dice of those that count, how many are missed, how many false."""
    from scipy import ndimage

    corners = np.ones((3, 3, 3))
    lesions, n = ndimage.label(dilated(there, spacing_mm), corners)
    pieces, m = ndimage.label(found, corners)
    scores, missed, used = [], 0, set()
    for number in range(1, n + 1):
        lesion = there & (lesions == number)
        mine = set(np.unique(pieces[dilated(lesion, spacing_mm)])) - {0}
        used |= mine
        if lesion.sum() * np.prod(spacing_mm) > 50:
            prediction = np.isin(pieces, sorted(mine))
            scores.append(2 * (prediction & lesion).sum() / (prediction.sum() + lesion.sum()))
            missed += not mine
    return scores, missed, m - len(used)


def dilated(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """As the challenge dilates at 1 mm; elsewhere every voxel moved by every offset of its sort."""
    from scipy import ndimage

    if spacing_mm == MM:
        return ndimage.binary_dilation(mask, ndimage.generate_binary_structure(3, 2), iterations=3)
    grown = np.zeros_like(mask)
    for offset in itertools.product(range(-7, 8), repeat=3):
        lengths = [abs(o) * edge for o, edge in zip(offset, spacing_mm[::-1], strict=True)]
        if max(lengths) <= 3 and sum(lengths) <= 6:
            moved = np.argwhere(mask) + offset
            grown[tuple(moved[((moved >= 0) & (moved < mask.shape)).all(axis=1)].T)] = True
    return grown


@pytest.mark.parametrize("spacing_mm", [MM, (0.9, 1.7, 3.5)])
@pytest.mark.parametrize("seed", [1, 3, 4, 5])
def test_against_the_rules_one_lesion_at_a_time(seed, spacing_mm):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    smooth = (ndimage.gaussian_filter(rng.normal(size=(40, 42, 50)), 2.0) for _ in range(2))
    there, other = (array > 2.6 * array.std() for array in smooth)
    found = np.roll(there & (np.arange(50) < 35), 2, axis=1) | (other & (rng.random(other.shape) > 0.4))
    scores, missed, false = one_at_a_time(found, there, spacing_mm)
    ours = lesion_scores(found, there, spacing_mm)
    assert len(scores) >= 3
    assert false >= 3 <= ours.ignored
    assert sorted(ours.dice) == pytest.approx(sorted(scores))
    assert (ours.missed, ours.false) == (missed, false)
    assert lesion_dice(found, there, spacing_mm) == pytest.approx(sum(scores) / (len(scores) + false))
    turned = np.asfortranarray(found), np.asfortranarray(there)
    assert lesion_scores(*turned, spacing_mm) == ours


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        lesion_dice(NOTHING, NOTHING[1:], MM)
