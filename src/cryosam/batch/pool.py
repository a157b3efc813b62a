"""Worker processes on this machine; each does one tomogram at a time, and a worker that dies is replaced."""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from types import FrameType

from cryosam.batch.jobs import Job, Outcome, Work

__all__ = ["run_local"]

_SPAWN = get_context("spawn")  # forking is not safe once CUDA or threads are in use
_PATIENCE_S = 10.0  # time for a worker to clean up when it is told to end
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class _Worker:
    """A process, the pipe to it, and its current job."""

    process: BaseProcess
    pipe: connection.Connection
    slot: int
    job: Job | None = None
    since: float = 0.0


def run_local(
    jobs: Sequence[Job],
    work: Work,
    *,
    n_workers: int,
    n_threads: int = 1,
    gpus: Sequence[str] = (),
    retries: int = 0,
) -> Iterator[Outcome]:
    """Do all jobs, several at a time, and yield the outcome of each as soon as it is known.

    Parameters
    ----------
    jobs
        In the order in which they are started.
    work
        Called in another process; an exception that it raises counts as a failure of the job.
    n_workers
        Number of processes at a time.
    n_threads
        Threads of each process, unless the environment sets their number.
    gpus
        Names as in ``CUDA_VISIBLE_DEVICES``; each worker sees one of them. If empty, that variable is not changed.
    retries
        How often a job is retried if its worker died, or if it failed and its failure is not final. Retries come after
        all other jobs.
    """
    waiting, n_tried = deque(jobs), dict.fromkeys((job.name for job in jobs), 0)
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.job for worker in workers):
            while waiting and (worker := _idle(workers, n_workers, work, n_threads, gpus)):
                _begin(worker, waiting.popleft())
            for worker, outcome in _wait(workers):
                job = worker.job
                worker.job = None
                if outcome.status == "killed":
                    workers.remove(worker)
                if job is None:  # it died before it had a job
                    continue
                n_tried[job.name] += 1
                if outcome.status in ("failed", "killed") and not outcome.is_final and n_tried[job.name] <= retries:
                    waiting.append(job)
                else:
                    yield outcome
    finally:
        _stop(workers)


def _idle(workers: list[_Worker], n_workers: int, work: Work, n_threads: int, gpus: Sequence[str]) -> _Worker | None:
    """A worker without a job, started if there are fewer than ``n_workers``; None if all are busy."""
    idle = next((worker for worker in workers if worker.job is None), None)
    if idle is None and len(workers) < n_workers:
        slot = min(set(range(n_workers)) - {worker.slot for worker in workers})
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, work), name=f"cryosam-batch-{slot}", daemon=True)
        settings = {name: str(n_threads) for name in _THREADS if name not in os.environ}
        if gpus:
            settings[_VISIBLE] = gpus[slot % len(gpus)]
        with _environment(settings):
            process.start()
        theirs.close()
        idle = _Worker(process, ours, slot)
        workers.append(idle)
    return idle


def _begin(worker: _Worker, job: Job) -> None:
    worker.job, worker.since = job, time.monotonic()
    with suppress(OSError):  # the worker has died meanwhile; `_wait` notices that
        worker.pipe.send(job)


def _wait(workers: Sequence[_Worker]) -> Iterator[tuple[_Worker, Outcome]]:
    """Wait until a worker has finished a job or died."""
    ready = set(connection.wait([end for worker in workers for end in (worker.pipe, worker.process.sentinel)]))
    for worker in list(workers):
        if worker.pipe in ready or worker.process.sentinel in ready:
            name, seconds = worker.job.name if worker.job else "", round(time.monotonic() - worker.since, 2)
            try:
                if worker.pipe.poll():  # also true if the worker sent its outcome and then died
                    yield worker, worker.pipe.recv()
                    continue
            except (EOFError, OSError):
                pass
            worker.process.join()
            reason = _describe_exit(worker.process.exitcode)
            yield worker, Outcome(name=name, status="killed", reason=reason, seconds=seconds)


def _describe_exit(code: int | None) -> str:
    """Why a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps because memory ran out; give fewer --workers" if name == "SIGKILL" else ""
        return f"its worker was killed by {name}{hint}"
    return f"its worker ended with exit code {code}"


def _stop(workers: Sequence[_Worker]) -> None:
    """End all workers; those that have a job are terminated, and remove their temporary files."""
    for worker in workers:
        worker.pipe.close()
        if worker.job is not None:
            worker.process.terminate()
    until = time.monotonic() + _PATIENCE_S
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that is started within this context."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: connection.Connection, work: Work) -> None:
    """Do jobs until there are no more; runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; only the coordinator handles it
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            outcome = work(job)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            outcome = Outcome(name=job.name, status="failed", reason=reason)
        pipe.send(outcome)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Exit by an exception, so that temporary files are removed."""
    sys.exit(128 + number)


def _exit_with_parent() -> None:
    """Exit at once if the coordinator was killed: no process waits for the result, and the next run starts afresh."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
