"""Metrics: against numbers worked out by hand, a slow obvious version, and MONAI."""

from __future__ import annotations

import numpy as np
import pytest

from DABSegCore.metrics import dice, psnr, ssim


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


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))
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
