"""IMOD models, ``.mod``: one object per kind.

A point is x, y, z in pixels of the image that the model was drawn on. Coordinates run from 0 to NX and NY, so that the
centre of the first pixel is at 0.5, and in z from -0.5 to NZ - 0.5, so that the centre of the first section is at 0:
voxel (z, y, x) is the point (x + 0.5, y + 0.5, z). A model has no orientations; scores are stored as
general values of the points.

Flipped
    If bit 16 of the flags is set, the model was last seen with y and z of the image exchanged, and y and z of its
    points and of its size are stored exchanged.
A part of an image
    A model that was drawn on a part of an image counts from the first pixel of the part. The chunk ``MINX`` has the
    origin of the image, ``otrans`` (if bit 14 is set), and that of the part, ``ctrans``: (otrans - ctrans) / cscale is
    the first pixel of the part.
Another binning
    3dmod multiplies positions by the ratio of the two pixel sizes, ``cscale``, and so does this module, also in z,
    where this moves a point by up to half a pixel of the coarser image.

Sources: "IMOD Binary File Format" at bio3d.colorado.edu/imod/doc/binspec.html, whose names of fields and chunks are
used here; "IMOD ASCII File Format" for the first pixel of a part; ``imodTransFromRefImage`` for other binnings.
"""

import io
import logging
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.relion import SAME_SIZE
from cryosam.io.tomogram_points import TomogramPoints

__all__ = ["read_imod", "write_imod"]

_log = logging.getLogger(__name__)

_ID, _END = b"IMODV1.2", b"IEOF"
_NAME = re.compile(rb"[A-Z0-9]{4}")  # of a chunk; any other bytes have moved
_MODEL, _OBJECT, _CONTOUR, _MESH = ">128s4iI4i6f5ifii3f", ">64s16IiIii3fi8B2i", ">iIii", ">iiIhh"
_Z_FROM_MINUS_HALF, _NEW_TO_3DMOD, _MANY_CLIPS, _BYTE_MATERIALS = 1 << 10, 1 << 11, 1 << 12, 1 << 13
_HAS_ORIGIN, _IS_FLIPPED, _IS_ROTATED = 1 << 14, 1 << 16, 1 << 17
_OPEN, _SCATTERED = 1 << 3, 1 << 9
_VALUE, _VALUE_RANGE = 10, 11  # kinds of general storage
_VALUE_IS_FLOAT, _INDEX_IS_FLOAT, _NO_INDEX = 1 << 2, 1, 1 << 4
_HALF = np.array([0.0, 0.5, 0.5])  # z, y, x
_FLIP = [1, 0, 2]  # z, y, x
_NANOMETRE = -9
_NO_SCALE = 1.0  # written by 3dmod for an image without a pixel size
_COLOURS = ((0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1))


@dataclass
class _Object:
    name: str
    points: list[Float[np.ndarray, "n 3"]] = field(default_factory=list)  # per contour; x, y, z
    values: list[dict[int, float]] = field(default_factory=list)  # per contour, by the index of the point
    n_contours: int = 0


@dataclass(frozen=True, eq=False)
class _Image:
    """The image that a model was drawn on; z, y, x as in the image file, whether the model is flipped or not."""

    size: Float[np.ndarray, " 3"]  # of the part that was loaded; 0 if unknown
    first: Float[np.ndarray, " 3"]  # first pixel of that part
    pixel_size: Float[np.ndarray, " 3"] | None  # angstrom; None if unknown
    is_flipped: bool
    is_stated: bool  # whether the size is that of an image; only 3dmod makes sure of that


def read_imod(
    path: Path, *, shape: Sequence[int] | None = None, voxel_size_angstrom: float | None = None
) -> PointTable:
    """Read the points of all contours of all objects of an IMOD model.

    Parameters
    ----------
    path
        The model. The names of the objects become the names of the points; an object without a name gives its number.
        If the only object has no name, the points have no names. General values become the scores, if every point has
        one.
    shape
        Shape of the tomogram, z, y, x in voxels.
    voxel_size_angstrom
        Voxel size of the tomogram. Points of a model that was drawn on a part of the tomogram, or on another binning of
        it, are converted, and this is logged.

    Raises
    ------
    PointsFileError
        If this is not a model, it is truncated, it was drawn on an image that is no binning and no known part of the
        tomogram, or its pixels are not as large as the voxels and the shape is not given.

    Examples
    --------
    >>> import tempfile
    >>> table = PointTable(np.array([[1.0, 2.0, 3.0]]), names=("ribosome",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_imod(Path(folder, "p.mod"), TomogramPoints(table=table, shape=(5, 8, 13)))
    ...     read_imod(Path(folder, "p.mod"), shape=(5, 8, 13)).names
    ('ribosome',)
    """
    objects, image = _parse(path, path.read_bytes())
    found = [o for o in objects if sum(map(len, o.points))]
    names = [o.name or str(i) for i, o in enumerate(found, 1)]
    xyz = np.concatenate([np.zeros((0, 3)), *(contour for o in found for contour in o.points)])
    scores = [v.get(i, np.nan) for o in found for v, c in zip(o.values, o.points, strict=True) for i in range(len(c))]
    is_named = len(found) > 1 or any(o.name for o in found)
    return PointTable(
        _to_voxels(path, xyz[:, ::-1], image, shape, voxel_size_angstrom),
        np.array(scores) if scores and np.isfinite(scores).all() else None,
        tuple(n for n, o in zip(names, found, strict=True) for _ in range(sum(map(len, o.points))))
        if is_named
        else None,
    )


def write_imod(path: Path, part: TomogramPoints, radius: float = 5.0) -> None:
    """Write points as an IMOD model, with one object of scattered points per kind.

    Parameters
    ----------
    path
        The file to create.
    part
        Kinds become objects. Scores become general values, by which 3dmod can colour and threshold points.
    radius
        Radius of the spheres that 3dmod draws, in voxels.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> part = TomogramPoints(table=PointTable(np.array([[1.0, 2.0, 3.0]]), np.array([0.5])))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_imod(Path(folder, "p.mod"), part)
    ...     table = read_imod(Path(folder, "p.mod"))
    >>> table.points, table.scores, table.names
    (array([[1., 2., 3.]]), array([0.5]), ('particle',))
    """
    kinds = part.by_kind()
    size = part.voxel_size_angstrom
    z, y, x = part.shape or (0, 0, 0)
    flags = _Z_FROM_MINUS_HALF | _NEW_TO_3DMOD | _MANY_CLIPS | _BYTE_MATERIALS
    units = (1.0, 0) if size is None else (size / 10, _NANOMETRE)
    numbers = (x, y, z, len(kinds), flags, 1, 1, 0, 255, 0, 0, 0, 1, 1, 1, 0, 0, 0, 3, 128, *units, 0, 0, 0, 0)
    chunks = [_ID, struct.pack(_MODEL, part.name.encode()[:127], *numbers)]
    for i, (name, table) in enumerate(kinds.items()):
        chunks += _object_chunks(name, table, _COLOURS[i % len(_COLOURS)], max(1, round(radius)))
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join([*chunks, _END]))


def _object_chunks(name: str, table: PointTable, colour: tuple[int, int, int], radius: int) -> list[bytes]:
    """Encode one kind as an object with one contour."""
    numbers = (1, _OPEN | _SCATTERED, 0, 1, *colour, radius, 1, 3, 1, 1, 0, 0, 0, 0, 0, 0)
    xyz = (table.points + _HALF)[:, ::-1].astype(">f4")
    chunks = [b"OBJT", struct.pack(_OBJECT, name.encode()[:63], *[0] * 16, *numbers)]
    chunks += [b"CONT", struct.pack(_CONTOUR, len(xyz), 0, 0, 0), xyz.tobytes()]
    if table.scores is not None and len(table.scores):
        values = [struct.pack(">hhif", _VALUE, _VALUE_IS_FLOAT, i, score) for i, score in enumerate(table.scores)]
        flags = _VALUE_IS_FLOAT | _INDEX_IS_FLOAT | _NO_INDEX
        limits = struct.pack(">hhff", _VALUE_RANGE, flags, table.scores.min(), table.scores.max())
        chunks += [b"COST", struct.pack(">i", 12 * len(values)), *values]
        chunks += [b"OBST", struct.pack(">i", len(limits)), limits]
    return chunks


def _parse(path: Path, content: bytes) -> tuple[list[_Object], _Image]:
    """Return the objects, and the image that they were drawn on."""
    if content[:4] != _ID[:4]:
        raise PointsFileError(f"{path}: not an IMOD model; it does not begin with IMOD")
    file = io.BytesIO(content)
    objects: list[_Object] = []
    reference = (0.0,) * 18
    try:
        file.seek(len(_ID))
        model = _unpack(file, _MODEL)
        while (chunk := _take(file, 4)) != _END:
            if chunk == b"OBJT":
                header = _unpack(file, _OBJECT)
                objects.append(_Object(_text(header[0]), n_contours=header[17]))
            elif chunk in (b"CONT", b"MESH", b"COST"):
                _parse_part(file, chunk, objects[-1])
            elif not _NAME.fullmatch(chunk):
                raise ValueError(chunk)
            else:
                data = _take(file, *_unpack(file, ">i"))
                reference = struct.unpack(">18f", data[:72]) if chunk == b"MINX" else reference
    except (struct.error, IndexError, ValueError) as error:
        raise PointsFileError(f"{path}: the model is truncated or damaged; save it again in 3dmod") from error
    if len(objects) != model[4] or any(len(o.points) != o.n_contours for o in objects):
        raise PointsFileError(
            f"{path}: the model has not as many objects or contours as its headers say; save it again in 3dmod"
        )
    broken = [i for i, o in enumerate(objects, 1) if not all(np.isfinite(contour).all() for contour in o.points)]
    if broken:
        raise PointsFileError(f"{path}: a point of object {broken[0]} is not finite; delete it in 3dmod")
    if model[5] & _IS_ROTATED:
        raise PointsFileError(f"{path}: the model is that of a rotated view; save it in 3dmod without the rotation")
    return objects, _image(model[1:4], model[5], reference)


def _image(size: Sequence[int], flags: int, reference: Sequence[float]) -> _Image:
    """Describe the image, from the header and the numbers of the chunk ``MINX``, which are zero if there is none."""
    otrans, cscale, ctrans = (np.array(reference[start : start + 3])[::-1] for start in (3, 9, 12))
    is_flipped = bool(flags & _IS_FLIPPED)
    has_scale = bool((cscale > 0).all())
    first = np.round((otrans - ctrans) / cscale, 3) if has_scale and flags & _HAS_ORIGIN else np.zeros(3)
    loaded = np.array(size, dtype=float)[::-1]
    return _Image(
        size=loaded[_FLIP] if is_flipped else loaded,
        first=first,
        pixel_size=cscale if has_scale and (cscale != _NO_SCALE).any() else None,
        is_flipped=is_flipped,
        is_stated=not flags & _NEW_TO_3DMOD,
    )


def _parse_part(file: io.BytesIO, chunk: bytes, owner: _Object) -> None:
    """Parse a contour, its general values, or a mesh, which has no picked points and is skipped."""
    if chunk == b"CONT":
        n_points = _unpack(file, _CONTOUR)[0]
        owner.points.append(np.frombuffer(_take(file, 12 * n_points), ">f4").reshape(-1, 3).astype(float))
        owner.values.append({})
    elif chunk == b"MESH":
        n_vertices, n_indices, *_ = _unpack(file, _MESH)
        _take(file, 12 * n_vertices + 4 * n_indices)
    else:
        owner.values[-1].update(_point_values(_take(file, *_unpack(file, ">i"))))


def _point_values(data: bytes) -> dict[int, float]:
    """Return the general values of single points of a contour."""
    values = {}
    for start in range(0, len(data) - 11, 12):
        kind, flags, index, value = struct.unpack(">hhif", data[start : start + 12])
        if kind == _VALUE and flags & _VALUE_IS_FLOAT and not flags & (_INDEX_IS_FLOAT | _NO_INDEX):
            values[index] = value
    return values


def _to_voxels(
    path: Path,
    points: Float[np.ndarray, "n 3"],
    image: _Image,
    shape: Sequence[int] | None,
    voxel_size_angstrom: float | None,
) -> Float[np.ndarray, "n 3"]:
    """Convert the points z, y, x of a model to voxels of the tomogram."""
    points = points - _HALF
    if image.is_flipped:
        points = points[:, _FLIP]
    first, factors = _fit(path, image, shape, voxel_size_angstrom)
    if first.any():
        _log.warning(
            "%s: the model was drawn on a part of an image; its first pixel z, y, x, %s, is added",
            path,
            ",".join(f"{n:g}" for n in first),
        )
    if (factors != 1).any():
        _log.warning(
            "%s: the model was drawn on another binning; points are multiplied by %s (z, y, x)",
            path,
            ", ".join(f"{f:.6g}" for f in factors),
        )
    return (points + first + _HALF) * factors - _HALF


def _fit(
    path: Path, image: _Image, shape: Sequence[int] | None, voxel_size_angstrom: float | None
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Return where the image begins in the tomogram, in pixels, and the edge of a pixel in voxels; both z, y, x."""
    if shape is None:
        _require_same_pixels(path, image, voxel_size_angstrom)
        if image.size.all() and not image.first.any():
            _log.warning(
                "%s: the model was drawn on an image of %s pixels (x, y, z); if the tomogram has another size, the "
                "points are not voxels of it",
                path,
                _by(image.size),
            )
        return image.first, np.ones(3)
    whole, size = np.array(shape, dtype=float), image.size
    if not size.all() or ((size == whole).all() and not image.first.any()):
        return image.first, np.ones(3)
    factors = _factors(image, whole, voxel_size_angstrom)
    rest = whole - (image.first + size) * factors  # binning leaves out voxels at the end, or fills up the last pixel
    tolerance = np.maximum(factors, 1)
    if image.first.any() and (image.first >= 0).all() and (rest > -tolerance).all():
        return image.first, factors
    if not image.first.any() and (np.abs(rest) < tolerance).all():
        return image.first, factors
    of = "" if image.pixel_size is None else f" of {image.pixel_size[2]:g} angstrom"
    here = "" if voxel_size_angstrom is None else f" of {voxel_size_angstrom:g}"
    first = f", from pixel {','.join(f'{n:g}' for n in image.first[::-1])} of another" if image.first.any() else ""
    drawn = (
        f"{path}: the model was drawn on an image of {_by(size)} pixels (x, y, z){of}{first}, but the tomogram has "
        f"{_by(whole)}{here}"
    )
    if image.pixel_size is None and not image.is_stated and not image.first.any():
        _log.warning("%s; the points are read as pixels of this tomogram", drawn)
        return np.zeros(3), np.ones(3)
    raise PointsFileError(f"{drawn}; open the model on this tomogram in 3dmod and save it")


def _require_same_pixels(path: Path, image: _Image, voxel_size_angstrom: float | None) -> None:
    """Refuse a model of other pixels: without the shape of the tomogram it is not known whether this is a binning."""
    if image.pixel_size is None or voxel_size_angstrom is None:
        return
    if (np.abs(image.pixel_size / voxel_size_angstrom - 1) > SAME_SIZE).any():
        raise PointsFileError(
            f"{path}: the model was drawn on pixels of {image.pixel_size[2]:g} angstrom, but the voxel size is "
            f"{voxel_size_angstrom:g}, and the shape of the tomogram is unknown; give its shape"
        )


def _factors(
    image: _Image, whole: Float[np.ndarray, " 3"], voxel_size_angstrom: float | None
) -> Float[np.ndarray, " 3"]:
    """Return the edge of a pixel in voxels, from the pixel sizes, or from the sizes if these are unknown."""
    if image.pixel_size is not None and voxel_size_angstrom is not None:
        ratios = image.pixel_size / voxel_size_angstrom
        whole_numbers = _nearest_binning(ratios)
        return np.where(np.abs(ratios / whole_numbers - 1) <= SAME_SIZE, whole_numbers, ratios)
    if image.first.any():
        return np.ones(3)
    return _nearest_binning(np.full(3, np.median(whole / image.size)))


def _nearest_binning(ratios: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    """Return the nearest whole numbers, or one divided by them if the ratio is below 1."""
    return np.where(ratios > 1, np.round(ratios), 1 / np.round(np.maximum(1 / ratios, 1)))


def _by(size: Float[np.ndarray, " 3"]) -> str:
    return " x ".join(f"{n:g}" for n in size[::-1])


def _take(file: io.BytesIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes) if n_bytes >= 0 else b""
    if len(data) != n_bytes:
        raise struct.error("truncated")
    return data


def _unpack(file: io.BytesIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, _take(file, struct.calcsize(layout)))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace").strip()
