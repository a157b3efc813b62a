"""What a worker does with one tomogram, whether it runs in a local pool, in a job array or on a cluster."""

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cryosam.batch.jobs import Job, Outcome
from cryosam.batch.ledger import Ledger
from cryosam.config import to_toml
from cryosam.errors import PointsFileError, VoxelSizeError, explain
from cryosam.full_map import FullMap
from cryosam.io import PointTable, read_info, read_points, read_search_mask, read_tomogram
from cryosam.io.overview import draw_thumbnail
from cryosam.io.queries import read_queries
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.io.structure_files import write_map
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.segmentation import segment, segment_kinds
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import StructureKind
from cryosam.structure_scene import with_straightened
from cryosam.structure_search import find_map, take_for
from cryosam.tomogram import Tomogram

__all__ = ["describe_found", "describe_points", "search_tomogram"]

Kind = PointPrompts | SavedQuery | StructureQuery
Guesses = dict[str, str]

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
                outcome = Outcome(
                    name=job.name, status="done", n_particles=_n_particles(found), found=describe_found(found)
                )
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


def _search(job: Job, ledger: Ledger) -> Segmentation | FullMap:
    """Read a tomogram, search it and write its results."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    stamps = ledger.stamps(job)  # taken before reading, so that the next run notices a file that changes meanwhile
    tomogram = replace(read_tomogram(job.path, job.voxel_size_angstrom), name=job.name)
    mask = read_search_mask(job.search_mask, tomogram.shape)
    read, has_names = _read_kinds(job, tomogram)
    kinds, structures, guesses = _take(job, tomogram, read)
    new_names = {old.name: new.name for new, old in zip(kinds, read, strict=True)}
    configs = {new_names.get(name, name): each for name, each in job.kind_configs.items()}
    options = RunOptions(search_mask=mask, kind_configs=configs)
    particles = [each for each in kinds if not isinstance(each, StructureQuery)]
    config = job.config
    found: Segmentation | FullMap
    if structures:
        found = find_map(tomogram, kinds, structures, config, options)
    elif has_names or len(kinds) > 1:
        found = segment_kinds(tomogram, particles, config, options)
    else:
        config = job.kind_configs.get(particles[0].name, config)
        found = segment(tomogram, particles[0], config, options)
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
            **({"guesses": guesses} if guesses else {}),
        },
    )
    if isinstance(found, FullMap):
        given = {new.name: job.choices.spacing_of(old.name) for new, old in zip(kinds, read, strict=True)}
        spacings = {name: value for name, value in given.items() if value is not None and name in structures}
        found = with_straightened(found, tomogram, config)
        write_map(job.folder, found, tomogram=tomogram, prompts=kinds, run=run, spacings=spacings, overwrite=True)
    else:
        prompts = particles if found.kinds else particles[0]
        write_segmentation(job.folder, found, tomogram=tomogram, prompts=prompts, run=run, overwrite=True)
    ledger.keep_thumbnail(job.name, draw_thumbnail(tomogram, found))
    return found


def _take(job: Job, tomogram: Tomogram, kinds: Sequence[Kind]) -> tuple[list[Kind], dict[str, StructureKind], Guesses]:
    """Settle what each kind is.

    Returns
    -------
    kinds
        The kinds; one without a name that is no particle has the name of its structure.
    structures
        By the name of the kind, for those that are no particles.
    guesses
        What the clicks on a kind look like, where that was to be guessed.
    """
    named, structures, guesses = list(kinds), dict[str, StructureKind](), Guesses()
    for row, kind in enumerate(kinds):
        if isinstance(kind, StructureQuery):
            structures[kind.name] = kind.structure
        if not isinstance(kind, PointPrompts):
            continue
        structure = job.choices.structure_of(kind.name)
        if structure == "auto":
            taken = take_for(tomogram, kind, job.config)
            structure, guesses[kind.name] = taken.structure, taken.text
        if structure != "particle":
            if kind.name == _NO_NAME:
                named[row] = kind = replace(kind, name=structure)
            structures[kind.name] = structure
    return named, structures, guesses


def _n_particles(found: Segmentation | FullMap) -> int:
    particles = found.particles if isinstance(found, FullMap) else found
    return 0 if particles is None else len(particles.points)


def describe_found(found: Segmentation | FullMap) -> str:
    """Say in words what a map holds; empty for particles alone.

    Examples
    --------
    >>> describe_found(Segmentation((3, 4, 5), np.zeros((0, 3)), np.zeros(0), ()))
    ''
    """
    if not isinstance(found, FullMap):
        return ""
    words = []
    for label in found.legend():
        name = "" if label.kind == label.structure else f"{label.kind}: "
        words.append(f"{name}{label.n_instances} {label.structure}{'' if label.n_instances == 1 else 's'}")
    return ", ".join(words)


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
        found = [each for path in job.queries for each in read_queries(path)]
        structures = [f"{each.name}: {each.structure}" for each in found if isinstance(each, StructureQuery)]
        return "a saved query, no points" + (f" ({', '.join(structures)})" if structures else "")
    info = read_info(job.path)
    size = info.voxel_size_angstrom if job.voxel_size_angstrom is None else job.voxel_size_angstrom
    table = _read_points(job, job.points, info.shape, size)
    n = f"{len(table)} point{'' if len(table) == 1 else 's'}"
    taken = {name: job.choices.structure_of(name) for name in table.names or (_NO_NAME,)}
    if set(taken.values()) != {"particle"}:
        n += f" ({', '.join(choice if name == _NO_NAME else f'{name}: {choice}' for name, choice in taken.items())})"
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


def _read_kinds(job: Job, tomogram: Tomogram) -> tuple[list[Kind], bool]:
    """The kinds to search for, and whether the results name the kind even if there is only one."""
    if job.points is None:
        return [query for path in job.queries for query in read_queries(path)], False
    table = _read_points(job, job.points, tomogram.shape, tomogram.voxel_size_angstrom)
    names = table.names or (_NO_NAME,) * len(table)
    kinds = [PointPrompts(table.points[np.array(names) == name], name=name) for name in dict.fromkeys(names)]
    return list(kinds), table.names is not None
