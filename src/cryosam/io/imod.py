"""IMOD models, ``.mod``: one object per kind.

A point is x, y, z in pixels of the image that the model was drawn on. Coordinates run from 0 to NX and NY, so that the
centre of the first pixel is at 0.5, and in z from -0.5 to NZ - 0.5, so that the centre of the first section is at 0:
voxel (z, y, x) is the point (x + 0.5, y + 0.5, z). A model has no orientations; scores are stored as
general values of the points.

Source: "IMOD Binary File Format" at bio3d.colorado.edu/imod/doc/binspec.html; fields and chunks are named as
there.
"""

import io
import logging
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
_MODEL, _OBJECT, _CONTOUR, _MESH = ">128s4iI4i6f5ifii3f", ">64s16IiIii3fi8B2i", ">iIii", ">iiIhh"
_Z_FROM_MINUS_HALF, _NEW_TO_3DMOD, _MANY_CLIPS, _BYTE_MATERIALS = 1 << 10, 1 << 11, 1 << 12, 1 << 13
_OPEN, _SCATTERED = 1 << 3, 1 << 9
_VALUE, _VALUE_RANGE = 10, 11  # kinds of general storage
_VALUE_IS_FLOAT, _INDEX_IS_FLOAT, _NO_INDEX = 1 << 2, 1, 1 << 4
_HALF = np.array([0.0, 0.5, 0.5])  # z, y, x
_NANOMETRE = -9
_NO_SCALE = 1.0  # written by 3dmod for an image without a pixel size
_COLOURS = ((0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1))


@dataclass
class _Object:
    name: str
    points: list[Float[np.ndarray, "n 3"]] = field(default_factory=list)  # per contour; x, y, z
    values: list[dict[int, float]] = field(default_factory=list)  # per contour, by the index of the point
    n_contours: int = 0


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
        Voxel size of the tomogram. A model drawn on an image of another shape and another pixel size is refused.

    Raises
    ------
    PointsFileError
        If this is not a model, it is truncated, or it was drawn on a tomogram of another binning.

    Examples
    --------
    >>> import tempfile
    >>> table = PointTable(np.array([[1.0, 2.0, 3.0]]), names=("ribosome",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_imod(Path(folder, "p.mod"), TomogramPoints(table=table, shape=(5, 8, 13)))
    ...     read_imod(Path(folder, "p.mod"), shape=(5, 8, 13)).names
    ('ribosome',)
    """
    header, objects, scale = _parse(path, path.read_bytes())
    _check_image(path, header, scale, shape, voxel_size_angstrom)
    found = [o for o in objects if sum(map(len, o.points))]
    names = [o.name or str(i) for i, o in enumerate(found, 1)]
    xyz = np.concatenate([np.zeros((0, 3)), *(contour for o in found for contour in o.points)])
    scores = [v.get(i, np.nan) for o in found for v, c in zip(o.values, o.points, strict=True) for i in range(len(c))]
    is_named = len(found) > 1 or any(o.name for o in found)
    return PointTable(
        xyz[:, ::-1] - _HALF,
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


def _parse(path: Path, content: bytes) -> tuple[tuple[int, ...], list[_Object], float]:
    """Return the image size x, y, z, the objects, and the pixel size in angstrom, 0 if the model has none."""
    if content[:4] != _ID[:4]:
        raise PointsFileError(f"{path}: not an IMOD model; it does not begin with IMOD")
    file = io.BytesIO(content)
    objects: list[_Object] = []
    scale = 0.0
    try:
        file.seek(len(_ID))
        model = _unpack(file, _MODEL)
        while (chunk := _take(file, 4)) != _END:
            if chunk == b"OBJT":
                header = _unpack(file, _OBJECT)
                objects.append(_Object(_text(header[0]), n_contours=header[17]))
            elif chunk in (b"CONT", b"MESH", b"COST"):
                _parse_part(file, chunk, objects[-1])
            else:
                data = _take(file, *_unpack(file, ">i"))
                scale = struct.unpack(">18f", data[:72])[9] if chunk == b"MINX" else scale
    except (struct.error, IndexError, ValueError) as error:
        raise PointsFileError(f"{path}: the model is truncated or damaged; save it again in 3dmod") from error
    if len(objects) < model[4] or any(len(o.points) < o.n_contours for o in objects):
        raise PointsFileError(
            f"{path}: the model has fewer objects or contours than its header says; save it again in 3dmod"
        )
    broken = [i for i, o in enumerate(objects, 1) if not all(np.isfinite(contour).all() for contour in o.points)]
    if broken:
        raise PointsFileError(f"{path}: a point of object {broken[0]} is not finite; delete it in 3dmod")
    return model[1:4], objects, scale


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


def _check_image(
    path: Path, size: Sequence[int], scale: float, shape: Sequence[int] | None, voxel_size_angstrom: float | None
) -> None:
    """Refuse a model drawn on another binning of the tomogram, because its pixels differ from the voxels."""
    if shape is None or tuple(size) == tuple(shape)[::-1] or not all(size):
        return
    drawn = f"{path}: the model was drawn on an image of {size[0]} x {size[1]} x {size[2]} pixels (x, y, z)"
    here = f"{shape[2]} x {shape[1]} x {shape[0]}"
    has_scale = scale > 0 and scale != _NO_SCALE and voxel_size_angstrom is not None
    if has_scale and voxel_size_angstrom is not None and abs(scale / voxel_size_angstrom - 1) > SAME_SIZE:
        raise PointsFileError(
            f"{drawn} of {scale:g} angstrom, but the tomogram has {here} of {voxel_size_angstrom:g}; "
            "open the model on this tomogram in 3dmod and save it"
        )
    _log.warning("%s, but the tomogram has %s; the points are read as pixels of this tomogram", drawn, here)


def _take(file: io.BytesIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes) if n_bytes >= 0 else b""
    if len(data) != n_bytes:
        raise struct.error("truncated")
    return data


def _unpack(file: io.BytesIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, _take(file, struct.calcsize(layout)))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace").strip()
