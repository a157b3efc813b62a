"""Long computations in a separate thread, one at a time, with progress and cancellation."""

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
    """A running computation.

    Parameters
    ----------
    id
        Number of the job in the session.
    tomogram, kind
        Tomogram and kind of the job; kind is None if there are several.
    stage, done, total
        Progress; the total is None if unknown.
    state
        Whether it runs, or was asked to end.
    """

    id: int
    tomogram: int
    kind: int | None
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    state: Literal["running", "cancelling"] = "running"


class _Cancelled(Exception):  # noqa: N818  # not an error
    """Ends a computation that was cancelled."""


class Worker:
    """Runs jobs, one at a time.

    Parameters
    ----------
    on_progress
        Called with the job when it starts, makes progress or is cancelled.
    on_end
        Called when the job has ended, with the job and, if it failed, an error message.
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
        """The running job, or None."""
        return self._job

    def start(self, job: SearchJob, work: Callable[[Progress], None]) -> None:
        """Start a job; ``work`` is called with a function that reports progress.

        Raises
        ------
        ConflictError
            If another job is running.
        """
        with self._lock:
            if self._job is not None:
                raise ConflictError("another search or segmentation is running: wait until it ends, or cancel it")
            self._job = job
            self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name="job")
        self._on_progress(job)
        self._thread.start()

    def cancel(self, job_id: int) -> None:
        """Cancel a job; it ends at its next progress report.

        Raises
        ------
        UnknownItemError
            If the job is not running.
        """
        with self._lock:
            if self._job is None or self._job.id != job_id:
                raise UnknownItemError("this job has already ended")
            self._job = replace(self._job, state="cancelling")
            job = self._job
        self._on_progress(job)

    def stop(self, patience: float) -> None:
        """Cancel the running job, and wait for its end for at most ``patience`` seconds."""
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
        except Exception as failure:  # the page must be informed of every end
            _log.exception("a job failed")
            error = f"It failed: {str(failure) or type(failure).__name__}. See the terminal of the server for details."
        with self._lock:
            job, self._job = self._job, None
        if job is not None:
            self._on_end(job, error)

    def _reporter(self) -> Progress:
        last_stage, last_time = "", 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal last_stage, last_time
            with self._lock:
                if self._job is None or self._job.state == "cancelling":
                    raise _Cancelled
                job = self._job = replace(self._job, stage=stage, done=done, total=total)
            now = time.monotonic()
            if stage != last_stage or done >= total or now - last_time >= _INTERVAL:
                last_stage, last_time = stage, now
                self._on_progress(job)

        return report
