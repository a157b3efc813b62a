"""What workers do in the tests of the pool: functions that another process can import."""

import os
import signal
import time
from pathlib import Path

from cryosam.batch.jobs import Job, Outcome
from cryosam.errors import TomogramError


def _note(job: Job) -> int:
    """Leave a trace of this run; gives how many there are of this job."""
    job.out.mkdir(exist_ok=True)
    with (job.out / f"{job.name}.runs").open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")
    return n_runs(job)


def n_runs(job: Job) -> int:
    path = job.out / f"{job.name}.runs"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def succeed(job: Job) -> Outcome:
    _note(job)
    return Outcome(name=job.name, status="done", n_particles=len(job.name))


def die_once(job: Job) -> Outcome:
    """The worker of job "b" is killed, the first time."""
    if _note(job) == 1 and job.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(name=job.name, status="done")


def die(job: Job) -> Outcome:
    """The worker of job "b" is killed, every time."""
    _note(job)
    if job.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(name=job.name, status="done")


def fail(job: Job) -> Outcome:
    """Job "a" is at fault, job "b" meets a fault of the program."""
    _note(job)
    if job.name == "a":
        return Outcome(name=job.name, status="failed", reason="damaged", is_final=True)
    if job.name == "b":
        raise TomogramError("a fault\nof two lines")
    return Outcome(name=job.name, status="done")


def a_then_b(job: Job) -> Outcome:
    """Job "a" is done when "b" has left its trace, and "b" never is."""
    _note(job)
    other = Job(name="b", path=job.path, out=job.out)
    until = time.monotonic() + 60
    while time.monotonic() < until and not (job.name == "a" and n_runs(other) == 1):
        time.sleep(0.01)
    return Outcome(name=job.name, status="done")


def tell_environment(job: Job) -> Outcome:
    """What a worker finds."""
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return Outcome(name=job.name, status="done", reason=" ".join(os.environ.get(name, "-") for name in names))


def job(name: str, out: Path) -> Job:
    return Job(name=name, path=out / f"{name}.mrc", out=out)
