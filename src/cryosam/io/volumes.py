"""One door to every format of volumes; the name's ending says which."""

import math
import os
from importlib import import_module
from pathlib import Path, PurePath
from types import ModuleType
from typing import Literal

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import InputError, InputNotFoundError, TomogramError, VoxelSizeError
from cryosam.io.locations import RemotePath, as_location, find_volume, split_hdf5
from cryosam.io.volume_info import VolumeInfo
from cryosam.tomogram import Tomogram

__all__ = ["is_volume_name", "read_info", "read_search_mask", "read_tomogram", "read_volume", "write_volume"]

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
    """Whether a name is that of a volume, by its ending.

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
        or ``x.h5:/dataset`` of several) or OME-Zarr (``x.zarr``, or ``x.zarr/1`` for another level; also at an address
        ``https://`` or ``s3://``, which needs ``cryosam-et[remote]``). A folder in the layout of copick or of the
        CryoET Data Portal that holds one tomogram stands for it.
    voxel_size_angstrom
        Edge of a voxel; it takes the place of what the header says.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If the format is not known.
    TomogramError
        If the file is damaged, or is not a 3D volume of real numbers.
    VoxelSizeError
        If the header says that voxels are not cubes, and no size is given.

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
    size = info.voxel_size_angstrom if voxel_size_angstrom is None else voxel_size_angstrom
    return Tomogram(read_volume(info.path), size, info.name)


def read_volume(path: AnyPath) -> AnyVolume:
    """Read voxels ``(z, y, x)`` in the type of the file, for labels and masks; the voxel size is not looked at.

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
    """Where particles may be: the voxels of a volume that are not 0; None if no file is given.

    Parameters
    ----------
    path
        Of a volume.
    shape
        Of the tomogram, voxels z, y, x.

    Raises
    ------
    TomogramError
        If the volume has another shape.
    """
    if path is None:
        return None
    mask: Mask = read_volume(path) != 0
    if mask.shape != shape:
        raise TomogramError(f"{path}: the search mask has shape {mask.shape}, the tomogram {shape}")
    return mask


def read_info(path: AnyPath) -> VolumeInfo:
    """What the header says, in milliseconds whatever the size.

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
    """Write a volume; it appears under its name only once it is whole, and replaces what was there.

    Parameters
    ----------
    path
        As for `read_tomogram`; a ``.zarr`` becomes OME-Zarr 0.4, which every reader knows.
    data
        ``(z, y, x)``. Integers and masks are stored in the smallest type of the format that holds them.
    voxel_size_angstrom
        Edge of a voxel, or None if it is not known.

    Raises
    ------
    InputError
        If the format is not known, or has no type for such voxels.
    TomogramError
        If the array is empty, or has not three dimensions.
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
        raise InputError(f"{path}: HDF5 is read, not written; give a name that ends in .mrc, .tif or .zarr")
    if data.ndim != 3 or not data.size:
        raise TomogramError(f"{path}: only a volume with the axes z, y, x can be written, this is {data.shape}")
    if voxel_size_angstrom is not None and not (math.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0):
        raise VoxelSizeError(
            f"{path}: the voxel size must be positive, or None if unknown; this is {voxel_size_angstrom}"
        )
    getattr(_module(kind), f"write_{kind}")(Path(path), data, voxel_size_angstrom)


def _module(kind: Format) -> ModuleType:
    """Imported when it is needed: a run on MRC files does not wait for Zarr."""
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
    raise InputError(
        f"{path}: unknown format of volume; known are {' '.join(_SUFFIXES)}, and .gz after the MRC ones (.mrc.gz)"
    )


def _existing(path: AnyPath) -> Path | RemotePath:
    location = as_location(path)
    if isinstance(location, RemotePath):
        if _format(location) != "ome_zarr":
            raise InputError(f"{location}: only OME-Zarr is read over the network; download the file")
        return location
    in_hdf5 = split_hdf5(location)
    file = location if in_hdf5 is None else in_hdf5[0]
    try:
        is_there, is_folder = file.exists(), file.is_dir()
    except OSError as error:  # a folder above it may not be entered, or the name is too long
        raise _unreadable(file, error) from error
    if not is_there:
        raise InputNotFoundError(f"{file}: no such file; check the path")
    if is_folder and not any(part.lower().endswith(".zarr") for part in file.parts):
        return find_volume(file)
    if is_folder and _format(file) != "ome_zarr":
        raise InputError(f"{file}: a folder, not a file; give the volume's file")
    return location


def _unreadable(path: PurePath, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {error.strerror or error}")
