"""A feature field of dense 3D descriptors, whitened by the background's covariance."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import torch
from jaxtyping import Float

from cryosam.arrays import Mask, Points, Progress, Scores, Volume
from cryosam.backends import VolumeDescriptor
from cryosam.geometry import level_shape, level_to_voxel, voxel_to_level
from cryosam.tomogram import Tomogram

__all__ = ["DenseField", "extract_dense"]

_BLOCK = 256  # voxels of a block along each axis at most, without its halo
_SAMPLE_BLOCKS = 8  # at most, that the covariance is measured on
_SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
_CHUNK = 1 << 18  # cells that are compared at a time


class DenseField:
    """Descriptors at the cells of one level (a `FeatureField`).

    Parameters
    ----------
    shape
        Of the tomogram, voxels z, y, x.
    stride
        Voxels a cell.
    descriptors
        ``(c, *level_shape(shape, stride))``, whitened: the background has mean zero and about unit covariance.
    """

    def __init__(self, shape: tuple[int, int, int], stride: int, descriptors: Float[np.ndarray, "c z y x"]) -> None:
        self.shape = shape
        self.stride = stride
        self._descriptors = descriptors

    @property
    def n_channels(self) -> int:
        """Numbers a feature."""
        return int(self._descriptors.shape[0])

    def sample(self, points: Points) -> Float[np.ndarray, "n c"]:
        """Features at points ``(n, 3)``, trilinear between the cells' centres."""
        cells = self._descriptors.shape[1:]
        at = np.clip(voxel_to_level(points, self.stride), 0, np.array(cells) - 1)
        low = np.minimum(np.floor(at).astype(int), np.maximum(np.array(cells) - 2, 0))
        fraction = at - low
        features = np.zeros((len(points), self.n_channels), dtype=np.float32)
        for corner in product((0, 1), repeat=3):
            weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
            z, y, x = np.minimum(low + corner, np.array(cells) - 1).T
            features += (weight * self._descriptors[:, z, y, x]).T.astype(np.float32)
        return features

    def similarity_at(self, query: Float[np.ndarray, " c"], points: Points) -> Scores:
        """Similarity in [-1, 1] between the query and the feature at each point; see `_similarity`."""
        parts = [
            _similarity(query, self.sample(points[start : start + _CHUNK]).T) for start in range(0, len(points), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def similarity_map(self, query: Float[np.ndarray, " c"], stride: int, where: Mask | None = None) -> Volume:
        """Similarity between the query and the feature at the centre of every cell of a level; NaN elsewhere."""
        cells = level_shape(self.shape, stride)
        if where is not None:
            similarity = np.full(cells, np.nan, dtype=np.float32)
            similarity[where] = self.similarity_at(query, level_to_voxel(np.argwhere(where), stride, self.shape))
            return similarity
        if stride == self.stride:
            flat = self._descriptors.reshape(self.n_channels, -1)
            parts = [_similarity(query, flat[:, s : s + _CHUNK]) for s in range(0, flat.shape[1], _CHUNK)]
            return np.concatenate(parts).reshape(cells)
        indices = np.stack(np.unravel_index(np.arange(int(np.prod(cells))), cells), axis=1)
        return self.similarity_at(query, level_to_voxel(indices, stride, self.shape)).reshape(cells)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The field as arrays, for a cache."""
        return {"shape": np.array(self.shape), "stride": np.array(self.stride), "descriptors": self._descriptors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DenseField":
        """Inverse of `to_arrays`."""
        depth, height, width = (int(n) for n in arrays["shape"])
        return cls((depth, height, width), int(arrays["stride"]), arrays["descriptors"])


def _similarity(query: Float[np.ndarray, " c"], features: Float[np.ndarray, "c n"]) -> Scores:
    """2 q.f / (|q|^2 + |f|^2): the cosine, damped where the lengths differ.

    Whitened descriptors of a particle are long and those of a faint look-alike short: the length is evidence too.
    """
    values = features.astype(np.float32)
    numerator = 2 * (query.astype(np.float32) @ values)
    denominator = np.einsum("cn,cn->n", values, values) + np.float32(query @ query)
    return np.asarray(numerator / np.maximum(denominator, np.finfo(np.float32).tiny))


def extract_dense(
    tomogram: Tomogram, descriptor: VolumeDescriptor, stride: int, progress: Progress | None = None
) -> DenseField:
    """Describe every cell of a tomogram, block by block.

    Parameters
    ----------
    tomogram
        Normalised: voxels in [0, 1], protein bright.
    descriptor
        What describes a voxel.
    stride
        Voxels a cell.
    progress
        Called with the number of blocks done.

    Returns
    -------
    field
        Half-precision descriptors of every cell.

    Notes
    -----
    Descriptors are whitened by their covariance over blocks spread over the tomogram, nearly all of it background:
    after that a difference counts in units of what noise does. The covariance is shrunk towards the identity.

    Examples
    --------
    >>> from cryosam.backends.invariants import Invariants
    >>> volume = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    >>> extract_dense(Tomogram(volume), Invariants(scales=(1.5,)), stride=2).n_channels
    5
    """
    blocks = list(_blocks(tomogram.shape, stride))
    n_done = 0

    def describe(index: int) -> Float[np.ndarray, "c _ _ _"]:
        nonlocal n_done
        described, n_done = _describe(tomogram, descriptor, stride, blocks[index]), n_done + 1
        if progress is not None:
            progress("describing", n_done, len(blocks))
        return described

    sample = {index: describe(index) for index in range(0, len(blocks), -(-len(blocks) // _SAMPLE_BLOCKS))}
    mean, whitening = _whitening(list(sample.values()))
    out = np.empty((descriptor.n_channels, *level_shape(tomogram.shape, stride)), dtype=np.float16)
    for index, block in enumerate(blocks):
        described = sample.pop(index) if index in sample else describe(index)
        whitened = whitening @ (described.reshape(len(mean), -1) - mean[:, None])
        place = tuple(slice(s.start // stride, -(-s.stop // stride)) for s in block)
        out[(slice(None), *place)] = whitened.reshape(described.shape)
    return DenseField(tomogram.shape, stride, out)


def _blocks(shape: tuple[int, int, int], stride: int) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of about one size that tile the volume and start at a cell's first voxel."""
    edges = [-(-n // (-(-n // _BLOCK) * stride)) * stride for n in shape]
    starts = [range(0, n, edge) for n, edge in zip(shape, edges, strict=True)]
    for z, y, x in product(*starts):
        first, second, third = (slice(s, min(s + e, n)) for s, e, n in zip((z, y, x), edges, shape, strict=True))
        yield first, second, third


def _describe(
    tomogram: Tomogram, descriptor: VolumeDescriptor, stride: int, block: tuple[slice, slice, slice]
) -> Float[np.ndarray, "c z y x"]:
    """Descriptors of one block's cells, computed with a halo so that they do not depend on the blocks."""
    halo = -(-descriptor.halo // stride) * stride
    outer = tuple(
        slice(max(0, s.start - halo), min(n, s.stop + halo)) for s, n in zip(block, tomogram.shape, strict=True)
    )
    described = descriptor.describe(tomogram.data[outer].astype(np.float32), stride)
    inner = tuple(
        slice((s.start - o.start) // stride, (s.start - o.start) // stride + -(-(s.stop - s.start) // stride))
        for s, o in zip(block, outer, strict=True)
    )
    return described[(slice(None), *inner)].to("cpu", torch.float32).numpy()


def _whitening(
    described: list[Float[np.ndarray, "c _ _ _"]],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
    """Mean, and the matrix that turns the shrunk covariance of standardised descriptors into the identity."""
    n_channels = len(described[0])
    count, total, square = 0, np.zeros(n_channels), np.zeros((n_channels, n_channels))
    for block in described:
        flat = block.reshape(n_channels, -1).astype(np.float64)
        count += flat.shape[1]
        total += flat.sum(axis=1)
        square += flat @ flat.T
    mean = total / count
    covariance = square / count - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    correlation = (1 - _SHRINKAGE) * covariance / np.outer(deviation, deviation) + _SHRINKAGE * np.eye(n_channels)
    values, vectors = np.linalg.eigh(correlation)
    whitening = (vectors / np.sqrt(values)) @ vectors.T / deviation
    return mean.astype(np.float32), whitening.astype(np.float32)
