"""HDF5: one dataset of three dimensions, z, y, x; further axes, of length 1, are dropped.

Axes have another order if the attribute ``axistags`` of ilastik, or HDF5's labels of dimensions, name it.
The voxel size is read from attributes that have a unit: those of EMAN2 (``EMAN.apix_x``, ``_y``, ``_z`` in angstrom, of
the group of the image), and of ilastik, Fiji and others (``element_size_um``, z, y, x in micrometres, of the dataset).
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from cryosam.arrays import AnyVolume
from cryosam.errors import TomogramError
from cryosam.io.locations import split_hdf5
from cryosam.io.volume_info import VolumeInfo

__all__ = ["read_hdf5", "read_hdf5_info"]

_log = logging.getLogger(__name__)

_SHOWN = 8
_EMAN = ("EMAN.apix_z", "EMAN.apix_y", "EMAN.apix_x")
_ANGSTROM_PER_MICROMETRE = 1e4


def read_hdf5_info(path: Path) -> VolumeInfo:
    """Read the metadata; the voxels are not read.

    Parameters
    ----------
    path
        ``file.h5`` if it has only one volume, or ``file.h5:/dataset``.

    Raises
    ------
    TomogramError
        If this is not an HDF5 file, or is truncated; if it has no volume, or several and none is named; if the voxels
        are not real numbers.
    """
    with _dataset(path) as dataset:
        z, y, x = (int(dataset.shape[axis]) for axis in _axes(dataset))
        return VolumeInfo(path, "HDF5", (z, y, x), dataset.dtype.newbyteorder("="), _spacing(dataset))


def read_hdf5(path: Path) -> AnyVolume:
    """Read the voxels ``(z, y, x)`` into memory.

    Raises
    ------
    TomogramError
        As in `read_hdf5_info`, and if a part cannot be decoded.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/t.h5", "w") as file:
    ...         _ = file.create_dataset("raw", data=np.ones((2, 3, 4)))
    ...     read_hdf5(Path(f"{folder}/t.h5:/raw")).shape
    (2, 3, 4)
    """
    with _dataset(path) as dataset:
        axes = _axes(dataset)
        if axes != tuple(range(dataset.ndim - 3, dataset.ndim)):
            _log.warning("%s: of the shape %s, the axes %s are read as z, y, x", path, dataset.shape, axes)
        others = tuple(axis for axis in range(dataset.ndim) if axis not in axes)
        try:
            return np.transpose(dataset[...], (*others, *axes)).reshape([dataset.shape[axis] for axis in axes])
        except Exception as error:  # each filter has its own exceptions
            raise TomogramError(f"{path}: the voxels cannot be read ({error}); copy or download it again") from error


@contextmanager
def _dataset(path: Path) -> Iterator[h5py.Dataset]:
    """Open the volume in a file."""
    file, name = split_hdf5(path) or (path, "")
    try:
        content = h5py.File(file, "r")
    except OSError as error:
        if not file.is_file():
            raise
        raise TomogramError(f"{file}: not an HDF5 file, or truncated ({error})") from error
    with content:
        try:
            found = _find(file, name, content) if name else _only_volume(file, content)
        except TomogramError:
            raise
        except Exception as error:  # a damaged file makes h5py raise exceptions of any type
            raise TomogramError(f"{file}: damaged HDF5 file ({error}); copy or download it again") from error
        yield found


def _find(file: Path, name: str, content: h5py.File) -> h5py.Dataset:
    """Return the volume of a name, or the only one in the group of that name."""
    found = content.get(name)
    if isinstance(found, h5py.Group):
        found = _only_volume(file, found)
    if found is None:
        raise TomogramError(f"{file}: no dataset /{name}; the file has {_listed(_volumes(content))}")
    if not _is_volume(found):
        raise TomogramError(f"{file}: /{name} is not a volume of real numbers: {found.shape} {found.dtype}")
    return found


def _only_volume(file: Path, group: h5py.Group) -> h5py.Dataset:
    volumes = _volumes(group)
    if len(volumes) == 1:
        return volumes[0]
    if not volumes:
        raise TomogramError(f"{file}: the file has no dataset with three dimensions and real numbers")
    first = volumes[0].name
    raise TomogramError(
        f"{file}: {len(volumes)} volumes ({_listed(volumes)}); name one of them, such as {file}:{first}"
    )


def _volumes(group: h5py.Group) -> list[h5py.Dataset]:
    """Return all volumes below a group."""
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, item: found.append(item) if _is_volume(item) else None)
    return found


def _is_volume(item: object) -> bool:
    """Whether this is a dataset of three dimensions, apart from those of length 1."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind not in "uif":
        return False
    return item.size > 0 and len(_axes(item)) == 3


def _axes(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Return the axes z, y, x of a dataset; none if it is not a volume.

    They are those with these names, else the only three that are longer than 1, else the last three.
    """
    named = [_axis_names(dataset).find(name) for name in "zyx"]
    long = [axis for axis, n in enumerate(dataset.shape) if n > 1]
    last = list(range(dataset.ndim - 3, dataset.ndim))
    chosen = named if min(named) >= 0 else long if len(long) == 3 else last
    if dataset.ndim < 3 or not set(long) <= set(chosen):
        return ()
    return tuple(chosen)


def _axis_names(dataset: h5py.Dataset) -> str:
    """Return a letter for each axis of a dataset; empty if they are not known."""
    try:
        tags = json.loads(dataset.attrs.get("axistags", "{}")).get("axes", [])
        names = [str(tag["key"]) for tag in tags] or [dimension.label for dimension in dataset.dims]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    letters = "".join(name.lower() for name in names)
    return letters if len(letters) == dataset.ndim == len(set(letters)) else ""


def _spacing(dataset: h5py.Dataset) -> tuple[float, float, float] | None:
    """Edges of a voxel in angstrom, along z, y, x; None if no attribute gives them with a unit."""
    for attributes in (dataset.attrs, dataset.parent.attrs):
        if set(_EMAN) <= set(attributes):
            z, y, x = (float(attributes[name]) for name in _EMAN)
            return z, y, x
    sizes = np.atleast_1d(dataset.attrs.get("element_size_um", []))
    if sizes.shape == (3,) and sizes.dtype.kind in "uif":
        z, y, x = (sizes * _ANGSTROM_PER_MICROMETRE).tolist()
        return z, y, x
    return None


def _listed(volumes: list[h5py.Dataset]) -> str:
    names = [str(volume.name) for volume in volumes[:_SHOWN]]
    return ", ".join(names) + (" and more" if len(volumes) > _SHOWN else "") if names else "no volumes"
