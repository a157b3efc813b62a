"""Multilinear interpolation on a lattice, of values and of the squared norms of vectors.

Along each axis a position between two nodes takes ``1 - t`` of the one and ``t`` of the other. Two facts make the
cosine with an interpolated vector cheap, because scalars are interpolated where vectors would be:

- a dot product with the interpolated vector is the interpolated dot product;
- its squared norm is quadratic in ``t`` along each axis. Three values determine a quadratic, so the squared norms at
  the nodes and half-way between them (the doubled lattice) give it everywhere, exactly.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from cryosam.arrays import Volume

__all__ = [
    "Stencil",
    "Stencils",
    "doubled_squared_norms",
    "interpolate_at",
    "interpolate_grid",
    "linear_stencil",
    "quadratic_stencil",
]


@dataclass(frozen=True, eq=False)
class Stencil:
    """How m positions along one axis are made of the nodes around them.

    Parameters
    ----------
    nodes
        ``(m, k)`` indices of nodes.
    weights
        ``(m, k)`` of those nodes; each row adds up to one.
    n_nodes
        Nodes along the axis.
    """

    nodes: Int[np.ndarray, "m k"]
    weights: Float[np.ndarray, "m k"]
    n_nodes: int

    def matrix(self) -> Float[np.ndarray, "m nodes"]:
        """The same as a dense matrix, float32."""
        matrix = np.zeros((len(self.nodes), self.n_nodes), dtype=np.float32)
        np.add.at(matrix, (np.arange(len(self.nodes))[:, None], self.nodes), self.weights)
        return matrix


Stencils = tuple[Stencil, Stencil, Stencil]
"""Along z, y and x."""


def _locate(
    positions: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Node before each position, and how far it is to the next in [0, 1]; positions beyond the ends are at the ends."""
    index = np.interp(at, positions, np.arange(len(positions)))
    before = np.clip(index.astype(np.int64), 0, max(len(positions) - 2, 0))
    return before, index - before


def linear_stencil(positions: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]) -> Stencil:
    """Linear interpolation between nodes.

    Parameters
    ----------
    positions
        ``(n,)`` ascending positions of the nodes.
    at
        ``(m,)`` where to interpolate; beyond the ends the last node is repeated.

    Examples
    --------
    >>> linear_stencil(np.array([1.0, 5.0]), np.array([0.0, 2.0])).matrix()
    array([[1.  , 0.  ],
           [0.75, 0.25]], dtype=float32)
    """
    before, t = _locate(positions, at)
    nodes = np.minimum(before[:, None] + np.arange(2), len(positions) - 1)
    return Stencil(nodes, np.stack([1 - t, t], axis=1), len(positions))


def quadratic_stencil(positions: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]) -> Stencil:
    """Quadratic (Lagrange) interpolation on the doubled lattice: nodes, and points half-way between them.

    Parameters
    ----------
    positions
        ``(n,)`` ascending positions of the undoubled nodes.
    at
        ``(m,)`` where to interpolate; beyond the ends the last node is repeated.

    Examples
    --------
    >>> quadratic_stencil(np.array([1.0, 5.0]), np.array([1.0, 2.0, 3.0])).matrix()
    array([[ 1.   ,  0.   ,  0.   ],
           [ 0.375,  0.75 , -0.125],
           [ 0.   ,  1.   ,  0.   ]], dtype=float32)
    """
    before, t = _locate(positions, at)
    n_nodes = 2 * len(positions) - 1
    nodes = np.minimum(2 * before[:, None] + np.arange(3), n_nodes - 1)
    return Stencil(nodes, np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1), n_nodes)


def interpolate_grid(values: Volume, stencils: Stencils) -> Float[np.ndarray, "m_z m_y m_x"]:
    """Interpolate at every combination of the positions of three axes.

    Parameters
    ----------
    values
        ``(z, y, x)`` at the nodes.
    stencils
        Of z, y and x, for ``m_z``, ``m_y`` and ``m_x`` positions.

    Returns
    -------
    interpolated
        float32, ``(m_z, m_y, m_x)``.

    Examples
    --------
    >>> halfway = linear_stencil(np.array([0.0, 1.0]), np.array([0.5]))
    >>> interpolate_grid(np.arange(8.0).reshape(2, 2, 2), (halfway, halfway, halfway))
    array([[[3.5]]], dtype=float32)
    """
    along_z, along_y, along_x = (stencil.matrix() for stencil in stencils)
    n_z, n_y, n_x = values.shape
    planes = along_z @ values.astype(np.float32, copy=False).reshape(n_z, n_y * n_x)
    return along_y @ planes.reshape(len(along_z), n_y, n_x) @ along_x.T


def interpolate_at(values: Float[np.ndarray, "z y x *c"], stencils: Stencils) -> Float[np.ndarray, "n *c"]:
    """Interpolate numbers or vectors at single points.

    Parameters
    ----------
    values
        ``(z, y, x)`` or ``(z, y, x, c)`` at the nodes.
    stencils
        Of z, y and x, for the n coordinates of the points along each axis.

    Returns
    -------
    interpolated
        float32, ``(n,)`` or ``(n, c)``.

    Examples
    --------
    >>> halfway = linear_stencil(np.array([0.0, 1.0]), np.array([0.5]))
    >>> interpolate_at(np.arange(8.0).reshape(2, 2, 2), (halfway, halfway, halfway))
    array([3.5], dtype=float32)
    """
    trailing = (1,) * (values.ndim - 3)
    total = np.zeros((len(stencils[0].nodes), *values.shape[3:]), dtype=np.float32)
    for corner in product(*(range(stencil.nodes.shape[1]) for stencil in stencils)):
        nodes = tuple(stencil.nodes[:, k] for stencil, k in zip(stencils, corner, strict=True))
        weights = np.prod([stencil.weights[:, k] for stencil, k in zip(stencils, corner, strict=True)], axis=0)
        total += weights.astype(np.float32).reshape(-1, *trailing) * values[nodes].astype(np.float32, copy=False)
    return total


def _line_norms(vectors: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w2"]:
    """Squared norms of vectors along the rows, and of the means of neighbours between them."""
    rows, cols, _ = vectors.shape
    norms = np.empty((rows, 2 * cols - 1), dtype=np.float32)
    norms[:, ::2] = np.vecdot(vectors, vectors)
    neighbours = np.vecdot(vectors[:, :-1], vectors[:, 1:])
    norms[:, 1::2] = (norms[:, :-2:2] + norms[:, 2::2] + 2 * neighbours) / 4
    return norms


def _image_norms(vectors: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h2 w2"]:
    """Squared norms on the doubled lattice of one slice."""
    rows, cols, _ = vectors.shape
    norms = np.empty((2 * rows - 1, 2 * cols - 1), dtype=np.float32)
    norms[::2] = _line_norms(vectors)
    norms[1::2] = _line_norms((vectors[:-1] + vectors[1:]) / 2)
    return norms


def doubled_squared_norms(vectors: Float[np.ndarray, "n h w c"]) -> Volume:
    """Squared norms of vectors, and of the multilinear interpolants half-way between them.

    Parameters
    ----------
    vectors
        ``(n, h, w, c)``; may be memory-mapped and of half precision: two slices are in memory at a time.

    Returns
    -------
    squared_norms
        float32, ``(2 n - 1, 2 h - 1, 2 w - 1)``; the vectors' own are at the even indices.

    Examples
    --------
    >>> doubled_squared_norms(np.array([[[[0.0, 2.0], [2.0, 0.0]]]]))
    array([[[4., 2., 4.]]], dtype=float32)
    """
    n, rows, cols, _ = vectors.shape
    norms = np.empty((2 * n - 1, 2 * rows - 1, 2 * cols - 1), dtype=np.float32)
    current = np.asarray(vectors[0], dtype=np.float32)
    norms[0] = _image_norms(current)
    for k in range(1, n):
        following = np.asarray(vectors[k], dtype=np.float32)
        norms[2 * k - 1] = _image_norms((current + following) / 2)
        norms[2 * k] = _image_norms(following)
        current = following
    return norms
