"""Writing the result folder of a run: particles, masks, run information and a report page."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cryosam.config import Config, to_toml
from cryosam.io.environment import peak_memory, versions
from cryosam.io.exports import EXPORT_PATTERNS, check_exports, describe_exports, write_exports
from cryosam.io.folders import check_output, output_folder
from cryosam.io.mrc import write_mrc, write_mrc_labels
from cryosam.io.point_files import write_points
from cryosam.io.points import PointTable
from cryosam.io.report import render_report
from cryosam.io.star_output import write_star
from cryosam.io.structure_tables import STRUCTURE_PATTERNS
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.prompts import PointPrompts
from cryosam.results import Average, Segmentation, Trust
from cryosam.saved_query import SavedQuery
from cryosam.tomogram import Tomogram

__all__ = ["OUTPUTS", "RunInfo", "describe_run", "points_of", "write_files", "write_particles", "write_segmentation"]

OUTPUTS: Mapping[str, str] = {
    "report.html": "this page",
    "particles.csv": "one row per particle, best first: z,y,x in voxels, score, number in instances.mrc (0: no mask)",
    "particles.star": "the same for RELION 5, or 4 without a voxel size; the angles rotate average.mrc onto a particle",
    "candidates.csv": "all candidates, accepted or rejected, with their scores, to choose another threshold",
    "instances.mrc": "the number of the particle at each voxel, or 0",
    "semantic.mrc": "1 in every particle, or the number of its kind if there are several; 0 elsewhere",
    "score.mrc": "similarity to the clicked particle for each cell; one voxel is one cell; -1: not evaluated",
    "average.mrc": "average of the most similar particles, aligned to each other; protein bright",
    "run.json": "this run: prompts, settings, versions, digests, times, memory",
}
"""Every file that `write_segmentation` can write, and its content.

With several kinds, each has its own score map and average, ``score-NAME.mrc`` and ``average-NAME.mrc``.
"""

Prompts = PointPrompts | SavedQuery


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Information about a run that only the caller has.

    Parameters
    ----------
    command
        Command line as typed.
    input_path
        File of the tomogram.
    started
        Start time in ISO 8601.
    seconds
        Wall time of the run until the results are written.
    origin_angstrom
        Origin in the header of the tomogram, along z, y, x; it is written to the volumes.
    job
        For a batch: values that tell later whether the result is up to date with its settings and files.
    config
        Settings of the run.
    exports, tilt_series_pixel_size_angstrom
        Formats of other programs to write too, see `cryosam.io.exports.write_exports`.
    """

    command: str = ""
    input_path: str = ""
    started: str = ""
    seconds: float | None = None
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
    job: Mapping[str, Any] = field(default_factory=dict)
    config: Config = field(default_factory=Config)
    exports: Sequence[str] = ()
    tilt_series_pixel_size_angstrom: float | None = None


def write_segmentation(
    folder: str | os.PathLike[str],
    segmentation: Segmentation,
    *,
    tomogram: Tomogram,
    prompts: Prompts | Sequence[Prompts],
    run: RunInfo | None = None,
    overwrite: bool = False,
) -> Path:
    """Write all outputs of a run; each file appears only when it is complete.

    If the folder has a ``run.json``, its files are from one complete run, see `cryosam.io.folders.output_folder`. Files
    that are not `OUTPUTS` are kept.

    Parameters
    ----------
    folder
        Output folder, created if missing.
    segmentation
        The result. Volumes of masks are written if any instance has a mask, or if there are no instances. The score map
        and the candidates are written if there are any.
    tomogram
        The tomogram that was searched.
    prompts
        The clicks or the query of the search; of each kind, if there are several.
    run
        What only the caller knows: command, settings, formats for other programs.
    overwrite
        Whether the files of an earlier run may be replaced.

    Returns
    -------
    folder
        Absolute path of the output folder.

    Raises
    ------
    OutputExistsError
        If the folder is not empty, and ``overwrite`` is False.
    InputError, VoxelSizeError
        As in `cryosam.io.exports.check_exports`.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.masks import InstanceMask
    >>> volume = Tomogram(np.random.default_rng(0).random((9, 10, 11), dtype=np.float32), 10.0)
    >>> mask = InstanceMask((3, 4, 5), np.ones((3, 3, 3), dtype=bool))
    >>> found = Segmentation((9, 10, 11), np.array([[4.0, 5.0, 6.0]]), np.array([0.9]), (mask,))
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     out = write_segmentation(f"{parent}/out", found, tomogram=volume, prompts=PointPrompts(found.points))
    ...     print((out / "particles.csv").read_text())
    z,y,x,score,instance
    4.000,5.000,6.000,0.90000,1
    <BLANKLINE>
    """
    run = run or RunInfo()
    check_output(Path(folder), overwrite=overwrite)
    description = describe_run(segmentation, tomogram=tomogram, prompts=prompts, run=run)
    part = points_of(segmentation)
    pixel_size = run.tilt_series_pixel_size_angstrom
    check_exports(run.exports, part.voxel_size_angstrom, pixel_size, list(part.by_kind()))
    description["outputs"] |= describe_exports(run.exports, part)
    page = render_report(segmentation, tomogram, _clicks(prompts), description)
    names = [*_left_behind(Path(folder)), *(name for part in segmentation.kinds for name in _of_kind(part)), *OUTPUTS]
    with output_folder(Path(folder), names, overwrite=overwrite) as temporary:
        write_files(temporary, segmentation, description, page, run.origin_angstrom)
        written = write_exports(
            temporary,
            run.exports,
            [part],
            tilt_series_pixel_size_angstrom=pixel_size,
            labels=lambda _: segmentation.labels() if any(mask.n_voxels for mask in segmentation.masks) else None,
            lies_at=Path(folder),
        )
        names[:0] = [path.name for path in written if path.name not in names]
    return Path(folder).absolute()


def points_of(segmentation: Segmentation) -> TomogramPoints:
    """Convert a result to the points that the writers of points formats expect.

    Examples
    --------
    >>> nothing = Segmentation((2, 3, 4), np.zeros((0, 3)), np.zeros(0), (), name="TS_01", kind="ribosome")
    >>> points_of(nothing).kinds
    ('ribosome',)
    """
    instances = np.array([i if mask.n_voxels else 0 for i, mask in enumerate(segmentation.masks, start=1)], dtype=int)
    return TomogramPoints(
        table=PointTable(
            segmentation.points,
            segmentation.scores,
            segmentation.names or None,
            instances,
            segmentation.rotations,
        ),
        name=segmentation.name,
        shape=segmentation.shape,
        voxel_size_angstrom=segmentation.voxel_size_angstrom,
        kinds=tuple(part.kind for part in segmentation.kinds) or (segmentation.kind,),
    )


def write_particles(folder: Path, segmentation: Segmentation) -> None:
    """Write ``particles.csv`` and ``particles.star`` into an existing folder; `OUTPUTS` describes them."""
    part = points_of(segmentation)
    write_points(folder / "particles.csv", part.table)
    numbered = replace(part, table=replace(part.table, instances=np.arange(1, len(part.table) + 1)))
    write_star(
        folder / "particles.star", [numbered], program="relion4" if part.voxel_size_angstrom is None else "relion5"
    )


def describe_run(
    segmentation: Segmentation,
    *,
    tomogram: Tomogram,
    prompts: Prompts | Sequence[Prompts],
    run: RunInfo | None = None,
) -> dict[str, Any]:
    """Return the content of ``run.json``; see `write_segmentation` for the parameters.

    Examples
    --------
    >>> nothing = Segmentation((2, 3, 4), np.zeros((0, 3)), np.zeros(0), ())
    >>> tomogram = Tomogram(np.zeros((2, 3, 4), dtype=np.float32))
    >>> describe_run(nothing, tomogram=tomogram, prompts=PointPrompts(np.zeros((1, 3))))["n_particles"]
    0
    """
    run = run or RunInfo()
    kinds = [prompts] if isinstance(prompts, Prompts) else list(prompts)
    content = {
        "command": run.command,
        "started": run.started,
        "seconds": run.seconds,
        "peak_memory_bytes": peak_memory(),
        "input": {
            "path": run.input_path,
            "name": tomogram.name,
            "sha256": tomogram.digest(),
            "shape_zyx": list(tomogram.shape),
            "dtype": str(tomogram.data.dtype),
            "voxel_size_angstrom": tomogram.voxel_size_angstrom,
        },
        "prompts": [
            {"zyx": point, "is_positive": is_positive} | ({"kind": each.name} if segmentation.kinds else {})
            for each in kinds
            if isinstance(each, PointPrompts)
            for is_positive in (True, False)
            for point in (each.positive if is_positive else each.negative).tolist()
        ],
        "queries": [
            {
                "kind": each.name,
                "digest": each.digest(),
                "n_particles": each.n_particles,
                "source": each.source,
                "source_sha256": each.source_digest,
            }
            for each in kinds
            if isinstance(each, SavedQuery)
        ],
        "kind": segmentation.kind,
        "n_particles": len(segmentation.points),
        "n_candidates": len(segmentation.candidate_points),
        "threshold": segmentation.threshold,
        "score_map_stride": None if segmentation.score_map is None else segmentation.score_map.stride,
        "warnings": list(segmentation.warnings),
        "warning_codes": [warning.code for warning in segmentation.report.warnings],
        "provenance": dict(segmentation.provenance),
        "average_fsc": _describe_fsc(segmentation.average),
        "trust": _describe_trust(segmentation.trust),
        "kinds": [
            {
                "name": part.kind,
                "n_particles": len(part.points),
                "n_candidates": len(part.candidate_points),
                "threshold": part.threshold,
                "provenance": dict(part.provenance),
                "average_fsc": _describe_fsc(part.average),
                "trust": _describe_trust(part.trust),
            }
            for part in segmentation.kinds
        ],
        "configuration": asdict(run.config),
        "configuration_toml": to_toml(run.config),
        "versions": versions(),
        "platform": platform.platform(),
        "outputs": {name: text for name, text in OUTPUTS.items() if name in _names(segmentation)}
        | {
            name: f"{OUTPUTS[base]}; of kind {part.kind}"
            for part in segmentation.kinds
            for name, base in zip(_of_kind(part), ("score.mrc", "average.mrc"), strict=True)
            if base in _names(part)
        },
    }
    return content | ({"job": dict(run.job)} if run.job else {})


def _describe_fsc(average: Average | None) -> list[float] | None:
    return None if average is None or average.fsc is None else average.fsc.round(4).tolist()


def _describe_trust(trust: Trust | None) -> dict[str, Any] | None:
    if trust is None:
        return None
    columns = (trust.clicks, trust.is_on_clicked, trust.n_found, trust.finds_clicked, trust.agreement)
    return {
        "clicks": [
            {
                "zyx": zyx,
                "is_on_clicked_particle": is_on_clicked,
                "n_found": n,
                "finds_clicked_particle": finds_clicked,
                "agreement_f1": round(f1, 4),
            }
            for zyx, is_on_clicked, n, finds_clicked, f1 in zip(*(column.tolist() for column in columns), strict=True)
        ],
        "better_click_zyx": None if trust.better_click is None else trust.better_click.tolist(),
        "found_again": trust.found_again.round(4).tolist(),
        "missed_zyx": trust.missed.round(3).tolist(),
    }


def _names(segmentation: Segmentation) -> list[str]:
    """Return the names of the `OUTPUTS` that this result has."""
    names = ["report.html", "particles.csv", "particles.star", "run.json"]
    if len(segmentation.candidate_points):
        names.append("candidates.csv")
    if not segmentation.masks or any(mask.n_voxels for mask in segmentation.masks):
        names += ["instances.mrc", "semantic.mrc"]
    if segmentation.score_map is not None:
        names.append("score.mrc")
    if segmentation.average is not None:
        names.append("average.mrc")
    return names


def _clicks(prompts: Prompts | Sequence[Prompts]) -> PointPrompts | None:
    """Collect the positive clicks of all kinds; None if there are only queries.

    Negative clicks are kept only for a single kind, because an object that is not of one kind may be of another.
    """
    if isinstance(prompts, PointPrompts):
        return prompts
    kinds = [] if isinstance(prompts, SavedQuery) else prompts
    clicks = [each.positive for each in kinds if isinstance(each, PointPrompts)]
    return PointPrompts(np.concatenate(clicks)) if clicks else None


def _of_kind(part: Segmentation) -> tuple[str, str]:
    """Return the file names of the score map and average of one kind, if there are several kinds."""
    return f"score-{part.kind}.mrc", f"average-{part.kind}.mrc"


def _left_behind(folder: Path) -> list[str]:
    """List files of an earlier run: of its kinds, of its structures, and its exports for other programs."""
    patterns = ("score-*.mrc", "average-*.mrc", *EXPORT_PATTERNS, *STRUCTURE_PATTERNS)
    return sorted({path.name for pattern in patterns for path in folder.glob(pattern)})


def write_files(
    folder: Path,
    segmentation: Segmentation,
    description: Mapping[str, Any],
    page: str,
    origin: tuple[float, float, float],
) -> None:
    """Write every file into an empty folder; ``page`` is the report, and ``description`` goes into ``run.json``."""
    size = segmentation.voxel_size_angstrom
    write_particles(folder, segmentation)
    names = _names(segmentation)
    if "candidates.csv" in names:
        of_candidates = segmentation.candidate_names or None
        candidates = PointTable(segmentation.candidate_points, segmentation.candidate_scores, of_candidates)
        write_points(folder / "candidates.csv", candidates)
    if "instances.mrc" in names:
        for name, parts in (("instances", segmentation.painted()), ("semantic", segmentation.painted(kinds=True))):
            write_mrc_labels(folder / f"{name}.mrc", segmentation.shape, parts, size, origin)
    if not segmentation.kinds:
        _write_maps(folder, ("score.mrc", "average.mrc"), segmentation, origin)
    for part in segmentation.kinds:
        _write_maps(folder, _of_kind(part), part, origin)
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _write_maps(
    folder: Path, names: tuple[str, str], segmentation: Segmentation, origin: tuple[float, float, float]
) -> None:
    """Write the score map and average of one kind, if it has them."""
    size = segmentation.voxel_size_angstrom
    if segmentation.score_map is not None:
        values, stride = segmentation.score_map.data, segmentation.score_map.stride
        # shift to the centre of cell 0, so that viewers that use the origin overlay the map exactly
        shift = (stride - 1) / 2 * (size or 0.0)
        z, y, x = (o + shift for o in origin)
        write_mrc(
            folder / names[0],
            np.where(np.isnan(values), np.float32(-1), values).astype(np.float32),
            None if size is None else size * stride,
            (z, y, x),
        )
    if segmentation.average is not None:
        average = segmentation.average
        write_mrc(folder / names[1], average.data, None if size is None else size * average.step)
