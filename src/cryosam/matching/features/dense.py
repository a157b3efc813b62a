"""Dense 3D descriptors of a whole tomogram, computed block by block and whitened by their covariance."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from cryosam.arrays import Points, Progress, Volume
from cryosam.backends import DescriptorPart, VolumeDescriptor
from cryosam.geometry import level_shape, level_to_voxel
from cryosam.matching.features.dense_field import Channels, DenseField, sample_channels
from cryosam.memory import Workspace, ahead, release
from cryosam.tomogram import Box, Voxels

__all__ = ["extract_dense"]

_BLOCK = 96  # most cells of a block along each axis, without its halo
_SAMPLE = 1 << 16  # approximate largest number of cells from which the covariance is computed
_SHRINKAGE = 0.1  # weight of the identity in the shrunk correlation matrix


def extract_dense(
    voxels: Voxels,
    descriptor: VolumeDescriptor,
    stride: int,
    workspace: Workspace,
    progress: Progress | None = None,
) -> DenseField:
    """Describe every cell of a tomogram, block by block.

    Parameters
    ----------
    voxels
        Normalised: in [0, 1], protein bright. They are read once, from the first layer to the last.
    descriptor
        Computes the descriptors of cells.
    stride
        Voxels per cell.
    workspace
        Holds the descriptors.
    progress
        Called with the number of blocks done.

    Returns
    -------
    field
        Half-precision descriptors of every cell.

    Notes
    -----
    Descriptors are whitened by their covariance over a lattice of cells, nearly all of which are background. After
    that, differences are in units of the variation of the background. The covariance is shrunk towards a diagonal
    matrix.

    Examples
    --------
    >>> from cryosam.backends.invariants import Invariants
    >>> from cryosam.tomogram import Tomogram
    >>> volume = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    >>> extract_dense(Tomogram(volume), Invariants(scales=(1.5,)), 2, Workspace()).n_channels
    5
    """
    parts = descriptor.parts(stride)
    means = {stride: _cell_means(voxels, stride, workspace)}
    while (coarsest := max(means)) < max(part.stride for part in parts):
        means[2 * coarsest] = _halve(means[coarsest])
    blocks = [(part, block) for part in parts for block in _blocks(means[part.stride].shape)]
    described = {
        part.stride: workspace.empty((part.n_channels, *means[part.stride].shape), np.float16) for part in parts
    }
    for done, (part, block) in enumerate(blocks):
        if progress is not None:
            progress("describing", done, len(blocks))
        described[part.stride][(slice(None), *block)] = _describe(means[part.stride], part, block)
        release(described[part.stride])
        release(means[part.stride])
    if progress is not None:
        progress("describing", len(blocks), len(blocks))
    mean, whitening = _whitening(sample_channels(described, _lattice(voxels.shape, stride)))
    return DenseField(voxels.shape, described, mean, whitening, workspace=workspace)


def _cell_means(voxels: Voxels, stride: int, workspace: Workspace) -> Volume:
    """Mean density of each cell, minus the overall mean; cells that extend beyond the end repeat the last voxel."""
    cells = level_shape(voxels.shape, stride)
    means: Volume = workspace.empty(cells, np.float32)
    depth, height, width = voxels.shape
    ranges = (slice(z, min(z + stride, depth)) for z in range(0, depth, stride))
    layers = (np.ascontiguousarray(voxels.crop((layer, slice(0, height), slice(0, width)))) for layer in ranges)
    for z, layer in enumerate(ahead(layers)):
        means[z] = _pool(torch.from_numpy(layer), stride)[0].numpy()
    # half precision is most accurate near zero
    means -= np.float32(means.mean(dtype=np.float64))
    return means


def _halve(means: Volume) -> Float[np.ndarray, "cz cy cx"]:
    """Mean densities of cells that are twice as large."""
    return _pool(torch.from_numpy(means), 2).numpy()


def _pool(volume: Float[Tensor, "z y x"], stride: int) -> Float[Tensor, "cz cy cx"]:
    """Mean over each cell."""
    missing = [-n % stride for n in volume.shape]
    padded = pad(volume[None, None], (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
    return avg_pool3d(padded, stride)[0, 0]


def _blocks(cells: Sequence[int]) -> Iterator[Box]:
    """Blocks of about the same size that tile a grid."""
    edges = [-(-n // -(-n // _BLOCK)) for n in cells]
    for z, y, x in product(*(range(0, n, edge) for n, edge in zip(cells, edges, strict=True))):
        first, second, third = (slice(s, min(s + e, n)) for s, e, n in zip((z, y, x), edges, cells, strict=True))
        yield first, second, third


def _describe(means: Volume, part: DescriptorPart, block: Box) -> Channels:
    """Descriptors of one block's cells, computed with a halo so that they do not depend on the division into blocks."""
    outer = tuple(
        slice(max(0, s.start - part.halo), min(n, s.stop + part.halo)) for s, n in zip(block, means.shape, strict=True)
    )
    inner = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(block, outer, strict=True))
    described = part.describe(means[outer])[(slice(None), *inner)]
    return described.to("cpu", torch.float16).numpy()


def _lattice(shape: tuple[int, int, int], stride: int) -> Points:
    """Centres of cells on a regular lattice over the tomogram."""
    cells = level_shape(shape, stride)
    step = max(1, int(np.ceil((np.prod(cells, dtype=float) / _SAMPLE) ** (1 / 3))))
    chosen = np.meshgrid(*(np.arange(min(step // 2, n - 1), n, step) for n in cells), indexing="ij")
    return level_to_voxel(np.stack(chosen, axis=-1).reshape(-1, 3), stride)


def _whitening(
    channels: Float[np.ndarray, "n c"],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
    """Mean, and the matrix that whitens the channels; the correlation matrix is shrunk towards the identity first."""
    mean = channels.mean(axis=0, dtype=np.float64)
    centred = channels - mean
    covariance = centred.T @ centred / len(channels)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    correlation = (1 - _SHRINKAGE) * covariance / np.outer(deviation, deviation) + _SHRINKAGE * np.eye(len(mean))
    values, vectors = np.linalg.eigh(correlation)
    whitening = (vectors / np.sqrt(values)) @ vectors.T / deviation
    return mean.astype(np.float32), whitening.astype(np.float32)
