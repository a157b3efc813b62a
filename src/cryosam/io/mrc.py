"""The MRC family: MRC2014, IMOD's variants, and both compressed by gzip.

An array's axes z, y, x are the file's sections, rows and columns, as they lie in the file: nothing is flipped, so the
handedness is that of the file. The header's origin does not enter voxel coordinates; `VolumeInfo` carries it, and
`write_mrc` can write it, so that viewers that work in angstrom (ChimeraX) put a result onto its tomogram.

Sources: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014); IMOD, "The MRC2014 file format used by IMOD".
"""

import gzip
import os
import warnings
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import TomogramError
from cryosam.io.atomic import atomic_path
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.voxel_types import as_storable
from cryosam.masks import InstanceMask

__all__ = ["read_mrc", "read_mrc_info", "write_mrc", "write_mrc_labels"]

_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED = {3: "complex integers", 4: "complex numbers (a Fourier transform)", 16: "colours", 101: "4-bit numbers"}
_MAX_EDGE = 1 << 20  # a longer edge means that these bytes are no header
_MAX_GZIP_RATIO = 1100  # deflate reaches 1032
_PIECE = 1 << 24  # bytes decompressed at a time
_IMOD_STAMP = 1146047817
_AXIS_LETTERS = {1: 2, 2: 1, 3: 0}  # the header counts x, y, z = 1, 2, 3


def read_mrc_info(path: Path) -> VolumeInfo:
    """What the header says; the voxels are not read.

    Raises
    ------
    TomogramError
        If the file is not an MRC volume of real numbers, or is shorter than its header says (the length of a compressed
        file is not looked at).
    """
    header, _ = _read_header(path)
    shape, dtype = _stored_shape(header), _dtype(header, path)
    axes = _axes(header, path)
    low, high = float(header["dmin"]), float(header["dmax"])
    has_range = bool(np.isfinite([low, high]).all() and low < high)  # the standard marks "unknown" by low > high
    z, y, x = (shape[axes.index(axis)] for axis in range(3))
    return VolumeInfo(
        path,
        "MRC (gzip)" if _is_gzip(path) else "MRC",
        (z, y, x),
        dtype.newbyteorder("="),
        _spacing(header),
        low if has_range else None,
        high if has_range else None,
        _origin(header),
    )


def read_mrc(path: Path) -> AnyVolume:
    """Voxels ``(z, y, x)``; memory-mapped and read-only, unless the file is compressed.

    Raises
    ------
    TomogramError
        As `read_mrc_info`, and if a compressed file is damaged or too short.
    """
    header, offset = _read_header(path)
    shape, dtype = _stored_shape(header), _dtype(header, path)
    data = _decompress(path, offset, shape, dtype) if _is_gzip(path) else np.memmap(path, dtype, "r", offset, shape)
    axes = _axes(header, path)
    return np.transpose(data, [axes.index(axis) for axis in range(3)])


def write_mrc(
    path: Path,
    data: AnyVolume | Mask,
    voxel_size_angstrom: float | None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a volume; a name that ends in ``.gz`` is compressed.

    Parameters
    ----------
    data
        ``(z, y, x)``. Integers and masks get the smallest MRC type that holds them (int8, uint16, int16, else float32):
        MRC has no unsigned byte, which IMOD and others would read as signed.
    voxel_size_angstrom
        Edge of a voxel; None is written as 0, "unknown".
    origin_angstrom
        Position of voxel (0, 0, 0), along z, y, x, for viewers that work in angstrom.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    stored = as_storable(data, ("int8", "uint16", "int16"), ("float16", "float32"))
    with (
        atomic_path(path) as temporary,
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        mrcfile.new(temporary, compression="gzip" if _is_gzip(path) else None) as mrc,
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # the header's statistics of voxels that are not finite
        mrc.set_data(np.ascontiguousarray(stored))
        _describe(mrc, voxel_size_angstrom, origin_angstrom)


def write_mrc_labels(
    path: Path,
    shape: tuple[int, int, int],
    parts: Sequence[tuple[int, InstanceMask]],
    voxel_size_angstrom: float | None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write masks as a volume of labels, 0 where there is none; the volume is never whole in memory.

    Parameters
    ----------
    shape
        Voxels z, y, x.
    parts
        Label and mask of each, painted in this order: the last wins a voxel.
    voxel_size_angstrom, origin_angstrom
        As in `write_mrc`, which would write the same file.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    highest = max((label for label, _ in parts), default=0)
    mode = 0 if highest < 2**7 else 6 if highest < 2**16 else 2
    with atomic_path(path) as temporary, mrcfile.new_mmap(temporary, shape, mode) as mrc:
        _allocate(temporary)
        for label, mask in parts:
            mrc.data[mask.box][mask.data] = label
        sums = np.array([(section.sum(dtype=float), np.square(section, dtype=float).sum()) for section in mrc.data])
        mean, square = sums.sum(axis=0) / mrc.data.size
        mrc.header.dmin = min(section.min() for section in mrc.data)
        mrc.header.dmax = max(section.max() for section in mrc.data)
        mrc.header.dmean, mrc.header.rms = mean, np.sqrt(max(square - mean**2, 0.0))
        _describe(mrc, voxel_size_angstrom, origin_angstrom)


def _allocate(path: Path) -> None:
    """Set the file's bytes aside: a disk that fills up while it is memory-mapped would kill the program."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _describe(
    mrc: mrcfile.mrcfile.MrcFile, voxel_size_angstrom: float | None, origin: tuple[float, float, float]
) -> None:
    """What a header says of a volume beside its voxels."""
    mrc.set_volume()
    mrc.voxel_size = voxel_size_angstrom or 0.0
    z, y, x = origin
    mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = x, y, z


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")


def _read_header(path: Path) -> tuple[np.void, int]:
    """The header and the offset of the voxels, once the file's length has been found to fit."""
    try:
        with _open(path) as file:
            start = file.read(HEADER_DTYPE.itemsize)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TomogramError(f"{path}: damaged gzip file ({error}); copy or download it again") from error
    if len(start) < HEADER_DTYPE.itemsize:
        raise TomogramError(
            f"{path}: not an MRC file: {len(start)} bytes, but the header alone has {HEADER_DTYPE.itemsize}"
        )
    header = _decode(start)
    if header is None:
        raise TomogramError(f"{path}: not an MRC file, or its header is damaged: no sensible size and type of voxel")
    offset = HEADER_DTYPE.itemsize + int(header["nsymbt"])
    if not _is_gzip(path):
        _require_length(path, path.stat().st_size, offset, header)
    return header, offset


def _require_length(path: Path, actual: int, offset: int, header: np.void) -> None:
    shape, dtype = _stored_shape(header), _dtype(header, path)
    expected = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if actual < expected:
        z, y, x = shape
        raise TomogramError(
            f"{path}: truncated: {expected} bytes expected for {z} x {y} x {x} voxels of {dtype.name}, "
            f"the file has {actual}; copy or download it again"
        )


def _decode(start: bytes) -> np.void | None:
    """The header in the byte order in which its numbers make sense; the machine stamp only says which to try first."""
    stamp = start[212]
    for order in (">", "<") if stamp == 0x11 else ("<", ">"):
        header: np.void = np.frombuffer(start, HEADER_DTYPE.newbyteorder(order))[0]
        edges = [int(header[n]) for n in ("nx", "ny", "nz")]
        known = int(header["mode"]) in _TYPES.keys() | _REFUSED.keys()
        if known and 0 < min(edges) <= max(edges) <= _MAX_EDGE and int(header["nsymbt"]) >= 0:
            return header
    return None


def _dtype(header: np.void, path: Path) -> np.dtype:
    """Type of the voxels, in the file's byte order."""
    mode = int(header["mode"])
    if mode in _REFUSED:
        raise TomogramError(
            f"{path}: MRC mode {mode} holds {_REFUSED[mode]}, not a tomogram; give real numbers (modes 0, 1, 2, 6, 12)"
        )
    if int(header["ispg"]) >= 401:
        raise TomogramError(
            f"{path}: a stack of volumes (space group {int(header['ispg'])}); give one volume in a file of its own"
        )
    if mode == 0 and _is_unsigned(header):
        return np.dtype("u1")
    return np.dtype(_TYPES[mode]).newbyteorder(header.dtype["nx"].byteorder)


def _is_unsigned(header: np.void) -> bool:
    """IMOD marks its files, and in them says by bit 0 whether bytes are signed.

    Without the mark they are signed, as the standard says, unless the header's range is one that only unsigned bytes
    can have: IMOD before 4.2.23, and programs that followed it, wrote those.
    """
    stamp, flags = np.frombuffer(header["extra2"].tobytes()[40:48], header.dtype["nx"]).tolist()
    if stamp == _IMOD_STAMP:
        return not flags & 1
    return bool(header["dmin"] >= 0 and 127 < header["dmax"] <= 255)


def _stored_shape(header: np.void) -> tuple[int, int, int]:
    """Sections, rows and columns of the file."""
    return int(header["nz"]), int(header["ny"]), int(header["nx"])


def _axes(header: np.void, path: Path) -> list[int]:
    """Which of z, y, x = 0, 1, 2 the file's sections, rows and columns run along; all zero means not said."""
    said = [int(header[n]) for n in ("maps", "mapr", "mapc")]
    if said == [0, 0, 0]:
        return [0, 1, 2]
    if sorted(said) != [1, 2, 3]:
        raise TomogramError(f"{path}: the header's axis order mapc, mapr, maps = {said[::-1]} is no order of 1, 2, 3")
    return [_AXIS_LETTERS[s] for s in said]


def _spacing(header: np.void) -> tuple[float, float, float] | None:
    """Edges of a voxel along z, y, x; a cell of zero size means not known."""
    cell = [float(header["cella"][n]) for n in "zyx"]
    samples = [int(header[n]) for n in ("mz", "my", "mx")]
    if not any(cell) or min(samples) <= 0:
        return None
    z, y, x = (c / n for c, n in zip(cell, samples, strict=True))
    return z, y, x


def _origin(header: np.void) -> tuple[float, float, float]:
    z, y, x = (float(header["origin"][n]) for n in "zyx")
    return z, y, x


def _decompress(path: Path, offset: int, shape: tuple[int, int, int], dtype: np.dtype) -> AnyVolume:
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    found = 0
    # no more is set aside than the file can hold, whatever a damaged header says
    content = np.empty(min(n_bytes, _MAX_GZIP_RATIO * path.stat().st_size), dtype=np.uint8)
    try:
        with _open(path) as file:
            file.seek(offset)
            while read := file.readinto(content.data[found : found + _PIECE]):
                found += read
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TomogramError(f"{path}: damaged or truncated gzip file ({error}); copy or download it again") from error
    if found < n_bytes:
        raise TomogramError(
            f"{path}: truncated: {offset + n_bytes} bytes expected once decompressed, "
            f"there are {offset + found}; copy or download it again"
        )
    return content.view(dtype).reshape(shape)
