"""Job and outcome of one tomogram of a batch: the data that is sent to a worker and that it sends back."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryosam import __version__
from cryosam.batch.structure_choices import StructureChoices
from cryosam.config import Config
from cryosam.errors import InputNotFoundError

__all__ = ["Job", "Outcome", "Status", "Work", "digest_path", "stamp_path"]

Status = Literal["done", "unchanged", "failed", "killed", "busy"]
"""State of a tomogram after a job.

"done": computed now; "unchanged": its results already existed; "failed": ended in an error; "killed": its worker was
killed; "busy": another run is working on it.
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One tomogram, and how it is searched.

    Parameters
    ----------
    name
        Name of the tomogram, and of the folder with its results.
    path
        The tomogram's file.
    out
        Folder of the whole batch.
    queries
        Files of saved queries; empty if ``points`` is given.
    points
        File of clicks, or None.
    axes
        Order of the numbers in a list of clicks without column names, such as "xyz", or None.
    search_mask
        File of a volume that is not 0 where particles may be, or None.
    voxel_size_angstrom
        Replaces the voxel size in the header; None keeps that.
    config
        Settings.
    kind_configs
        Settings of single kinds, by the kind's name; they replace ``config`` for that kind.
    choices
        What the clicks are on, and the spacing of points on structures.
    command
        The command line, to be recorded in the results.
    """

    name: str
    path: Path
    out: Path
    queries: tuple[Path, ...] = ()
    points: Path | None = None
    axes: str | None = None
    search_mask: Path | None = None
    voxel_size_angstrom: float | None = None
    config: Config = field(default_factory=Config)
    kind_configs: Mapping[str, Config] = field(default_factory=dict)
    choices: StructureChoices = field(default_factory=StructureChoices)
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where the tomogram's results go."""
        return self.out / self.name

    def digest(self) -> str:
        """SHA-256 of everything except the volumes that the results depend on: settings, queries and points.

        The device and the paths of files are left out, so that moving a project does not change the digest.

        Raises
        ------
        InputNotFoundError
            If a file of queries or points does not exist.

        Examples
        --------
        >>> a, b = (Job(name="a", path=Path(folder, "a.mrc"), out=Path("out")) for folder in ("here", "there"))
        >>> a.digest() == b.digest()
        True
        """
        settings = [asdict(each) for each in (self.config, *self.kind_configs.values())]
        for each in settings:
            each.pop("device")
        state: dict[str, Any] = {
            "version": __version__,
            "name": self.name,
            "voxel size": self.voxel_size_angstrom,
            "settings": settings,
            "kinds": list(self.kind_configs),
            "queries": [digest_path(path) for path in self.queries],
            "points": None if self.points is None else digest_path(self.points),
            "axes": self.axes,
            "has search mask": self.search_mask is not None,
        }
        state |= {name: dict(values) for name, values in vars(self.choices).items() if values}
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one tomogram.

    Parameters
    ----------
    name
        Name of the tomogram.
    status
        See `Status`.
    reason
        Why it failed, in one line.
    is_final
        For a failure: whether a retry would fail in the same way, for example because the file is damaged.
    seconds
        Wall time.
    n_particles
        Number of particles that were found.
    found
        What was found in words, if that is not only particles of one kind.
    """

    name: str
    status: Status
    reason: str = ""
    is_final: bool = False
    seconds: float = 0.0
    n_particles: int = 0
    found: str = ""


Work = Callable[[Job], Outcome]
"""What a worker does with a job: a module-level function, so that it can be pickled and sent to another process."""


def digest_path(path: Path) -> str:
    """SHA-256 of a file's content, or of all files in a folder such as a Zarr volume.

    Raises
    ------
    InputNotFoundError
        If the file or folder cannot be read.

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
    """Total size and time of the last change of a file or of all files in a folder; much faster than `digest_path`.

    Raises
    ------
    InputNotFoundError
        If the file or folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("abc")
    ...     stamp_path(Path(folder, "a.txt"))[0]
    3
    """
    try:
        stats = [file.stat() for file in (_files(path) if path.is_dir() else [path])]
    except OSError as error:
        raise _unreadable(path, error) from error
    return [sum(each.st_size for each in stats), max((each.st_mtime_ns for each in stats), default=0)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _unreadable(path: Path, error: OSError) -> InputNotFoundError:
    return InputNotFoundError(f"{path}: cannot be read: {error.strerror or error}; check the path")
