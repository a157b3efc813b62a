"""Tokens of a 2D model on slices of all three planes, as features of voxels (`cryosam.matching.features.FeatureField`).

The feature of a voxel is the concatenation of the z, y and x planes' tokens interpolated at the voxel: bilinear within
the slice, linear between slices. `cryosam.matching.features.lattice` explains why no vectors need to be interpolated
for the comparison with a query.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import PLANES, Mask, Plane, Points, Scores, Volume
from cryosam.geometry import AXIS, level_shape, level_to_voxel
from cryosam.matching.features.lattice import (
    Stencils,
    doubled_squared_norms,
    interpolate_at,
    interpolate_grid,
    linear_stencil,
    quadratic_stencil,
    spread_grid,
    widen,
)
from cryosam.memory import release

__all__ = ["PlaneTokens", "TriPlaneField", "cell_centres"]

Positions = Float[np.ndarray, " _"]
Lattice = Float[np.ndarray, "_ _ _"]  # the shape differs between planes
Nodes = Bool[np.ndarray, "_ _ _"]

_SLAB_CELLS = 4_000_000
_CHUNK_POINTS = 100_000
_CHUNK_NUMBERS = 16_000_000
_WIDE_NUMBERS = 1 << 20  # numbers that are converted to float32 at a time, so that they stay in the processor's cache
_FEW = 0.03  # if fewer than this share of a level's cells are needed, they are compared one by one
_SPARSE = 0.5  # if fewer than this share of the tokens are needed, they are gathered before the product


def cell_centres(shape: Sequence[int], stride: int) -> tuple[Positions, Positions, Positions]:
    """Centres of a level's cells along z, y and x, in voxels, clipped into the volume.

    Examples
    --------
    >>> cell_centres((4, 6, 9), 4)
    (array([1.5]), array([1.5, 5. ]), array([1.5, 5.5, 8. ]))
    """
    counts = level_shape(shape, stride)
    cells = np.repeat(np.arange(max(counts))[:, None], 3, axis=1)
    centres = level_to_voxel(cells, stride, shape)
    z, y, x = (centres[:n, axis] for axis, n in enumerate(counts))
    return z, y, x


@dataclass(frozen=True, eq=False)
class PlaneTokens:
    """Tokens of slices normal to one axis.

    Parameters
    ----------
    plane
        The slices' normal.
    tokens
        ``(n, h, w, c)``: n slices of h x w tokens; half precision, may be memory-mapped.
    positions
        Positions of the tokens' centres along z, y and x, in voxels, ascending; ``(n,)``, ``(h,)`` and ``(w,)`` in the
        order of the volume's axes.
    squared_norms
        ``(2 n - 1, 2 h - 1, 2 w - 1)``, from `cryosam.matching.features.lattice.doubled_squared_norms`.
    """

    plane: Plane
    tokens: Float[np.ndarray, "n h w c"]
    positions: tuple[Positions, Positions, Positions]
    squared_norms: Float[np.ndarray, "n2 h2 w2"]

    @classmethod
    def measure(
        cls, plane: Plane, tokens: Float[np.ndarray, "n h w c"], positions: tuple[Positions, Positions, Positions]
    ) -> "PlaneTokens":
        """Create it from tokens, and compute their norms."""
        return cls(plane, tokens, positions, doubled_squared_norms(tokens))

    def ordered(self, values: Float[np.ndarray, "n h w *c"]) -> Float[np.ndarray, "z y x *c"]:
        """Reorder numbers or vectors ``(n, h, w, ...)`` of this plane's slices to the order of the volume's axes."""
        return np.moveaxis(values, 0, AXIS[self.plane])

    def add_dots(
        self, query: Float[np.ndarray, " c"], is_wanted: Bool[np.ndarray, "n h w"], dots: Float[np.ndarray, "n h w"]
    ) -> None:
        """Write the dot products of the wanted tokens with a query into ``dots``; other values in it are undefined."""
        tokens = self.tokens.reshape(-1, self.tokens.shape[-1])
        wide = np.empty((min(len(tokens), max(1, _WIDE_NUMBERS // len(query))), len(query)), dtype=np.float32)
        for part in _parts(len(tokens), len(wide)):
            chosen, out = np.flatnonzero(is_wanted.reshape(-1)[part]), dots.reshape(-1)[part]
            if len(chosen) < _SPARSE * len(out):
                out[chosen] = widen(tokens[part][chosen], wide[: len(chosen)]) @ query
            else:
                with np.errstate(invalid="ignore"):  # tokens that are not wanted may hold anything
                    np.matmul(widen(tokens[part], wide[: len(out)]), query, out=out)
            release(self.tokens)

    def linear(self, coordinates: Sequence[Positions]) -> Stencils:
        """Stencils for tokens and dot products at coordinates along z, y and x."""
        z, y, x = (linear_stencil(p, at) for p, at in zip(self.positions, coordinates, strict=True))
        return z, y, x

    def quadratic(self, coordinates: Sequence[Positions]) -> Stencils:
        """Stencils for squared norms at coordinates along z, y and x."""
        z, y, x = (quadratic_stencil(p, at) for p, at in zip(self.positions, coordinates, strict=True))
        return z, y, x


class TriPlaneField:
    """Features of voxels from the tokens of three planes.

    Parameters
    ----------
    shape
        Shape of the tomogram, voxels along z, y, x.
    planes
        Tokens of the planes z, y and x, in this order.

    Examples
    --------
    >>> tokens = np.random.default_rng(0).random((2, 2, 2, 4), dtype=np.float32)
    >>> centres = cell_centres((8, 8, 8), 4)
    >>> field = TriPlaneField((8, 8, 8), [PlaneTokens.measure(plane, tokens, centres) for plane in ("z", "y", "x")])
    >>> query = field.sample(np.array([[1.5, 5.5, 1.5]]))[0]
    >>> bool(np.isclose(field.similarity_map(query, stride=4)[0, 1, 0], 1))
    True
    """

    def __init__(self, shape: tuple[int, int, int], planes: Sequence[PlaneTokens]) -> None:
        self.shape = shape
        self.planes = tuple(planes)
        self._last_query = _Query(np.zeros(self.n_channels, dtype=np.float32), self.planes)
        self._norm_maps: dict[int, Volume] = {}

    @property
    def n_channels(self) -> int:
        """Numbers per feature: three times the numbers per token."""
        return sum(plane.tokens.shape[-1] for plane in self.planes)

    def sample(self, points: Points) -> Float[np.ndarray, "n c"]:
        """Features at points ``(n, 3)``, z, y, x in voxels; float32, ``(n, n_channels)``."""
        features = np.empty((len(points), self.n_channels), dtype=np.float32)
        for part in _parts(len(points), _CHUNK_NUMBERS // self.n_channels):
            coordinates = list(points[part].T)
            features[part] = np.concatenate(
                [interpolate_at(plane.ordered(plane.tokens), plane.linear(coordinates)) for plane in self.planes],
                axis=1,
            )
        return features

    def similarity_at(self, query: Float[np.ndarray, " c"], points: Points) -> Scores:
        """Cosine between the query and the feature at each point; see `cryosam.matching.features.FeatureField`."""
        prepared = self._prepared(query)
        similarity = np.empty(len(points), dtype=np.float32)
        for part in _parts(len(points), _CHUNK_POINTS):
            coordinates = list(points[part].T)
            dot = np.zeros(len(points[part]), dtype=np.float32)
            squared = np.zeros_like(dot)
            for k, plane in enumerate(self.planes):
                stencils = plane.linear(coordinates)
                dot += interpolate_at(prepared.dots(k, _touched(stencils)), stencils)
                squared += interpolate_at(plane.ordered(plane.squared_norms), plane.quadratic(coordinates))
            similarity[part] = np.clip(dot / _root(squared), -1, 1)
        return similarity

    def similarity_map(self, query: Float[np.ndarray, " c"], stride: int, where: Mask | None = None) -> Volume:
        """Cosine between the query and every cell of a level; see `cryosam.matching.features.FeatureField`."""
        if where is not None and where.mean() < _FEW:
            found = np.full(where.shape, np.nan, dtype=np.float32)
            found[where] = self.similarity_at(query, level_to_voxel(np.argwhere(where), stride, self.shape))
            return found
        prepared, norms = self._prepared(query), self._norms(stride)
        where = None if where is None or where.all() else where
        z, y, x = cell_centres(self.shape, stride)
        similarity = np.empty((len(z), len(y), len(x)), dtype=np.float32)
        for slab in _slabs(similarity.shape):
            dot = np.zeros(similarity[slab].shape, dtype=np.float32)
            for k, plane in enumerate(self.planes):
                stencils = plane.linear([z[slab], y, x])
                wanted = None if where is None else spread_grid(where[slab], stencils)
                dot += interpolate_grid(prepared.dots(k, wanted), stencils)
            np.divide(dot, norms[slab], out=dot)
            np.clip(dot, -1, 1, out=similarity[slab])
        if where is not None:
            similarity[~where] = np.nan
        return similarity

    def _norms(self, stride: int) -> Volume:
        """Length of the feature at the centre of each cell of a level; kept, because it is the same for all queries."""
        if stride not in self._norm_maps:
            z, y, x = cell_centres(self.shape, stride)
            norms = np.empty((len(z), len(y), len(x)), dtype=np.float32)
            for slab in _slabs(norms.shape):
                squared = np.zeros(norms[slab].shape, dtype=np.float32)
                for plane in self.planes:
                    stencils = plane.quadratic([z[slab], y, x])
                    squared += interpolate_grid(plane.ordered(plane.squared_norms), stencils)
                norms[slab] = _root(squared)
            self._norm_maps[stride] = norms
        return self._norm_maps[stride]

    def _prepared(self, query: Float[np.ndarray, " c"]) -> "_Query":
        """The query with its dot products; those of the last query are kept for its next level."""
        prepared = _Query(query, self.planes)
        if np.array_equal(prepared.unit, self._last_query.unit):
            return self._last_query
        self._last_query = prepared
        return prepared

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The field as named arrays, for storage."""
        arrays: dict[str, np.ndarray] = {"shape": np.array(self.shape)}
        for plane in self.planes:
            arrays[f"{plane.plane}_tokens"] = plane.tokens
            arrays[f"{plane.plane}_squared_norms"] = plane.squared_norms
            for axis, positions in zip(PLANES, plane.positions, strict=True):
                arrays[f"{plane.plane}_positions_{axis}"] = positions
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "TriPlaneField":
        """Inverse of `to_arrays`; memory-mapped arrays stay memory-mapped."""
        depth, height, width = (int(n) for n in arrays["shape"])
        planes = []
        for plane in PLANES:
            z, y, x = (arrays[f"{plane}_positions_{axis}"] for axis in PLANES)
            planes.append(PlaneTokens(plane, arrays[f"{plane}_tokens"], (z, y, x), arrays[f"{plane}_squared_norms"]))
        return cls((depth, height, width), planes)


class _Query:
    """A query of unit length, and its dot products with the tokens that were needed so far."""

    def __init__(self, query: Float[np.ndarray, " c"], planes: Sequence[PlaneTokens]) -> None:
        unit = np.asarray(query, dtype=np.float32)
        self.unit = unit / max(float(np.linalg.norm(unit)), float(np.finfo(np.float32).tiny))
        self._planes = planes
        self._dots: list[Lattice] = []
        self._is_known: list[Nodes] = []

    def dots(self, k: int, wanted: Nodes | None) -> Lattice:
        """Dot products with the tokens of plane ``k``, in the order of the volume's axes; valid only where wanted."""
        if not self._dots:
            self._dots = [np.zeros(plane.tokens.shape[:3], dtype=np.float32) for plane in self._planes]
            self._is_known = [np.zeros(plane.tokens.shape[:3], dtype=bool) for plane in self._planes]
        plane, dots, is_known = self._planes[k], self._dots[k], self._is_known[k]
        missing = ~is_known if wanted is None else np.moveaxis(wanted, AXIS[plane.plane], 0) & ~is_known
        if missing.any():
            first = sum(other.tokens.shape[-1] for other in self._planes[:k])
            plane.add_dots(self.unit[first : first + plane.tokens.shape[-1]], missing, dots)
            is_known |= missing
        return plane.ordered(dots)


def _touched(stencils: Stencils) -> Nodes:
    """Nodes that an interpolation at points needs, in the order of the volume's axes."""
    touched = np.zeros([stencil.n_nodes for stencil in stencils], dtype=bool)
    for corner in product(*(range(stencil.nodes.shape[1]) for stencil in stencils)):
        pairs = list(zip(stencils, corner, strict=True))
        counts = np.all([stencil.weights[:, k] != 0 for stencil, k in pairs], axis=0)
        touched[tuple(stencil.nodes[counts, k] for stencil, k in pairs)] = True
    return touched


def _root(squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Lengths from squared lengths; never 0, so that the cosine with a zero feature is 0."""
    return np.asarray(np.sqrt(np.maximum(squared, np.finfo(np.float32).tiny)))


def _slabs(cells: Sequence[int]) -> Iterator[slice]:
    """Layers of cells that are compared together."""
    return _parts(cells[0], _SLAB_CELLS // (cells[1] * cells[2]))


def _parts(total: int, size: int) -> Iterator[slice]:
    """Consecutive ranges that cover ``total``, of at most ``size`` but at least one."""
    for start in range(0, total, max(1, size)):
        yield slice(start, start + max(1, size))
