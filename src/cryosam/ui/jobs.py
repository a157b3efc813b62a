"""Long computations in a separate thread, one at a time, with progress and cancellation."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryosam.arrays import Progress
from cryosam.errors import ConflictError, CryosamError, UnknownItemError
from cryosam.memory import give_back
from cryosam.steps import Progressed, Steps

__all__ = ["SearchJob", "Worker"]

_INTERVAL = 0.1  # seconds between reports within a step

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
    progressed
        How far it is.
    """

    id: int
    tomogram: int
    kind: int | None
    progressed: Progressed


class _Cancelled(Exception):  # noqa: N818  # not an error
    """Ends a computation that was cancelled."""


class Worker:
    """Runs jobs, one at a time.

    A job ends as soon as it is cancelled. What it was computing ends at its next report, and is discarded; until then
    the next job waits, so that the memory of two is never needed.

    Parameters
    ----------
    on_progress
        Called with the job when it starts or makes progress.
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

    def start(self, job: SearchJob, steps: Steps, work: Callable[[Progress], None]) -> None:
        """Start a job; ``work`` is called with a function that reports progress, which ``steps`` follows.

        Raises
        ------
        ConflictError
            If another job is running.
        """
        with self._lock:
            if self._job is not None:
                raise ConflictError("another search or segmentation is running: wait until it ends, or cancel it")
            self._job = job
            before = self._thread
            self._thread = threading.Thread(target=self._run, args=(job, steps, work, before), daemon=True, name="job")
        self._on_progress(job)
        self._thread.start()

    def require(self, job_id: int) -> None:
        """End the calling computation if its job was cancelled."""
        self._current(job_id)

    def cancel(self, job_id: int) -> None:
        """Cancel a job; for everybody but its thread it has then ended.

        Raises
        ------
        UnknownItemError
            If the job is not running.
        """
        with self._lock:
            job = self._job
            if job is None or job.id != job_id:
                raise UnknownItemError("this job has already ended")
            self._job = None
        self._on_end(job, None)

    def stop(self, patience: float) -> None:
        """Cancel the running job, and wait for the end of its thread for at most ``patience`` seconds."""
        with self._lock:
            self._job = None
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(patience)

    def _run(
        self, job: SearchJob, steps: Steps, work: Callable[[Progress], None], before: threading.Thread | None
    ) -> None:
        if before is not None:
            before.join()
        error = None
        try:
            self.require(job.id)
            work(self._reporter(job.id, steps))
        except _Cancelled:
            pass
        except MemoryError:
            error = "There was not enough memory; bin or crop the tomogram."
        except CryosamError as failure:
            error = str(failure)
        except Exception as failure:  # the page must be informed of every end
            _log.exception("a job failed")
            error = f"It failed: {str(failure) or type(failure).__name__}. See the terminal of the server for details."
        give_back()
        with self._lock:
            if self._job is None or self._job.id != job.id:  # it was cancelled
                return
            self._job = None
        self._on_end(job, error)

    def _current(self, job_id: int) -> SearchJob:
        job = self._job
        if job is None or job.id != job_id:
            raise _Cancelled
        return job

    def _reporter(self, job_id: int, steps: Steps) -> Progress:
        last_step, last_time = "", 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal last_step, last_time
            progressed = steps.update(stage, done, total)
            with self._lock:
                job = self._job = replace(self._current(job_id), progressed=progressed)
            now = time.monotonic()
            if progressed.step != last_step or done >= total or now - last_time >= _INTERVAL:
                last_step, last_time = progressed.step, now
                self._on_progress(job)

        return report
