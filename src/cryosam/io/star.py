"""Points as RELION's STAR files, and every conversion between RELION's coordinates and voxels.

Pixel indices
    RELION counts pixels from 0 at the centre of the first: voxel i of an unbinned tomogram lies at ``rlnCoordinate`` i.
    A tomogram at binning b samples the positions i * b, so its voxel i lies at ``rlnCoordinate`` i * b, without a shift
    by half a pixel (``reconstruct_tomogram.cpp``: origin ``--x0 0.0``). RELION 4 counted from 1 inside the program, in
    the reconstruction and in the particles alike (``--x0 1.0``, ``out.x += 1.0``), which cancels out in the files.

RELION 3.1 and 4: ``rlnCoordinateX/Y/Z``, pixels
    With ``rlnTomoTiltSeriesPixelSize`` they are pixels of the unbinned tilt series (RELION 4), else voxels of the
    tomogram that was picked (RELION 3.1, Warp).

RELION 5: ``rlnCenteredCoordinateX/Y/ZAngst``, angstrom from the centre
    The centre is N / 2 in 0-based pixels, *not rounded*: a voxel's centre for even N, its edge for odd N
    (``TomogramSet::loadTomogram``: ``centre = (w0 / 2.0, h0 / 2.0, d0 / 2.0)``;
    ``ParticleSet::getParticleCoordDecenteredPixel``: ``coordinate / pixel size + centre``). RELION's own Python pickers
    subtract ``N / 2 - 1`` instead and so differ by one unbinned pixel (3dem/relion issue 1137).
    RELION gives a file without an optics table the tilt series' own pixel size (``ParticleSet::read``), so angstrom
    from a tomogram of any binning are right as they are; such a file is what is written here. N is taken as the
    tomogram's own size: where the unbinned size is not a multiple of the binning, that is off by less than a voxel.

Refined shifts
    The particle lies at ``coordinate - A (rlnOriginX/Y/ZAngst) / pixel size``, where A is the rotation of
    ``rlnTomoSubtomogramRot/Tilt/Psi`` if these columns exist (``ParticleSet::getPosition``).

The functions named are in ``src/jaz/tomography`` of github.com/3dem/relion.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import starfile
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Scores
from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable

__all__ = ["StarVersion", "read_star_points", "write_star_points"]

StarVersion = Literal["relion4", "relion5"]
"""Which coordinates to write: pixels (RELION 3.1 and 4), or centred angstrom (RELION 5)."""

_PIXELS = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
_CENTRED = ["rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst"]
_ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]
_SUBTOMOGRAM_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_TOMOGRAM_NAMES = ["rlnTomoName", "rlnMicrographName"]
_SCORE = "rlnAutopickFigureOfMerit"
_SHOWN = 8  # names listed in a message


def read_star_points(
    path: Path,
    shape: tuple[int, int, int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram: str | None = None,
) -> PointTable:
    """Read the particles of one tomogram; scores come from ``rlnAutopickFigureOfMerit``.

    Parameters
    ----------
    shape
        Of the tomogram, z, y, x; RELION 5 needs it.
    voxel_size_angstrom
        Of the tomogram. RELION 5 needs it; RELION 4's pixels of the unbinned tilt series are scaled by it. Without it,
        they are divided by ``rlnTomoTomogramBinning`` where the file has that, and else taken as voxels.
    tomogram
        Take the particles whose ``rlnTomoName`` (or ``rlnMicrographName``) is this, or is a file of this name. It can
        be left out where the file is about one tomogram.

    Raises
    ------
    PointsFileError
        Without coordinates, with a coordinate that is no number, or if it is not clear which tomogram is meant.
    VoxelSizeError
        If the voxel size is needed and is not given.
    """
    particles, optics = _read_tables(path)
    particles = particles[_of_tomogram(particles, tomogram, path)]
    if set(_CENTRED) <= set(particles.columns):  # first, as RELION 5 does
        if shape is None:
            raise PointsFileError(f"{path}: RELION 5's centred coordinates need the tomogram's shape; give it")
        size = _required(voxel_size_angstrom, f"{path}: RELION 5's coordinates in angstrom")
        xyz = _numbers(particles, _CENTRED, path) / size + np.array(shape[::-1]) / 2
        pixel: Scores | None = np.full(len(xyz), size)
        scale = np.ones(len(xyz))
    else:
        xyz = _numbers(particles, _PIXELS, path)
        pixel, scale = _pixel_and_scale(particles, optics, voxel_size_angstrom)
    xyz = (xyz - _refined_shifts(particles, pixel, path)) * scale[:, None]
    scores = _numbers(particles, [_SCORE], path)[:, 0] if _SCORE in particles else None
    return PointTable(xyz[:, ::-1].copy(), scores)


def write_star_points(
    path: Path,
    table: PointTable,
    shape: tuple[int, int, int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str = "tomogram",
    version: StarVersion = "relion5",
    binning: float = 1.0,
) -> None:
    """Write particles of one tomogram; names and instances have no place in RELION's files.

    Parameters
    ----------
    shape
        Of the tomogram, z, y, x; RELION 5 needs it.
    voxel_size_angstrom
        Of the tomogram; RELION 5 needs it, RELION 4 gets it in the optics table where it is known.
    tomogram_name
        Must be the name that RELION knows the tomogram by.
    version
        "relion5" writes one table in centred angstrom; "relion4" an optics table and one in pixels.
    binning
        Voxels of the tomogram over pixels of the tilt series; RELION 4 counts the latter. RELION 5 does not need it.

    Raises
    ------
    VoxelSizeError, PointsFileError
        If the voxel size or the shape is needed and is not given.
    OutputError
        If there is no space or no permission.
    """
    xyz = table.points[:, ::-1]
    columns: dict[str, object] = {"rlnTomoName": [tomogram_name] * len(table)}
    tables: dict[str, pd.DataFrame] = {}
    if version == "relion5":
        if shape is None:
            raise PointsFileError(f"{path}: RELION 5's centred coordinates need the tomogram's shape; give it")
        size = _required(voxel_size_angstrom, f"{path}: RELION 5's coordinates in angstrom")
        columns |= dict(zip(_CENTRED, ((xyz - np.array(shape[::-1]) / 2) * size).T, strict=True))
    else:
        columns |= {"rlnMicrographName": [tomogram_name] * len(table)}
        columns |= dict(zip(_PIXELS, (xyz * binning).T, strict=True))
        columns |= {"rlnOpticsGroup": [1] * len(table)}
        tables["optics"] = pd.DataFrame([_optics(voxel_size_angstrom, binning)])
    if table.scores is not None:
        columns[_SCORE] = table.scores
    tables["particles"] = pd.DataFrame(columns)
    with atomic_path(path) as temporary:
        starfile.write(tables, temporary)


def _optics(voxel_size_angstrom: float | None, binning: float) -> dict[str, object]:
    """The one row of the optics table."""
    row: dict[str, object] = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "opticsGroup1", "rlnImageDimensionality": 3}
    if voxel_size_angstrom is not None:
        row["rlnImagePixelSize"] = voxel_size_angstrom
        row["rlnTomoTiltSeriesPixelSize"] = voxel_size_angstrom / binning
    return row | {"rlnTomoTomogramBinning": float(binning)}


def _required(voxel_size_angstrom: float | None, what: str) -> float:
    if voxel_size_angstrom is None:
        raise VoxelSizeError(f"{what} need the tomogram's voxel size, which is not known; give it with --voxel-size")
    return voxel_size_angstrom


def _read_tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with coordinates, and the optics table, which may be empty."""
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=_TOMOGRAM_NAMES)
    except OSError:
        raise
    except Exception as error:  # the reader has no exceptions of its own
        raise PointsFileError(f"{path}: not a STAR file, or damaged ({error})") from error
    tables = {
        name: block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])  # a table of one row may lack "loop_"
        for name, block in blocks.items()
    }
    for table in tables.values():
        if any(set(names) <= set(table.columns) for names in (_CENTRED, _PIXELS)):
            return table, tables.get("optics", pd.DataFrame())
    found = ", ".join(dict.fromkeys(str(column) for table in tables.values() for column in table.columns))
    raise PointsFileError(
        f"{path}: no 3D coordinates: rlnCoordinateX, Y, Z or rlnCenteredCoordinateXAngst, YAngst, ZAngst are needed, "
        f"the columns are {found or 'none'}"
    )


def _of_tomogram(particles: pd.DataFrame, tomogram: str | None, path: Path) -> Bool[np.ndarray, " n"]:
    """Which rows belong to a tomogram; all do where the file does not name tomograms."""
    columns = [c for c in _TOMOGRAM_NAMES if c in particles]
    if not columns:
        return np.ones(len(particles), dtype=bool)
    names = particles[columns[0]].astype(str)
    known = sorted(set(names))
    listed = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    if tomogram is None:
        if len(known) > 1:
            raise PointsFileError(f"{path}: particles of {len(known)} tomograms ({listed}); say which one is meant")
        return np.ones(len(particles), dtype=bool)
    is_meant = np.array([tomogram in (name, Path(name).name, Path(name).stem) for name in names], dtype=bool)
    if known and not is_meant.any():
        raise PointsFileError(f"{path}: no particles of tomogram {tomogram!r}; the file has {listed}")
    return is_meant


def _numbers(particles: pd.DataFrame, columns: list[str], path: Path) -> Float[np.ndarray, "n k"]:
    """Columns as finite numbers, or an error that names the first row that is none."""
    values = np.column_stack([pd.to_numeric(particles[c], errors="coerce").to_numpy(dtype=float) for c in columns])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        row = int(particles.index[bad[0]]) + 1
        said = ", ".join(f"{c} {particles[c].iloc[bad[0]]}" for c in columns)
        raise PointsFileError(f"{path}: row {row} of the particles holds no finite number: {said}")
    return values


def _per_particle(particles: pd.DataFrame, optics: pd.DataFrame, column: str) -> Float[np.ndarray, " n"] | None:
    """A quantity of each particle, from its own table or from its optics group."""
    if column in particles:
        return particles[column].to_numpy(dtype=float)
    if column not in optics or not len(optics):
        return None
    if "rlnOpticsGroup" in particles and "rlnOpticsGroup" in optics:
        by_group = dict(zip(optics["rlnOpticsGroup"], optics[column], strict=True))
        first = optics[column].iloc[0]
        return np.array([by_group.get(group, first) for group in particles["rlnOpticsGroup"]], dtype=float)
    return np.full(len(particles), float(optics[column].iloc[0]))


def _pixel_and_scale(
    particles: pd.DataFrame, optics: pd.DataFrame, voxel_size_angstrom: float | None
) -> tuple[Scores | None, Scores]:
    """Angstrom a pixel of ``rlnCoordinate`` where that is known, and voxels a pixel."""
    tilt_series = _per_particle(particles, optics, "rlnTomoTiltSeriesPixelSize")
    binning = _per_particle(particles, optics, "rlnTomoTomogramBinning")
    ones = np.ones(len(particles))
    if tilt_series is not None and voxel_size_angstrom is not None:
        return tilt_series, tilt_series / voxel_size_angstrom
    if tilt_series is not None or binning is not None:
        return tilt_series, ones if binning is None else 1 / binning
    if voxel_size_angstrom is not None:
        return ones * voxel_size_angstrom, ones
    return _per_particle(particles, optics, "rlnImagePixelSize"), ones


def _refined_shifts(particles: pd.DataFrame, pixel: Scores | None, path: Path) -> Points:
    """What refinement found the particles to be off by, ``(n, 3)`` x, y, z in the unit of the coordinates."""
    if not set(_ORIGINS) <= set(particles.columns):
        return np.zeros((len(particles), 3))
    shifts = _numbers(particles, _ORIGINS, path)
    if not shifts.any():
        return shifts
    if pixel is None:
        raise VoxelSizeError(
            f"{path}: rlnOriginXAngst needs the voxel size, which is not known; give it with --voxel-size"
        )
    if set(_SUBTOMOGRAM_ANGLES) <= set(particles.columns):
        angles = _numbers(particles, _SUBTOMOGRAM_ANGLES, path)
        shifts = Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply(shifts)
    return shifts / pixel[:, None]
