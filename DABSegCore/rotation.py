"""Rotation: vectors, matrices and quaternions of turns in space, and the logarithm of rigid motion; NumPy only.

A rotation vector is an axis times an angle in radians; quaternions are (x, y, z, w). All take leading dimensions.
"""

from __future__ import annotations

import numpy as np


def matrix_from_vector(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] (Rodrigues).

    With K the cross product by the vector and a its length, R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2. Written in
    sincs, this is exact for the smallest angles too.
    """
    angle, cross = _angle_and_cross(vector)
    half = np.sinc(angle / (2 * np.pi))  # NumPy's sinc has pi in it: this is sin(a/2) / (a/2)
    return np.eye(3) + np.sinc(angle / np.pi) * cross + half**2 / 2 * (cross @ cross)


def vector_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., 3] of rotation matrices [..., 3, 3], of angles 0 to pi.

    At pi itself, vector and negative are one rotation; which of them is returned is then left to rounding.
    """
    quaternion = quaternion_from_matrix(matrix)
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)  # of half the angle
    return axis * 2 / np.sinc(np.arctan2(sine, w) / np.pi)


def matrix_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] of any length but 0."""
    quaternion = quaternion / np.abs(quaternion).max(axis=-1, keepdims=True)  # whose squares cannot overflow
    x, y, z, w = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] with w >= 0 of rotation matrices [..., 3, 3].

    The matrix gives all products of two components of the quaternion q; the row of q q^T with the largest square
    loses no digits (Shepperd 1978).
    """
    (a, b, c), (d, e, f), (g, h, i) = (np.moveaxis(row, -1, 0) for row in np.moveaxis(matrix, -2, 0))
    rows = (
        (1 + a - e - i, b + d, c + g, h - f),
        (b + d, 1 - a + e - i, f + h, c - g),
        (c + g, f + h, 1 - a - e + i, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    products = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    largest = np.diagonal(products, axis1=-2, axis2=-1).argmax(-1)
    quaternion = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rigid_log(matrix: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of rigid motions x -> R x + t: the steady turn and velocity that lead there in unit time.

    Args:
        matrix: R [..., 3, 3], of angles below pi.
        translation: t [..., 3].

    Returns:
        Rotation vectors [..., 3] and velocities [..., 3], the entries of the 4 x 4 matrix logarithm.
    """
    vector = vector_from_matrix(matrix)
    return vector, np.linalg.solve(_mean_rotation(vector), translation[..., None])[..., 0]


def rigid_exp(vector: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motions R [..., 3, 3], t [..., 3] of what `rigid_log` returned."""
    return matrix_from_vector(vector), (_mean_rotation(vector) @ velocity[..., None])[..., 0]


def _mean_rotation(vector: np.ndarray) -> np.ndarray:
    """Mean of the rotations by s times the vector over s in [0, 1]: a steady velocity times it is the way travelled.

    With the letters of `matrix_from_vector`, I + (1 - cos(a))/a^2 K + (1 - sin(a)/a)/a^2 K^2.
    """
    angle, cross = _angle_and_cross(vector)
    unit = cross / np.maximum(angle, np.finfo(float).tiny)
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + half**2 / 2 * cross + (1 - np.sinc(angle / np.pi)) * (unit @ unit)


def _angle_and_cross(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [..., 1, 1] of vectors [..., 3], and the matrices [..., 3, 3] that take the cross product by them."""
    vector = np.asarray(vector, dtype=float)
    x, y, z = np.moveaxis(vector, -1, 0)
    none = np.zeros_like(x)
    rows = ((none, -z, y), (z, none, -x), (-y, x, none))
    cross = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return np.linalg.norm(vector, axis=-1)[..., None, None], cross
