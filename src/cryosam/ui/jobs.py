"""One long computation at a time, in a thread of its own, with progress and an end before its end."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from cryosam.arrays import Progress
from cryosam.errors import ConflictError, CryosamError, UnknownItemError

__all__ = ["SearchJob", "Worker"]

_INTERVAL = 0.1  # seconds between reports within a stage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchJob:
    """A computation under way.

    Parameters
    ----------
    id
        Number in the session.
    tomogram, kind
        What it works on; kind is None where there are several.
    stage, done, total
        How far it is; the total is None where that is not known.
    state
        Whether it was asked to end.
    """

    id: int
    tomogram: int
    kind: int | None
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    state: Literal["running", "cancelling"] = "running"


class _Cancelled(Exception):  # noqa: N818  # it is no error
    """Raised out of a computation that was asked to end."""


class Worker:
    """Runs jobs, one at a time.

    Parameters
    ----------
    on_progress
        Called with the job when it starts, proceeds and is asked to end.
    on_end
        Called with the job once it has ended, and a sentence if it failed.
    """

    def __init__(
        self, on_progress: Callable[[SearchJob], None], on_end: Callable[[SearchJob, str | None], None]
    ) -> None:
        self._on_progress, self._on_end = on_progress, on_end
        self._lock = threading.Lock()
        self._job: SearchJob | None = None
        self._thread: threading.Thread | None = None

    @property
    def job(self) -> SearchJob | None:
        """The job under way, or None."""
        return self._job

    def start(self, job: SearchJob, work: Callable[[Progress], None]) -> None:
        """Begin a job; ``work`` gets a function to report its progress to.

        Raises
        ------
        ConflictError
            If another job is under way.
        """
        with self._lock:
            if self._job is not None:
                raise ConflictError("other work is under way: wait for its end, or cancel it")
            self._job = job
            self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name="job")
        self._on_progress(job)
        self._thread.start()

    def cancel(self, job_id: int) -> None:
        """Ask a job to end; it does at its next report of progress.

        Raises
        ------
        UnknownItemError
            If it is not under way.
        """
        with self._lock:
            if self._job is None or self._job.id != job_id:
                raise UnknownItemError("this has ended already")
            self._job = replace(self._job, state="cancelling")
            job = self._job
        self._on_progress(job)

    def stop(self, patience: float) -> None:
        """Ask the job under way to end, and wait for it, but not for longer than some seconds."""
        with self._lock:
            if self._job is not None:
                self._job = replace(self._job, state="cancelling")
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(patience)

    def _run(self, work: Callable[[Progress], None]) -> None:
        error = None
        try:
            work(self._reporter())
        except _Cancelled:
            pass
        except MemoryError:
            error = "There was not enough memory; bin or crop the tomogram."
        except CryosamError as failure:
            error = str(failure)
        except Exception as failure:  # the page must hear of every end
            _log.exception("a job failed")
            error = f"It failed: {str(failure) or type(failure).__name__}. The server's window says more."
        with self._lock:
            job, self._job = self._job, None
        if job is not None:
            self._on_end(job, error)

    def _reporter(self) -> Progress:
        last, told = "", 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal last, told
            with self._lock:
                if self._job is None or self._job.state == "cancelling":
                    raise _Cancelled
                job = self._job = replace(self._job, stage=stage, done=done, total=total)
            now = time.monotonic()
            if stage != last or done >= total or now - told >= _INTERVAL:
                last, told = stage, now
                self._on_progress(job)

        return report
