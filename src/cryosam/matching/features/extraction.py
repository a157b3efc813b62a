"""Tokens of a 2D model on the slices of a tomogram.

Only the slices that the finest level needs are shown to the model: those through the centres of its cells. At an even
stride a centre lies half-way between two slices, and their mean is taken. If the tokens do not fit into memory, they
are written to a file as they are computed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from math import ceil, floor

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import interpolate

from cryosam.arrays import PLANES, Image, Images, Plane, Progress
from cryosam.backends import FeatureExtractor
from cryosam.errors import ConfigError
from cryosam.geometry import AXIS, in_plane_axes, patch_to_pixel
from cryosam.matching.features.lattice import DoubledNorms
from cryosam.matching.features.triplane import PlaneTokens, TriPlaneField, cell_centres
from cryosam.memory import Workspace, ahead, release
from cryosam.tomogram import Voxels

__all__ = ["extract_triplane"]

_TILES_AT_ONCE = 16  # passed to the model together; the model itself limits how many it computes at a time


@dataclass(frozen=True)
class _Span:
    """Tokens along one axis of a tile: the range that the model sees, and the range that is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class _Layout:
    """Tokens along one axis of a slice, and the tiles that cover them."""

    token_voxels: float
    n_tokens: int
    spans: tuple[_Span, ...]

    @classmethod
    def plan(cls, n_voxels: int, token_voxels: float, tile_tokens: int) -> "_Layout":
        """Cover an axis with tokens of ``token_voxels``, or, if that is 0, stretch one tile over it."""
        if token_voxels == 0:
            return cls(n_voxels / tile_tokens, tile_tokens, (_Span(0, tile_tokens, 0, tile_tokens),))
        n_tokens = ceil(n_voxels / token_voxels)
        return cls(token_voxels, n_tokens, _spans(n_tokens, tile_tokens))

    @property
    def positions(self) -> Float[np.ndarray, " n"]:
        """Centres of the tokens, in voxels."""
        return patch_to_pixel(np.arange(self.n_tokens, dtype=float), self.token_voxels)


def _spans(n_tokens: int, tile_tokens: int) -> tuple[_Span, ...]:
    """Tiles of equal size that overlap by at least a quarter; each token is taken from the tile it is deeper inside."""
    if n_tokens <= tile_tokens:
        return (_Span(0, n_tokens, 0, n_tokens),)
    overlap = tile_tokens // 4
    count = ceil((n_tokens - overlap) / (tile_tokens - overlap))
    starts = np.linspace(0, n_tokens - tile_tokens, count).round().astype(int).tolist()
    borders = [0, *((a + tile_tokens + b) // 2 for a, b in pairwise(starts)), n_tokens]
    return tuple(
        _Span(start, start + tile_tokens, first, last)
        for start, (first, last) in zip(starts, pairwise(borders), strict=True)
    )


def _slice_at(tomogram: Voxels, plane: Plane, depth: float) -> Image:
    """Image normal to ``plane`` at a position that may lie between two slices."""
    before = floor(depth)
    t = depth - before
    image = tomogram.slice(plane, before)
    return image if t == 0 else np.float32(1 - t) * image + np.float32(t) * tomogram.slice(plane, before + 1)


def _scale(image: Image, rows: _Layout, cols: _Layout, patch_px: int) -> Float[np.ndarray, "h_px w_px"]:
    """Scale a slice so that each token covers one patch of the model; beyond the slice its edge is repeated."""
    axes = (rows, cols)
    # one voxel more than the tokens cover, so that rounding cannot remove the last pixel
    missing = [ceil(a.n_tokens * a.token_voxels) + 1 - n for a, n in zip(axes, image.shape, strict=True)]
    padded = np.pad(image, [(0, m) for m in missing], mode="edge")
    scaled = interpolate(
        torch.from_numpy(padded)[None, None],
        scale_factor=(patch_px / rows.token_voxels, patch_px / cols.token_voxels),
        mode="bilinear",
        antialias=True,
        recompute_scale_factor=False,
    )[0, 0].numpy()
    return scaled[: rows.n_tokens * patch_px, : cols.n_tokens * patch_px]


def _tiles(
    tomogram: Voxels, plane: Plane, depths: Sequence[float], rows: _Layout, cols: _Layout, patch_px: int
) -> Iterator[tuple[int, _Span, _Span, Image]]:
    """Every tile of every slice: index of the slice, tokens along rows and columns, image."""
    for k, depth in enumerate(depths):
        scaled = _scale(_slice_at(tomogram, plane, depth), rows, cols, patch_px)
        for r, c in product(rows.spans, cols.spans):
            yield k, r, c, scaled[r.start * patch_px : r.stop * patch_px, c.start * patch_px : c.stop * patch_px]


_Batch = tuple[list[tuple[int, _Span, _Span]], Images]


def _batches(tiles: Iterator[tuple[int, _Span, _Span, Image]]) -> Iterator[_Batch]:
    """Groups of tiles that are passed to the model together."""
    while batch := list(islice(tiles, _TILES_AT_ONCE)):
        yield [tile[:3] for tile in batch], np.stack([tile[3] for tile in batch])


def _extract_plane(
    tomogram: Voxels,
    plane: Plane,
    extractor: FeatureExtractor,
    depths: Float[np.ndarray, " n"],
    layouts: tuple[_Layout, _Layout],
    workspace: Workspace,
    advance: Callable[[int], None],
) -> PlaneTokens:
    """Tokens of one plane; ``advance`` is called with the number of tiles just done."""
    rows, cols = layouts
    shape = len(depths), rows.n_tokens, cols.n_tokens, extractor.n_channels
    tokens, norms = workspace.empty(shape, np.float16), DoubledNorms(shape)
    n_left = len(rows.spans) * len(cols.spans)  # tiles that the current slice still needs
    tiles = _tiles(tomogram, plane, depths.tolist(), rows, cols, extractor.patch_px)
    for places, images in ahead(_batches(tiles)):
        answers = extractor.extract(images).to("cpu", torch.float16)
        for (k, r, c), answer in zip(places, answers.permute(0, 2, 3, 1).numpy(), strict=True):
            kept = answer[
                r.keep_start - r.start : r.keep_stop - r.start, c.keep_start - c.start : c.keep_stop - c.start
            ]
            tokens[k, r.keep_start : r.keep_stop, c.keep_start : c.keep_stop] = kept
            n_left -= 1
            if n_left == 0:
                norms.add(tokens[k])
                n_left = len(rows.spans) * len(cols.spans)
        release(tokens)
        advance(len(places))
    positions = [rows.positions, cols.positions]
    positions.insert(AXIS[plane], depths)
    z, y, x = positions
    return PlaneTokens(plane, tokens, (z, y, x), norms.values)


def extract_triplane(
    tomogram: Voxels,
    extractor: FeatureExtractor,
    *,
    stride: int,
    token_voxels: float,
    slice_px: int,
    workspace: Workspace | None = None,
    progress: Progress | None = None,
) -> TriPlaneField:
    """Compute the tokens of a 2D model on the slices of all three planes.

    Parameters
    ----------
    tomogram
        In [0, 1], protein bright.
    extractor
        The model.
    stride
        Voxels per cell of the finest level that will be compared.
    token_voxels
        Edge of a token in voxels, the same in all planes. Slices are scaled accordingly and cut into overlapping tiles,
        of which the inner tokens are kept. 0 stretches each whole slice to a square, as the published code does.
    slice_px
        Edge of the largest tile, or of the square, in model pixels.
    workspace
        Holds the tokens, in a file if memory is short; None creates one of the default size.
    progress
        Called with ``("features", tiles done, number of tiles)``.

    Returns
    -------
    field
        Its tokens are in half precision: ``2 * n_channels`` bytes each.

    Raises
    ------
    ConfigError
        If ``slice_px`` is smaller than the model's patch.
    OutputError
        If the tokens fit neither into memory nor onto the disk.

    Examples
    --------
    >>> class Brightness:
    ...     digest, n_channels, patch_px = "brightness", 1, 1
    ...
    ...     def extract(self, images):
    ...         return torch.from_numpy(images)[:, None]
    >>> volume = np.zeros((8, 8, 8), dtype=np.float32)
    >>> volume[2, 5, 6] = 1
    >>> from cryosam.tomogram import Tomogram
    >>> field = extract_triplane(Tomogram(volume), Brightness(), stride=1, token_voxels=1, slice_px=16)
    >>> field.sample(np.array([[2.0, 5.0, 6.0], [2.0, 5.0, 4.0]]))
    array([[1., 1., 1.],
           [0., 0., 0.]], dtype=float32)
    """
    tile_tokens = slice_px // extractor.patch_px
    if tile_tokens < 1:
        raise ConfigError(f"slice_px must be at least the model's patch of {extractor.patch_px} pixels, got {slice_px}")
    centres = cell_centres(tomogram.shape, stride)
    layouts: dict[Plane, tuple[_Layout, _Layout]] = {}
    n_tiles = 0
    for plane in PLANES:
        rows, cols = (_Layout.plan(tomogram.shape[axis], token_voxels, tile_tokens) for axis in in_plane_axes(plane))
        layouts[plane] = rows, cols
        n_tiles += len(centres[AXIS[plane]]) * len(rows.spans) * len(cols.spans)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("features", done, n_tiles)

    workspace = workspace or Workspace()
    planes = [
        _extract_plane(tomogram, plane, extractor, centres[AXIS[plane]], layouts[plane], workspace, advance)
        for plane in PLANES
    ]
    return TriPlaneField(tomogram.shape, planes)
