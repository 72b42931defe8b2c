"""Metrics: against numbers worked out by hand, a slow obvious version, and MONAI."""

from __future__ import annotations

import numpy as np
import pytest

from DABSegCore.metrics import dice, hd95, psnr, sensitivity, ssim, surroundings


def mask(*voxels: tuple[int, int, int]) -> np.ndarray:
    array = np.zeros((4, 4, 4), bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def noisy_pair(seed: int = 0, shape: tuple[int, ...] = (16, 18, 20)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.random(shape)
    return np.clip(reference + rng.normal(0, 0.2, shape), 0, 1), reference


def test_dice_by_hand():
    three = mask((0, 0, 0), (0, 0, 1), (0, 0, 2))
    two = mask((0, 0, 2), (3, 3, 3))
    assert dice(three, two) == pytest.approx(2 * 1 / (3 + 2))
    assert dice(three, three) == 1.0
    assert dice(three, mask((3, 3, 3))) == 0.0


def test_dice_of_empty_masks():
    assert dice(mask(), mask()) == 1.0
    assert dice(mask((0, 0, 0)), mask()) == 0.0
    assert dice(mask(), mask((0, 0, 0))) == 0.0


def test_sensitivity_by_hand():
    three = mask((0, 0, 0), (0, 0, 1), (0, 0, 2))
    two = mask((0, 0, 2), (3, 3, 3))
    assert sensitivity(three, two) == 0.5
    assert sensitivity(two, three) == pytest.approx(1 / 3)
    assert sensitivity(mask(), two) == 0
    assert np.isnan(sensitivity(two, mask()))


def test_hd95_of_two_voxels_is_their_distance_in_mm():
    first, second = mask((0, 0, 0)), mask((1, 2, 3))
    assert hd95(first, second, (1, 1, 1)) == pytest.approx(np.sqrt(1 + 4 + 9))
    spacing_mm = (0.5, 2.0, 3.0)  # of i, j, k: of the last, the middle and the first array axis
    assert hd95(first, second, spacing_mm) == pytest.approx(np.sqrt((1 * 3) ** 2 + (2 * 2) ** 2 + (3 * 0.5) ** 2))
    assert hd95(second, second, spacing_mm) == 0


def test_hd95_of_empty_masks():
    assert hd95(mask(), mask(), (1, 1, 1)) == 0
    assert hd95(mask((0, 0, 0)), mask(), (1, 1, 1)) == hd95(mask(), mask((0, 0, 0)), (1, 1, 1)) == 373.13


def test_hd95_passes_over_the_worst_twentieth():
    """A line of 21 voxels and one of 20, side by side: one voxel sticks out by 1 mm, and it is 1 of 21."""
    short, long = np.zeros((2, 2, 30), bool), np.zeros((2, 2, 30), bool)
    short[0, 0, :20], long[0, 0, :21] = True, True
    assert hd95(long, short, (1, 1, 1)) == 0
    long[0, 0, :25] = True  # five of 25 stick out by 1 to 5 mm; the 95th percentile lies 0.8 of the way from 3 to 4 mm
    assert hd95(long, short, (1, 1, 1)) == hd95(short, long, (1, 1, 1)) == pytest.approx(3.8)


def surface(array: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels with a neighbour outside, the slow way."""
    voxels = {tuple(voxel) for voxel in np.argwhere(array).tolist()}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return [v for v in sorted(voxels) if any(tuple(np.add(v, s).tolist()) not in voxels for s in steps)]


def two_blobs() -> tuple[np.ndarray, np.ndarray]:
    """Smooth masks that touch a face of the volume, one with a speck far away."""
    k, j, i = np.ogrid[:14, :16, :18]
    first = (k - 4) ** 2 + (j - 8) ** 2 + (i - 9) ** 2 < 30
    second = (k - 6) ** 2 / 2 + (j - 7) ** 2 + (i - 9) ** 2 < 22
    second[13, 15, 17] = True
    return first, second


def test_hd95_against_all_pairs():
    first, second = two_blobs()
    ours, theirs = (np.array(surface(array)) * (3.0, 2.0, 0.7) for array in (first, second))
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    by_hand = max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95))
    assert hd95(first, second, (0.7, 2.0, 3.0)) == pytest.approx(by_hand, abs=1e-9)


def test_hd95_does_not_depend_on_what_is_around():
    masks = two_blobs()
    padded = (np.pad(array, ((3, 0), (0, 9), (5, 5))) for array in masks)
    assert hd95(*masks, (1, 1, 1)) == hd95(*padded, (1, 1, 1))


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")  # MONAI 1.5 warns of itself
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 2.0, 3.0)])
def test_hd95_against_monai(spacing_mm):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(array)[None, None] for array in two_blobs()]
    theirs = metrics.compute_hausdorff_distance(*tensors, percentile=95, spacing=list(spacing_mm[::-1]))
    assert hd95(*two_blobs(), spacing_mm) == pytest.approx(float(theirs), abs=1e-4)


def test_psnr_by_hand():
    reference = np.zeros((4, 4, 4), np.float32)
    assert psnr(reference + 0.1, reference) == pytest.approx(20.0, abs=1e-5)
    assert psnr(reference, reference) == float("inf")


def test_psnr_sees_only_the_mask():
    reference = np.zeros((4, 4, 4))
    image = np.where(mask((1, 2, 3)), 0.01, 1.0)
    assert psnr(image, reference, mask((1, 2, 3))) == pytest.approx(40.0)
    assert np.isnan(psnr(image, reference, mask()))


def test_ssim_of_constant_images_is_the_luminance_term():
    a, b = np.full((12, 12, 12), 0.5), np.full((12, 12, 12), 0.25)
    by_hand = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ssim(a, b) == pytest.approx(by_hand, abs=1e-9)


def test_ssim_at_one_voxel_by_an_obvious_sum():
    image, reference = noisy_pair()
    at = (8, 9, 10)
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = line[:, None, None] * line[None, :, None] * line
    weights /= weights.sum()
    window = tuple(slice(c - 5, c + 6) for c in at)
    x, y = image[window], reference[window]
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    variance_x, variance_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    by_hand = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    by_hand /= (mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)
    only = np.zeros(image.shape, bool)
    only[at] = True
    assert ssim(image, reference, only) == pytest.approx(by_hand, abs=1e-9)


def test_ssim_falls_with_noise_and_is_one_for_equal_images():
    image, reference = noisy_pair()
    assert ssim(reference, reference) == pytest.approx(1.0)
    assert ssim(image, reference) < 0.9
    assert np.isnan(ssim(image, reference, np.zeros(image.shape, bool)))


def test_ssim_outside_the_window_of_the_mask_does_not_matter():
    image, reference = noisy_pair(shape=(24, 24, 24))
    corner = np.zeros(image.shape, bool)
    corner[:4, :4, :4] = True
    changed = image.copy()
    changed[12:, 12:, 12:] = 0
    assert ssim(changed, reference, corner) == ssim(image, reference, corner)


def test_images_cropped_to_the_surroundings_of_a_mask_are_as_alike_as_before():
    image, reference = noisy_pair(shape=(24, 26, 28))
    inner = np.zeros(image.shape, bool)
    inner[2:4, 10:16, 12] = True
    box = surroundings(inner)
    assert [(side.start, min(side.stop, n)) for side, n in zip(box, image.shape, strict=True)] == [
        (0, 9),
        (5, 21),
        (7, 18),
    ]
    assert ssim(image[box], reference[box], inner[box]) == pytest.approx(ssim(image, reference, inner), abs=1e-12)
    assert image[surroundings(np.zeros(image.shape, bool))].shape == (5, 5, 5)  # and no mask in it


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))
    with pytest.raises(ValueError, match="one shape"):
        hd95(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), (1, 1, 1))
    with pytest.raises(ValueError, match="one shape"):
        psnr(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.ones((3, 2, 2), bool))


def test_against_monai():
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    image, reference = noisy_pair()
    a, b = (torch.from_numpy(array)[None, None] for array in (image, reference))
    theirs = metrics.regression.compute_ssim_and_cs(
        a, b, spatial_dims=3, kernel_size=(11,) * 3, kernel_sigma=(1.5,) * 3, data_range=1.0
    )[0]
    inner = np.zeros(image.shape, bool)
    inner[5:-5, 5:-5, 5:-5] = True  # MONAI averages only windows that fit
    assert ssim(image, reference, inner) == pytest.approx(float(theirs.mean()), abs=1e-5)
    assert psnr(image, reference) == pytest.approx(float(metrics.PSNRMetric(max_val=1.0)(a, b)), abs=1e-5)
    prediction, truth = image > 0.5, reference > 0.5
    overlap = metrics.DiceMetric()(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
    assert dice(prediction, truth) == pytest.approx(float(overlap), abs=1e-6)
