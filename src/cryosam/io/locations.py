"""Locations of volumes: files, folders with one volume, datasets of HDF5 files, and network addresses."""

import os
import re
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from cryosam.errors import InputError, InputNotFoundError

__all__ = [
    "NEEDS_EXTRA",
    "RemotePath",
    "as_location",
    "fetch",
    "find_volume",
    "split_hdf5",
    "storage_options",
    "tomogram_name",
]

NEEDS_EXTRA = "network addresses need more packages: in the clone, pip install -e '.[remote]'"

AnyPath = str | os.PathLike[str]

_REMOTE = re.compile(r"^(https?|s3|gs|memory):/{1,2}(?=[^/])")
_HDF5 = re.compile(r"^(.*\.(?:h5|hdf5|hdf))(?::/*(.*))?$", re.IGNORECASE | re.DOTALL)
_ENDINGS = (".mrc", ".mrcs", ".rec", ".map", ".st", ".tif", ".tiff", ".zarr", ".h5", ".hdf5", ".hdf")
_IN_FOLDERS = (
    "*.zarr",  # copick's VoxelSpacing10.000, the data portal's Tomograms/100
    "VoxelSpacing*/*.zarr",  # copick's run
    "Tomograms/*/*.zarr",  # the data portal's Reconstructions/VoxelSpacing10.000
    "Reconstructions/VoxelSpacing*/Tomograms/*/*.zarr",  # the data portal's run
)
_SHOWN = 8


class RemotePath(PurePosixPath):
    """A network address with the methods of a path; a plain path would lose one slash of ``https://``.

    Examples
    --------
    >>> str(RemotePath("https://example.org/a.zarr") / "0"), RemotePath("https:/example.org/a.zarr").name
    ('https://example.org/a.zarr/0', 'a.zarr')
    """

    def __str__(self) -> str:
        return _REMOTE.sub(r"\1://", super().__str__())


def as_location(path: AnyPath) -> Path | RemotePath:
    """Return a local path or a network address.

    Examples
    --------
    >>> as_location(Path("https://example.org/a.zarr"))
    RemotePath('https://example.org/a.zarr')
    """
    return RemotePath(os.fspath(path)) if _REMOTE.match(os.fspath(path)) else Path(path)


def storage_options(path: RemotePath) -> dict[str, Any]:
    """Return the options to open an address: S3 access is anonymous unless AWS credentials are in the environment.

    Examples
    --------
    >>> storage_options(RemotePath("https://example.org/a.zarr"))
    {}
    """
    is_signed = "AWS_PROFILE" in os.environ or "AWS_ACCESS_KEY_ID" in os.environ
    return {"anon": True} if str(path).startswith("s3:") and not is_signed else {}


def fetch(path: RemotePath, folder: Path) -> Path:
    """Copy a small file from the network into a folder.

    Raises
    ------
    InputNotFoundError
        If there is no file at that address.
    InputError
        If the address cannot be opened, or the packages for it are not installed.
    """
    target = folder / path.name
    try:
        import fsspec

        with fsspec.open(str(path), "rb", **storage_options(path)) as file:
            target.write_bytes(file.read())
    except ImportError as error:
        raise InputError(f"{path}: {NEEDS_EXTRA}") from error
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no file at this address; check it") from error
    except Exception as error:  # each kind of address has its own exceptions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be opened ({reason})") from error
    return target


def split_hdf5(path: PurePath) -> tuple[Path, str] | None:
    """Split ``file.h5:/dataset`` into file and dataset, which is empty if not named; None for other files.

    Examples
    --------
    >>> split_hdf5(Path("a/b.h5:/raw/0")), split_hdf5(Path("a/b.hdf")), split_hdf5(Path("a/b.mrc"))
    ((PosixPath('a/b.h5'), 'raw/0'), (PosixPath('a/b.hdf'), ''), None)
    """
    match = _HDF5.match(str(path))
    return None if match is None else (Path(match[1]), match[2] or "")


def find_volume(folder: Path) -> Path:
    """Find the only OME-Zarr image in a folder with the layout of copick or of the CryoET Data Portal.

    Raises
    ------
    InputError
        If there is none, or more than one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "VoxelSpacing10.000", "wbp.zarr").mkdir(parents=True)
    ...     find_volume(Path(folder)).name
    'wbp.zarr'
    """
    for pattern in _IN_FOLDERS:
        found = sorted(path for path in folder.glob(pattern) if path.is_dir() and not path.name.startswith("."))
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(path.relative_to(folder)) for path in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise InputError(f"{folder}: this folder has {len(found)} tomograms; give one of them: {listed}{more}")
    raise InputError(f"{folder}: this is a folder; give the file of the volume")


def tomogram_name(path: PurePath) -> str:
    """Name of the tomogram: the file or Zarr folder name without extensions, or in copick the name of the run.

    Examples
    --------
    >>> tomogram_name(Path("a/TS_01.mrc.gz")), tomogram_name(Path("p/ExperimentRuns/TS_01/VoxelSpacing10.000/wbp.zarr"))
    ('TS_01', 'TS_01')
    """
    in_hdf5 = split_hdf5(path)
    parts = in_hdf5[0].parts if in_hdf5 is not None else path.parts
    for run, spacing in pairwise(parts):
        if spacing.startswith("VoxelSpacing") and "ExperimentRuns" in parts:
            return run
    for part in reversed(parts):
        for ending in (".ome.zarr", *(f"{e}.gz" for e in _ENDINGS), *_ENDINGS):
            if part.lower().endswith(ending) and len(part) > len(ending):
                return part[: -len(ending)]
    return path.stem
