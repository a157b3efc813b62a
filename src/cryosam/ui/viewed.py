"""A tomogram prepared for display: fast access to the grey values of any slice, even of large files."""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Num
from scipy import ndimage

from cryosam.arrays import AnyVolume, Plane
from cryosam.errors import TomogramError, UnknownItemError
from cryosam.geometry import AXIS
from cryosam.hot_voxels import without_hot_voxels
from cryosam.intensities import SeenContrast, detect_contrast
from cryosam.io import VolumeInfo, read_info, read_tomogram, read_voxels
from cryosam.tomogram import Tomogram
from cryosam.ui.copies import Bytes, Copy, DiskCopy, MemoryCopy

__all__ = ["Gallery", "Grey", "ViewedTomogram"]

_SHOWN = (0.5, 99.5)  # percentiles shown as black and white
_CORE = (0.05, 99.95)  # percentiles that a run maps to 0 and 1, see `cryosam.config.TomogramConfig`
_SECTIONS, _BLOCKS, _ROWS = 12, 4, 16  # of the sample: number of sections, blocks per section, rows per block
_BUDGET = 768 * 2**20  # bytes of all copies in memory
_DISK_BUDGET = 64 * 2**30  # bytes of all copies on disk
_MAPPED = 32  # sections that are read before their memory is released
_PIECE = 65536  # bytes at the start, middle and end of a file that identify it

_log = logging.getLogger(__name__)


class Grey:
    """The mapping of intensities to grey values, from a small sample of the voxels.

    Parameters
    ----------
    sample
        Intensities; values that are not finite are ignored.

    Attributes
    ----------
    low, high
        Intensities shown as 0 and 255.
    histogram
        Number of sampled voxels at each of the 256 grey values.
    limits
        Intensities that a run over the whole tomogram maps to 0 and 1.
    """

    def __init__(self, sample: Num[np.ndarray, "..."]) -> None:
        values = sample[np.isfinite(sample)].astype(np.float64)
        values = values if values.size else np.zeros(1)
        self.low, self.high = (float(v) for v in np.percentile(values, _SHOWN))
        if self.high <= self.low:
            self.low, self.high = float(values.min()), float(values.max())
        if self.high <= self.low:
            self.high = self.low + 1.0
        self.limits = tuple(float(v) for v in np.percentile(values, _CORE))
        self.histogram: list[int] = np.histogram(values, 256, (self.low, self.high))[0].tolist()

    def to_bytes(self, values: Num[np.ndarray, "h w"], scratch: Float32[np.ndarray, "h w"] | None = None) -> Bytes:
        """Map intensities to 0 to 255, clipped; ``scratch`` is overwritten, which saves a memory allocation.

        Examples
        --------
        >>> Grey(np.linspace(0, 1, 1001)).to_bytes(np.array([[-1.0, 0.25, 2.0]])).tolist()
        [[0, 63, 255]]
        """
        scale = 255.0 / (self.high - self.low)
        out = np.multiply(values, scale, dtype=np.float32, casting="unsafe", out=scratch)
        out += 0.5 - self.low * scale
        np.clip(out, 0, 255, out=out)
        with np.errstate(invalid="ignore"):  # NaN may become any grey value
            return out.astype(np.uint8)


class ViewedTomogram:
    """A tomogram for display; its file is read only when needed.

    Slices of plane z can be read from the file. Slices of planes y and x would read all of a large file. A copy with
    one byte per voxel is therefore made in a separate thread when the first slice is requested, see `Gallery`. Each
    read maps the file again, so that no part of it stays in memory.

    Parameters
    ----------
    path
        File of the volume.
    name
        Name that is shown to the user.
    voxel_size_angstrom
        Edge length of a voxel; replaces the value in the header.
    tomogram
        The voxels, if they are in memory; in this case no file is opened, and the file need not exist.

    Raises
    ------
    InputError
        If the file is not a tomogram.
    """

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        voxel_size_angstrom: float | None = None,
        tomogram: Tomogram | None = None,
    ) -> None:
        self.path = path.absolute()
        self.name = name or path.name
        if tomogram is None:
            self.info = read_info(path)
        else:
            self.info = VolumeInfo(path, "array", tomogram.shape, tomogram.data.dtype)
            self.tomogram = tomogram
            voxel_size_angstrom = voxel_size_angstrom or tomogram.voxel_size_angstrom
        if min(self.info.shape) == 1:
            raise TomogramError(f"{path}: a 2D image; a tomogram has three dimensions")
        self.shape = self.info.shape
        self.voxel_size_angstrom = voxel_size_angstrom or self.info.voxel_size_angstrom
        self._lock = threading.Lock()
        self._copy: Copy | None = None
        self._thread: threading.Thread | None = None
        self._is_dropped = self._is_impossible = False

    def set_voxel_size(self, voxel_size_angstrom: float) -> None:
        """Replace the voxel size."""
        self.tomogram = replace(self.tomogram, voxel_size_angstrom=voxel_size_angstrom)
        self.voxel_size_angstrom = voxel_size_angstrom

    @cached_property
    def tomogram(self) -> Tomogram:
        """The voxels, memory-mapped if the format allows it."""
        return read_tomogram(self.path, self.voxel_size_angstrom)

    def read(self) -> AnyVolume:
        """Return the voxels, memory-mapped again if the format allows it, so that memory is released with the map."""
        data = self.tomogram.data
        return read_voxels(self.path) if isinstance(data, np.memmap) else data

    @cached_property
    def grey(self) -> Grey:
        """The mapping of intensities to grey values."""
        return Grey(_sample(self.read()))

    @cached_property
    def contrast(self) -> SeenContrast:
        """Whether protein is dark or bright, without any click; from blocks of the voxels."""
        return detect_contrast(replace(self.tomogram, data=self.read()), np.zeros((0, 3)))

    @cached_property
    def fingerprint(self) -> str:
        """A hash that identifies the file and its content, without reading all of it."""
        state = hashlib.sha256(f"{self.path} {self.shape} {self.info.dtype}".encode())
        files = [self.path] if self.path.is_file() else sorted(p for p in self.path.glob("*") if p.is_file())
        for file in files:
            size = file.stat().st_size
            state.update(f"{file.name} {size}".encode())
            with file.open("rb") as opened:
                for start in (0, size // 2, max(0, size - _PIECE)):
                    opened.seek(start)
                    state.update(opened.read(_PIECE))
        return state.hexdigest()

    def pixels(self, plane: Plane, index: int, *, slab: int = 1, smooth: float = 0.0) -> Bytes:
        """Return the grey values of a slice, with rows and columns in the order of the axes of the volume.

        Parameters
        ----------
        plane, index
            Plane and index of the slice.
        slab
            Number of slices that are averaged, centred on this one.
        smooth
            Standard deviation in voxels of a Gaussian filter in the plane.

        Raises
        ------
        UnknownItemError
            If there is no such slice.
        """
        n, half = self.shape[AXIS[plane]], slab // 2
        if not 0 <= index < n:
            raise UnknownItemError(f"{self.name} has slices 0 to {n - 1} of plane {plane}, not {index}")
        near = range(max(0, index - half), min(n, index + half + 1))
        if len(near) == 1 and smooth == 0:
            return self._slice(plane, index)
        total = np.zeros(self._slice(plane, index).shape, dtype=np.float32)
        for i in near:
            total += self._slice(plane, i)
        total /= len(near)
        image = ndimage.gaussian_filter(total, smooth) if smooth else total
        return np.round(image).astype(np.uint8)

    def start_copy(self, *, on_disk: bool) -> None:
        """Start to make the copy with one byte per voxel in the background, unless it exists or is being made."""
        with self._lock:
            self._is_dropped = False
            if self._copy is None and self._thread is None and not self._is_impossible:
                name = f"copy of {self.name}"
                self._thread = threading.Thread(target=self._make_copy, args=(on_disk,), daemon=True, name=name)
                self._thread.start()

    def await_copy(self) -> None:
        """Wait for the copy, if it is being made."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def drop_copy(self) -> None:
        """Delete the copy to free its memory or disk space."""
        with self._lock:
            self._copy, self._is_dropped = None, True

    def _slice(self, plane: Plane, index: int) -> Bytes:
        copy = self._copy
        if copy is not None:
            return copy.slice(plane, index)
        if plane == "z":
            return self.grey.to_bytes(np.asarray(self.read()[index]))
        # Until the copy is ready. A slice of plane x reads all of the file, which must not be in memory at once.
        starts = range(0, self.shape[0], _MAPPED)
        parts = [np.take(self.read()[z : z + _MAPPED], index, axis=AXIS[plane]) for z in starts]
        return self.grey.to_bytes(np.concatenate(parts))

    def _make_copy(self, on_disk: bool) -> None:
        copy: Copy | None = None
        try:
            copy = DiskCopy(self.shape) if on_disk else MemoryCopy(self.shape)
            self._fill(copy)
        except OSError as error:
            _log.warning("no copy of %s can be made, so its slices of planes x and y are slow: %s", self.name, error)
            copy, self._is_impossible = None, True
        with self._lock:
            self._thread = None
            if not self._is_dropped:
                self._copy = copy

    def _fill(self, copy: Copy) -> None:
        scratch = np.empty(self.shape[1:], dtype=np.float32)
        data = self.read()
        for z in range(self.shape[0]):
            if self._is_dropped:
                return
            if z % _MAPPED == 0:
                data = self.read()
            copy.write(z, self.grey.to_bytes(data[z], scratch))


class Gallery:
    """The tomograms of a session; those shown last have a copy in memory, or on disk if they are large.

    Parameters
    ----------
    tomograms
        Tomograms in the order in which they are shown.
    budget, disk_budget
        Bytes of all copies in memory, and of all copies on disk. A tomogram that is larger than the first is copied to
        disk. One that is larger than the second is not copied, and its slices are read from the file.
    """

    def __init__(
        self, tomograms: Sequence[ViewedTomogram], budget: int = _BUDGET, disk_budget: int = _DISK_BUDGET
    ) -> None:
        self._tomograms = list(tomograms)
        self._budgets = {False: budget, True: disk_budget}
        self._recent: dict[bool, OrderedDict[int, int]] = {False: OrderedDict(), True: OrderedDict()}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tomograms)

    def __iter__(self) -> Iterator[ViewedTomogram]:
        return iter(self._tomograms)

    def __getitem__(self, index: int) -> ViewedTomogram:
        if not 0 <= index < len(self._tomograms):
            raise UnknownItemError(f"there is no tomogram {index}; there are {len(self._tomograms)}, from 0")
        return self._tomograms[index]

    def prepare(self, index: int) -> None:
        """Prepare a tomogram for display, and wait for its copy."""
        viewed = self[index]
        self._require_copy(index)
        _ = viewed.grey
        viewed.await_copy()

    def pixels(self, index: int, plane: Plane, at: int, *, slab: int = 1, smooth: float = 0.0) -> Bytes:
        """See `ViewedTomogram.pixels`; copies of the tomograms that were used least recently are deleted."""
        viewed = self[index]
        self._require_copy(index)
        return viewed.pixels(plane, at, slab=slab, smooth=smooth)

    def _require_copy(self, index: int) -> None:
        viewed = self[index]
        n_bytes = int(np.prod(viewed.shape, dtype=np.int64))
        on_disk = n_bytes > self._budgets[False]
        budget, recent = self._budgets[on_disk], self._recent[on_disk]
        if n_bytes > budget:
            return
        with self._lock:
            recent[index] = n_bytes
            recent.move_to_end(index)
            while sum(recent.values()) > budget:
                oldest, _ = recent.popitem(last=False)
                self._tomograms[oldest].drop_copy()
        viewed.start_copy(on_disk=on_disk)


def _sample(data: AnyVolume) -> Float[np.ndarray, " n"]:
    """Sample all of a small volume, or evenly spread blocks of rows of a large one; hot voxels are left out."""
    depth, height, _ = data.shape
    if data.size <= 4 * _SECTIONS * _BLOCKS * _ROWS * data.shape[2]:
        return without_hot_voxels(data).astype(np.float32).ravel()
    parts = []
    for i, z in enumerate(np.linspace(0, depth - 1, min(_SECTIONS, depth)).round().astype(int)):
        shift = (i % 3) / 3
        for k in range(_BLOCKS):
            start = int((k + shift) / _BLOCKS * max(1, height - _ROWS))
            block = without_hot_voxels(data[z : z + 1, start : start + _ROWS])
            parts.append(block.astype(np.float32).ravel())
    return np.concatenate(parts)
