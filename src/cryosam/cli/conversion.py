"""Implementation of ``convert``: read points of one tomogram or several results, and write them in another format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryosam.errors import InputError, OutputExistsError, PointsFileError, VoxelSizeError
from cryosam.io import TomogramPoints, is_points_name, read_info, read_points, write_points
from cryosam.io.copick import write_copick, write_copick_masks
from cryosam.io.dynamo import write_dynamo
from cryosam.io.earlier_results import read_result_points, read_results
from cryosam.io.em import write_em
from cryosam.io.exports import check_exports
from cryosam.io.point_files import POINT_FORMATS
from cryosam.io.tomogram_names import file_name, tomogram_stem

if TYPE_CHECKING:
    from cryosam.io.star_output import StarProgram

__all__ = ["convert_points"]


def convert_points(
    *,
    sources: Sequence[Path],
    out: Path,
    tomogram: Path | None = None,
    voxel_size: float | None = None,
    name: str | None = None,
    axes: str | None = None,
    star: "StarProgram" = "relion5",
    tilt_series_pixel_size: float | None = None,
    relion_tomograms: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Convert points and return a line that says what was written; the parameters are the options of ``convert``."""
    if len(sources) > 1 and not all(_is_result(source) for source in sources):
        raise click.UsageError(
            "several sources must all be result folders of segment or pick, as other files do not name their tomogram"
        )
    if out.suffix and not is_points_name(out) and not out.is_dir() and relion_tomograms is None:
        raise InputError(
            f"{out}: unknown points format; use {' '.join(POINT_FORMATS)}, or no extension for a copick project"
        )
    beside = [out, out.with_suffix(".doc")] if out.suffix.lower() in (".tbl", ".em") else [out]
    there = next((path for path in beside if path.is_file()), None)
    if there is not None and not overwrite:
        raise OutputExistsError(f"{there} exists already; choose another name, or add --overwrite")
    with _naming_options():
        parts = [_read(source, tomogram, voxel_size, name, axes) for source in sources]
        if relion_tomograms is not None:
            _write_relion(out, parts, relion_tomograms, overwrite=overwrite)
        elif not is_points_name(out):
            _write_project(out, sources, parts, overwrite=overwrite)
        else:
            _write_file(out, parts, star, tilt_series_pixel_size)
    n = sum(len(part.table) for part in parts)
    of = f" of {len(parts)} tomograms" if len(parts) > 1 else ""
    return f"{n} point{'' if n == 1 else 's'}{of} in {out}"


@contextmanager
def _naming_options() -> Iterator[None]:
    """Add to an error about missing information the option that provides it."""
    try:
        yield
    except VoxelSizeError as error:
        raise VoxelSizeError(f"{error} (--voxel-size, or --tomogram)") from error
    except PointsFileError as error:
        if "shape" in str(error):
            raise PointsFileError(f"{error} (--tomogram)") from error
        raise


def _read(
    source: Path, tomogram: Path | None, voxel_size: float | None, name: str | None, axes: str | None
) -> TomogramPoints:
    """Read the points of a result or a file; tomogram name, shape and voxel size come from the options where given."""
    info = None if tomogram is None else read_info(tomogram)
    if info is not None:
        name = name or info.name
        voxel_size = info.voxel_size_angstrom if voxel_size is None else voxel_size
    if _is_result(source):
        part = read_result_points(source)
        if info is not None and info.shape != part.shape:
            raise InputError(
                f"{source} belongs to a tomogram of {part.shape} voxels (z, y, x), but {tomogram} has {info.shape}"
            )
        size = part.voxel_size_angstrom if voxel_size is None else voxel_size
        return replace(part, name=name or part.name, voxel_size_angstrom=size)
    shape = None if info is None else info.shape
    table = read_points(source, shape=shape, voxel_size_angstrom=voxel_size, tomogram_name=name, axes=axes)
    own_name = source.stem if table.tomogram_name is None else tomogram_stem(table.tomogram_name)
    return TomogramPoints(table=table, name=name or own_name, shape=shape, voxel_size_angstrom=voxel_size)


def _is_result(source: Path) -> bool:
    return (source / "run.json").is_file()


def _write_file(out: Path, parts: Sequence[TomogramPoints], program: "StarProgram", pixel_size: float | None) -> None:
    """Write one file in the format given by its extension."""
    ending = out.suffix.lower()
    if ending == ".star":
        from cryosam.io.star_output import write_star

        if program == "relion4":
            check_exports([program], parts[0].voxel_size_angstrom, pixel_size)
        write_star(out, parts, program=program, tilt_series_pixel_size_angstrom=pixel_size)
    elif ending == ".tbl":
        write_dynamo(out, parts)
    elif ending == ".em":
        write_em(out, parts)
    elif len(parts) > 1:
        raise InputError(
            f"{out}: this format holds the points of one tomogram only; convert each result to its own file"
        )
    else:
        (part,) = parts
        size = part.voxel_size_angstrom
        write_points(out, part.table, shape=part.shape, voxel_size_angstrom=size, tomogram_name=part.name)


def _write_relion(out: Path, parts: Sequence[TomogramPoints], tomograms: Path, *, overwrite: bool) -> None:
    from cryosam.io.relion_sets import write_optimisation_set

    if (out / "particles.star").exists() and not overwrite:
        raise OutputExistsError(f"{out / 'particles.star'} exists already; choose another folder, or add --overwrite")
    write_optimisation_set(out, parts, tomograms)


def _write_project(out: Path, sources: Sequence[Path], parts: Sequence[TomogramPoints], *, overwrite: bool) -> None:
    """Write the picks of all sources, and the masks of results that have masks."""
    there = [part.name for part in parts if (out / "ExperimentRuns" / file_name(part.name) / "Picks").is_dir()]
    if there and not overwrite:
        raise OutputExistsError(f"{out} has picks of {there[0]} already; choose another project, or add --overwrite")
    write_copick(out, parts)
    for source, part in zip(sources, parts, strict=True):
        if _is_result(source) and (results := read_results(source)).has_instances:
            write_copick_masks(out, part, results.read_instances())
