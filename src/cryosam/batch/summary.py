"""Summary of all tomograms of a batch: one table, one page, one file with all particles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cryosam.arrays import Labels
from cryosam.batch.jobs import Job
from cryosam.batch.ledger import Ledger
from cryosam.batch.project import Project
from cryosam.errors import CryosamError
from cryosam.io import atomic_path, read_points, read_volume
from cryosam.io.earlier_results import has_particles, read_result_points
from cryosam.io.exports import EXPORTS, write_exports
from cryosam.io.overview import KindCount, TomogramRow, render_overview, write_table
from cryosam.io.star_output import write_star
from cryosam.io.structure_points import merge_tables, read_structure_points, write_structure_points
from cryosam.io.tomogram_points import TomogramPoints

__all__ = ["Totals", "write_summary"]

_TABLE, _PAGE, _PARTICLES = "summary.csv", "summary.html", "particles.star"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """State of a batch so far.

    Parameters
    ----------
    n_particles
        Number of particles, or of instances of another structure, of each kind.
    n_done, n_waiting
        Numbers of tomograms.
    failed
        Reason of each failure, by the tomogram's name.
    unwritten
        Reason for each file of all particles that could not be written.
    """

    n_particles: dict[str, int]
    n_done: int
    n_waiting: int
    failed: dict[str, str]
    unwritten: tuple[str, ...]


def write_summary(project: Project) -> Totals:
    """Write the summary of all tomograms from the results on disk.

    Several runs may call this, each after its own shard; the last call writes the complete summary.

    Parameters
    ----------
    project
        The whole project, not only the shard that a run has done.
    """
    ledger, rows, parts, maps = Ledger(project.out), [], [], {}
    with ledger.summary():
        for job in project.jobs:
            row, run = _read(ledger, job)
            rows.append(row)
            if run is not None and run.get("structures"):
                maps[job.name] = run
            if run is not None and has_particles(job.folder, run):
                parts.append(read_result_points(job.folder))
        kinds = list(dict.fromkeys([*project.kinds, *(kind for row in rows for kind in row.kinds)]))
        files = {
            _TABLE: "one row per tomogram: counts, densities, scores, time, memory, and the reason if it failed",
            "TOMOGRAM/": "the results of each tomogram, as cryosam segment writes them",
        }
        unwritten = []
        for write in (partial(_write_particles, project, parts), partial(_write_structures, project, maps)):
            try:
                files |= write()
            except CryosamError as error:  # one format failed; the table and the page are written nevertheless
                unwritten.append(str(error))
        write_table(project.out / _TABLE, rows, kinds, project.structures)
        with atomic_path(project.out / _PAGE) as temporary:
            temporary.write_text(render_overview(rows, kinds, files.items()), encoding="utf-8")
    return Totals(
        n_particles={kind: sum(row.kinds[kind].n_particles for row in rows if kind in row.kinds) for kind in kinds},
        n_done=sum(row.status == "done" for row in rows),
        n_waiting=sum(row.status == "waiting" for row in rows),
        failed={row.name: row.reason for row in rows if row.status == "failed"},
        unwritten=tuple(unwritten),
    )


def _read(ledger: Ledger, job: Job) -> tuple[TomogramRow, dict[str, Any] | None]:
    """The table row of one tomogram, and the content of its ``run.json`` if it is done."""
    failure = ledger.failure(job)
    run = ledger.read_run(job.name)
    path = str(job.path)
    if failure is not None:
        return TomogramRow(name=job.name, path=path, status="failed", reason=failure.reason), None
    if run is None or run.get("job", {}).get("digest") != _digest(job):
        return TomogramRow(name=job.name, path=path, status="waiting"), None
    size = run["input"]["voxel_size_angstrom"]
    row = TomogramRow(
        name=job.name,
        path=path,
        status="done",
        kinds=_count(run, job),
        voxel_size_angstrom=size,
        searched_um3=None if size is None else run["job"]["searched_voxels"] * (size * 1e-4) ** 3,
        seconds=run["seconds"],
        peak_memory_bytes=run["peak_memory_bytes"],
        warnings=tuple(run["warnings"]),
        notes=tuple(f"{kind}: {text}" for kind, text in run["job"].get("guesses", {}).items()),
        thumbnail=ledger.read_thumbnail(job.name),
    )
    return row, run


def _digest(job: Job) -> str | None:
    """Digest of a job; None if one of its files does not exist."""
    try:
        return job.digest()
    except CryosamError:
        return None


def _count(run: dict[str, Any], job: Job) -> dict[str, KindCount]:
    """Number of instances of each kind that was searched for, including kinds of which none was found."""
    counts = {
        part["kind"]: KindCount.of_scores(part["scores"], structure=part["structure"])
        for part in run.get("structures", [])
    }
    counts |= _count_particles(run, job) if has_particles(job.folder, run) else {}
    order = [label["kind"] for label in run.get("labels", [])] or list(counts)
    return {kind: counts[kind] for kind in order}


def _count_particles(run: dict[str, Any], job: Job) -> dict[str, KindCount]:
    table = read_points(job.folder / "particles.csv")
    scores = [] if table.scores is None else table.scores.tolist()
    parts = run["kinds"] or [{"name": run["kind"], "provenance": run["provenance"]}]
    names = table.names or (run["kind"],) * len(table)
    return {
        part["name"]: KindCount.of_scores(
            [score for score, name in zip(scores, names, strict=True) if name == part["name"]],
            part["provenance"].get("expected_false"),
        )
        for part in parts
    }


def _write_particles(project: Project, parts: Sequence[TomogramPoints]) -> dict[str, str]:
    """Write one STAR file of all particles and the requested exports; return a description of each file."""
    out = project.out
    if not parts:
        return {}
    files = {}
    if all(part.voxel_size_angstrom is not None for part in parts):
        write_star(out / _PARTICLES, parts)
        files[_PARTICLES] = "all particles for RELION 5"
    else:
        write_star(out / _PARTICLES, parts, program="relion4")
        files[_PARTICLES] = "all particles for RELION 4, in voxels, because not every voxel size is known"
    written = write_exports(
        out,
        project.export,
        parts,
        tilt_series_pixel_size_angstrom=project.tilt_series_pixel_size_angstrom,
        labels=lambda part: _labels(out / part.name / "instances.mrc"),
    )
    described = {name: EXPORTS[name].partition(": ") for name in project.export}
    return files | {place: text for place, _, text in described.values()} if written else files


def _write_structures(project: Project, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write the tables of all structures and the points on them; return a description of each file."""
    out = project.out
    points = [each for name, run in runs.items() for each in read_structure_points(out / name, run)]
    size = project.tilt_series_pixel_size_angstrom
    return merge_tables(out, runs) | write_structure_points(out, points, project.export, size)


def _labels(path: Path) -> Labels | None:
    return read_volume(path) if path.is_file() else None
