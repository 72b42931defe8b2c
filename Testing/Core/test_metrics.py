"""Metrics: overlap and likeness against numbers worked out by hand, an obvious sum, and MONAI; what is empty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from DABSegCore import metrics
from DABSegCore.metrics import dice, hd95, nmse, psnr, region_scores, sensitivity, specificity, ssim, surroundings


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


def test_specificity_by_hand():
    three = mask((0, 0, 0), (0, 0, 1), (0, 0, 2))
    two = mask((0, 0, 2), (3, 3, 3))
    assert specificity(three, two) == pytest.approx((64 - 2 - 2) / (64 - 2))
    assert specificity(two, three) == pytest.approx((64 - 3 - 1) / (64 - 3))
    assert specificity(~three, three) == 0
    assert specificity(three, mask()) == pytest.approx(61 / 64)
    assert np.isnan(specificity(three, ~mask()))


MASKS = {"neither": (mask(), mask()), "missed": (mask(), mask((1, 2, 3))), "false": (mask((1, 2, 3)), mask())}
EMPTY = {  # of neither, there but not found, found but not there; as in the table of DABSegCore.metrics
    "dice": (1, 0, 0),
    "nsd": (1, 0, 0),
    "hd95": (0, 373.13, 373.13),
    "sensitivity": (math.nan, 0, math.nan),
    "specificity": (1, 1, 63 / 64),
}


@pytest.mark.parametrize(("metric", "case"), [(metric, case) for metric in EMPTY for case in MASKS])
def test_of_empty_masks_metrics_say_what_their_table_says(metric, case):
    spacing = [(1, 1, 1)] if metric in ("nsd", "hd95") else []
    expected = EMPTY[metric][list(MASKS).index(case)]
    assert getattr(metrics, metric)(*MASKS[case], *spacing) == pytest.approx(expected, nan_ok=True)


def test_hd95_of_a_missed_region_is_the_penalty_asked_for():
    assert hd95(*MASKS["missed"], (1, 1, 1), penalty_mm=347) == hd95(*MASKS["false"], (2, 1, 1), penalty_mm=347) == 347
    assert hd95(*MASKS["neither"], (1, 1, 1), penalty_mm=347) == 0


def test_regions_have_the_scores_of_their_masks():
    """ET is found whole, TC is missed, and of WT there is nothing: as the functions say, one by one."""
    et, nothing = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    et[2:7, 2:7, 2:7] = True  # 125 voxels of 2 mm^3
    tc = np.roll(et, 2, axis=2)  # by 2 mm along i: 75 voxels are in both
    scores = region_scores(np.stack([et, nothing, tc]), np.stack([et, et, et]), (1, 2, 1), penalty_mm=347)
    assert list(scores) == ["ET", "TC", "WT"]
    whole = {"dice": 1, "hd95_mm": 0, "nsd": 1, "sensitivity": 1, "specificity": 1, "lesion_dice": 1}
    assert scores["ET"] == whole | {"predicted_ml": 0.25, "reference_ml": 0.25}
    missed = {"dice": 0, "hd95_mm": 347, "nsd": 0, "sensitivity": 0, "specificity": 1, "lesion_dice": 0}
    assert scores["TC"] == missed | {"predicted_ml": 0, "reference_ml": 0.25}
    moved = {"dice": 0.6, "hd95_mm": 2, "sensitivity": 0.6, "specificity": 825 / 875, "lesion_dice": 0.6}
    assert {name: scores["WT"][name] for name in moved} == pytest.approx(moved)
    assert 0 < scores["WT"]["nsd"] < 1
    assert region_scores(et[None].repeat(3, 0), tc[None].repeat(3, 0), (1, 2, 1), tolerance_mm=2)["WT"]["nsd"] == 1


def test_there_is_one_mask_a_region():
    with pytest.raises(ValueError, match="shorter|longer"):
        region_scores(np.zeros((2, 3, 3, 3), bool), np.zeros((2, 3, 3, 3), bool), (1, 1, 1))
    with pytest.raises(ValueError, match="one shape"):
        region_scores(np.zeros((3, 3, 3, 3), bool), np.zeros((3, 3, 3, 4), bool), (1, 1, 1))


def test_psnr_by_hand():
    reference = np.zeros((4, 4, 4), np.float32)
    assert psnr(reference + 0.1, reference) == pytest.approx(20.0, abs=1e-5)
    assert psnr(reference, reference) == float("inf")


def test_psnr_sees_only_the_mask():
    reference = np.zeros((4, 4, 4))
    image = np.where(mask((1, 2, 3)), 0.01, 1.0)
    assert psnr(image, reference, mask((1, 2, 3))) == pytest.approx(40.0)
    assert np.isnan(psnr(image, reference, mask()))


def test_nmse_by_hand():
    reference = np.array([[[3.0, 0, 4]]])
    assert nmse(reference + [1, 2, 0], reference) == pytest.approx(5 / 25)
    assert nmse(reference + [1, 2, 0], reference, np.array([[[True, False, True]]])) == pytest.approx(1 / 25)
    assert nmse(0 * reference, reference) == 1
    assert nmse(reference, reference) == 0


def test_nmse_does_not_depend_on_the_unit_and_takes_any_type():
    image, reference = noisy_pair()
    assert nmse(1000 * image, 1000 * reference) == pytest.approx(nmse(image, reference))
    small = np.full((2, 2, 2), 200, np.uint8)
    assert nmse(small // 4, small) == 150**2 / 200**2  # differences and squares are not of eight bits


def test_nmse_where_there_is_nothing_to_go_by():
    dark = np.zeros((2, 2, 2))
    assert nmse(dark + 1, dark) == math.inf
    assert math.isnan(nmse(dark, dark))
    assert math.isnan(nmse(dark + 1, dark + 1, dark > 0))


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
        nmse(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.ones((3, 2, 2), bool))
    with pytest.raises(ValueError, match="one shape"):
        psnr(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.ones((3, 2, 2), bool))


def test_against_monai():
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    image, reference = noisy_pair()
    a, b = (torch.from_numpy(array)[None, None] for array in (image, reference))
    theirs = monai.regression.compute_ssim_and_cs(
        a, b, spatial_dims=3, kernel_size=(11,) * 3, kernel_sigma=(1.5,) * 3, data_range=1.0
    )[0]
    inner = np.zeros(image.shape, bool)
    inner[5:-5, 5:-5, 5:-5] = True  # MONAI averages only windows that fit
    assert ssim(image, reference, inner) == pytest.approx(float(theirs.mean()), abs=1e-5)
    assert psnr(image, reference) == pytest.approx(float(monai.PSNRMetric(max_val=1.0)(a, b)), abs=1e-5)
    prediction, truth = image > 0.5, reference > 0.5
    overlap = monai.DiceMetric()(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
    assert dice(prediction, truth) == pytest.approx(float(overlap), abs=1e-6)
    matrix = monai.get_confusion_matrix(*(torch.from_numpy(array)[None, None].int() for array in (prediction, truth)))
    for name, ours in (("sensitivity", sensitivity), ("specificity", specificity)):
        by_them = float(monai.compute_confusion_matrix_metric(name, matrix))
        assert ours(prediction, truth) == pytest.approx(by_them, abs=1e-6)
