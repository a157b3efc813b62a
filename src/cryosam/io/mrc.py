"""The MRC family: MRC2014, variants of IMOD, and both compressed with gzip.

The axes z, y, x of an array are the sections, rows and columns of the file in their stored order. Nothing is flipped,
so the handedness is that of the file. Voxel coordinates ignore the origin in the header; `VolumeInfo` stores it, and
`write_mrc` can write it, so that viewers that work in angstrom (ChimeraX) overlay a result on its tomogram.

Bytes (mode 0) are signed, as the standard says, unless IMOD's stamp, the intensity range in the header or the voxels
themselves say otherwise. IMOD shows signed bytes as 0 to 255: `VolumeInfo.shown_offset` is what it adds.

Sources: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014); IMOD, "The MRC2014 file format used by IMOD".
"""

import gzip
import logging
import os
import warnings
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import mrcfile
import numpy as np
from jaxtyping import UInt8
from mrcfile.dtypes import HEADER_DTYPE

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import TomogramError
from cryosam.io.atomic import atomic_path
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.voxel_types import as_storable
from cryosam.masks import InstanceMask

__all__ = ["read_mrc", "read_mrc_info", "write_mrc", "write_mrc_labels"]

_log = logging.getLogger(__name__)

_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED = {3: "complex integers", 4: "complex numbers (a Fourier transform)", 16: "colours", 101: "4-bit numbers"}
_MAX_EDGE = 1 << 20  # a longer edge means that these bytes are not a header
_MAX_GZIP_RATIO = 1100  # the maximum of deflate is 1032
_PIECE = 1 << 24  # bytes decompressed at a time
_MAP = b"MAP"
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_OFFSET = 128  # IMOD shows the stored byte -128 as 0
_SAMPLED, _PIECES = 1 << 20, 64  # bytes that are looked at to see whether they are signed, and the parts they come from
_MOST_SAMPLED_GZIP = 1 << 24  # bytes from the start of a compressed file
_WRAP, _NO_WRAP = 4.0, 1e-4  # least ratio of voxels at the two seams; least share at a seam
_AXIS_LETTERS = {1: 2, 2: 1, 3: 0}  # the header counts x, y, z = 1, 2, 3


def read_mrc_info(path: Path) -> VolumeInfo:
    """Read the header; the voxels are not read.

    Raises
    ------
    TomogramError
        If the file is not an MRC volume of real numbers, or is shorter than its header says (the length of a
        compressed file is not checked).
    """
    header, offset = _read_header(path)
    shape, dtype = _stored_shape(header), _settled_dtype(header, path, offset)[0]
    axes = _axes(header, path)
    low, high = float(header["dmin"]), float(header["dmax"])
    has_range = bool(np.isfinite([low, high]).all() and low < high)  # the standard marks "unknown" with low > high
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
        _IMOD_SIGNED_OFFSET if int(header["mode"]) == 0 and _imod_signed(header) else 0,
    )


def read_mrc(path: Path) -> AnyVolume:
    """Read voxels ``(z, y, x)``; memory-mapped and read-only, unless the file is compressed.

    Raises
    ------
    TomogramError
        As in `read_mrc_info`, and if a compressed file is damaged or too short.
    """
    header, offset = _read_header(path)
    shape = _stored_shape(header)
    dtype, doubt = _settled_dtype(header, path, offset)
    if doubt:
        _log.warning("%s: %s", path, doubt)
    if more := _n_more_bytes(path, offset, header):
        _log.warning("%s: %d bytes after the voxels are ignored; if the file is damaged, voxels have moved", path, more)
    data = _decompress(path, offset, shape, dtype) if _is_gzip(path) else np.memmap(path, dtype, "r", offset, shape)
    axes = _axes(header, path)
    return np.transpose(data, [axes.index(axis) for axis in range(3)])


def write_mrc(
    path: Path,
    data: AnyVolume | Mask,
    voxel_size_angstrom: float | None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a volume; it is compressed if the name ends in ``.gz``.

    Parameters
    ----------
    data
        ``(z, y, x)``. Integers and masks are stored in the first of int8, uint16, int16 and float32 that holds all
        their values. Unsigned bytes are not used, because IMOD and other programs would read them as signed.
    voxel_size_angstrom
        Edge length of a voxel; None is written as 0, which means "unknown".
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
        warnings.simplefilter("ignore", RuntimeWarning)  # statistics in the header of voxels that are not finite
        mrc.set_data(np.ascontiguousarray(stored))
        _describe(mrc, voxel_size_angstrom, origin_angstrom)


def write_mrc_labels(
    path: Path,
    shape: tuple[int, int, int],
    parts: Sequence[tuple[int, InstanceMask]],
    voxel_size_angstrom: float | None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write masks as a volume of labels, with 0 as background; the volume is never completely in memory.

    Parameters
    ----------
    shape
        Shape of the volume, z, y, x in voxels.
    parts
        Label and mask of each instance, written in this order: where masks overlap, the last one remains.
    voxel_size_angstrom, origin_angstrom
        As in `write_mrc`, which writes the same file from an array.

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
    """Reserve the disk space of the file: a full disk during memory-mapped writing would kill the program."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _describe(
    mrc: mrcfile.mrcfile.MrcFile, voxel_size_angstrom: float | None, origin: tuple[float, float, float]
) -> None:
    """Write the voxel size and origin to the header."""
    mrc.set_volume()
    mrc.voxel_size = voxel_size_angstrom or 0.0
    z, y, x = origin
    mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = x, y, z


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")


def _read_header(path: Path) -> tuple[np.void, int]:
    """Read the header and the offset of the voxels, and check the length of the file."""
    try:
        with _open(path) as file:
            start = file.read(HEADER_DTYPE.itemsize)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TomogramError(f"{path}: damaged gzip file ({error}); copy or download it again") from error
    if len(start) < HEADER_DTYPE.itemsize:
        raise TomogramError(
            f"{path}: not an MRC file; it has {len(start)} bytes, but the header alone needs {HEADER_DTYPE.itemsize}"
        )
    header = _decode(start)
    if header is None:
        raise TomogramError(f"{path}: not an MRC file, or its header is damaged; its shape or voxel type is invalid")
    offset = HEADER_DTYPE.itemsize + int(header["nsymbt"])
    if not _is_gzip(path):
        _require_length(path, path.stat().st_size, offset, header)
    return header, offset


def _n_more_bytes(path: Path, offset: int, header: np.void) -> int:
    """Return how many bytes an uncompressed file has after its voxels."""
    if _is_gzip(path):
        return 0
    return path.stat().st_size - offset - int(np.prod(_stored_shape(header))) * _dtype(header, path).itemsize


def _require_length(path: Path, actual: int, offset: int, header: np.void) -> None:
    shape, dtype = _stored_shape(header), _dtype(header, path)
    expected = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if actual > expected and not bytes(header["map"]).startswith(_MAP):
        raise TomogramError(
            f"{path}: not an MRC file, or its header is damaged: the word MAP is missing, and the file has {actual} "
            f"bytes instead of {expected}; copy or download it again"
        )
    if actual < expected:
        z, y, x = shape
        raise TomogramError(
            f"{path}: truncated: {expected} bytes expected for {z} x {y} x {x} voxels of {dtype.name}, "
            f"the file has {actual}; copy or download it again"
        )


def _decode(start: bytes) -> np.void | None:
    """Decode the header in the byte order that gives valid numbers; the machine stamp says which to try first."""
    stamp = start[212]
    for order in (">", "<") if stamp == 0x11 else ("<", ">"):
        header: np.void = np.frombuffer(start, HEADER_DTYPE.newbyteorder(order))[0]
        edges = [int(header[n]) for n in ("nx", "ny", "nz")]
        known = int(header["mode"]) in _TYPES.keys() | _REFUSED.keys()
        if known and 0 < min(edges) <= max(edges) <= _MAX_EDGE and int(header["nsymbt"]) >= 0:
            return header
    return None


def _dtype(header: np.void, path: Path) -> np.dtype:
    """Return the voxel type, in the byte order of the file."""
    mode = int(header["mode"])
    if mode in _REFUSED:
        raise TomogramError(
            f"{path}: MRC mode {mode} holds {_REFUSED[mode]}, not a tomogram; give real numbers (modes 0, 1, 2, 6, 12)"
        )
    if int(header["ispg"]) >= 401:
        raise TomogramError(
            f"{path}: a stack of volumes (space group {int(header['ispg'])}); save one volume as a separate file"
        )
    return np.dtype(_TYPES[mode]).newbyteorder(header.dtype["nx"].byteorder)


def _settled_dtype(header: np.void, path: Path, offset: int) -> tuple[np.dtype, str]:
    """Return the voxel type, and what to say about it: nothing, unless the voxels had to tell the sign of bytes.

    IMOD marks its files with a stamp and stores the sign in bit 0 of the flags. Without the stamp bytes are signed, as
    the standard says, unless the intensity range in the header is possible for unsigned bytes only. IMOD before 4.2.23
    and programs that followed it wrote such files. If the header has no range, the voxels tell.
    """
    dtype = _dtype(header, path)
    if dtype != np.int8:
        return dtype, ""
    is_signed = _imod_signed(header)
    if is_signed is None:
        low, high = float(header["dmin"]), float(header["dmax"])
        if not -128 <= low < high <= 255:
            return _seen_dtype(_sample_bytes(path, offset, int(np.prod(_stored_shape(header), dtype=np.int64))))
        is_signed = low < 0 or high <= 127
    return np.dtype("i1" if is_signed else "u1"), ""


def _imod_signed(header: np.void) -> bool | None:
    """Whether IMOD wrote bytes as signed; None without the stamp of IMOD."""
    stamp, flags = np.frombuffer(header["extra2"].tobytes()[40:48], header.dtype["nx"]).tolist()
    return bool(flags & 1) if stamp == _IMOD_STAMP else None


def _seen_dtype(sample: UInt8[np.ndarray, " n"]) -> tuple[np.dtype, str]:
    """Return the type of bytes by where their histogram is cut in two, and what to say about it.

    The histogram of a tomogram is one hill. If it is read with the wrong sign, its two halves are at the two ends of
    the range: there are many voxels on both sides of the seam, between 127 and -128, or between 255 and 0. The end
    values are ignored: clipped voxels have them.
    """
    count = np.bincount(sample, minlength=256)
    if_signed = min(count[118:127].sum(), count[129:138].sum())
    if_unsigned = min(count[1:10].sum(), count[246:255].sum())
    if if_signed <= _NO_WRAP * len(sample):
        return np.dtype("i1"), ""
    if if_signed > _WRAP * if_unsigned:
        return np.dtype("u1"), "the header does not say whether bytes are signed; the voxels show that they are not"
    if if_unsigned > _WRAP * if_signed:
        return np.dtype("i1"), ""
    return np.dtype("i1"), (
        "neither the header nor the voxels tell whether bytes are signed; they are read as signed, as the standard "
        "says; if that is wrong, save the volume with 16-bit integers"
    )


def _sample_bytes(path: Path, offset: int, n_voxels: int) -> UInt8[np.ndarray, " n"]:
    """Read some of the voxels: pieces that are spread evenly, or the first ones of a compressed file."""
    with _open(path) as file:
        if _is_gzip(path):
            file.seek(offset)
            return np.frombuffer(file.read(min(n_voxels, _MOST_SAMPLED_GZIP)), np.uint8)
        n_each = -(-min(n_voxels, _SAMPLED) // _PIECES)
        pieces = []
        for start in np.linspace(0, n_voxels - n_each, _PIECES).astype(np.int64).tolist():
            file.seek(offset + start)
            pieces.append(file.read(n_each))
    return np.frombuffer(b"".join(pieces), np.uint8)


def _stored_shape(header: np.void) -> tuple[int, int, int]:
    """Return the number of sections, rows and columns of the file."""
    return int(header["nz"]), int(header["ny"]), int(header["nx"])


def _axes(header: np.void, path: Path) -> list[int]:
    """Return the axes (z, y, x = 0, 1, 2) of sections, rows and columns; all zero in the header means the default."""
    order = [int(header[n]) for n in ("maps", "mapr", "mapc")]
    if order == [0, 0, 0]:
        return [0, 1, 2]
    if sorted(order) != [1, 2, 3]:
        raise TomogramError(
            f"{path}: the header's axis order mapc, mapr, maps = {order[::-1]} is not a permutation of 1, 2, 3"
        )
    return [_AXIS_LETTERS[letter] for letter in order]


def _spacing(header: np.void) -> tuple[float, float, float] | None:
    """Return the edges of a voxel along z, y, x; None if the cell size in the header is zero."""
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
    # a damaged header must not make this allocate more than the file can contain
    content = np.empty(min(n_bytes, _MAX_GZIP_RATIO * path.stat().st_size), dtype=np.uint8)
    try:
        with _open(path) as file:
            file.seek(offset)
            while read := file.readinto(content.data[found : found + _PIECE]):
                found += read
            while file.read(_PIECE):  # the check sum is at the end
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TomogramError(f"{path}: damaged or truncated gzip file ({error}); copy or download it again") from error
    if found < n_bytes:
        raise TomogramError(
            f"{path}: truncated: {offset + n_bytes} bytes expected after decompression, "
            f"there are {offset + found}; copy or download it again"
        )
    return content.view(dtype).reshape(shape)
