"""Rotation: against turns done by hand and against SciPy, at the angles where formulae lose digits too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.transform import Rotation

from DABSegCore.rotation import (
    matrix_from_quaternion,
    matrix_from_vector,
    quaternion_from_matrix,
    rigid_exp,
    rigid_log,
    vector_from_matrix,
)

ANGLES = (0.0, 1e-300, 1e-12, 1e-8, 1e-4, 0.1, 1.0, 3.0, np.pi - 1e-4, np.pi - 1e-8)
EXACT = dict(rtol=0, atol=1e-12)


def axes() -> np.ndarray:
    """Unit vectors [N, 3]: along, between and off the coordinate axes."""
    some = [axis for axis in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(axis)]
    drawn = np.concatenate([some, np.random.default_rng(2).standard_normal((50, 3))])
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def rigid(matrix: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The motion as a matrix [4, 4]."""
    return np.block([[matrix, translation[:, None]], [np.zeros(3), 1.0]])


def test_a_quarter_turn_takes_x_to_y():
    quarter = (0.0, 0.0, np.pi / 2)
    np.testing.assert_allclose(matrix_from_vector(quarter) @ (1, 0, 0), (0, 1, 0), **EXACT)
    np.testing.assert_allclose(vector_from_matrix([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), quarter, **EXACT)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion_from_matrix(matrix_from_vector(quarter)), (0, 0, half, half), **EXACT)
    np.testing.assert_allclose(matrix_from_quaternion((0, 0, half, half)), matrix_from_vector(quarter), **EXACT)


def test_at_rest_all_is_exact():
    np.testing.assert_array_equal(matrix_from_vector(np.zeros((2, 3))), [np.eye(3)] * 2)
    np.testing.assert_array_equal(vector_from_matrix(np.eye(3)), np.zeros(3))
    np.testing.assert_array_equal(quaternion_from_matrix(np.eye(3)), (0, 0, 0, 1))
    np.testing.assert_array_equal(matrix_from_quaternion((0, 0, 0, 2)), np.eye(3))


@pytest.mark.parametrize("angle", ANGLES)
def test_vectors_agree_with_scipy_and_come_back(angle):
    vectors = angle * axes()
    matrices = matrix_from_vector(vectors)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), **EXACT)
    np.testing.assert_allclose(vector_from_matrix(matrices), vectors, **EXACT)
    np.testing.assert_allclose(vector_from_matrix(matrices), Rotation.from_matrix(matrices).as_rotvec(), **EXACT)


def test_a_small_angle_keeps_all_its_digits():
    vector = np.array([1e-9, -2e-9, 3e-9])
    np.testing.assert_allclose(vector_from_matrix(matrix_from_vector(vector)), vector, rtol=1e-14)


def test_half_a_turn_comes_back_up_to_the_sign_of_its_axis():
    matrices = matrix_from_vector(np.pi * axes())
    vectors = vector_from_matrix(matrices)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.pi, **EXACT)
    np.testing.assert_allclose(matrix_from_vector(vectors), matrices, **EXACT)


def test_quaternions_agree_with_scipy_whatever_their_length():
    quaternions = np.random.default_rng(4).standard_normal((200, 4))
    matrices = matrix_from_quaternion(quaternions)
    np.testing.assert_allclose(matrices, Rotation.from_quat(quaternions).as_matrix(), **EXACT)
    np.testing.assert_allclose(matrix_from_quaternion(1e200 * quaternions), matrices, **EXACT)
    expected = Rotation.from_matrix(matrices).as_quat(canonical=True)
    np.testing.assert_allclose(quaternion_from_matrix(matrices), expected, **EXACT)
    assert quaternion_from_matrix(matrices)[:, 3].min() >= 0


def test_all_turns_of_a_cube_come_back():
    cube = [
        np.eye(3)[list(p)] * s for p in itertools.permutations(range(3)) for s in itertools.product((1, -1), repeat=3)
    ]
    turns = np.array([matrix for matrix in cube if np.linalg.det(matrix) > 0])
    assert len(turns) == 24
    np.testing.assert_allclose(matrix_from_quaternion(quaternion_from_matrix(turns)), turns, **EXACT)
    np.testing.assert_allclose(matrix_from_vector(vector_from_matrix(turns)), turns, **EXACT)


def test_leading_dimensions_are_kept():
    vectors = np.random.default_rng(1).standard_normal((2, 5, 3))
    matrices = matrix_from_vector(vectors)
    assert matrices.shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(matrices[1, 3], matrix_from_vector(vectors[1, 3]))
    assert quaternion_from_matrix(matrices).shape == (2, 5, 4)
    assert vector_from_matrix(matrices).shape == rigid_log(matrices, vectors)[1].shape == (2, 5, 3)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.5, 2.5])
def test_the_logarithm_of_rigid_motion_is_that_of_its_matrix(angle):
    for axis in axes()[::7]:
        matrix, translation = matrix_from_vector(angle * axis), np.array([3.0, -1.0, 2.0])
        vector, velocity = rigid_log(matrix, translation)
        log = scipy.linalg.logm(rigid(matrix, translation)).real
        np.testing.assert_allclose(vector, (log[2, 1], log[0, 2], log[1, 0]), rtol=0, atol=1e-10)  # logm's own error
        np.testing.assert_allclose(velocity, log[:3, 3], rtol=0, atol=1e-10)
        back, way = rigid_exp(vector, velocity)
        np.testing.assert_allclose(rigid(back, way), rigid(matrix, translation), **EXACT)


def test_a_screw_by_a_quarter_turn_walks_a_quarter_circle():
    _, way = rigid_exp(np.array([0, 0, np.pi / 2]), np.array([np.pi / 2, 0, 5.0]))  # at unit radius, rising by 5
    np.testing.assert_allclose(way, (1, 1, 5), **EXACT)
