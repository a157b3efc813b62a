"""State that a batch keeps on disk beside its results: which process works on which tomogram, and what failed.

A tomogram is finished when its folder has a ``run.json`` that records the settings and the file that the results were
made from. This file is written last and removed first. There is no separate list of finished tomograms that could
disagree with the results. Locks are those of the operating system: they are released when the process that holds them
is killed.
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
        In one line.
    is_current
        Whether the settings and the file have not changed since the failure.
    """

    reason: str
    is_current: bool


class Ledger:
    """The state of a batch on disk.

    Parameters
    ----------
    out
        Folder of the batch; this folder and the one for the state are created when something is written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._state = out / _STATE

    @contextmanager
    def project(self, *, is_shared: bool) -> Iterator[None]:
        """Lock the batch: exclusively, or shared with other runs that work on other shards.

        Raises
        ------
        ConflictError
            If another run holds a lock that conflicts with this one.
        """
        with self._lock("project.lock", is_shared=is_shared) as (is_mine, holder):
            if not is_mine:
                raise ConflictError(
                    f"another run is working in {self.out} ({holder}); wait for it, stop it, or give each run a --shard"
                )
            yield

    @contextmanager
    def tomogram(self, name: str) -> Iterator[bool]:
        """Lock a tomogram, so that only one process computes it; yields False if another process holds the lock."""
        with self._lock(f"{name}.lock") as (is_mine, _):
            if is_mine:
                self._sweep(name)
            yield is_mine

    @contextmanager
    def summary(self) -> Iterator[None]:
        """Wait for the lock on the summary of all tomograms, so that the last run to write it sees all results."""
        with self._lock("summary.lock", is_patient=True):
            yield

    def stamps(self, job: Job) -> dict[str, Any]:
        """What ``run.json`` records of a job, to tell later whether its settings and files have changed."""
        mask = job.search_mask
        return {
            "digest": job.digest(),
            "tomogram": stamp_path(job.path),
            "search_mask": None if mask is None else stamp_path(mask),
            "search_mask_sha256": None if mask is None else digest_path(mask),
        }

    def is_finished(self, job: Job) -> bool:
        """Whether a tomogram's results exist and were made with its present settings and files.

        A file counts as unchanged if its size and modification time are; otherwise its content is compared.
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
        recorded = run["input"]
        return (
            recorded["voxel_size_angstrom"] == tomogram.voxel_size_angstrom and recorded["sha256"] == tomogram.digest()
        )

    def read_run(self, name: str) -> dict[str, Any] | None:
        """The content of a tomogram's ``run.json``; None if there is none, or if it is not a JSON object."""
        return _read(self.out / name / "run.json")

    def failure(self, job: Job) -> Failure | None:
        """Why a tomogram failed the last time; None if it did not fail."""
        record = _read(self._failure(job.name))
        if record is None:
            return None
        try:
            is_current = record.get("digest") == job.digest() and record.get("tomogram") == stamp_path(job.path)
        except CryosamError:  # a file is still missing
            is_current = record.get("digest") is None
        return Failure(reason=str(record.get("reason", "")), is_current=is_current)

    def note(self, job: Job, outcome: Outcome, traceback: str = "") -> None:
        """Record why a tomogram failed; if it did not fail, remove the record of an earlier failure."""
        path = self._failure(job.name)
        if outcome.status in ("done", "unchanged"):
            path.unlink(missing_ok=True)
            return
        stamps: dict[str, Any] = {"digest": None, "tomogram": None}
        with suppress(CryosamError):  # a file is missing
            stamps = {"digest": job.digest(), "tomogram": stamp_path(job.path)}
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"reason": outcome.reason, "status": outcome.status, **stamps, "traceback": traceback}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def read_thumbnail(self, name: str) -> bytes | None:
        """The thumbnail of a tomogram, JPEG; None if there is none."""
        path = self._thumbnail(name)
        return path.read_bytes() if path.is_file() else None

    def keep_thumbnail(self, name: str, jpeg: bytes) -> None:
        """Store the thumbnail of a tomogram for the summary page."""
        with atomic_path(self._thumbnail(name)) as temporary:
            temporary.write_bytes(jpeg)

    def _thumbnail(self, name: str) -> Path:
        return self._state / f"{name}.jpg"

    def _failure(self, name: str) -> Path:
        return self._state / f"{name}.failed.json"

    def _sweep(self, name: str) -> None:
        """Remove temporary folders that a killed worker left; only the process that locks the tomogram may do this."""
        for kind in ("partial", "replaced"):
            for path in self.out.glob(f".{kind}-????????-{name}"):
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.out / name).glob(".partial-????????"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _lock(self, name: str, *, is_shared: bool = False, is_patient: bool = False) -> Iterator[tuple[bool, str]]:
        """Take a lock; yields whether it was obtained, and otherwise which process holds it."""
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
                    os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown process",
                )
                return
            except OSError as error:
                raise OutputError(
                    f"{self.out}: this file system does not support locks ({error.strerror}), which keep two runs from "
                    "working on the same tomogram; choose a folder on another file system"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield True, ""
        finally:
            os.close(descriptor)  # which releases the lock


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no file, or no object in it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
