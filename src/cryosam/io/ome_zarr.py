"""OME-Zarr 0.4 (on Zarr 2) and 0.5 (on Zarr 3): one level of a multiscale image.

Source: the OME-NGFF specification, sections "multiscales", "axes" and "coordinateTransformations" of 0.4 and 0.5.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from jaxtyping import Float

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import InputError, InputNotFoundError, TomogramError
from cryosam.io.atomic import atomic_path
from cryosam.io.locations import NEEDS_EXTRA, RemotePath, storage_options
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.voxel_types import as_storable

__all__ = ["read_ome_zarr", "read_ome_zarr_info", "write_ome_zarr"]

AnyLocation = Path | RemotePath

_ANGSTROM_PER_UNIT = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "picometer": 0.01, "millimeter": 1e7}
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
_CHUNK = 64  # voxels per edge: a chunk of float32 is 1 MiB
_BLOSC_HEADER = 16  # bytes; the last four are the length of the chunk
_METADATA = (".zarray", ".zattrs", ".zgroup", "zarr.json")
_LIST_FIELDS = ("axes", "datasets")


def read_ome_zarr_info(path: AnyLocation) -> VolumeInfo:
    """Read the metadata; the voxels are not read.

    Parameters
    ----------
    path
        The folder of the image, ``x.zarr``, for its first and finest level, or of a level, ``x.zarr/1``; or an
        address of one of these.

    Raises
    ------
    TomogramError
        If there is no Zarr array, its axes are not z, y, x (single channels and time points are dropped), or the
        metadata are broken.
    """
    array, image, dataset = _open_level(path)
    axes = _axes(image, array, path)
    order = _spatial_order(axes, array.shape, path)
    if array.dtype.kind not in "uif":
        raise TomogramError(f"{path}: voxels must be real numbers, these are {array.dtype}")
    z, y, x = (int(array.shape[i]) for i in order)
    return VolumeInfo(
        path,
        f"OME-Zarr {image['version']}" if image else f"Zarr {array.metadata.zarr_format}",
        (z, y, x),
        np.dtype(array.dtype).newbyteorder("="),
        _spacing(axes, order, image, dataset, path),
    )


def read_ome_zarr(path: AnyLocation) -> AnyVolume:
    """Read the voxels ``(z, y, x)`` of one level into memory.

    Raises
    ------
    TomogramError
        As in `read_ome_zarr_info`, and if a chunk cannot be decoded.
    """
    array, image, _ = _open_level(path)
    order = _spatial_order(_axes(image, array, path), array.shape, path)
    _check_blosc_chunks(array, path)
    try:
        data = np.asarray(array[tuple(slice(None) if i in order else 0 for i in range(array.ndim))])
    except OSError:
        raise
    except Exception as error:  # each codec has its own exceptions
        raise TomogramError(f"{path}: a chunk cannot be decoded ({error}); copy or download it again") from error
    return np.transpose(data, np.argsort(np.argsort(order)))


def _check_blosc_chunks(array: zarr.Array, path: AnyLocation) -> None:
    """Refuse cut-off chunks, which the library of Blosc would decode to whatever is in memory behind them.

    Chunks of other codecs have check sums, or a length. Those in shards and at network addresses are not checked.
    """
    root = getattr(array.store, "root", None)
    is_blosc = any("blosc" in type(codec).__name__.lower() for codec in array.compressors)
    if root is None or not is_blosc or array.shards is not None:
        return
    for file in (Path(root) / array.path).rglob("*"):
        if file.name in _METADATA or not file.is_file():
            continue
        with file.open("rb") as opened:
            header = opened.read(_BLOSC_HEADER)
        if len(header) < _BLOSC_HEADER or int.from_bytes(header[12:16], "little") > file.stat().st_size:
            raise TomogramError(f"{path}: the chunk {file} is cut off; copy or download it again")


def write_ome_zarr(
    path: Path, data: AnyVolume | Mask, voxel_size_angstrom: float | None, version: Literal["0.4", "0.5"] = "0.4"
) -> None:
    """Write an image with one level, with a scale and without a translation.

    Parameters
    ----------
    data
        ``(z, y, x)``. Integers and masks are stored in the smallest type that holds their values.
    voxel_size_angstrom
        Edge of a voxel, written in angstrom; None is written as a scale of 1 without a unit.
    version
        Version of OME-Zarr: 0.4 uses Zarr 2, 0.5 uses Zarr 3.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    stored = as_storable(data, _INTEGERS, ("float16", "float32", "float64"))
    unit = {} if voxel_size_angstrom is None else {"unit": "angstrom"}
    multiscale = {
        "name": path.name.removesuffix(".zarr").removesuffix(".ome"),
        "axes": [{"name": name, "type": "space", **unit} for name in "zyx"],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [voxel_size_angstrom or 1.0] * 3}],
            }
        ],
    }
    with atomic_path(path) as temporary:
        temporary.mkdir()  # zarr would create the parent folders too
        group = zarr.open_group(temporary, mode="w", zarr_format=2 if version == "0.4" else 3)
        if version == "0.4":
            group.attrs["multiscales"] = [{"version": version, **multiscale}]
        else:
            group.attrs["ome"] = {"version": version, "multiscales": [multiscale]}
        level = group.create_array(
            "0",
            shape=stored.shape,
            dtype=stored.dtype,
            chunks=tuple(min(_CHUNK, n) for n in stored.shape),
            chunk_key_encoding={"name": "v2" if version == "0.4" else "default", "separator": "/"},
            dimension_names=None if version == "0.4" else ["z", "y", "x"],
        )
        level[...] = stored


def _open_level(path: AnyLocation) -> tuple[zarr.Array, dict[str, Any], dict[str, Any]]:
    """Open the array of a level, with the metadata of its image and dataset; both are empty outside an image."""
    node = _open(path)
    if isinstance(node, zarr.Group):
        image = _image(node, path)
        if not image:
            members = _members(node)
            raise TomogramError(
                f"{path}: not an OME-Zarr image (no multiscales); it contains {members}; give one of them"
            )
        dataset = image["datasets"][0]
        level = _open(path / dataset["path"])
        if isinstance(level, zarr.Group):
            raise TomogramError(f"{path}: its level {dataset['path']} is not an array")
        return level, image, dataset
    for parent in (path.parent, path.parent.parent):  # a level may be one folder deeper, as in x.zarr/scale0/image
        try:
            group = _open(parent)
        except (InputError, InputNotFoundError):
            continue
        image = _image(group, parent) if isinstance(group, zarr.Group) else {}
        for dataset in image.get("datasets", []):
            if dataset["path"] == path.relative_to(parent).as_posix():
                return node, image, dataset
    return node, {}, {}


def _members(group: zarr.Group) -> str:
    """List the content of a group; not every address can be listed."""
    with suppress(Exception):
        return ", ".join(sorted(group.keys())) or "nothing"
    return "members that cannot be listed"


def _open(path: AnyLocation) -> zarr.Array | zarr.Group:
    if isinstance(path, RemotePath):
        return _open_remote(path)
    try:
        return zarr.open(path, mode="r")
    except OSError as error:
        if not path.exists() or isinstance(error, FileNotFoundError):
            raise TomogramError(f"{path}: neither a Zarr array nor a group, or its metadata are missing") from error
        raise
    except Exception as error:  # broken metadata make zarr raise exceptions of any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TomogramError(f"{path}: broken Zarr metadata ({reason})") from error


def _open_remote(path: RemotePath) -> zarr.Array | zarr.Group:
    try:
        return zarr.open(str(path), mode="r", storage_options=storage_options(path))
    except ImportError as error:
        raise InputError(f"{path}: {NEEDS_EXTRA}") from error
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no Zarr array or group at this address; check it") from error
    except Exception as error:  # each kind of address has its own exceptions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be opened ({reason})") from error


def _image(group: zarr.Group, path: AnyLocation) -> dict[str, Any]:
    """Return the metadata of the first multiscale image of the group, with the version; empty if there is none."""
    attributes: dict[str, Any] = dict(group.attrs)
    described = attributes.get("ome", attributes)
    images = described.get("multiscales") if isinstance(described, dict) else None
    if not images:
        return {}
    if not isinstance(images, list) or not isinstance(images[0], dict):
        raise TomogramError(f"{path}: broken OME-Zarr metadata: multiscales is not a list of images")
    image = {"version": described.get("version", "of unknown version"), **images[0]}
    if not all(isinstance(image.get(field), list) and image[field] for field in _LIST_FIELDS):
        raise TomogramError(f"{path}: the OME-Zarr metadata lack {' or '.join(_LIST_FIELDS)} (0.4 and 0.5 have them)")
    if not all(map(_is_axis, image["axes"])):
        raise TomogramError(f"{path}: broken OME-Zarr metadata: an axis has no name, or its unit is not a word")
    if not all(isinstance(dataset, dict) and isinstance(dataset.get("path"), str) for dataset in image["datasets"]):
        raise TomogramError(f"{path}: broken OME-Zarr metadata: a dataset has no path")
    return image


def _is_axis(axis: object) -> bool:
    """Whether this describes an axis; in the first versions it was only a name."""
    if not isinstance(axis, dict):
        return isinstance(axis, str)
    return isinstance(axis.get("name"), str) and isinstance(axis.get("unit", ""), str)


def _axes(image: dict[str, Any], array: zarr.Array, path: AnyLocation) -> list[dict[str, str]]:
    """Return name and unit of each axis; an array outside an image is assumed to be in the order t, c, z, y, x."""
    if not image:
        return [{"name": name} for name in ["t", "c", "z", "y", "x"][-array.ndim :]]
    if len(image["axes"]) != array.ndim:
        raise TomogramError(f"{path}: {len(image['axes'])} axes are described, but the array has {array.ndim}")
    return [{"name": axis} if isinstance(axis, str) else axis for axis in image["axes"]]


def _spatial_order(axes: list[dict[str, str]], shape: tuple[int, ...], path: AnyLocation) -> tuple[int, int, int]:
    """Return the positions of the axes z, y, x in the array; every other axis must have length 1."""
    names = [axis.get("name", "?").lower() for axis in axes]
    more = [f"{name} ({n})" for name, n in zip(names, shape, strict=False) if name not in "zyx" and n > 1]
    if more:
        raise TomogramError(f"{path}: several volumes, along {', '.join(more)}; give a file with one volume")
    if len(shape) != len(names) or not set("zyx") <= set(names):
        raise TomogramError(f"{path}: a tomogram has the axes z, y, x; this has {', '.join(names)} {shape}")
    return names.index("z"), names.index("y"), names.index("x")


def _spacing(
    axes: list[dict[str, str]],
    order: tuple[int, int, int],
    image: dict[str, Any],
    dataset: dict[str, Any],
    path: AnyLocation,
) -> tuple[float, float, float] | None:
    """Return the edges of a voxel along z, y, x, or None if an axis has no unit of length or there is no scale.

    The scale of the image multiplies the scale of the level.
    """
    factors = [_ANGSTROM_PER_UNIT.get(axes[i].get("unit", "")) for i in order]
    if not dataset or None in factors:
        return None
    scales = []
    for described in (dataset, image):
        listed = _scales(described.get("coordinateTransformations") or [], len(axes), path)
        if listed is None or len(listed) > 1:  # the standard allows one; is the second one a copy?
            return None
        scales += listed
    if not scales:
        return None
    z, y, x = (np.array(factors, dtype=float) * np.prod(scales, axis=0)[list(order)]).tolist()
    return z, y, x


def _scales(transformations: object, n_axes: int, path: AnyLocation) -> list[Float[np.ndarray, " n"]] | None:
    """Return the scale of each transformation that has one, in order; None if one is not known to keep the axes."""
    if not isinstance(transformations, list):
        raise TomogramError(f"{path}: broken OME-Zarr metadata: {transformations!r} is no list of transformations")
    parts = [_scales_of(transformation, n_axes, path) for transformation in transformations]
    known = [part for part in parts if part is not None]
    return [scale for part in known for scale in part] if len(known) == len(parts) else None


def _scales_of(transformation: object, n_axes: int, path: AnyLocation) -> list[Float[np.ndarray, " n"]] | None:
    """Return the scale of a transformation, none if it keeps the scale, or None if it is not known to keep the axes."""
    if not isinstance(transformation, dict):
        raise TomogramError(f"{path}: broken OME-Zarr metadata: {transformation!r} is no transformation")
    match transformation.get("type"):
        case "identity" | "translation":
            return []
        case "scale":
            return [_scale(transformation.get("scale"), n_axes, path)]
        case "sequence":
            inner = _scales(transformation.get("transformations") or [], n_axes, path)
            return [np.prod(inner, axis=0)] if inner else inner
        case "affine":
            linear = _linear_part(transformation.get("affine"), n_axes, path)
            return None if np.count_nonzero(linear - np.diag(np.diag(linear))) else [np.diag(linear)]
        case _:
            return None


def _linear_part(values: object, n_axes: int, path: AnyLocation) -> Float[np.ndarray, "n n"]:
    """Return an affine matrix without the translation, its last column, and without the row that may be below it."""
    matrix = _numbers(values)
    if matrix.size not in (n_axes * (n_axes + 1), (n_axes + 1) ** 2):
        raise TomogramError(f"{path}: an affine of {matrix.size} numbers for {n_axes} axes")
    return matrix.reshape(-1, n_axes + 1)[:n_axes, :n_axes]


def _scale(values: object, n_axes: int, path: AnyLocation) -> Float[np.ndarray, " n"]:
    scale = _numbers(values)
    if scale.shape != (n_axes,):
        raise TomogramError(f"{path}: a scale of {scale.size} numbers for {n_axes} axes")
    return scale


def _numbers(values: object) -> Float[np.ndarray, "..."]:
    """Convert JSON to an array; empty if these are no numbers."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        return np.zeros(0)
