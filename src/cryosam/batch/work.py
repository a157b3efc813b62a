"""What a worker does with one tomogram, whether it runs in a local pool, in a job array or on a cluster."""

import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cryosam.batch.jobs import Job, Outcome
from cryosam.batch.ledger import Ledger
from cryosam.config import to_toml
from cryosam.errors import PointsFileError, VoxelSizeError, explain
from cryosam.io import PointTable, read_info, read_points, read_search_mask, read_tomogram
from cryosam.io.overview import draw_thumbnail
from cryosam.io.queries import read_queries
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.segmentation import segment, segment_kinds
from cryosam.tomogram import Tomogram

__all__ = ["describe_points", "search_tomogram"]

_NO_NAME = "particle"


def search_tomogram(job: Job) -> Outcome:
    """Search one tomogram and write its results, unless they exist or another process is working on it; never raises.

    Parameters
    ----------
    job
        What to search, and how.
    """
    clock, ledger = time.perf_counter(), Ledger(job.out)
    trace = ""
    try:
        with ledger.tomogram(job.name) as is_mine:
            if not is_mine:
                return Outcome(name=job.name, status="busy", reason="another run is working on it")
            try:
                if ledger.is_finished(job):
                    return Outcome(name=job.name, status="unchanged")
                found = _search(job, ledger)
                outcome = Outcome(name=job.name, status="done", n_particles=len(found.points))
            except Exception as error:
                explanation = explain(error)
                trace = "" if explanation else traceback.format_exc()
                reason = explanation or f"{type(error).__name__}: {error}"
                is_final = isinstance(error, ValueError | LookupError | FileNotFoundError) and explanation is not None
                outcome = Outcome(name=job.name, status="failed", reason=" ".join(reason.split()), is_final=is_final)
            ledger.note(job, outcome, trace)
    except OSError as error:  # the batch's own folder cannot be written
        outcome = Outcome(name=job.name, status="failed", reason=explain(error) or str(error))
    return Outcome(**{**vars(outcome), "seconds": round(time.perf_counter() - clock, 2)})


def _search(job: Job, ledger: Ledger) -> Segmentation:
    """Read a tomogram, search it and write its results."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    stamps = ledger.stamps(job)  # taken before reading, so that the next run notices a file that changes meanwhile
    tomogram = replace(read_tomogram(job.path, job.voxel_size_angstrom), name=job.name)
    mask = read_search_mask(job.search_mask, tomogram.shape)
    options = RunOptions(search_mask=mask, kind_configs=job.kind_configs)
    kinds, has_names = _read_kinds(job, tomogram)
    config = job.config
    if has_names or len(kinds) > 1:
        found = segment_kinds(tomogram, kinds, config, options)
    else:
        config = job.kind_configs.get(kinds[0].name, config)
        found = segment(tomogram, kinds[0], config, options)
    searched = float(np.count_nonzero(mask)) if mask is not None else float(tomogram.data.size)
    run = RunInfo(
        command=job.command,
        input_path=str(job.path.absolute()),
        started=started,
        seconds=round(time.perf_counter() - clock, 2),
        origin_angstrom=read_info(job.path).origin_angstrom,
        config=config,
        job={
            **stamps,
            "searched_voxels": searched,
            "kind_configurations_toml": {name: to_toml(each) for name, each in job.kind_configs.items()},
        },
    )
    write_segmentation(
        job.folder,
        found,
        tomogram=tomogram,
        prompts=kinds if found.kinds else kinds[0],
        run=run,
        overwrite=True,
    )
    ledger.keep_thumbnail(job.name, draw_thumbnail(tomogram, found))
    return found


def describe_points(job: Job) -> str:
    """Say which points are those of the job's tomogram; of the tomogram only the header is read.

    Parameters
    ----------
    job
        A job.

    Raises
    ------
    CryosamError
        If the tomogram or the points cannot be read, or none of the points are of the tomogram.
    """
    if job.points is None:
        return "a saved query, no points"
    info = read_info(job.path)
    size = info.voxel_size_angstrom if job.voxel_size_angstrom is None else job.voxel_size_angstrom
    table = _read_points(job, job.points, info.shape, size)
    n = f"{len(table)} point{'' if len(table) == 1 else 's'}"
    if table.tomogram_name is None:
        return f"{n} in {job.points}, which names no tomogram"
    return f"{n} of {table.tomogram_name} in {job.points}"


def _read_points(job: Job, path: Path, shape: tuple[int, int, int], voxel_size_angstrom: float | None) -> PointTable:
    """Read the points of the job's tomogram; there must be some."""
    try:
        table = read_points(
            path, shape=shape, voxel_size_angstrom=voxel_size_angstrom, tomogram_name=job.name, axes=job.axes
        )
    except VoxelSizeError as error:
        raise VoxelSizeError(f"{error} (voxel_size in the project file)") from error
    if not len(table):
        raise PointsFileError(
            f"{path}: this file has no points; add at least one, or remove the tomogram from the project"
        )
    return table


def _read_kinds(job: Job, tomogram: Tomogram) -> tuple[list[PointPrompts | SavedQuery], bool]:
    """The kinds to search for, and whether the results name the kind even if there is only one."""
    if job.points is None:
        return [query for path in job.queries for query in read_queries(path)], False
    table = _read_points(job, job.points, tomogram.shape, tomogram.voxel_size_angstrom)
    names = table.names or (_NO_NAME,) * len(table)
    kinds = [PointPrompts(table.points[np.array(names) == name], name=name) for name in dict.fromkeys(names)]
    return list(kinds), table.names is not None
