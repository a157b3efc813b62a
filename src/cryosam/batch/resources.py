"""How many workers fit on a machine, and which GPUs they share."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosam.batch.jobs import Job
from cryosam.batch.structure_choices import ALL
from cryosam.errors import CryosamError
from cryosam.io import read_info
from cryosam.io.queries import read_queries
from cryosam.structure_query import StructureQuery

__all__ = ["Resources"]

_FIXED_BYTES, _BYTES_PER_VOXEL = 1.1e9, 13  # memory of a worker with the default preset, as in cryosam info
_CUBE_ANGSTROM = 20.0  # structures are looked for in cubes of this edge, or in voxels if these are larger
_STRUCTURE_BYTES, _BYTES_PER_CUBE = 0.6e9, 70  # measured: 54 to 68 for membranes and filaments
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_USABLE = 0.8  # share of the free memory that workers may take


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources that the workers on this machine share.

    Parameters
    ----------
    n_workers
        Number of processes at a time.
    gpus
        Names of the GPUs as in ``CUDA_VISIBLE_DEVICES``; empty if none is to be used.
    """

    n_workers: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def of_machine(cls, jobs: Sequence[Job], n_workers: int | None = None, n_threads: int = 1) -> "Resources":
        """Determine what this machine offers for some jobs.

        Parameters
        ----------
        jobs
            The sizes of their tomograms determine how much memory a worker needs.
        n_workers
            As the user wants it. None is one worker per GPU, or, without a GPU, one per ``n_threads`` cores; but no
            more than fit into memory.
        n_threads
            Threads of each worker.

        Examples
        --------
        >>> Resources.of_machine([], 2).n_workers
        2
        """
        devices = {job.config.device for job in jobs}
        gpus = _list_gpus() if devices <= {"auto", "cuda"} and jobs else ()
        if n_workers is None:
            most = len(gpus) or _count_cores() // n_threads
            free, needed = _free_memory(), max((_estimate(job) for job in jobs), default=_FIXED_BYTES)
            room = most if free is None else int(_USABLE * free // needed)
            n_workers = max(1, min(most, room, len(jobs)))
        return cls(n_workers=n_workers, gpus=gpus)


def _count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _list_gpus() -> tuple[str, ...]:
    """Names of the GPUs that this process may use."""
    import torch

    n = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(visible[:n]) if visible else tuple(map(str, range(n)))


def _estimate(job: Job) -> float:
    """Bytes that a worker needs for a tomogram: what the search that needs most takes."""
    try:
        info, structures = read_info(job.path), _structures(job)
    except CryosamError:  # its worker will report the error
        return _FIXED_BYTES
    n_voxels = float(np.prod(info.shape, dtype=float))
    needed = []
    if structures & {"particle", "auto"}:
        needed.append(_FIXED_BYTES + _BYTES_PER_VOXEL * n_voxels)
    if structures - {"particle"}:
        size = job.voxel_size_angstrom or info.voxel_size_angstrom or _CUBE_ANGSTROM
        cubes = n_voxels * min(size / _CUBE_ANGSTROM, 1.0) ** 3
        needed.append(_STRUCTURE_BYTES + _BYTES_PER_CUBE * cubes)
    return max(needed)


def _structures(job: Job) -> set[str]:
    """What may be searched for; the kinds in a file of points are not known before it is read."""
    if job.points is not None:
        return {*job.choices.structures.values(), job.choices.structure_of(ALL)}
    found = [query for path in job.queries for query in read_queries(path)]
    return {query.structure if isinstance(query, StructureQuery) else "particle" for query in found} or {"particle"}


def _free_memory() -> float | None:
    """Bytes of memory that are available; None if the system does not report them."""
    free = []
    with suppress(OSError, KeyError, ValueError):
        memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free.append(float(memory["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, KeyError, ValueError):  # the limit of a container or of a cluster's queue
        limit, used = (float((_CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        free.append(limit - used + float(kept["file"]))  # the page cache is reclaimed on demand
    return min(free, default=None)
