"""Coordination of a batch: what is left to do, and which process does it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cryosam.batch.jobs import Job, Outcome, Work
from cryosam.batch.ledger import Ledger
from cryosam.batch.pool import run_local
from cryosam.batch.project import Project
from cryosam.batch.resources import Resources
from cryosam.errors import ConfigError, CryosamError

__all__ = ["Plan", "plan_batch", "run_batch", "take_shard"]

Backend = Callable[[Sequence[Job], Work, int], Iterator[Outcome]]
"""Runs jobs, with a number of retries, and yields the outcome of each."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is left to do of a batch.

    Parameters
    ----------
    waiting
        Tomograms to compute.
    finished
        Names of the tomograms whose results exist.
    failed
        For each tomogram that failed the last time and is not tried again: its name and the reason.
    """

    waiting: tuple[Job, ...]
    finished: tuple[str, ...]
    failed: dict[str, str]


def take_shard(project: Project, text: str | None) -> Project:
    """Return the part of a project that one of several runs is to do.

    Parameters
    ----------
    project
        The whole project.
    text
        "3/10" is the third of ten shards; None is the whole project. Every tomogram is in exactly one shard.

    Raises
    ------
    ConfigError
        If ``text`` is not of this form.

    Examples
    --------
    >>> from pathlib import Path
    >>> project = Project(jobs=tuple(Job(name=n, path=Path(n), out=Path("out")) for n in "abcde"), out=Path("out"))
    >>> [job.name for job in take_shard(project, "2/3").jobs]
    ['b', 'e']
    """
    if text is None:
        return project
    part, slash, whole = text.partition("/")
    if not (slash and part.isdigit() and whole.isdigit() and 1 <= int(part) <= int(whole)):
        raise ConfigError(f"a shard is given as NUMBER/TOTAL, such as 3/10, got {text!r}")
    return replace(project, jobs=project.jobs[int(part) - 1 :: int(whole)])


def plan_batch(project: Project, *, retry_failed: bool = False) -> Plan:
    """Find out what is left to do.

    Parameters
    ----------
    project
        The batch, or a shard of it.
    retry_failed
        Whether to try tomograms again that failed with the same settings and the same file.
    """
    ledger = Ledger(project.out)
    waiting, finished, failed = [], [], {}
    for job in project.jobs:
        try:
            is_finished = ledger.is_finished(job)
        except CryosamError:  # the worker will report the error
            is_finished = False
        if is_finished:
            finished.append(job.name)
            continue
        failure = ledger.failure(job)
        if failure is not None and failure.is_current and not retry_failed:
            failed[job.name] = failure.reason
        else:
            waiting.append(job)
    return Plan(waiting=tuple(waiting), finished=tuple(finished), failed=failed)


def run_batch(
    project: Project,
    plan: Plan,
    *,
    work: Work | None = None,
    backend: Backend | None = None,
    n_workers: int | None = None,
) -> Iterator[Outcome]:
    """Do what is left of a batch, and yield the outcome of each tomogram as soon as it is known.

    Parameters
    ----------
    project
        The batch, or a shard of it.
    plan
        From `plan_batch`.
    work
        What is done with each tomogram; None is `cryosam.batch.work.search_tomogram`.
    backend
        Where it is done; None is this machine, with ``n_workers`` processes.
    n_workers
        Processes on this machine; None is as many as it has cores (or GPUs) and memory for.
    """
    ledger, backend = Ledger(project.out), backend or _here(project, plan, n_workers)
    jobs = {job.name: job for job in plan.waiting}
    for outcome in backend(plan.waiting, work or _search_tomogram(), project.retries):
        if outcome.status == "killed":  # the worker itself could not record it
            ledger.note(jobs[outcome.name], outcome)
        yield outcome


def _search_tomogram() -> Work:
    """The default work, imported only when it is needed, because importing torch takes long."""
    from cryosam.batch.work import search_tomogram

    return search_tomogram


def _here(project: Project, plan: Plan, n_workers: int | None) -> Backend:
    """Backend that runs jobs in processes on this machine."""
    room = Resources.of_machine(plan.waiting, n_workers, project.n_threads)

    def backend(jobs: Sequence[Job], work: Work, retries: int) -> Iterator[Outcome]:
        return run_local(
            jobs, work, n_workers=room.n_workers, n_threads=project.n_threads, gpus=room.gpus, retries=retries
        )

    return backend
