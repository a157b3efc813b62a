"""What a batch keeps on disk beside its results: who is at work on what, and what failed.

A tomogram is finished when its folder has a ``run.json`` that says with which settings and of which file it was made;
that file comes last and goes first, so no list of what is done can disagree with what is there. Locks are the
operating system's: whoever holds one and is killed has released it.
"""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosam.batch.jobs import Job, Outcome, digest_path, stamp_path
from cryosam.errors import ConflictError, CryosamError, OutputError
from cryosam.io import atomic_path, read_tomogram

__all__ = ["Failure", "Ledger"]

_STATE = ".batch"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a tomogram failed.

    Parameters
    ----------
    reason
        In a line.
    is_current
        Whether the settings and the file are still those that failed.
    """

    reason: str
    is_current: bool


class Ledger:
    """The state of a batch on disk.

    Parameters
    ----------
    out
        Folder of the batch; it and the state's folder are made when something is written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._state = out / _STATE

    @contextmanager
    def project(self, *, is_shared: bool) -> Iterator[None]:
        """Hold the batch: alone, or together with others that work on other shards.

        Raises
        ------
        ConflictError
            If another run holds it.
        """
        with self._lock("project.lock", is_shared=is_shared) as (is_mine, holder):
            if not is_mine:
                raise ConflictError(
                    f"another run is at work in {self.out} ({holder}); wait for it, stop it, or give each run a --shard"
                )
            yield

    @contextmanager
    def tomogram(self, name: str) -> Iterator[bool]:
        """Hold a tomogram, so that it is computed once at a time; False where another process holds it."""
        with self._lock(f"{name}.lock") as (is_mine, _):
            if is_mine:
                self._sweep(name)
            yield is_mine

    @contextmanager
    def summary(self) -> Iterator[None]:
        """Wait to hold the tables over all tomograms: whoever comes last has seen everything."""
        with self._lock("summary.lock", is_patient=True):
            yield

    def stamps(self, job: Job) -> dict[str, Any]:
        """What ``run.json`` keeps of a job, to tell later whether the results are still those of its settings."""
        mask = job.search_mask
        return {
            "digest": job.digest(),
            "tomogram": stamp_path(job.path),
            "search_mask": None if mask is None else stamp_path(mask),
            "search_mask_sha256": None if mask is None else digest_path(mask),
        }

    def is_finished(self, job: Job) -> bool:
        """Whether a tomogram's results are there and are those of its present settings and files.

        A file is taken for unchanged if its size and time are; else its content is looked at.
        """
        run = self.read_run(job.name)
        if run is None or run.get("job", {}).get("digest") != job.digest():
            return False
        kept, mask = run["job"], job.search_mask
        is_other = mask is not None and kept["search_mask"] != stamp_path(mask)
        if is_other and mask is not None and kept["search_mask_sha256"] != digest_path(mask):
            return False
        if kept["tomogram"] == stamp_path(job.path):
            return True
        tomogram = read_tomogram(job.path, job.voxel_size_angstrom)
        told = run["input"]
        return told["voxel_size_angstrom"] == tomogram.voxel_size_angstrom and told["sha256"] == tomogram.digest()

    def read_run(self, name: str) -> dict[str, Any] | None:
        """The content of a tomogram's ``run.json``; None where it is not there, or not of this program."""
        return _read(self.out / name / "run.json")

    def failure(self, job: Job) -> Failure | None:
        """Why a tomogram failed the last time; None where it did not."""
        told = _read(self._failure(job.name))
        if told is None:
            return None
        try:
            is_current = told.get("digest") == job.digest() and told.get("tomogram") == stamp_path(job.path)
        except CryosamError:  # a file that is still not there
            is_current = told.get("digest") is None
        return Failure(reason=str(told.get("reason", "")), is_current=is_current)

    def note(self, job: Job, outcome: Outcome, traceback: str = "") -> None:
        """Keep why a tomogram failed, or that it did not."""
        path = self._failure(job.name)
        if outcome.status in ("done", "unchanged"):
            path.unlink(missing_ok=True)
            return
        stamps: dict[str, Any] = {"digest": None, "tomogram": None}
        with suppress(CryosamError):  # a file is not there
            stamps = {"digest": job.digest(), "tomogram": stamp_path(job.path)}
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"reason": outcome.reason, "status": outcome.status, **stamps, "traceback": traceback}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def read_thumbnail(self, name: str) -> bytes | None:
        """A small picture of a tomogram, JPEG; None where there is none."""
        path = self._thumbnail(name)
        return path.read_bytes() if path.is_file() else None

    def keep_thumbnail(self, name: str, jpeg: bytes) -> None:
        """Keep a small picture of a tomogram for the page over all."""
        with atomic_path(self._thumbnail(name)) as temporary:
            temporary.write_bytes(jpeg)

    def _thumbnail(self, name: str) -> Path:
        return self._state / f"{name}.jpg"

    def _failure(self, name: str) -> Path:
        return self._state / f"{name}.failed.json"

    def _sweep(self, name: str) -> None:
        """Remove what a killed worker left of a tomogram; whoever holds its lock may."""
        for kind in ("partial", "replaced"):
            for path in self.out.glob(f".{kind}-????????-{name}"):
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.out / name).glob(".partial-????????"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _lock(self, name: str, *, is_shared: bool = False, is_patient: bool = False) -> Iterator[tuple[bool, str]]:
        """Hold a lock; gives whether it could be had, and who holds it."""
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._state / name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write to {self._state}: {error.strerror}; choose another folder") from error
        try:
            how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
            try:
                fcntl.flock(descriptor, how if is_patient else how | fcntl.LOCK_NB)
            except BlockingIOError:
                yield (
                    False,
                    os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "it has not said who it is",
                )
                return
            except OSError as error:
                raise OutputError(
                    f"{self.out}: the file system has no locks ({error.strerror}), so that two runs could not be told "
                    "apart; choose a folder on another one"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield True, ""
        finally:
            os.close(descriptor)  # which releases the lock


def _read(path: Path) -> dict[str, Any] | None:
    """An object from a JSON file; None where there is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
