"""RELION 5 sets: the tomograms of a project, and the optimisation set that its jobs take as input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.folders import make_folder
from cryosam.io.star_blocks import read_star_blocks
from cryosam.io.star_output import write_star
from cryosam.io.tomogram_names import same_tilt_series
from cryosam.io.tomogram_points import TomogramPoints

__all__ = ["read_reconstructions", "write_optimisation_set"]

_NAME, _PIXEL_SIZE = "rlnTomoName", "rlnTomoTiltSeriesPixelSize"
_SIZES = ["rlnTomoSizeZ", "rlnTomoSizeY", "rlnTomoSizeX"]  # pixels of the tilt series
_FILES = "rlnTomoReconstructedTomogram"  # prefix; also the columns of half maps and denoised tomograms
_TOLERANCE = 1.0  # voxels by which a binned tomogram may be shorter than the unbinned one
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class _KnownTomogram:
    name: str
    extent_angstrom: Float[np.ndarray, " 3"]  # z, y, x


def read_reconstructions(path: Path) -> dict[str, tuple[str, ...]]:
    r"""Read the files that RELION reconstructed of each tomogram of a set, by name.

    Examples
    --------
    >>> import tempfile
    >>> text = "data_global\nloop_\n_rlnTomoName\n_rlnTomoReconstructedTomogram\nTS_01 job009/rec_1.mrc\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tomograms.star").write_text(text)
    ...     read_reconstructions(Path(folder, "tomograms.star"))
    {'TS_01': ('job009/rec_1.mrc',)}
    """
    block = next((block for block in read_star_blocks(path).values() if _NAME in block), None)
    if block is None:
        return {}
    files = [column for column in block if str(column).startswith(_FILES)]
    return {str(name): tuple(map(str, row)) for name, row in zip(block[_NAME], block[files].to_numpy(), strict=True)}


def write_optimisation_set(folder: Path, parts: Sequence[TomogramPoints], tomograms: Path) -> None:
    r"""Write ``particles.star`` and ``optimisation_set.star``, the input of "Extract subtomos" in RELION 5.

    Parameters
    ----------
    folder
        Output folder, created if missing. Give it relative to the RELION project, because the paths in the set are
        written as given here.
    parts
        Points of each tomogram. Its name or the name of its file must be in ``tomograms``, as ``rlnTomoName`` or as a
        file that RELION reconstructed. Coordinates are relative to the centre that follows from the sizes there.
    tomograms
        The ``tomograms.star`` of RELION, with the size and the pixel size of each tomogram.

    Raises
    ------
    PointsFileError
        If a tomogram is not in the set, or has another size there.
    VoxelSizeError
        If a voxel size is unknown.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.io.points import PointTable
    >>> part = TomogramPoints(
    ...     table=PointTable(np.array([[4.0, 5.0, 6.0]])), name="rec_TS_01", shape=(8, 10, 12), voxel_size_angstrom=10.0
    ... )
    >>> columns = (_NAME, _PIXEL_SIZE, *_SIZES, _FILES)
    >>> row = "TS_01 2.5 32 40 48 Tomograms/job009/tomograms/rec_TS_01.mrc"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     known = Path(folder, "tomograms.star")
    ...     _ = known.write_text("data_global\nloop_\n" + "".join(f"_{c}\n" for c in columns) + row)
    ...     write_optimisation_set(Path(folder), [part], known)
    ...     read_star_blocks(Path(folder, "particles.star"))["particles"]["rlnTomoName"].to_list()
    ['TS_01']
    """
    known = {tomogram.name: tomogram for tomogram in _read_tomograms(tomograms)}
    names = {name: (name, *files) for name, files in read_reconstructions(tomograms).items()}
    renamed, extents = [], {}
    for part in parts:
        found = same_tilt_series(names, part.name)
        if len(found) != 1:
            listed = ", ".join(list(known)[:_SHOWN]) + ("" if len(known) <= _SHOWN else ", ...")
            raise PointsFileError(
                f"{tomograms}: no tomogram {part.name} in this set; it has {listed}; name one of these with --name"
            )
        tomogram = known[found[0]]
        renamed.append(replace(part, name=tomogram.name))
        extents[tomogram.name] = _extent(tomograms, tomogram, part).tolist()
    make_folder(folder)
    write_star(folder / "particles.star", renamed, extents=extents)
    with atomic_path(folder / "optimisation_set.star") as temporary:
        temporary.write_text(
            "# version 50001\n\ndata_optimisation_set\n\n"
            f"_rlnTomoParticlesFile   {folder / 'particles.star'}\n_rlnTomoTomogramsFile   {tomograms}\n\n",
            encoding="utf-8",
        )


def _extent(path: Path, tomogram: _KnownTomogram, part: TomogramPoints) -> Float[np.ndarray, " 3"]:
    """Return the size z, y, x in voxels according to RELION; it may differ from the shape by rounding in binning."""
    size = part.need_voxel_size(path, "RELION 5")
    extent = tomogram.extent_angstrom / size
    shape = np.array(part.need_shape(path, "RELION 5"), dtype=float)
    if (np.abs(extent - shape) > _TOLERANCE).any():
        there, here = (" x ".join(f"{n:g}" for n in sizes.round(1)) for sizes in (extent, shape))
        raise PointsFileError(
            f"{path}: {tomogram.name} has {there} voxels (z, y, x) of {size:g} angstrom, but the searched tomogram has "
            f"{here}; give the set from which it was reconstructed"
        )
    return extent


def _read_tomograms(path: Path) -> list[_KnownTomogram]:
    needed = [_NAME, _PIXEL_SIZE, *_SIZES]
    block = next((b for b in read_star_blocks(path).values() if set(needed) <= set(b)), None)
    if block is None:
        raise PointsFileError(f"{path}: not a tomogram set of RELION 5; no table has {', '.join(needed)}")
    try:
        pixels, sizes = block[_SIZES].to_numpy(dtype=float), block[_PIXEL_SIZE].to_numpy(dtype=float)
    except ValueError as error:
        raise PointsFileError(f"{path}: the size of a tomogram is not a number ({error})") from error
    if not (np.isfinite(pixels).all() and np.isfinite(sizes).all() and (pixels > 0).all() and (sizes > 0).all()):
        raise PointsFileError(f"{path}: the size of a tomogram is not a positive number")
    return [
        _KnownTomogram(str(name), extent) for name, extent in zip(block[_NAME], pixels * sizes[:, None], strict=True)
    ]
