"""Points in STAR files of RELION, and every conversion between RELION coordinates and voxels.

RELION 3.1 and 4, ``rlnCoordinateX/Y/Z``: pixels
    Position 0 is the centre of the first pixel, so voxel i of an unbinned tomogram is at position i. In RELION 4 the
    unit is a pixel of the tilt series, whatever the binning of the tomogram. At binning b, voxel i is at position
    i * b, without a shift by half a pixel (``reconstruct_tomogram.cpp``, origin ``--x0 0.0``). Internally RELION 4
    counts from 1, both in the reconstruction and for the particles, which cancels out in the files.
RELION 5, ``rlnCenteredCoordinateX/Y/ZAngst``: angstrom from the centre of the tomogram
    The centre is N / 2 in pixels counted from 0, *not rounded*: the centre of voxel N / 2 for an even N, an edge of a
    voxel for an odd one (``TomogramSet::loadTomogram``: centre = w / 2.0;
    ``ParticleSet::getParticleCoordDecenteredPixel``: coordinate / pixel size + centre). This module
    uses the N of the given tomogram; if the unbinned size is not a multiple of the binning, the error is less than half
    a voxel. The pickers of RELION subtract N / 2 - 1 unbinned pixels instead (3dem/relion issue 1137), so their picks
    are shifted by one unbinned pixel.
Warp and M, ``rlnCoordinateX/Y/Z`` of tomograms with the extension ``.tomostar``: pixels of a tomogram
    Position 0 is the centre of the first pixel. As in M, the pixel size is the first available of
    ``rlnDetectorPixelSize`` (times 10000 / ``rlnMagnification``), ``rlnPixelSize`` and ``rlnImagePixelSize``. Files
    that ``ts_export_particles`` writes for RELION also contain the pixel size of the tilt series, but their coordinates
    are not in this unit. Template matching in Warp writes no pixel size and, for ``--normalized_coords``, fractions of
    the tomogram size: without a pixel size, coordinates that are all between 0 and 1 are read as fractions.
M, ``wrpCoordinateX1/Y1/Z1`` of a species: angstrom
    Position 0 is the centre of the first pixel of the tomogram. ``wrpAngleRot1/Tilt1/Psi1`` are RELION's angles, and
    ``wrpSourceName`` is the tilt series. A species may have several poses during the exposure; the first is used.
Refined shifts
    The particle is at coordinate - A origin. The origin is ``rlnOriginX/Y/ZAngst`` in angstrom, and A is the rotation
    by ``rlnTomoSubtomogramRot/Tilt/Psi`` if these columns exist (``ParticleSet::getPosition``). The complete rotation
    is A of the subtomogram times A of the particle (``ParticleSet::getMatrix3x3``).

The functions are in ``src/jaz/tomography`` of github.com/3dem/relion; Warp's format is described in its
"Tomogram Particle File Reference".
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Scores
from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.points import PointTable
from cryosam.io.relion import angles_to_rotations, centred_to_voxels
from cryosam.io.relion_sets import read_reconstructions
from cryosam.io.star_blocks import read_star_blocks
from cryosam.io.star_pixels import (
    PIXELS,
    TOMOGRAMS,
    are_fractions,
    check_unit,
    find_pixel_sizes,
    find_voxel_sizes,
    pixels_per_voxel,
    read_numbers,
)
from cryosam.io.tomogram_names import choose_tomogram

__all__ = ["read_star"]

_log = logging.getLogger(__name__)

_CENTRED = ["rlnCenteredCoordinateZAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateXAngst"]
_ORIGINS = ["rlnOriginZAngst", "rlnOriginYAngst", "rlnOriginXAngst"]
_OLD_ORIGINS = ["rlnOriginZ", "rlnOriginY", "rlnOriginX"]
_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_SUBTOMOGRAM_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_SPECIES = ["wrpCoordinateZ1", "wrpCoordinateY1", "wrpCoordinateX1"]
_SPECIES_ANGLES = ["wrpAngleRot1", "wrpAngleTilt1", "wrpAnglePsi1"]
_SPECIES_SECOND = "wrpCoordinateX2"
_GROUP = "rlnOpticsGroup"
_ARE_STACKS, _DIMENSIONS = "rlnTomoSubTomosAre2DStacks", "rlnImageDimensionality"
_PARTICLES_FILE, _TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
_SCORE, _CLASS = "rlnAutopickFigureOfMerit", "rlnClassNumber"


def read_star(
    path: Path,
    *,
    shape: Sequence[int] | None = None,
    voxel_size_angstrom: float | None = None,
    tomogram_name: str | None = None,
) -> PointTable:
    r"""Read points from a STAR file of RELION 3.1, 4 or 5, of Warp or of M.

    Parameters
    ----------
    path
        A particles file, or an ``optimisation_set.star`` of RELION that refers to one. ``rlnAutopickFigureOfMerit``
        becomes the scores, ``rlnClassNumber`` becomes the names, and ``rlnAngleRot``, ``rlnAngleTilt``,
        ``rlnAnglePsi`` become the rotations.
    shape
        Shape of the tomogram, z, y, x in voxels; needed for RELION 5, and for fractions of Warp.
    voxel_size_angstrom
        Voxel size of the tomogram; needed for RELION 5, and if the file gives the pixel size of its coordinates
        (``rlnTomoTiltSeriesPixelSize``, ``rlnMicrographPixelSize``, ``rlnDetectorPixelSize``, ``rlnPixelSize`` or
        ``rlnImagePixelSize``) but no ``rlnTomoTomogramBinning``. Coordinates are scaled if their pixel size differs
        from the voxel size by more than 1 %, and the ratio is logged.
    tomogram_name
        The tomogram whose points are read, see `cryosam.io.tomogram_names.same_tilt_series`: its name in
        ``rlnTomoName`` or ``rlnMicrographName``, its file, or a file that the set's ``tomograms.star`` names. If the
        file has only one tomogram, its points are read under any name, and a different name is logged.

    Raises
    ------
    PointsFileError
        If this is not a STAR file, it has no coordinates, a coordinate is not a number, it has several tomograms and
        none is chosen, or the unit of the coordinates is ambiguous.
    VoxelSizeError
        If the voxel size is needed and is not given, or contradicts the one that the file gives.

    Examples
    --------
    >>> import tempfile
    >>> text = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n30 20 10\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "picks.star").write_text(text)
    ...     read_star(Path(folder, "picks.star")).points
    array([[10., 20., 30.]])
    """
    blocks, files = read_star_blocks(path), {}
    of_set = _first_values(blocks)
    if _PARTICLES_FILE in of_set:
        tomograms = _find_file(path, of_set.get(_TOMOGRAMS_FILE, ""))
        files = {} if tomograms is None else read_reconstructions(tomograms)
        path = _named_file(path, of_set[_PARTICLES_FILE])
        blocks = read_star_blocks(path)
    rows, name = _of_tomogram(path, _particles(path, blocks), tomogram_name, files)
    optics = _optics(path, blocks)
    sizes = find_voxel_sizes(path, rows, optics, voxel_size_angstrom)
    if set(_CENTRED) <= set(rows):  # checked first, as in RELION 5
        points = _from_centred(path, rows, shape, voxel_size_angstrom)
    elif set(_SPECIES) <= set(rows):
        points = _from_species(path, rows, voxel_size_angstrom)
    else:
        if _are_stacks(blocks, optics):
            check_unit(path, rows, optics)
        points = _from_pixels(path, rows, optics, shape, sizes)
    return PointTable(
        points,
        read_numbers(path, rows, [_SCORE])[:, 0] if _SCORE in rows else None,
        tuple(str(c) for c in rows[_CLASS]) if _CLASS in rows else None,
        rotations=_rotations(path, rows),
        tomogram_name=name,
    )


def _first_values(blocks: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return the value of each label, or its first one."""
    return {str(column): str(block[column].iloc[0]) for block in blocks.values() if len(block) for column in block}


def _are_stacks(blocks: Mapping[str, pd.DataFrame], optics: pd.DataFrame) -> bool:
    """Whether the particles are 2D stacks, according to the file or, if scripts left that out, to its optics groups."""
    stated = _first_values(blocks).get(_ARE_STACKS)
    return stated != "0" if stated is not None else _DIMENSIONS in optics and "2" in optics[_DIMENSIONS].to_list()


def _rotations(path: Path, rows: pd.DataFrame) -> Rotation | None:
    """Return the orientations; None if there are no angles."""
    rotations = [
        angles_to_rotations(read_numbers(path, rows, columns))
        for columns in (_SUBTOMOGRAM_ANGLES, _ANGLES, _SPECIES_ANGLES)
        if set(columns) <= set(rows)
    ]
    if not rotations or not len(rows):
        return None
    return rotations[0] * rotations[1] if len(rotations) == 2 else rotations[0]


def _named_file(path: Path, name: str) -> Path:
    """Return the path of a file that ``path`` refers to."""
    found = _find_file(path, name)
    if found is None:
        raise PointsFileError(
            f"{path}: it refers to {name}, which does not exist; run this from the RELION project folder"
        )
    return found


def _find_file(path: Path, name: str) -> Path | None:
    """Find a file that ``path`` refers to, relative to here or to a parent folder, such as the RELION project."""
    return next((p for p in (Path(name), *(folder / name for folder in path.parents)) if p.is_file()), None)


def _particles(path: Path, blocks: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the only table with coordinates, or the only one of several that has rows."""
    names = [n for n in blocks if any(set(columns) <= set(blocks[n]) for columns in (_CENTRED, PIXELS, _SPECIES))]
    filled = [name for name in names if len(blocks[name])]
    if len(filled) > 1:
        raise PointsFileError(
            f"{path}: the blocks data_{filled[0]} and data_{filled[1]} both have coordinates; give a file with one of "
            "them"
        )
    if names:
        return blocks[(filled or names)[0]]
    found = ", ".join(dict.fromkeys(str(column) for block in blocks.values() for column in block))
    raise PointsFileError(
        f"{path}: no 3D coordinates: rlnCoordinateX, Y, Z or rlnCenteredCoordinateXAngst, YAngst, ZAngst or "
        f"wrpCoordinateX1, Y1, Z1 are needed, but the columns are {found or 'none'}"
    )


def _optics(path: Path, blocks: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the table of optics groups, of which each has one row; it is empty if there is none."""
    optics = blocks.get("optics", pd.DataFrame()).drop_duplicates()
    if _GROUP in optics and optics[_GROUP].duplicated().any():
        group = optics[_GROUP][optics[_GROUP].duplicated()].iloc[0]
        raise PointsFileError(f"{path}, block data_optics: optics group {group} is there twice; delete one of its rows")
    return optics


def _of_tomogram(
    path: Path, rows: pd.DataFrame, tomogram_name: str | None, files: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, str | None]:
    """Return the rows of one tomogram, and its name; all rows if the file has no tomogram names."""
    column = next((c for c in TOMOGRAMS if c in rows), None)
    if column is None or rows.empty:
        return rows, None
    chosen = choose_tomogram(path, sorted(rows[column].unique()), tomogram_name, files=files)
    return rows[rows[column] == chosen], chosen


def _frame(path: Path, shape: Sequence[int] | None, voxel_size_angstrom: float | None) -> tuple[Sequence[int], float]:
    """Return the shape and voxel size, which RELION 5 coordinates need."""
    if shape is None:
        raise PointsFileError(
            f"{path}: RELION 5 coordinates are relative to the centre of the tomogram; give its shape"
        )
    if voxel_size_angstrom is None:
        raise VoxelSizeError(f"{path}: RELION 5 coordinates are in angstrom, and the voxel size is unknown; give it")
    return shape, voxel_size_angstrom


def _from_centred(
    path: Path, rows: pd.DataFrame, shape: Sequence[int] | None, voxel_size_angstrom: float | None
) -> Points:
    """Convert the columns of RELION 5 to voxels."""
    frame = _frame(path, shape, voxel_size_angstrom)
    return centred_to_voxels(read_numbers(path, rows, _CENTRED) - _origins_angstrom(path, rows), *frame)


def _from_species(path: Path, rows: pd.DataFrame, voxel_size_angstrom: float | None) -> Points:
    """Convert the columns of a species of M to voxels."""
    if voxel_size_angstrom is None:
        raise VoxelSizeError(f"{path}: coordinates of M are in angstrom, and the voxel size is unknown; give it")
    if _SPECIES_SECOND in rows:
        _log.warning("%s: the particles have several poses during the exposure; the first is used", path)
    return read_numbers(path, rows, _SPECIES) / voxel_size_angstrom


def _from_pixels(
    path: Path,
    rows: pd.DataFrame,
    optics: pd.DataFrame,
    shape: Sequence[int] | None,
    voxel_sizes: Scores | None,
) -> Points:
    """Convert the columns of RELION 3.1, RELION 4 and Warp to voxels, whose size is known for each row or not."""
    pixels, origins = read_numbers(path, rows, PIXELS), _origins_angstrom(path, rows)
    if are_fractions(path, rows, optics, pixels):
        if shape is None:
            raise PointsFileError(
                f"{path}: coordinates from 0 to 1 are fractions of the tomogram size, as in Warp; give its shape"
            )
        _log.warning("%s: coordinates from 0 to 1 are read as fractions of the tomogram size, as in Warp", path)
        return pixels * np.asarray(shape, dtype=float)
    if rows.empty:
        return pixels
    pixel_sizes = find_pixel_sizes(path, rows, optics)
    ratios = pixels_per_voxel(path, rows, optics, pixel_sizes, voxel_sizes)
    if origins.any():
        if pixel_sizes is None and voxel_sizes is None:
            raise VoxelSizeError(f"{path}: rlnOriginX/Y/ZAngst needs the voxel size, which is unknown; give it")
        pixels = pixels - origins / (voxel_sizes / ratios if pixel_sizes is None else pixel_sizes)[:, None]
    return pixels / ratios[:, None]


def _origins_angstrom(path: Path, rows: pd.DataFrame) -> Points:
    """Return the refined shifts z, y, x, which are subtracted; zero if the file has none."""
    if any(read_numbers(path, rows, [c]).any() for c in _OLD_ORIGINS if c in rows):
        raise PointsFileError(
            f"{path}: rlnOriginX/Y/Z in pixels is from RELION 3.0; convert it with relion_convert_star"
        )
    origins = np.zeros((len(rows), 3))
    for axis, column in enumerate(_ORIGINS):
        if column in rows:
            origins[:, axis] = read_numbers(path, rows, [column])[:, 0]
    if origins.any() and set(_SUBTOMOGRAM_ANGLES) <= set(rows):
        rotations = Rotation.from_euler("ZYZ", read_numbers(path, rows, _SUBTOMOGRAM_ANGLES), degrees=True).inv()
        origins = rotations.apply(origins[:, ::-1])[:, ::-1]  # RELION uses the order x, y, z
    return origins
