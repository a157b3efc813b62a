"""Batches on more than one machine, through Parsl and the user's own Parsl configuration."""

import runpy
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryosam.batch.coordinator import Backend
from cryosam.batch.jobs import Job, Outcome, Work
from cryosam.errors import ConfigError, InputNotFoundError

__all__ = ["parsl_backend"]


@contextmanager
def parsl_backend(path: Path) -> Iterator[Backend]:
    """Start Parsl, and shut it down afterwards.

    Parameters
    ----------
    path
        A Python file that defines ``config``, a ``parsl.config.Config``. The file is executed.

    Raises
    ------
    ConfigError
        If Parsl is not installed, or the file cannot be executed or defines no such ``config``.
    InputNotFoundError
        If there is no such file.
    """
    try:
        import parsl
    except ImportError as error:
        raise ConfigError(
            "--parsl needs Parsl, which is not installed; run pip install -e '.[scale]' in the clone"
        ) from error
    config = _read_config(path, parsl.config.Config)
    with parsl.load(config) as kernel:

        def backend(jobs: Sequence[Job], work: Work, retries: int) -> Iterator[Outcome]:
            submit = parsl.python_app(work, data_flow_kernel=kernel)
            return _collect(jobs, submit, retries)

        yield backend


def _read_config(path: Path, wanted: type) -> Any:
    if not path.is_file():
        raise InputNotFoundError(f"Parsl configuration not found: {path}")
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:
        raise ConfigError(f"{path}: running it as Python failed: {type(error).__name__}: {error}") from error
    if not isinstance(config, wanted):
        raise ConfigError(
            f"{path}: a Parsl configuration must define config = parsl.config.Config(...), got {config!r}"
        )
    return config


def _collect(jobs: Sequence[Job], submit: Any, retries: int) -> Iterator[Outcome]:
    """Yield the outcome of each job as soon as it is known; failed jobs that have retries left are submitted again."""
    running: dict[Future[Outcome], Job] = {submit(job): job for job in jobs}
    n_tried = dict.fromkeys((job.name for job in jobs), 0)
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            outcome = _outcome(future, job)
            n_tried[job.name] += 1
            if outcome.status in ("failed", "killed") and not outcome.is_final and n_tried[job.name] <= retries:
                running[submit(job)] = job
            else:
                yield outcome


def _outcome(future: "Future[Outcome]", job: Job) -> Outcome:
    """Outcome of a future; an exception means that the worker was lost, because work returns its own failures."""
    try:
        return future.result()
    except Exception as error:
        reason = " ".join(f"its worker was lost: {type(error).__name__}: {error}".split())
        return Outcome(name=job.name, status="killed", reason=reason)
