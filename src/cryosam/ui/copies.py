"""Copies of a volume with one byte per voxel, for fast access to slices of every plane."""

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from cryosam.arrays import Plane
from cryosam.errors import OutputError
from cryosam.geometry import AXIS, in_plane_axes

__all__ = ["Bytes", "Copy", "DiskCopy", "MemoryCopy"]

Bytes = UInt8[np.ndarray, "h w"]

_BLOCK = 32  # voxels, edge of the cubes that are stored contiguously in a file
_KEPT = 192 * 2**20  # bytes of blocks that are kept in memory
_SPARE = 2**30  # bytes that stay free on the disk


@runtime_checkable
class Copy(Protocol):
    """A copy that is written section by section, in order, and is only read afterwards."""

    def write(self, z: int, section: Bytes) -> None:
        """Write a section of plane z."""

    def slice(self, plane: Plane, index: int) -> Bytes:
        """Return a slice of a plane, with rows and columns in the order of the axes of the volume."""


class MemoryCopy:
    """A copy in memory.

    Examples
    --------
    >>> copy = MemoryCopy((2, 3, 4))
    >>> copy.write(0, np.zeros((3, 4), dtype=np.uint8))
    >>> copy.write(1, np.ones((3, 4), dtype=np.uint8))
    >>> copy.slice("y", 2).tolist()
    [[0, 0, 0, 0], [1, 1, 1, 1]]
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._voxels = np.empty(shape, dtype=np.uint8)

    def write(self, z: int, section: Bytes) -> None:
        """See `Copy`."""
        self._voxels[z] = section

    def slice(self, plane: Plane, index: int) -> Bytes:
        """See `Copy`."""
        return np.ascontiguousarray(np.take(self._voxels, index, axis=AXIS[plane]))


class DiskCopy:
    """A copy in a temporary file, which is deleted when the process ends; voxels are stored in cubes.

    For a slice of any plane, only the cubes that it cuts are read. The cubes that were used last stay in memory, so
    that most scrolling steps read nothing from the file.

    Parameters
    ----------
    shape
        Shape of the volume, z, y, x in voxels.

    Raises
    ------
    OutputError
        If the folder for temporary files (``TMPDIR``) has too little space.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._n = [-(-n // _BLOCK) for n in shape]  # cubes along each axis
        size, folder = int(np.prod(self._n)) * _BLOCK**3, tempfile.gettempdir()
        if shutil.disk_usage(folder).free < size + _SPARE:
            raise OutputError(f"{folder} has no space for {size / 1e9:.1f} GB; set TMPDIR to a folder on a larger disk")
        self._file = tempfile.TemporaryFile(prefix="cryosam-")  # noqa: SIM115  # it stays open as long as this object
        weakref.finalize(self, self._file.close)
        self._layer = np.zeros((_BLOCK, self._n[1] * _BLOCK, self._n[2] * _BLOCK), dtype=np.uint8)
        self._blocks: OrderedDict[tuple[Plane, int], UInt8[np.ndarray, "a b k k k"]] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, z: int, section: Bytes) -> None:
        """See `Copy`; cubes are written to the file when their last section arrives."""
        depth, height, width = self._shape
        self._layer[z % _BLOCK, :height, :width] = section
        if z % _BLOCK == _BLOCK - 1 or z == depth - 1:
            cubes = self._layer.reshape(_BLOCK, self._n[1], _BLOCK, self._n[2], _BLOCK).transpose(1, 3, 0, 2, 4)
            self._file.write(np.ascontiguousarray(cubes).data)
        if z == depth - 1:
            self._file.flush()
            self._layer = np.zeros((0, 0, 0), dtype=np.uint8)

    def slice(self, plane: Plane, index: int) -> Bytes:
        """See `Copy`."""
        axis, rows_cols = AXIS[plane], in_plane_axes(plane)
        with self._lock:
            cubes = self._read(plane, index // _BLOCK)
        cut = np.take(cubes, index % _BLOCK, axis=2 + axis)
        n_rows, n_cols = (self._shape[a] for a in rows_cols)
        a, b = cut.shape[:2]
        return np.ascontiguousarray(cut.transpose(0, 2, 1, 3).reshape(a * _BLOCK, b * _BLOCK)[:n_rows, :n_cols])

    def _read(self, plane: Plane, block: int) -> UInt8[np.ndarray, "a b k k k"]:
        """Read the layer of cubes that a slice cuts, arranged in rows and columns."""
        key = plane, block
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        picked = [range(n) for n in self._n]
        picked[AXIS[plane]] = range(block, block + 1)
        # cubes that are adjacent along x are contiguous in the file
        runs = [(z, y) for z in picked[0] for y in picked[1]]
        n_run = len(picked[2]) * _BLOCK**3
        content = np.empty((len(runs), n_run), dtype=np.uint8)
        for row, (z, y) in zip(content, runs, strict=True):
            first = (z * self._n[1] + y) * self._n[2] + picked[2][0]
            os.preadv(self._file.fileno(), [row.data], first * _BLOCK**3)
        n_rows, n_cols = (self._n[a] for a in in_plane_axes(plane))
        cubes = content.reshape(n_rows, n_cols, _BLOCK, _BLOCK, _BLOCK)
        self._blocks[key] = cubes
        while len(self._blocks) > 1 and sum(each.nbytes for each in self._blocks.values()) > _KEPT:
            self._blocks.popitem(last=False)
        return cubes
