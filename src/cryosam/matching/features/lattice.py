"""Multilinear interpolation on a lattice, of values and of the squared norms of vectors.

Along each axis a position between two nodes has the weight ``1 - t`` for one node and ``t`` for the other. Two facts
make the cosine with an interpolated vector fast to compute, because only scalars need to be interpolated, not vectors:

- the dot product with the interpolated vector is the interpolated dot product;
- the squared norm of the interpolated vector is quadratic in ``t`` along each axis. Three values determine a quadratic
  function, so the squared norms at the nodes and half-way between them (the doubled lattice) give it everywhere,
  exactly.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Volume

_WIDE_NUMBERS = 1 << 20  # numbers that are converted to float32 at a time, so that they stay in the processor's cache

__all__ = [
    "DoubledNorms",
    "Stencil",
    "Stencils",
    "doubled_squared_norms",
    "interpolate_at",
    "interpolate_grid",
    "linear_stencil",
    "quadratic_stencil",
    "spread_grid",
    "widen",
]


@dataclass(frozen=True, eq=False)
class Stencil:
    """Interpolation weights of m positions along one axis.

    Parameters
    ----------
    nodes
        ``(m, k)`` indices of the nodes that each position is interpolated from.
    weights
        ``(m, k)`` weights of these nodes; each row adds up to one.
    n_nodes
        Number of nodes along the axis.
    """

    nodes: Int[np.ndarray, "m k"]
    weights: Float[np.ndarray, "m k"]
    n_nodes: int

    def matrix(self) -> Float[np.ndarray, "m nodes"]:
        """The same as a dense matrix, float32."""
        matrix = np.zeros((len(self.nodes), self.n_nodes), dtype=np.float32)
        np.add.at(matrix, (np.arange(len(self.nodes))[:, None], self.nodes), self.weights)
        return matrix

    @property
    def chosen(self) -> Int[np.ndarray, " m"] | None:
        """Index of the node at each position, if every position is that of a node; otherwise None."""
        if not (self.weights.max(axis=1) == 1).all():
            return None
        return np.take_along_axis(self.nodes, self.weights.argmax(axis=1)[:, None], axis=1)[:, 0]


_Numbers = Float[np.ndarray, "_ _ _"]

Stencils = tuple[Stencil, Stencil, Stencil]
"""Along z, y and x."""


def _locate(
    positions: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Node before each position, and the fraction of the way to the next one; positions are clipped to the ends."""
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
        For z, y and x, with ``m_z``, ``m_y`` and ``m_x`` positions.

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
    # first the axis that reduces the array most, so that the others have less to do
    for axis in sorted(range(3), key=lambda axis: len(stencils[axis].nodes) / stencils[axis].n_nodes):
        values = _along(stencils[axis], values, axis)
    return np.ascontiguousarray(values, dtype=np.float32)


def _along(stencil: Stencil, values: _Numbers, axis: int) -> _Numbers:
    """Interpolate along one axis."""
    chosen = stencil.chosen
    if chosen is None:
        return _multiply(stencil.matrix(), values, axis)
    every = np.arange(stencil.n_nodes)
    return values if np.array_equal(chosen, every) else np.take(values, chosen, axis=axis)


def _multiply(matrix: Float[np.ndarray, "m n"], values: _Numbers, axis: int) -> _Numbers:
    """Multiply each line of values along one axis by a matrix."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    first, second, third = values.shape
    if axis == 0:
        return (matrix @ values.reshape(first, second * third)).reshape(len(matrix), second, third)
    if axis == 1:
        return np.asarray(matrix @ values)
    return (values.reshape(first * second, third) @ matrix.T).reshape(first, second, len(matrix))


def spread_grid(
    is_wanted: Bool[np.ndarray, "m_z m_y m_x"], stencils: Stencils
) -> Bool[np.ndarray, "nodes_z nodes_y nodes_x"]:
    """Which nodes `interpolate_grid` needs for some of the combinations of positions.

    Parameters
    ----------
    is_wanted
        ``(m_z, m_y, m_x)`` the combinations that are needed.
    stencils
        For z, y and x.

    Examples
    --------
    >>> one, other = (linear_stencil(np.arange(3.0), np.array([at])) for at in (1.0, 1.5))
    >>> spread_grid(np.array([[[True]]]), (one, one, other))[1, 1]
    array([False,  True,  True])
    """
    counts: _Numbers = is_wanted.astype(np.float32)
    for axis, stencil in enumerate(stencils):
        counts = _multiply((stencil.matrix() != 0).T.astype(np.float32), counts, axis)
    return np.asarray(counts > 0)


def interpolate_at(values: Float[np.ndarray, "z y x *c"], stencils: Stencils) -> Float[np.ndarray, "n *c"]:
    """Interpolate numbers or vectors at single points.

    Parameters
    ----------
    values
        ``(z, y, x)`` or ``(z, y, x, c)`` at the nodes.
    stencils
        For z, y and x, each with the n coordinates of the points along that axis.

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


def widen(values: Float[np.ndarray, "..."], out: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Copy numbers of any precision into a float32 array of the same shape, and return that array.

    Examples
    --------
    >>> widen(np.array([0.5, 2], dtype=np.float16), np.empty(2, dtype=np.float32))
    array([0.5, 2. ], dtype=float32)
    """
    if (
        values.flags.writeable
    ):  # torch converts half precision ten times faster than NumPy, but refuses read-only arrays
        torch.from_numpy(out).copy_(torch.from_numpy(values))
    else:
        np.copyto(out, values)
    return out


class DoubledNorms:
    """Squared norms of the vectors of a lattice, and of the interpolated vectors half-way between them, slice by slice.

    Parameters
    ----------
    shape
        ``(n, h, w, c)`` of the vectors: n slices of h x w vectors.

    Examples
    --------
    >>> norms = DoubledNorms((2, 1, 1, 1))
    >>> norms.add(np.array([[[2.0]]]))
    >>> norms.add(np.array([[[4.0]]]))
    >>> norms.values.ravel()
    array([ 4.,  9., 16.], dtype=float32)
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        n, rows, cols, channels = shape
        self.values: Volume = np.empty((2 * n - 1, 2 * rows - 1, 2 * cols - 1), dtype=np.float32)
        self._n_added = 0
        self._last = np.empty((rows, cols, channels), dtype=np.float16)
        # allocated once, for some rows at a time: allocating arrays of this size takes longer than the arithmetic
        self._n_rows = min(max(1, _WIDE_NUMBERS // (cols * channels)), rows)
        self._wide, self._sums, self._pairs = np.empty((3, self._n_rows + 1, cols, channels), dtype=np.float32)

    def add(self, vectors: Float[np.ndarray, "h w c"]) -> None:
        """Compute the norms in the next slice, and half-way between it and the previous one."""
        k, self._n_added = self._n_added, self._n_added + 1
        for start in range(0, len(vectors), self._n_rows):
            rows = slice(start, start + self._n_rows + 1)  # and the first row of the next part
            wide = widen(vectors[rows], self._wide[: len(vectors[rows])])
            self._measure(wide, 1, start, self.values[2 * k])
            if k > 0:
                sums = widen(self._last[rows], self._sums[: len(wide)])
                sums += wide
                self._measure(sums, 4, start, self.values[2 * k - 1])
        self._last = np.array(vectors)

    def _measure(
        self, vectors: Float[np.ndarray, "rows w c"], divisor: int, start: int, out: Float[np.ndarray, "h2 w2"]
    ) -> None:
        """Squared norms on the doubled lattice for some rows of sums of vectors, whose norms ``divisor`` corrects."""
        n_rows = min(len(vectors), self._n_rows)
        _line_norms(vectors[:n_rows], divisor, out[2 * start : 2 * (start + n_rows) : 2])
        n_pairs = len(vectors) - 1
        if n_pairs > 0:
            pairs = np.add(vectors[:-1], vectors[1:], out=self._pairs[:n_pairs])
            _line_norms(pairs, 4 * divisor, out[2 * start + 1 : 2 * (start + n_pairs) : 2])


def _line_norms(vectors: Float[np.ndarray, "h w c"], divisor: int, out: Float[np.ndarray, "h w2"]) -> None:
    """Squared norms of vectors along the rows, and of the means of neighbours between them."""
    out[:, ::2] = np.vecdot(vectors, vectors) / np.float32(divisor)
    neighbours = np.vecdot(vectors[:, :-1], vectors[:, 1:]) / np.float32(divisor)
    out[:, 1::2] = (out[:, :-2:2] + out[:, 2::2] + 2 * neighbours) / 4


def doubled_squared_norms(vectors: Float[np.ndarray, "n h w c"]) -> Volume:
    """Squared norms of vectors, and of the multilinearly interpolated vectors half-way between them.

    Parameters
    ----------
    vectors
        ``(n, h, w, c)``; may be memory-mapped and of half precision: only two slices are in memory at a time.

    Returns
    -------
    squared_norms
        float32, ``(2 n - 1, 2 h - 1, 2 w - 1)``; those of the vectors themselves are at the even indices.

    Examples
    --------
    >>> doubled_squared_norms(np.array([[[[0.0, 2.0], [2.0, 0.0]]]]))
    array([[[4., 2., 4.]]], dtype=float32)
    """
    n, rows, cols, channels = vectors.shape
    norms = DoubledNorms((n, rows, cols, channels))
    for layer in vectors:
        norms.add(layer)
    return norms.values
