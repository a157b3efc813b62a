"""Implementation of ``convert``: read points of one tomogram or several results, and write them in another format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosam.cli.point_frame import PointFrame, naming_options, read_frame
from cryosam.errors import InputError, OutputExistsError
from cryosam.io import TomogramPoints, is_points_name, write_points
from cryosam.io.copick import write_copick, write_copick_masks
from cryosam.io.dynamo import write_dynamo
from cryosam.io.earlier_results import read_result_points, read_results
from cryosam.io.em import write_em
from cryosam.io.exports import check_exports
from cryosam.io.point_files import POINT_FORMATS
from cryosam.io.tomogram_names import file_name, tomogram_stem
from cryosam.io.volume_info import settle_voxel_size

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
    frame = read_frame(tomogram, voxel_size, name)
    with naming_options("--voxel-size, or --tomogram", "--tomogram"):
        parts = [_read(source, frame, axes) for source in sources]
        if relion_tomograms is not None:
            _write_relion(out, parts, relion_tomograms, overwrite=overwrite)
        elif not is_points_name(out):
            _write_project(out, sources, parts, overwrite=overwrite)
        else:
            _write_file(out, parts, star, tilt_series_pixel_size)
    n = sum(len(part.table) for part in parts)
    of = f" of {len(parts)} tomograms" if len(parts) > 1 else ""
    return f"{n} point{'' if n == 1 else 's'}{of} in {out}"


def _read(source: Path, frame: PointFrame, axes: str | None) -> TomogramPoints:
    """Read the points of a result or a file; tomogram name, shape and voxel size come from the options where given."""
    if not _is_result(source):
        table = frame.read(source, axes)
        own_name = source.stem if table.tomogram_name is None else tomogram_stem(table.tomogram_name)
        given: dict[str, Any] = {"shape": frame.shape, "voxel_size_angstrom": frame.voxel_size_angstrom}
        return TomogramPoints(table=table, name=frame.name or own_name, **given)
    part = read_result_points(source)
    if frame.shape is not None and frame.shape != part.shape:
        raise InputError(
            f"{source} belongs to a tomogram of {part.shape} voxels (z, y, x), but --tomogram has {frame.shape}"
        )
    size = settle_voxel_size(frame.voxel_size_angstrom, part.voxel_size_angstrom, str(source / "run.json"))
    return replace(part, name=frame.name or part.name, voxel_size_angstrom=size)


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
