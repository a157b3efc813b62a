"""Conversion between the axis order of files, x, y, z, and that of the package, z, y, x."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

__all__ = ["x_first", "x_first_matrices"]


def x_first(rotations: Rotation) -> Rotation:
    """Convert rotations that act on z, y, x to ones that act on x, y, z, or back; it is its own inverse.

    Examples
    --------
    >>> quarter = Rotation.from_euler("z", [90], degrees=True)  # of x, y, z: from x to y
    >>> x_first(quarter).apply([0.0, 0.0, 1.0]).round()  # z, y, x
    array([[0., 1., 0.]])
    """
    return Rotation.from_matrix(x_first_matrices(rotations))


def x_first_matrices(rotations: Rotation) -> Float[np.ndarray, "n 3 3"]:
    """Return the matrices on x, y, z of rotations ``(n,)`` that act on z, y, x.

    Examples
    --------
    >>> x_first_matrices(Rotation.from_euler("z", [90], degrees=True)).round()[0] + 0.0
    array([[ 1.,  0.,  0.],
           [ 0.,  0.,  1.],
           [ 0., -1.,  0.]])
    """
    return np.ascontiguousarray(rotations.as_matrix().reshape(-1, 3, 3)[:, ::-1, ::-1])
