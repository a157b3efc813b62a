"""Writing particles to STAR files for RELION, Warp or M; the columns are explained in `star`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import starfile

from cryosam.arrays import Points
from cryosam.errors import VoxelSizeError
from cryosam.io.atomic import atomic_path
from cryosam.io.relion import one_if_same, rotations_to_angles, voxels_to_centred
from cryosam.io.tomogram_names import star_name, warp_name
from cryosam.io.tomogram_points import TomogramPoints, check_distinct, number_kinds

__all__ = ["StarProgram", "write_star"]

_log = logging.getLogger(__name__)

StarProgram = Literal["relion5", "relion4", "warp"]
"""Program that reads the file; "relion4" is also for RELION 3.1, and "warp" is also for M."""

_PIXELS = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
_CENTRED = ["rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst"]
_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_VERSIONS = {"relion5": 50001, "relion4": 30001, "warp": 30001}
_SAME_MAGNIFICATION = 1e4  # at this magnification the number is the pixel size of the image in angstrom


def write_star(
    path: Path,
    parts: Sequence[TomogramPoints],
    *,
    program: StarProgram = "relion5",
    tilt_series_pixel_size_angstrom: float | None = None,
    extents: Mapping[str, Sequence[float]] | None = None,
    columns: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the particles of one or several tomograms to one file.

    Parameters
    ----------
    path
        The file to create.
    parts
        Scores become ``rlnAutopickFigureOfMerit``, if all tomograms have them. Rotations become ``rlnAngleRot``,
        ``rlnAngleTilt``, ``rlnAnglePsi``, with zeros for tomograms without rotations. Kinds become ``rlnClassNumber``,
        see `cryosam.io.tomogram_points.number_kinds`; comments at the top of the file explain the numbers. Instances
        become the number at the end of ``rlnTomoParticleName``. Spaces, quotation marks and ``#`` in the name of a
        tomogram become ``_``.
    program
        RELION 5: angstrom from the centre of the tomogram. RELION 4: pixels of the tilt series. Warp and M: voxels, and
        the name of the tomogram with the extension ``.tomostar`` and without the pixel size that Warp adds.
    tilt_series_pixel_size_angstrom
        Pixel size of the unbinned tilt series. RELION 4 expects pixels of that size; if left out, pixels are voxels of
        each tomogram, and the optics block gives that size. RELION 5 reads it from its own tomograms file if left out.
        Warp does not need it.
    extents
        For RELION 5: size z, y, x in voxels of each tomogram according to RELION, by name of the tomogram; it need not
        be whole. The shapes are used if left out.
    columns
        More columns, or other values of those above, by name of the tomogram: a row for each of its particles.

    Raises
    ------
    PointsFileError, VoxelSizeError
        If there is no tomogram, two have the same name, or a required shape or voxel size is unknown.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.io.points import PointTable
    >>> parts = [
    ...     TomogramPoints(table=PointTable(np.full((2, 3), z)), name=name, voxel_size_angstrom=10.0)
    ...     for name, z in (("TS_01", 4.0), ("TS_02", 5.0))
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_star(Path(folder, "p.star"), parts, program="warp")
    ...     starfile.read(Path(folder, "p.star"))["rlnMicrographName"].to_list()
    ['TS_01.tomostar', 'TS_01.tomostar', 'TS_02.tomostar', 'TS_02.tomostar']
    """
    if program == "warp":
        parts = [replace(part, name=warp_name(part.name)) for part in parts]
    check_distinct(path, parts)
    more = {warp_name(name) if program == "warp" else name: frame for name, frame in (columns or {}).items()}
    pixel_size = tilt_series_pixel_size_angstrom
    filled = [part for part in parts if len(part.table)] or list(parts[:1])
    known = _known_columns(filled)
    if known["rotations"] and any(part.table.rotations is None for part in filled):
        _log.warning("%s: some tomograms have no orientations; their angles are written as 0", path)
    numbers = number_kinds(parts) if known["names"] else {}
    groups = _optics_groups(filled, program, pixel_size)
    frames = []
    for part in filled:
        names, positions = _positions(path, part, program, pixel_size, (extents or {}).get(part.name))
        # coordinates come first, because a line that starts with a name such as data_1 would begin a new block
        rows = pd.DataFrame(positions[:, ::-1], columns=names)
        if program == "warp":
            rows["rlnMicrographName"] = f"{part.name}.tomostar"
        else:
            rows["rlnTomoName"] = star_name(part.name)
        _add_columns(rows, part, known, numbers, has_particle_names=program != "warp")
        if program == "warp":
            rows["rlnMagnification"] = _SAME_MAGNIFICATION
            rows["rlnDetectorPixelSize"] = part.need_voxel_size(path, "Warp")
        elif groups:
            rows["rlnOpticsGroup"] = groups.index(_group_size(part, pixel_size)) + 1
        if part.name in more:
            rows = rows.assign(**{str(name): values.to_numpy() for name, values in more[part.name].items()})
        frames.append(rows)
    blocks = {"particles": pd.concat(frames, ignore_index=True)}
    if groups:
        blocks["optics"] = _optics(groups, is_relion_4=program == "relion4")  # RELION 4 imports the first table
    text = starfile.to_string(blocks).partition("\n")[2]  # without the first line, which has the time
    meanings = (f"# class {number}: {star_name(kind)}\n" for kind, number in numbers.items() if kind != str(number))
    with atomic_path(path) as temporary:
        temporary.write_text(f"# version {_VERSIONS[program]}\n{''.join(meanings)}{text}", encoding="utf-8")


def _known_columns(parts: Sequence[TomogramPoints]) -> dict[str, bool]:
    """Return which columns the file gets."""
    tables = [part.table for part in parts]
    in_all = {c: all(getattr(t, c) is not None for t in tables) for c in ("scores", "instances")}
    return in_all | {c: any(getattr(t, c) is not None for t in tables) for c in ("rotations", "names")}


def _add_columns(
    rows: pd.DataFrame,
    part: TomogramPoints,
    known: Mapping[str, bool],
    numbers: Mapping[str, int],
    *,
    has_particle_names: bool,
) -> None:
    """Add the columns with the known properties of each particle."""
    table = part.table
    if known["instances"] and has_particle_names and table.instances is not None:
        is_unique = (table.instances > 0).all() and len(np.unique(table.instances)) == len(table)
        numbered = table.instances if is_unique else range(1, len(table) + 1)
        rows["rlnTomoParticleName"] = [f"{star_name(part.name)}/{i}" for i in numbered]
    if known["rotations"]:
        rows[_ANGLES] = 0.0 if table.rotations is None else rotations_to_angles(table.rotations)
    if known["scores"]:
        rows["rlnAutopickFigureOfMerit"] = table.scores
    if known["names"]:
        unnamed = next(iter(part.by_kind()), "")
        rows["rlnClassNumber"] = [numbers[kind] for kind in table.names or [unnamed] * len(table)]


def _positions(
    path: Path,
    part: TomogramPoints,
    program: StarProgram,
    pixel_size: float | None,
    extent: Sequence[float] | None,
) -> tuple[list[str], Points]:
    """Return the names of the columns x, y, z, and the positions z, y, x in their unit."""
    if program == "relion5":
        if extent is None:
            extent = part.need_shape(path, "RELION 5")
        return _CENTRED, voxels_to_centred(part.table.points, extent, part.need_voxel_size(path, "RELION 5"))
    if program == "warp" or pixel_size is None:
        return _PIXELS, part.table.points
    if part.voxel_size_angstrom is None:
        raise VoxelSizeError(
            f"{path}: the voxel size is needed to compute pixels of the tilt series, and is unknown; give it"
        )
    return _PIXELS, part.table.points * one_if_same(np.array(part.voxel_size_angstrom / pixel_size))


def _optics_groups(
    parts: Sequence[TomogramPoints], program: StarProgram, pixel_size: float | None
) -> list[float | None]:
    """Return the pixel sizes of the coordinates, in order of first appearance; empty if no optics block is needed."""
    if program == "warp" or (program == "relion5" and pixel_size is None):
        return []
    return list(dict.fromkeys(_group_size(part, pixel_size) for part in parts))


def _group_size(part: TomogramPoints, pixel_size: float | None) -> float | None:
    return part.voxel_size_angstrom if pixel_size is None else pixel_size


def _optics(sizes: Sequence[float | None], *, is_relion_4: bool) -> pd.DataFrame:
    """Build the optics block, with one row per pixel size."""
    groups = range(1, len(sizes) + 1)
    optics = pd.DataFrame({"rlnOpticsGroup": groups, "rlnOpticsGroupName": [f"opticsGroup{g}" for g in groups]})
    if all(size is not None for size in sizes):
        optics["rlnTomoTiltSeriesPixelSize"] = np.array(sizes, dtype=float)
        if is_relion_4:
            optics["rlnImagePixelSize"] = np.array(sizes, dtype=float)
    return optics
