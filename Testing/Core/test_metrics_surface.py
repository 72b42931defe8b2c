"""Surface: HD95 and normalised surface Dice against numbers worked out by hand, all pairs of voxels, and MONAI."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from DABSegCore.metrics import hd95, nearest, nsd, surface_distances

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 2.0, 3.0)]
quiet = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")  # MONAI 1.5 warns of itself


def mask(*voxels: tuple[int, int, int]) -> np.ndarray:
    array = np.zeros((4, 4, 4), bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def two_plates(apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat masks of 3 x 3 voxels, some voxels apart along k; the first lies on a face of the volume."""
    first, second = np.zeros((5, 3, 3), bool), np.zeros((5, 3, 3), bool)
    first[0], second[apart] = True, True
    return first, second


def two_blobs() -> tuple[np.ndarray, np.ndarray]:
    """Smooth masks that touch a face of the volume, one with a speck far away."""
    k, j, i = np.ogrid[:14, :16, :18]
    first = (k - 4) ** 2 + (j - 8) ** 2 + (i - 9) ** 2 < 30
    second = (k - 6) ** 2 / 2 + (j - 7) ** 2 + (i - 9) ** 2 < 22
    second[13, 15, 17] = True
    return first, second


def ragged_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of many pieces with holes, on all faces of the volume, that share part of their surfaces."""
    rng = np.random.default_rng(seed)
    first, flipped = rng.random((2, 7, 8, 9)) > 0.6
    return first, first ^ (flipped & (rng.random(first.shape) > 0.7))


def surface(array: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels with a neighbour outside, the slow way."""
    voxels = {tuple(voxel) for voxel in np.argwhere(array).tolist()}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return [v for v in sorted(voxels) if any(tuple(np.add(v, s).tolist()) not in voxels for s in steps)]


def all_pairs(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distances there and back, the slow way."""
    ours, theirs = (np.array(surface(array)) * spacing_mm[::-1] for array in (first, second))
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    return apart.min(axis=1), apart.min(axis=0)


def test_nsd_of_plates_is_all_or_nothing():
    first, second = two_plates(apart=3)
    spacing_mm = (9, 9, 0.5)  # 1.5 mm apart
    assert nsd(first, second, spacing_mm, tolerance_mm=1.5) == 1
    assert nsd(first, second, spacing_mm, tolerance_mm=1.4) == 0
    assert nsd(first, second, spacing_mm) == 0  # 1 mm
    assert nsd(first, second, (9, 9, 0.3)) == 1


def test_nsd_counts_both_surfaces():
    """Of a line of 20 voxels and one of 25, 5 of 45 voxels stick out, by 1 to 5 mm."""
    short, long = np.zeros((2, 2, 30), bool), np.zeros((2, 2, 30), bool)
    short[0, 0, :20], long[0, 0, :25] = True, True
    for tolerance_mm, within in [(0, 40), (0.9, 40), (1, 41), (3, 43), (4.5, 44), (5, 45)]:
        assert nsd(long, short, (1, 1, 1), tolerance_mm) == nsd(short, long, (1, 1, 1), tolerance_mm) == within / 45


def test_inner_voxels_are_not_on_the_surface():
    cube = np.ones((5, 5, 5), bool)  # fills its volume: beyond it all is outside
    assert [side.size for side in surface_distances(cube, cube, (1, 1, 1))] == [5**3 - 3**3] * 2
    hollow = cube.copy()
    hollow[2, 2, 2] = False
    there, back = surface_distances(hollow, cube, (1, 1, 1))
    assert sorted(there.tolist()) == [0] * 98 + [1] * 6  # the six around the hole
    assert back.tolist() == [0] * 98


def test_a_spacing_in_single_precision_is_the_one_meant():
    first, second = two_plates(apart=1)
    assert nsd(first, second, (1, 1, float(np.float32(1.0000001)))) == 1
    assert nsd(first, second, (1, 1, 1.001)) == 0


def test_one_empty_mask_leaves_the_other_s_surface_infinitely_far():
    first, nothing = mask((0, 0, 0), (0, 0, 1)), mask()
    assert [side.tolist() for side in surface_distances(first, nothing, (1, 1, 1))] == [[np.inf, np.inf], []]
    assert [side.tolist() for side in surface_distances(nothing, first, (1, 1, 1))] == [[], [np.inf, np.inf]]
    assert nsd(first, nothing, (1, 1, 1), tolerance_mm=1000) == 0


def test_hd95_of_two_voxels_is_their_distance_in_mm():
    first, second = mask((0, 0, 0)), mask((1, 2, 3))
    assert hd95(first, second, (1, 1, 1)) == pytest.approx(np.sqrt(1 + 4 + 9))
    spacing_mm = (0.5, 2.0, 3.0)  # of i, j, k: of the last, the middle and the first array axis
    assert hd95(first, second, spacing_mm) == pytest.approx(np.sqrt((1 * 3) ** 2 + (2 * 2) ** 2 + (3 * 0.5) ** 2))
    assert hd95(second, second, spacing_mm) == 0


def test_hd95_passes_over_the_worst_twentieth():
    """A line of 21 voxels and one of 20, side by side: one voxel sticks out by 1 mm, and it is 1 of 21."""
    short, long = np.zeros((2, 2, 30), bool), np.zeros((2, 2, 30), bool)
    short[0, 0, :20], long[0, 0, :21] = True, True
    assert hd95(long, short, (1, 1, 1)) == 0
    long[0, 0, :25] = True  # five of 25 stick out by 1 to 5 mm; the 95th percentile lies 0.8 of the way from 3 to 4 mm
    assert hd95(long, short, (1, 1, 1)) == hd95(short, long, (1, 1, 1)) == pytest.approx(3.8)


def test_hd95_against_all_pairs():
    first, second = two_blobs()
    by_hand = max(np.percentile(side, 95) for side in all_pairs(first, second, (0.7, 2.0, 3.0)))
    assert hd95(first, second, (0.7, 2.0, 3.0)) == pytest.approx(by_hand, abs=1e-9)


def test_hd95_does_not_depend_on_what_is_around():
    masks = two_blobs()
    padded = (np.pad(array, ((3, 0), (0, 9), (5, 5))) for array in masks)
    assert hd95(*masks, (1, 1, 1)) == hd95(*padded, (1, 1, 1))


@pytest.mark.parametrize("spacing_mm", [*SPACINGS, (5.0, 0.5, 0.5)])
@pytest.mark.parametrize("pair", [two_blobs, *(partial(ragged_pair, seed) for seed in range(3))])
def test_one_pass_has_the_distances_of_all_pairs(pair, spacing_mm):
    first, second = pair()
    distances = surface_distances(first, second, spacing_mm)
    there, back = all_pairs(first, second, spacing_mm)
    assert np.count_nonzero(there) > 10
    np.testing.assert_allclose(distances.there, there, atol=1e-12)  # the order is that of the voxels in both
    np.testing.assert_allclose(distances.back, back, atol=1e-12)
    within = (there < 1.00001).sum() + (back < 1.00001).sum()
    assert nsd(first, second, spacing_mm) == distances.nsd() == pytest.approx(within / (there.size + back.size))
    assert hd95(first, second, spacing_mm) == distances.hd95()


@pytest.mark.parametrize("crowd", [0.01, 10**6], ids=["tree", "transform"])
@pytest.mark.parametrize("apart", range(1, 13))
def test_near_or_far_the_distance_is_the_same_on_the_way_there_and_back(apart, crowd, monkeypatch):
    monkeypatch.setattr(nearest, "_CROWD", crowd)
    plates = np.zeros((2, 14, 6, 5), bool)
    plates[0, 0], plates[1, apart] = True, True
    for axes in [(0, 1, 2), (1, 0, 2), (1, 2, 0)]:
        first, second = (plate.transpose(axes) for plate in plates)
        spacing_mm = np.roll([0.9, 1.1, 1.3], 1)
        expected = [apart * spacing_mm[::-1][axes.index(0)]] * 30
        for side in surface_distances(first, second, tuple(spacing_mm)):
            assert side.tolist() == pytest.approx(expected)


def test_a_voxel_farther_along_one_axis_is_nearer_than_one_across_a_corner():
    first, second = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    first[0, 0, 0] = second[0, 0, 4] = second[3, 3, 3] = True
    there, back = surface_distances(first, second, (1, 1, 1))
    assert there.tolist() == [4]
    assert back.tolist() == pytest.approx([4, np.sqrt(27)])


def test_the_order_of_axes_in_memory_does_not_matter():
    first, second = ragged_pair(0)
    turned = (np.asfortranarray(first), second[::-1].copy()[::-1])
    assert hd95(*turned, (0.7, 2, 3)) == hd95(first, second, (0.7, 2, 3))
    assert nsd(*turned, (0.7, 2, 3)) == nsd(first, second, (0.7, 2, 3))


@quiet
@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("pair", [two_blobs, lambda: ragged_pair(5)], ids=["blobs", "ragged"])
def test_against_monai(pair, spacing_mm):
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(array)[None, None] for array in pair()]
    options = {"include_background": True, "spacing": list(spacing_mm[::-1])}
    theirs = monai.compute_hausdorff_distance(*tensors, percentile=95, **options)
    assert hd95(*pair(), spacing_mm) == pytest.approx(float(theirs), abs=1e-4)
    for tolerance_mm in (0.5, 1.5, 2.5):
        theirs = monai.compute_surface_dice(*tensors, [tolerance_mm], **options)
        assert nsd(*pair(), spacing_mm, tolerance_mm) == pytest.approx(float(theirs), abs=1e-6)


@quiet
def test_nsd_is_stricter_than_that_of_surfaces_between_the_voxels():
    """MONAI with subvoxels weighs pieces of a smooth surface by their area, as DeepMind's `surface-distance` does."""
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    k, j, i = np.ogrid[:40, :40, :40]
    ball, egg = ((k - 20) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 / stretch < 12**2 for stretch in (1, 1.5))
    tensors = [torch.from_numpy(array)[None, None] for array in (ball, egg)]
    options = {"include_background": True, "spacing": [1.0, 1.0, 1.0], "use_subvoxels": True}
    for tolerance_mm, ours, theirs in [(1.0, 0.65, 0.77), (2.0, 0.90, 0.95), (3.0, 1, 1)]:
        assert nsd(ball, egg, (1, 1, 1), tolerance_mm) == pytest.approx(ours, abs=0.005)
        by_them = float(monai.compute_surface_dice(*tensors, [tolerance_mm], **options))
        assert by_them == pytest.approx(theirs, abs=0.005)
