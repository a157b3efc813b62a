"""Conversions of the centred coordinates and Euler angles of RELION, each with its inverse; see `star` for reasons."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points
from cryosam.io.x_first import x_first

__all__ = [
    "SAME_SIZE",
    "angles_to_rotations",
    "centred_to_voxels",
    "one_if_same",
    "rotations_to_angles",
    "voxels_to_centred",
]

SAME_SIZE = 0.01
"""Relative difference up to which two pixel sizes are equal, because headers contain rounded sizes."""


def centred_to_voxels(centred_angstrom: Points, shape: Sequence[float], voxel_size_angstrom: float) -> Points:
    """Convert RELION 5 coordinates, ``(n, 3)`` z, y, x in angstrom from the centre, to voxels.

    Examples
    --------
    >>> centred_to_voxels(np.array([[0.0, -10.0, 20.0]]), (4, 7, 8), 10.0)
    array([[2. , 2.5, 6. ]])
    """
    return centred_angstrom / voxel_size_angstrom + np.asarray(shape, dtype=float) / 2


def voxels_to_centred(points: Points, shape: Sequence[float], voxel_size_angstrom: float) -> Points:
    """Convert voxels to RELION 5 coordinates; inverse of `centred_to_voxels`.

    Examples
    --------
    >>> voxels_to_centred(np.array([[2.0, 2.5, 6.0]]), (4, 7, 8), 10.0)
    array([[  0., -10.,  20.]])
    """
    return (points - np.asarray(shape, dtype=float) / 2) * voxel_size_angstrom


def rotations_to_angles(rotations: Rotation) -> Float[np.ndarray, "n 3"]:
    """Convert rotations to the angles rot, tilt, psi of RELION, in degrees.

    Parameters
    ----------
    rotations
        ``(n,)`` rotations of the reference into the orientation of the particle, which act on z, y, x. As a matrix on
        x, y, z, each is the matrix A = Rz(-psi) Ry(-tilt) Rz(-rot) of RELION.

    Examples
    --------
    >>> x_to_y = Rotation.from_matrix([[[1, 0, 0], [0, 0, 1], [0, -1, 0]]])
    >>> (rotations_to_angles(x_to_y) + 0.0).round().tolist()
    [[-90.0, 0.0, 0.0]]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at tilt 0 only the sum of rot and psi is determined
        return np.asarray(x_first(rotations).inv().as_euler("ZYZ", degrees=True))


def angles_to_rotations(angles: Float[np.ndarray, "n 3"]) -> Rotation:
    """Convert angles of RELION to rotations; inverse of `rotations_to_angles`.

    Examples
    --------
    >>> angles_to_rotations(np.array([[0.0, 90.0, 0.0]])).apply([1.0, 0.0, 0.0]).round()  # z, y, x: from z to -x
    array([[ 0.,  0., -1.]])
    """
    return x_first(Rotation.from_euler("ZYZ", angles, degrees=True).inv())


def one_if_same(ratios: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Replace ratios of two pixel sizes by 1 where the sizes differ only by rounding.

    Examples
    --------
    >>> one_if_same(np.array([1.004, 4.0]))
    array([1., 4.])
    """
    return np.where(np.abs(ratios - 1) <= SAME_SIZE, 1.0, ratios)
