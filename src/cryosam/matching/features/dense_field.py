"""A feature field of dense 3D descriptors, which are stored on several grids and whitened when they are used."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryosam.arrays import Mask, Points, Scores, Volume
from cryosam.geometry import level_shape, level_to_voxel, voxel_to_level
from cryosam.memory import Workspace, release

__all__ = ["Channels", "DenseField", "sample_channels"]

_CHUNK = 1 << 18  # points or cells compared at a time

Channels = Float[np.ndarray, "_ _ _ _"]
"""Some channels at every cell of a grid: channel, z, y, x."""


class DenseField:
    """Descriptors at the cells of one level (a `FeatureField`).

    Each channel is stored on the grid on which it was computed, and whitened when it is used, so that channels that
    vary slowly take little memory. For the dot product with a query, whitening and interpolation are both linear, so
    that only one number per cell is interpolated, not all channels.

    Parameters
    ----------
    shape
        Shape of the tomogram, voxels along z, y, x.
    parts
        Channels ``(c, *level_shape(shape, stride))`` by the stride of their grid. The finest grid comes first, and is
        the field's; the strides of the others are that of the finest times powers of two.
    mean, whitening
        ``(c,)`` and ``(c, c)`` for all channels: features are ``whitening @ (channels - mean)``. In the background they
        have mean zero and about unit covariance.
    lengths
        Squared length of the feature in every cell; None computes it.
    workspace
        Holds the lengths.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        parts: Mapping[int, Channels],
        mean: Float[np.ndarray, " c"],
        whitening: Float[np.ndarray, "c c"],
        lengths: Volume | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        self.shape = shape
        self.stride = next(iter(parts))
        self._parts = dict(parts)
        self._mean, self._whitening = mean, whitening
        self._lengths = self._measure(workspace or Workspace()) if lengths is None else lengths

    @property
    def n_channels(self) -> int:
        """Numbers per feature."""
        return len(self._mean)

    def sample(self, points: Points) -> Float[np.ndarray, "n c"]:
        """Features at points ``(n, 3)`` in voxels, interpolated trilinearly between the cells' centres."""
        return (sample_channels(self._parts, points) - self._mean) @ self._whitening.T

    def similarity_at(self, query: Float[np.ndarray, " c"], points: Points) -> Scores:
        """Similarity in [-1, 1] between the query and the feature at each point; see `similarity_map`."""
        query, found = query.astype(np.float32), np.zeros(len(points), dtype=np.float32)
        for start in range(0, len(points), _CHUNK):
            features = self.sample(points[start : start + _CHUNK])
            lengths = np.einsum("nc,nc->n", features, features)
            found[start : start + _CHUNK] = _similarity(features @ query, lengths, query)
        return found

    def similarity_map(self, query: Float[np.ndarray, " c"], stride: int, where: Mask | None = None) -> Volume:
        """Similarity between the query and the feature at the centre of each cell of a level; NaN if not in ``where``.

        It is 2 q.f / (|q|^2 + |f|^2): the cosine, lowered if the lengths differ. The length is evidence too: whitened
        descriptors of a particle are long, and those of a faint structure that resembles it are short.
        """
        cells, query = level_shape(self.shape, stride), query.astype(np.float32)
        if stride != self.stride or where is not None:
            wanted, similarity = (
                np.ones(cells, dtype=bool) if where is None else where,
                np.full(cells, np.float32(np.nan)),
            )
            similarity[wanted] = self.similarity_at(query, level_to_voxel(np.argwhere(wanted), stride, self.shape))
            return similarity
        weights = self._whitening.T @ query
        (finest, fine), *others = self._split(weights)
        maps = [(own // finest, np.tensordot(w, part.astype(np.float32), 1)) for own, (part, w) in others]
        similarity, (part, of_part) = np.empty(cells, dtype=np.float32), fine
        for layers in self._layers():
            dots = torch.from_numpy(of_part) @ _to_float(part[:, layers])
            for multiple, coarse in maps:
                dots += _refine(torch.from_numpy(coarse[None]), multiple, layers, cells)[0].flatten()
            products = dots.numpy().reshape(-1, *cells[1:]) - np.float32(weights @ self._mean)
            similarity[layers] = _similarity(products, self._lengths[layers], query)
            release(part)
            release(self._lengths)
        return similarity

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The field as arrays, for a cache."""
        parts = {f"channels_{stride}": part for stride, part in self._parts.items()}
        return {
            "shape": np.array(self.shape),
            "strides": np.array(list(self._parts)),
            "mean": self._mean,
            "whitening": self._whitening,
            "lengths": self._lengths,
        } | parts

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DenseField":
        """Inverse of `to_arrays`."""
        depth, height, width = (int(n) for n in arrays["shape"])
        parts = {int(stride): arrays[f"channels_{stride}"] for stride in arrays["strides"]}
        return cls((depth, height, width), parts, arrays["mean"], arrays["whitening"], arrays["lengths"])

    def _split(self, weights: Float[np.ndarray, " c"]) -> list[tuple[int, tuple[Channels, Float[np.ndarray, " _"]]]]:
        """The channels of each grid, with their part of the weights."""
        ends = np.cumsum([len(part) for part in self._parts.values()])[:-1]
        shares = np.split(weights, ends)
        return [(stride, (part, share)) for (stride, part), share in zip(self._parts.items(), shares, strict=True)]

    def _layers(self) -> Iterator[slice]:
        """Ranges of cells along z that are processed together."""
        depth, height, width = level_shape(self.shape, self.stride)
        step = max(1, _CHUNK // (height * width))
        for start in range(0, depth, step):
            yield slice(start, min(start + step, depth))

    def _measure(self, workspace: Workspace) -> Volume:
        """Squared length of the feature in every cell."""
        cells = level_shape(self.shape, self.stride)
        lengths: Volume = workspace.empty(cells, np.float32)
        whitening, mean = torch.from_numpy(self._whitening), torch.from_numpy(self._mean)
        for layers in self._layers():
            channels = [
                _to_float(part[:, layers])
                if stride == self.stride
                else _refine(torch.from_numpy(part), stride // self.stride, layers, cells).flatten(1)
                for stride, part in self._parts.items()
            ]
            features = whitening @ (torch.cat(channels) - mean[:, None])
            lengths[layers] = features.square_().sum(dim=0).numpy().reshape(-1, *cells[1:])
            release(self._parts[self.stride])
            release(lengths)
        return lengths


def sample_channels(parts: Mapping[int, Channels], points: Points) -> Float[np.ndarray, "n c"]:
    """All channels at points ``(n, 3)`` in voxels, interpolated trilinearly on each grid; parts are given by stride."""
    return np.concatenate([_interpolate(p, voxel_to_level(points, s)) for s, p in parts.items()], axis=1)


def _similarity(
    products: Float[np.ndarray, "..."], lengths: Float[np.ndarray, "..."], query: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "..."]:
    """Similarity to the query from the features' dot products with it and their squared lengths."""
    return 2 * products / np.maximum(lengths + np.float32(query @ query), np.finfo(np.float32).tiny)


def _to_float(part: Channels) -> Float[Tensor, "c n"]:
    """Convert to single precision, channels by cells; PyTorch does this several times faster than NumPy."""
    return torch.from_numpy(np.ascontiguousarray(part)).float().flatten(1)


def _interpolate(part: Channels, at: Points) -> Float[np.ndarray, "n c"]:
    """Channels at positions in cells, trilinear; positions beyond the outermost centres are clipped to them."""
    cells = np.array(part.shape[1:])
    at = np.clip(at, 0, cells - 1)
    low = np.minimum(np.floor(at).astype(int), np.maximum(cells - 2, 0))
    fraction = at - low
    channels = np.zeros((len(at), len(part)), dtype=np.float32)
    for corner in product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
        z, y, x = np.minimum(low + corner, cells - 1).T
        channels += (weight * part[:, z, y, x]).T.astype(np.float32)
    return channels


def _refine(
    coarse: Float[Tensor, "c cz cy cx"], multiple: int, layers: slice, cells: tuple[int, int, int]
) -> Float[Tensor, "c z y x"]:
    """Values at the centres of cells that are ``multiple`` times finer, trilinear, for some layers of them."""
    ranges = (range(layers.start, layers.stop), range(cells[1]), range(cells[2]))
    values = coarse
    for axis, fine in enumerate(ranges, start=1):
        n = coarse.shape[axis]
        at = ((torch.tensor(fine) + 0.5) / multiple - 0.5).clamp(0, n - 1)
        low = at.floor().long().clamp(max=max(n - 2, 0))
        fraction = (at - low).view([-1 if a == axis else 1 for a in range(4)])
        here, beyond = (values.index_select(axis, i).float() for i in (low, (low + 1).clamp(max=n - 1)))
        values = here + fraction * (beyond - here)
    return values
