"""What one tomogram of a batch needs, and what became of it: data that goes to a worker and comes back."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from cryosam import __version__
from cryosam.config import Config
from cryosam.errors import InputNotFoundError

__all__ = ["Job", "Outcome", "Status", "Work", "digest_path", "stamp_path"]

Status = Literal["done", "unchanged", "failed", "killed", "busy"]
"""Computed now; found finished; ended in an error; its worker was killed; another run is at work on it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One tomogram, and how it is searched.

    Parameters
    ----------
    name
        Of the tomogram, and of its folder of results.
    path
        Of its file.
    out
        Folder of the whole batch.
    queries
        Files of saved queries; empty where there are points.
    points
        File of clicks, or None.
    search_mask
        File of a volume, not 0 where particles may be, or None.
    voxel_size_angstrom
        In the place of what the header says, or None.
    config
        Settings.
    kind_configs
        Settings of a kind, in the place of ``config``.
    command
        What was typed, for the results.
    """

    name: str
    path: Path
    out: Path
    queries: tuple[Path, ...] = ()
    points: Path | None = None
    search_mask: Path | None = None
    voxel_size_angstrom: float | None = None
    config: Config = field(default_factory=Config)
    kind_configs: Mapping[str, Config] = field(default_factory=dict)
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where the tomogram's results go."""
        return self.out / self.name

    def digest(self) -> str:
        """SHA-256 of the settings, and of the files of queries and points: what the results depend on beside volumes.

        The device and the places of files are left out: a project that was moved is the same project.

        Raises
        ------
        InputNotFoundError
            If a file of queries or points is not there.

        Examples
        --------
        >>> a, b = (Job(name="a", path=Path(folder, "a.mrc"), out=Path("out")) for folder in ("here", "there"))
        >>> a.digest() == b.digest()
        True
        """
        settings = [asdict(each) for each in (self.config, *self.kind_configs.values())]
        for each in settings:
            each.pop("device")
        told = {
            "version": __version__,
            "name": self.name,
            "voxel size": self.voxel_size_angstrom,
            "settings": settings,
            "kinds": list(self.kind_configs),
            "queries": [digest_path(path) for path in self.queries],
            "points": None if self.points is None else digest_path(self.points),
            "has search mask": self.search_mask is not None,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a tomogram.

    Parameters
    ----------
    name
        Of the tomogram.
    status
        See `Status`.
    reason
        Why it failed, in a line.
    is_final
        Of a failure: whether trying again would end in the same way, as with a damaged file.
    seconds
        Wall time.
    n_particles
        That were found.
    """

    name: str
    status: Status
    reason: str = ""
    is_final: bool = False
    seconds: float = 0.0
    n_particles: int = 0


Work = Callable[[Job], Outcome]
"""What a worker does with a job: a function of a module, so that another process can be told to call it."""


def digest_path(path: Path) -> str:
    """SHA-256 of a file's content, or of all files of a folder such as a Zarr volume.

    Raises
    ------
    InputNotFoundError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("a")
    ...     digest_path(Path(folder, "a.txt"))[:8]
    'ca978112'
    """
    if path.is_dir():
        state = hashlib.sha256()
        for file in _files(path):
            state.update(f"{file.relative_to(path).as_posix()} {digest_path(file)}".encode())
        return state.hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def stamp_path(path: Path) -> list[int]:
    """Size and time of the last change of a file, or of a folder's files together: cheap to compare.

    Raises
    ------
    InputNotFoundError
        If it is not there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("abc")
    ...     stamp_path(Path(folder, "a.txt"))[0]
    3
    """
    try:
        told = [file.stat() for file in (_files(path) if path.is_dir() else [path])]
    except OSError as error:
        raise _unreadable(path, error) from error
    return [sum(each.st_size for each in told), max((each.st_mtime_ns for each in told), default=0)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _unreadable(path: Path, error: OSError) -> InputNotFoundError:
    return InputNotFoundError(f"{path}: cannot be read: {error.strerror or error}; check the path")
