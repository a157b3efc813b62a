"""Reading and writing volumes in every format, chosen by the file extension."""

import logging
import math
import os
from importlib import import_module
from pathlib import Path, PurePath
from types import ModuleType
from typing import Literal

import numpy as np

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import InputError, InputNotFoundError, TomogramError, VoxelSizeError
from cryosam.io.locations import RemotePath, as_location, find_volume, split_hdf5
from cryosam.io.volume_info import VolumeInfo
from cryosam.tomogram import Tomogram

__all__ = [
    "is_volume_name",
    "read_info",
    "read_search_mask",
    "read_tomogram",
    "read_volume",
    "read_voxels",
    "write_volume",
]

_log = logging.getLogger(__name__)

Format = Literal["mrc", "tiff", "ome_zarr", "hdf5"]
AnyPath = str | os.PathLike[str]

_SUFFIXES: dict[str, Format] = {
    ".mrc": "mrc",
    ".mrcs": "mrc",
    ".rec": "mrc",
    ".map": "mrc",
    ".st": "mrc",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".zarr": "ome_zarr",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
}


def is_volume_name(path: AnyPath) -> bool:
    """Whether the file extension is that of a volume format.

    Examples
    --------
    >>> is_volume_name("a/b.mrc.gz"), is_volume_name("a/b.txt")
    (True, False)
    """
    try:
        _format(Path(path))
    except InputError:
        return False
    return True


def read_tomogram(path: AnyPath, voxel_size_angstrom: float | None = None) -> Tomogram:
    """Read a tomogram; an uncompressed MRC or TIFF file is memory-mapped, not read.

    Parameters
    ----------
    path
        MRC family (``.mrc .mrcs .rec .map .st``, also with ``.gz``), TIFF (``.tif .tiff``), HDF5 (``.h5 .hdf5 .hdf``,
        or ``x.h5:/dataset`` if there are several) or OME-Zarr (``x.zarr``, or ``x.zarr/1`` for another level; also at
        an address ``https://`` or ``s3://``, which needs ``cryosam-et[remote]``). A folder with one tomogram in the
        layout of copick or of the CryoET Data Portal can be given instead of the tomogram.
    voxel_size_angstrom
        Edge length of a voxel; replaces the value in the header, and a difference of more than 1 % is logged.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If the format is unknown.
    TomogramError
        If the file is damaged, or is not a 3D volume of real numbers.
    VoxelSizeError
        If the voxels are not cubes according to the header, and no size is given.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/t.mrc", np.zeros((3, 4, 5), np.float32), voxel_size_angstrom=10.0)
    ...     tomogram = read_tomogram(f"{folder}/t.mrc")
    >>> tomogram.shape, tomogram.voxel_size_angstrom, tomogram.name
    ((3, 4, 5), 10.0, 't')
    """
    info = read_info(path)
    if min(info.shape) == 1:
        z, y, x = info.shape
        raise TomogramError(
            f"{info.path}: a 2D image, {z} x {y} x {x} voxels (z, y, x); a tomogram has three dimensions"
        )
    return Tomogram(read_voxels(info.path), info.settle_voxel_size(voxel_size_angstrom), info.name)


def read_volume(path: AnyPath) -> AnyVolume:
    """Read values ``(z, y, x)`` of labels and masks, as the program that wrote them shows them.

    These are the voxels in the type of the file, except that IMOD shows signed bytes as 0 to 255.

    Parameters
    ----------
    path
        As for `read_tomogram`.

    Raises
    ------
    InputNotFoundError, InputError, TomogramError
        As for `read_tomogram`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/labels.mrc.gz", np.full((1, 1, 3), 7), voxel_size_angstrom=None)
    ...     read_volume(f"{folder}/labels.mrc.gz")
    array([[[7, 7, 7]]], dtype=int8)
    """
    offset = read_info(path).shown_offset
    voxels = read_voxels(path)
    return voxels if offset == 0 else voxels.astype(np.uint8) + np.uint8(offset)  # 256 wraps around to 0


def read_voxels(path: AnyPath) -> AnyVolume:
    """Read voxels ``(z, y, x)`` as they are stored; an uncompressed MRC or TIFF file is memory-mapped, not read.

    For intensities, where a constant does not matter; labels and masks are read by `read_volume`.

    Raises
    ------
    InputNotFoundError, InputError, TomogramError
        As for `read_tomogram`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/t.mrc", np.zeros((3, 4, 5), np.float32), voxel_size_angstrom=None)
    ...     type(read_voxels(f"{folder}/t.mrc")).__name__
    'memmap'
    """
    existing = _existing(path)
    kind = _format(existing)
    try:
        volume: AnyVolume = getattr(_module(kind), f"read_{kind}")(existing)
    except InputNotFoundError:  # an OSError too
        raise
    except OSError as error:
        raise _unreadable(existing, error) from error
    return volume


def read_search_mask(path: AnyPath | None, shape: tuple[int, int, int]) -> Mask | None:
    """Read where to search for particles: the voxels of a volume that are not 0; None if no file is given.

    A volume of only one value, which is not 0, excludes nothing; that is logged.

    Parameters
    ----------
    path
        File of a volume.
    shape
        Shape of the tomogram, z, y, x in voxels.

    Raises
    ------
    TomogramError
        If the volume has another shape, has voxels that are not finite, or several values but no 0.
    """
    if path is None:
        return None
    values = read_volume(path)
    if values.shape != shape:
        raise TomogramError(
            f"{path}: the search mask has shape {values.shape}, but the tomogram {shape}; give one of the same shape"
        )
    if not np.isfinite(values).all():
        raise TomogramError(f"{path}: the search mask has NaN or infinite voxels; give 0 outside and 1 inside")
    mask: Mask = values != 0
    if mask.all():
        low, high = values.min(), values.max()
        if low != high:
            raise TomogramError(
                f"{path}: no voxel of the search mask is 0, they are from {low:g} to {high:g}; give 0 outside and 1 "
                "inside"
            )
        _log.warning("%s: no voxel of the search mask is 0; particles are searched everywhere", path)
    return mask


def read_info(path: AnyPath) -> VolumeInfo:
    """Read the header, which takes milliseconds whatever the size of the volume.

    Parameters
    ----------
    path
        As for `read_tomogram`.

    Raises
    ------
    InputNotFoundError, InputError, TomogramError
        As for `read_tomogram`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/t.mrc", np.zeros((3, 4, 5), np.int16), voxel_size_angstrom=None)
    ...     info = read_info(f"{folder}/t.mrc")
    >>> info.format, info.shape, info.voxel_size_angstrom
    ('MRC', (3, 4, 5), None)
    """
    existing = _existing(path)
    kind = _format(existing)
    try:
        info: VolumeInfo = getattr(_module(kind), f"read_{kind}_info")(existing)
    except InputNotFoundError:  # an OSError too
        raise
    except OSError as error:
        raise _unreadable(existing, error) from error
    return info


def write_volume(path: AnyPath, data: AnyVolume | Mask, voxel_size_angstrom: float | None) -> None:
    """Write a volume; an existing file is replaced only when the new one is complete.

    Parameters
    ----------
    path
        As for `read_tomogram`; a ``.zarr`` is written as OME-Zarr 0.4, which every reader supports.
    data
        ``(z, y, x)``. Integers and masks are stored in the smallest type of the format that holds their values.
    voxel_size_angstrom
        Edge length of a voxel; None if unknown.

    Raises
    ------
    InputError
        If the format is unknown, or has no type for these voxels.
    TomogramError
        If the array is empty, or does not have three dimensions.
    VoxelSizeError
        If the voxel size is not a positive finite number.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/mask.mrc", np.ones((2, 3, 4), dtype=bool), voxel_size_angstrom=13.48)
    ...     read_info(f"{folder}/mask.mrc").dtype
    dtype('int8')
    """
    kind = _format(Path(path))
    if kind == "hdf5":
        raise InputError(f"{path}: HDF5 files cannot be written; give a name that ends in .mrc, .tif or .zarr")
    if data.ndim != 3 or not data.size:
        raise TomogramError(f"{path}: only a volume with the axes z, y, x can be written, got the shape {data.shape}")
    if voxel_size_angstrom is not None and not (math.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0):
        raise VoxelSizeError(f"{path}: the voxel size must be positive, or None if unknown, got {voxel_size_angstrom}")
    getattr(_module(kind), f"write_{kind}")(Path(path), data, voxel_size_angstrom)


def _module(kind: Format) -> ModuleType:
    """Import the module when it is needed, so that a run on MRC files does not import Zarr."""
    return import_module(f"cryosam.io.{kind}")


def _format(path: PurePath) -> Format:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz" and _SUFFIXES.get("".join(suffixes[-2:-1])) == "mrc":
        return "mrc"
    if split_hdf5(path) is not None:
        return "hdf5"
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if any(part.lower().endswith(".zarr") for part in path.parts):  # a level: x.zarr/1
        return "ome_zarr"
    raise InputError(f"{path}: unknown volume format; use {' '.join(_SUFFIXES)}, or .gz after those of MRC (.mrc.gz)")


def _existing(path: AnyPath) -> Path | RemotePath:
    location = as_location(path)
    if isinstance(location, RemotePath):
        if _format(location) != "ome_zarr":
            raise InputError(f"{location}: only OME-Zarr can be read over the network; download the file")
        return location
    in_hdf5 = split_hdf5(location)
    file = location if in_hdf5 is None else in_hdf5[0]
    try:
        is_there, is_folder = file.exists(), file.is_dir()
    except OSError as error:  # no permission for a parent folder, or the name is too long
        raise _unreadable(file, error) from error
    if not is_there:
        raise InputNotFoundError(f"{file}: no such file; check the path")
    if is_folder and not any(part.lower().endswith(".zarr") for part in file.parts):
        return find_volume(file)
    if is_folder and _format(file) != "ome_zarr":
        raise InputError(f"{file}: this is a folder; give the file of the volume")
    return location


def _unreadable(path: PurePath, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {error.strerror or error}")
