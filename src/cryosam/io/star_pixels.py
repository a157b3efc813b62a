"""The unit of ``rlnCoordinateX/Y/Z`` in a STAR file: the pixel size, the voxel size and the ratio of the two, per row.

All functions take the path, for messages, and the tables of particles and of optics groups, with all values as text.
The reasons are in `cryosam.io.star`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from cryosam.arrays import Points, Scores
from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.relion import SAME_SIZE, one_if_same

__all__ = [
    "PIXELS",
    "TOMOGRAMS",
    "are_fractions",
    "check_unit",
    "find_pixel_sizes",
    "find_voxel_sizes",
    "pixels_per_voxel",
    "read_numbers",
]

_log = logging.getLogger(__name__)

PIXELS = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
"""Labels of coordinates in pixels, z, y, x."""
TOMOGRAMS = ("rlnTomoName", "rlnMicrographName", "wrpSourceName")
"""Labels of the names of tomograms; the first that a table has counts."""
_SERIES, _IMAGES = "rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize"
_SIZES = [_SERIES, "rlnMicrographPixelSize", "rlnDetectorPixelSize", "rlnPixelSize"]
_WARP_SIZES = ["rlnDetectorPixelSize", "rlnPixelSize", _IMAGES]
_SAME_MAGNIFICATION = 1e4  # at this magnification the number is the pixel size of the image in angstrom
_BINNING, _GROUP = "rlnTomoTomogramBinning", "rlnOpticsGroup"


def find_voxel_sizes(
    path: Path, rows: pd.DataFrame, optics: pd.DataFrame, voxel_size_angstrom: float | None
) -> Scores | None:
    """Return the voxel size in angstrom for each row: the given one, or the one of the file; None if unknown.

    The file gives it as the pixel size of the tilt series times the binning of the tomogram.

    Raises
    ------
    VoxelSizeError
        If both are there, and they differ by more than 1 %.

    Examples
    --------
    >>> rows = pd.DataFrame({"rlnTomoTiltSeriesPixelSize": ["2.5"], "rlnTomoTomogramBinning": ["4"]})
    >>> find_voxel_sizes(Path("p.star"), rows, pd.DataFrame(), None)
    array([10.])
    """
    given = None if voxel_size_angstrom is None else np.full(len(rows), voxel_size_angstrom, dtype=float)
    binning = _per_row(path, rows, optics, _BINNING)
    if binning is None:
        return given
    unbinned = _per_row(path, rows, optics, _SERIES)
    if unbinned is None and not _is_warp(rows):
        unbinned = find_pixel_sizes(path, rows, optics)
    if unbinned is None:
        return given
    stored = binning * unbinned
    if given is None:
        return stored
    other = np.flatnonzero(np.abs(stored / given - 1) > SAME_SIZE)
    if len(other):
        i = other[0]
        raise VoxelSizeError(
            f"{path}: its pixels of {unbinned[i]:g} angstrom and {_BINNING} {binning[i]:g} make voxels of "
            f"{stored[i]:g} angstrom, but the voxel size is {voxel_size_angstrom:g}; give the right one"
        )
    return given


def find_pixel_sizes(path: Path, rows: pd.DataFrame, optics: pd.DataFrame) -> Scores | None:
    """Return the pixel size of ``rlnCoordinate`` in angstrom for each row; None if the file does not give it.

    Examples
    --------
    >>> rows = pd.DataFrame({"rlnCoordinateX": ["8"], "rlnOpticsGroup": ["1"]})
    >>> optics = pd.DataFrame({"rlnOpticsGroup": ["1"], "rlnTomoTiltSeriesPixelSize": ["2.5"]})
    >>> find_pixel_sizes(Path("p.star"), rows, optics)
    array([2.5])
    """
    for column in _WARP_SIZES if _is_warp(rows) else _SIZES:
        sizes = _per_row(path, rows, optics, column)
        if sizes is not None:
            magnifications = _per_row(path, rows, optics, "rlnMagnification")
            if column == "rlnDetectorPixelSize" and magnifications is not None:
                return sizes * _SAME_MAGNIFICATION / magnifications
            return sizes
    return None


def pixels_per_voxel(
    path: Path,
    rows: pd.DataFrame,
    optics: pd.DataFrame,
    pixel_sizes: Scores | None,
    voxel_sizes: Scores | None,
) -> Scores:
    """Return the edge of a voxel in pixels of ``rlnCoordinate`` for each row; a value other than 1 is logged.

    Parameters
    ----------
    path, rows, optics
        The file, the particles and the optics groups.
    pixel_sizes, voxel_sizes
        In angstrom, for each row; None if unknown.

    Raises
    ------
    VoxelSizeError
        If the voxel size is needed and not known.
    PointsFileError
        If the pixel size is that of particle images only, and not the voxel size, or the optics block is missing.

    Examples
    --------
    >>> pixels_per_voxel(Path("p.star"), pd.DataFrame(), pd.DataFrame(), np.array([2.5]), np.array([10.0]))
    array([4.])
    """
    if pixel_sizes is not None:
        if voxel_sizes is None:
            raise VoxelSizeError(
                f"{path}: coordinates are in pixels of {pixel_sizes[0]:g} angstrom, and the voxel size is unknown; "
                "give it"
            )
        ratios = one_if_same(voxel_sizes / pixel_sizes)
    else:
        binning = _per_row(path, rows, optics, _BINNING)
        if binning is None:
            _require_optics(path, rows, optics)
            _require_same_as_images(path, rows, optics, voxel_sizes)
        ratios = np.ones(len(rows)) if binning is None else one_if_same(binning)
    for ratio in np.unique(ratios[ratios != 1]):
        _log.warning(
            "%s: coordinates are in pixels of another size and were divided by %.6g to get voxels", path, ratio
        )
    return ratios


def check_unit(path: Path, rows: pd.DataFrame, optics: pd.DataFrame) -> None:
    """Refuse 2D stacks with two pixel sizes: RELION counts pixels of the tilt series, Warp those of the stacks.

    Raises
    ------
    PointsFileError
        If the names of the tomograms are not those of Warp, and the two sizes differ.
    """
    series, images = (_per_row(path, rows, optics, c) for c in (_SERIES, _IMAGES))
    if _is_warp(rows) or series is None or images is None or (one_if_same(series / images) == 1).all():
        return
    raise PointsFileError(
        f"{path}: the unit of rlnCoordinateX/Y/Z is ambiguous: Warp writes pixels of {images[0]:g} angstrom for 2D "
        f"stacks, RELION of {series[0]:g}; give the names of the tomograms their ending .tomostar if it is Warp's, or "
        "delete rlnImagePixelSize if it is RELION's"
    )


def are_fractions(path: Path, rows: pd.DataFrame, optics: pd.DataFrame, pixels: Points) -> bool:
    """Whether coordinates are fractions, as from template matching in Warp.

    Examples
    --------
    >>> rows = pd.DataFrame({"rlnMicrographName": ["TS_01.tomostar"]})
    >>> are_fractions(Path("p.star"), rows, pd.DataFrame(), np.array([[0.5, 0.25, 0.75]]))
    True
    """
    if not _is_warp(rows) or any(_per_row(path, rows, optics, c) is not None for c in _WARP_SIZES):
        return False
    return bool((pixels >= 0).all() and (pixels <= 1).all() and (pixels % 1).any())


def read_numbers(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> Float[np.ndarray, "n c"]:
    """Convert columns to finite numbers; the error names the first row with another value.

    Examples
    --------
    >>> read_numbers(Path("p.star"), pd.DataFrame({"rlnCoordinateX": ["1.5", "2"]}), ["rlnCoordinateX"])
    array([[1.5],
           [2. ]])
    """
    numbers = np.empty((len(rows), len(columns)))
    for i, column in enumerate(columns):
        numbers[:, i] = pd.to_numeric(rows[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(numbers[:, i]))
        if len(bad):
            row = int(rows.index[bad[0]]) + 1
            raise PointsFileError(f"{path}, row {row}: {column} is {str(rows[column].iloc[bad[0]])!r}, not a number")
    return numbers


def _is_warp(rows: pd.DataFrame) -> bool:
    """Whether the tomograms have names as in Warp and M."""
    column = next((c for c in TOMOGRAMS if c in rows), None)
    return column is not None and len(rows) > 0 and bool(rows[column].map(str).str.endswith(".tomostar").all())


def _require_optics(path: Path, rows: pd.DataFrame, optics: pd.DataFrame) -> None:
    """Refuse a file that lacks the optics groups of its particles: they have the pixel size of the coordinates."""
    if _GROUP not in rows:
        return
    if optics.empty or set(PIXELS) <= set(optics):
        raise PointsFileError(
            f"{path}: {_GROUP} refers to an optics block, which is missing or empty, so the pixel size of the "
            "coordinates is unknown; add the block, or remove the column if they are in voxels"
        )
    _require_groups(path, rows, optics)


def _require_groups(path: Path, rows: pd.DataFrame, optics: pd.DataFrame) -> None:
    unknown = sorted(set(rows[_GROUP]) - set(optics.get(_GROUP, rows[_GROUP])))
    if unknown:
        raise PointsFileError(f"{path}: optics group {unknown[0]} of the particles is not in the optics block")


def _require_same_as_images(path: Path, rows: pd.DataFrame, optics: pd.DataFrame, voxel_sizes: Scores | None) -> None:
    """Refuse a file that gives only the pixel size of particle images: they may have another binning than the picks."""
    images = _per_row(path, rows, optics, _IMAGES)
    if images is None:
        return
    if voxel_sizes is None:
        raise VoxelSizeError(
            f"{path}: coordinates may be in pixels of {images[0]:g} angstrom (rlnImagePixelSize), and the voxel size "
            "is unknown; give it"
        )
    if (np.abs(images / voxel_sizes - 1) > SAME_SIZE).any():
        raise PointsFileError(
            f"{path}: rlnImagePixelSize is {images[0]:g} angstrom, but the voxel size is {voxel_sizes[0]:g}; "
            f"add the pixel size of the coordinates to the optics block as rlnTomoTiltSeriesPixelSize"
        )


def _per_row(path: Path, rows: pd.DataFrame, optics: pd.DataFrame, column: str) -> Scores | None:
    """Return a positive number for each row, from its column or its optics group; None if neither has it."""
    if column in rows:
        values = read_numbers(path, rows, [column])[:, 0]
    elif column not in optics or optics.empty:
        return None
    elif _GROUP in rows and _GROUP in optics:
        groups = dict(zip(optics[_GROUP], read_numbers(path, optics, [column])[:, 0], strict=True))
        _require_groups(path, rows, optics)
        values = rows[_GROUP].map(groups).to_numpy(dtype=float)
    else:
        values = np.full(len(rows), read_numbers(path, optics, [column])[0, 0])
    if (values <= 0).any():
        raise PointsFileError(f"{path}: {column} is {values.min():g}; it must be greater than 0")
    return values
