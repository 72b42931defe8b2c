"""Resampling by place, against loops over voxels and against the core's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from a_scene_of import LEFT_HANDED, OBLIQUE, finish
from DABSegLib.nodes.resample import resample_steps

from DABSegCore.volume import Volume, resample

TURNED = np.eye(4)
TURNED[:3] = np.random.default_rng(1).normal(scale=0.15, size=(3, 4))  # so that no point lies half way between voxels
TURNED += [[0.6, 0.4, 0.1, 7.0], [-0.3, 0.9, 0.2, -4.0], [0.1, -0.3, 2.1, 41.0], [0.0, 0.0, 0.0, 0.0]]


def an_image(shape: tuple[int, ...] = (6, 9, 8)) -> np.ndarray:
    return np.random.default_rng(4).uniform(1, 100, shape).astype(np.float32)


@pytest.mark.parametrize("source", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
@pytest.mark.parametrize("order", ["linear", "nearest"])
def test_equals_the_core(source: np.ndarray, order: str) -> None:
    image, shape = an_image(), (7, 12, 15)
    if source is LEFT_HANDED:
        source = LEFT_HANDED @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -5], [0, 0, 0, 1.0]])
    expected = resample(Volume(image, source), Volume(np.zeros(shape), TURNED), order).array
    assert 0.1 < (expected != 0).mean() < 0.9  # part of it beyond the image
    found = finish(resample_steps(image, source, shape, TURNED, linear=order == "linear"))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_nearest_equals_a_loop() -> None:
    image, shape = an_image(), (7, 12, 15)
    expected = np.zeros(shape, np.float32)
    for k, j, i in itertools.product(*map(range, shape)):
        at = np.linalg.solve(OBLIQUE, TURNED @ (i, j, k, 1))[:3][::-1]
        nearest = tuple(int(np.floor(x + 0.5)) for x in at)
        if all(0 <= n < size for n, size in zip(nearest, image.shape, strict=True)):
            expected[k, j, i] = image[nearest]
    np.testing.assert_array_equal(finish(resample_steps(image, OBLIQUE, shape, TURNED, linear=False)), expected)


def test_a_shift_by_whole_voxels_keeps_every_value() -> None:
    image = an_image((4, 5, 6))
    place = OBLIQUE.copy()
    place[:, 3] = OBLIQUE @ (3, 2, 1, 1)  # its first voxel is (k, j, i) = (1, 2, 3) of the other grid
    found = finish(resample_steps(image, place, (4, 9, 9), OBLIQUE, linear=True))
    expected = np.zeros((4, 9, 9), np.float32)
    expected[1:4, 2:7, 3:9] = image[:3]
    np.testing.assert_array_equal(found, expected)


def test_half_voxels_are_the_mean_of_both() -> None:
    image = np.array([[[2.0, 4.0]]], np.float32)
    half = np.array([[0.5, 0, 0, -0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = finish(resample_steps(image, np.eye(4), (1, 1, 6), half, linear=True))
    np.testing.assert_allclose(found[0, 0], [2, 2, 3, 4, 0, 0])  # at -0.5, 0, 0.5, 1, and beyond


@pytest.mark.parametrize("linear", [True, False])
def test_nothing_and_elsewhere_give_zeros(linear: bool) -> None:
    nothing = finish(resample_steps(np.zeros((0, 0, 0), bool), OBLIQUE, (2, 3, 4), TURNED, linear))
    far = TURNED.copy()
    far[:3, 3] += 1000
    elsewhere = finish(resample_steps(an_image(), OBLIQUE, (2, 3, 4), far, linear))
    assert nothing.shape == elsewhere.shape == (2, 3, 4)
    assert not nothing.any()
    assert not elsewhere.any()
