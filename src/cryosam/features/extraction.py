"""Tokens of a 2D model on the slices of a tomogram.

Only the slices that the finest level needs are shown to the model: those through the centres of its cells. At an even
stride a centre lies half-way between two slices, and their mean is taken. Tokens that would fill the memory go to a
file as they come.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise, product
from math import ceil, floor, prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import interpolate

from cryosam.arrays import PLANES, Image, Images, Plane, Progress
from cryosam.backends import FeatureExtractor
from cryosam.errors import ConfigError, OutputError
from cryosam.features.lattice import DoubledNorms
from cryosam.features.triplane import PlaneTokens, TriPlaneField, cell_centres
from cryosam.geometry import AXIS, in_plane_axes, patch_to_pixel
from cryosam.tomogram import Voxels

__all__ = ["extract_triplane"]

_TILES_AT_ONCE = 16  # the model may take fewer at a time: its memory is its own affair


@dataclass(frozen=True)
class _Span:
    """Tokens along one axis of a tile: those that the model sees, and those of them that are kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class _Layout:
    """Tokens along one axis of a slice, and how tiles cover them."""

    token_voxels: float
    n_tokens: int
    spans: tuple[_Span, ...]

    @classmethod
    def plan(cls, n_voxels: int, token_voxels: float, tile_tokens: int) -> "_Layout":
        """Tokens of ``token_voxels`` that cover an axis, or, if that is 0, one tile stretched over it."""
        if token_voxels == 0:
            return cls(n_voxels / tile_tokens, tile_tokens, (_Span(0, tile_tokens, 0, tile_tokens),))
        n_tokens = ceil(n_voxels / token_voxels)
        return cls(token_voxels, n_tokens, _spans(n_tokens, tile_tokens))

    @property
    def positions(self) -> Float[np.ndarray, " n"]:
        """Centres of the tokens, in voxels."""
        return patch_to_pixel(np.arange(self.n_tokens, dtype=float), self.token_voxels)


def _spans(n_tokens: int, tile_tokens: int) -> tuple[_Span, ...]:
    """Tiles of equal size that overlap by a quarter at least; each token is kept from the tile it lies deeper in."""
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
    """Scale a slice so that each token covers one patch of the model; what hangs over repeats the edge."""
    axes = (rows, cols)
    # one voxel more than the tokens cover, lest rounding takes the last pixel off
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
    """Tiles that the model is given together, each batch prepared while the model is busy with the one before."""

    def prepare() -> _Batch | None:
        batch = list(islice(tiles, _TILES_AT_ONCE))
        return ([tile[:3] for tile in batch], np.stack([tile[3] for tile in batch])) if batch else None

    with ThreadPoolExecutor(max_workers=1) as other_thread:
        following = other_thread.submit(prepare)
        while (batch := following.result()) is not None:
            following = other_thread.submit(prepare)
            yield batch


class _Store:
    """Tokens of one plane's slices as they come, in memory or in a file that is gone when nothing uses it any more."""

    def __init__(self, shape: tuple[int, int, int, int], folder: Path | None, *, in_memory: bool) -> None:
        self._shape, self._folder = shape, folder
        self._tokens = np.empty(shape if in_memory else (0, *shape[1:]), dtype=np.float16)
        self._layer = np.empty(shape[1:], dtype=np.float16)
        self._norms = DoubledNorms(shape)
        self._file = None
        if not in_memory:
            with self._writing():
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def layer(self, k: int) -> Float[np.ndarray, "h w c"]:
        """Where the tokens of slice ``k`` are to be written; `add` takes them."""
        return self._tokens[k] if self._file is None else self._layer

    def add(self, k: int) -> None:
        """Slice ``k`` is complete."""
        self._norms.add(self.layer(k))
        if self._file is not None:
            with self._writing():
                self._file.write(self._layer.data)

    def finish(self, plane: Plane, positions: list[Float[np.ndarray, " _"]]) -> PlaneTokens:
        """All tokens with their norms."""
        if self._file is not None:
            with self._writing():
                self._file.flush()
                self._tokens = np.memmap(self._file, dtype=np.float16, mode="c", shape=self._shape)
                self._file.close()
        z, y, x = positions
        return PlaneTokens(plane, self._tokens, (z, y, x), self._norms.values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what to do where the file cannot be written."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{2 * prod(self._shape) / 1e9:.1f} GB of features exceed the memory allowed, and cannot be kept in "
                f"{self._folder or tempfile.gettempdir()}: {error}; make room there, or allow more memory"
            ) from error


def _extract_plane(
    tomogram: Voxels,
    plane: Plane,
    extractor: FeatureExtractor,
    depths: Float[np.ndarray, " n"],
    layouts: tuple[_Layout, _Layout],
    store: _Store,
    advance: Callable[[int], None],
) -> PlaneTokens:
    """Tokens of one plane; ``advance`` is told the number of tiles done."""
    rows, cols = layouts
    n_left = len(rows.spans) * len(cols.spans)  # tiles of the slice that is being filled
    for places, images in _batches(_tiles(tomogram, plane, depths.tolist(), rows, cols, extractor.patch_px)):
        answers = extractor.extract(images).to("cpu", torch.float16)
        for (k, r, c), answer in zip(places, answers.permute(0, 2, 3, 1).numpy(), strict=True):
            kept = answer[
                r.keep_start - r.start : r.keep_stop - r.start, c.keep_start - c.start : c.keep_stop - c.start
            ]
            store.layer(k)[r.keep_start : r.keep_stop, c.keep_start : c.keep_stop] = kept
            n_left -= 1
            if n_left == 0:
                store.add(k)
                n_left = len(rows.spans) * len(cols.spans)
        advance(len(places))
    positions = [rows.positions, cols.positions]
    positions.insert(AXIS[plane], depths)
    return store.finish(plane, positions)


def extract_triplane(
    tomogram: Voxels,
    extractor: FeatureExtractor,
    *,
    stride: int,
    token_voxels: float,
    slice_px: int,
    max_bytes: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TriPlaneField:
    """Show the slices of all three planes to a 2D model.

    Parameters
    ----------
    tomogram
        In [0, 1], protein bright.
    extractor
        The model.
    stride
        Voxels a cell of the finest level that will be matched.
    token_voxels
        Edge of a token in voxels, the same in all planes: slices are scaled so and cut into overlapping tiles, of which
        the inner tokens are kept. 0 stretches each whole slice to a square, as the published code does.
    slice_px
        Edge of the largest tile, or of the square, in model pixels.
    max_bytes
        Of all tokens, that may be held in memory; more are written to a temporary file and memory-mapped. None holds
        any number in memory.
    folder
        For the temporary file; None takes the system's.
    progress
        Told ``("features", tiles done, tiles in all)``.

    Returns
    -------
    field
        Tokens are held in half precision: ``2 * n_channels`` bytes each.

    Raises
    ------
    ConfigError
        If ``slice_px`` is smaller than the model's patch.
    OutputError
        If the temporary file cannot be written.

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

    sizes = {plane: _token_shape(centres, layouts[plane], plane, extractor.n_channels) for plane in PLANES}
    in_memory = max_bytes is None or 2 * sum(prod(size) for size in sizes.values()) <= max_bytes
    planes = []
    for plane in PLANES:
        store = _Store(sizes[plane], folder, in_memory=in_memory)
        depths = centres[AXIS[plane]]
        planes.append(_extract_plane(tomogram, plane, extractor, depths, layouts[plane], store, advance))
    return TriPlaneField(tomogram.shape, planes)


def _token_shape(
    centres: Sequence[Float[np.ndarray, " _"]], layouts: tuple[_Layout, _Layout], plane: Plane, n_channels: int
) -> tuple[int, int, int, int]:
    """Slices, rows, columns and numbers of a plane's tokens."""
    rows, cols = layouts
    return len(centres[AXIS[plane]]), rows.n_tokens, cols.n_tokens, n_channels
