"""Tokens of a 2D model on slices of all three planes, as features of voxels (`cryosam.features.FeatureField`).

The feature of a voxel is the concatenation of the z, y and x planes' tokens interpolated at the voxel: bilinear within
the slice, linear between slices. `cryosam.features.lattice` says why comparing it with a query interpolates no vector.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cryosam.arrays import PLANES, Plane, Points, Scores, Volume
from cryosam.features.lattice import (
    Stencils,
    doubled_squared_norms,
    interpolate_at,
    interpolate_grid,
    linear_stencil,
    quadratic_stencil,
)
from cryosam.geometry import AXIS, level_shape, level_to_voxel

__all__ = ["PlaneTokens", "TriPlaneField", "cell_centres"]

Positions = Float[np.ndarray, " _"]
Lattice = Float[np.ndarray, "_ _ _"]  # each plane has a shape of its own

_SLAB_CELLS = 4_000_000
_CHUNK_POINTS = 100_000
_CHUNK_NUMBERS = 16_000_000


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
        Of the tokens' centres along z, y and x, in voxels, ascending; ``(n,)``, ``(h,)`` and ``(w,)`` in the order of
        the volume's axes.
    squared_norms
        ``(2 n - 1, 2 h - 1, 2 w - 1)`` as `cryosam.features.lattice.doubled_squared_norms` gives them.
    """

    plane: Plane
    tokens: Float[np.ndarray, "n h w c"]
    positions: tuple[Positions, Positions, Positions]
    squared_norms: Float[np.ndarray, "n2 h2 w2"]

    @classmethod
    def measure(
        cls, plane: Plane, tokens: Float[np.ndarray, "n h w c"], positions: tuple[Positions, Positions, Positions]
    ) -> "PlaneTokens":
        """Tokens whose norms are yet to be computed."""
        return cls(plane, tokens, positions, doubled_squared_norms(tokens))

    def ordered(self, values: Float[np.ndarray, "n h w *c"]) -> Float[np.ndarray, "z y x *c"]:
        """Numbers or vectors ``(n, h, w, ...)`` of this plane's slices in the order of the volume's axes."""
        return np.moveaxis(values, 0, AXIS[self.plane])

    def dots(self, query: Float[np.ndarray, " c"]) -> Volume:
        """Dot product of every token with a query, in the order of the volume's axes."""
        dots = np.empty(self.tokens.shape[:3], dtype=np.float32)
        for k, tokens in enumerate(self.tokens):  # slice by slice: half precision is widened on the way
            dots[k] = tokens.astype(np.float32, copy=False) @ query
        return self.ordered(dots)

    def linear(self, coordinates: Sequence[Positions]) -> Stencils:
        """Stencils of tokens and dot products at coordinates along z, y and x."""
        z, y, x = (linear_stencil(p, at) for p, at in zip(self.positions, coordinates, strict=True))
        return z, y, x

    def quadratic(self, coordinates: Sequence[Positions]) -> Stencils:
        """Stencils of squared norms at coordinates along z, y and x."""
        z, y, x = (quadratic_stencil(p, at) for p, at in zip(self.positions, coordinates, strict=True))
        return z, y, x


class TriPlaneField:
    """Features of voxels from the tokens of three planes.

    Parameters
    ----------
    shape
        Of the tomogram, voxels along z, y, x.
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
        self._last_query: tuple[bytes, list[Lattice]] = (b"", [])

    @property
    def n_channels(self) -> int:
        """Numbers a feature: those of a token, times three."""
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
        """Cosine between the query and the feature at each point; see `cryosam.features.FeatureField`."""
        dots = self._dots(query)
        similarity = np.empty(len(points), dtype=np.float32)
        for part in _parts(len(points), _CHUNK_POINTS):
            similarity[part] = self._cosine(dots, interpolate_at, list(points[part].T))
        return similarity

    def similarity_map(self, query: Float[np.ndarray, " c"], stride: int) -> Volume:
        """Cosine between the query and every cell of a level; see `cryosam.features.FeatureField`."""
        dots = self._dots(query)
        z, y, x = cell_centres(self.shape, stride)
        similarity = np.empty((len(z), len(y), len(x)), dtype=np.float32)
        for slab in _parts(len(z), _SLAB_CELLS // (len(y) * len(x))):
            similarity[slab] = self._cosine(dots, interpolate_grid, [z[slab], y, x])
        return similarity

    def _cosine(
        self,
        dots: Sequence[Lattice],
        interpolate: Callable[[Lattice, Stencils], Float[np.ndarray, "..."]],
        coordinates: Sequence[Positions],
    ) -> Float[np.ndarray, "..."]:
        """Cosine of the features at coordinates with the unit query of ``dots``; 0 where a feature is zero."""
        dot = [interpolate(d, plane.linear(coordinates)) for d, plane in zip(dots, self.planes, strict=True)]
        squared = [interpolate(p.ordered(p.squared_norms), p.quadratic(coordinates)) for p in self.planes]
        norm = np.sqrt(np.maximum(np.sum(squared, axis=0), np.finfo(np.float32).tiny))
        return np.clip(np.sum(dot, axis=0) / norm, -1, 1)

    def _dots(self, query: Float[np.ndarray, " c"]) -> list[Lattice]:
        """Dot products of all tokens with the normalised query; the last query's are kept for its next level."""
        unit = np.asarray(query, dtype=np.float32)
        unit = unit / max(float(np.linalg.norm(unit)), float(np.finfo(np.float32).tiny))
        key, dots = unit.tobytes(), self._last_query[1]
        if key != self._last_query[0]:
            parts = np.split(unit, np.cumsum([plane.tokens.shape[-1] for plane in self.planes])[:-1])
            dots = [plane.dots(part) for plane, part in zip(self.planes, parts, strict=True)]
            self._last_query = (key, dots)
        return dots

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, to be stored."""
        arrays: dict[str, np.ndarray] = {"shape": np.array(self.shape)}
        for plane in self.planes:
            arrays[f"{plane.plane}_tokens"] = plane.tokens
            arrays[f"{plane.plane}_squared_norms"] = plane.squared_norms
            for axis, positions in zip(PLANES, plane.positions, strict=True):
                arrays[f"{plane.plane}_positions_{axis}"] = positions
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "TriPlaneField":
        """Inverse of `to_arrays`; memory-mapped arrays stay so."""
        depth, height, width = (int(n) for n in arrays["shape"])
        planes = []
        for plane in PLANES:
            z, y, x = (arrays[f"{plane}_positions_{axis}"] for axis in PLANES)
            planes.append(PlaneTokens(plane, arrays[f"{plane}_tokens"], (z, y, x), arrays[f"{plane}_squared_norms"]))
        return cls((depth, height, width), planes)


def _parts(total: int, size: int) -> Iterator[slice]:
    """Consecutive ranges of at most ``size``, and of one at least, that cover ``total``."""
    for start in range(0, total, max(1, size)):
        yield slice(start, start + max(1, size))
