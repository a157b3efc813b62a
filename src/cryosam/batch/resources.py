"""How many workers a machine has room for, and what each of them gets."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosam.batch.jobs import Job
from cryosam.errors import CryosamError
from cryosam.io import read_info

__all__ = ["Resources"]

_FIXED_BYTES, _BYTES_PER_VOXEL = 1.1e9, 13  # of a worker with the default preset, as cryosam info says
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_USABLE = 0.8  # of the memory that is free


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the workers of this machine share.

    Parameters
    ----------
    n_workers
        Processes at a time.
    gpus
        By the names that ``CUDA_VISIBLE_DEVICES`` has for them; empty where there is none to be used.
    """

    n_workers: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def of_machine(cls, jobs: Sequence[Job], n_workers: int | None = None, n_threads: int = 1) -> "Resources":
        """What this machine has for some jobs.

        Parameters
        ----------
        jobs
            Their tomograms say how much memory a worker needs.
        n_workers
            As the user wants it; None is one a GPU, or else as many as there are cores and memory for.
        n_threads
            Of each.

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
    """Bytes that a worker needs for a tomogram."""
    try:
        shape = read_info(job.path).shape
    except CryosamError:  # its worker will say so
        return _FIXED_BYTES
    return _FIXED_BYTES + _BYTES_PER_VOXEL * float(np.prod(shape, dtype=float))


def _free_memory() -> float | None:
    """Bytes of memory that can be had; None where the system does not tell."""
    free = []
    with suppress(OSError, KeyError, ValueError):
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free.append(float(told["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, KeyError, ValueError):  # what a container, or a cluster's queue, allows
        limit, used = (float((_CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        free.append(limit - used + float(kept["file"]))  # files that were read are given up when memory is needed
    return min(free, default=None)
