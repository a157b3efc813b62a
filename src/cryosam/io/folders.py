"""Folders of output files that appear whole or not at all."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryosam.errors import CryosamError, OutputError, OutputExistsError
from cryosam.io.atomic import atomic_path

__all__ = ["check_output", "make_folder", "output_folder"]


def check_output(folder: Path, *, overwrite: bool = False, n_bytes: int = 0) -> None:
    """Make sure, before a long computation, that its result can be written; nothing is left behind.

    Parameters
    ----------
    folder
        Where the result is to go.
    overwrite
        Whether files in it may be replaced.
    n_bytes
        Space that the result takes.

    Raises
    ------
    OutputExistsError
        If the folder holds anything, and overwriting was not asked for.
    OutputError
        If it is a file, cannot be made or written to, or the disk has less space than needed.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     check_output(Path(parent, "new"))
    ...     Path(parent, "new").exists()
    False
    """
    folder = folder.absolute()
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; give a folder")
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise OutputExistsError(f"{folder} is not empty; choose another folder, or add --overwrite")
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        with tempfile.TemporaryFile(dir=existing):  # permission bits do not tell: root, read-only disks, quotas
            pass
        free = shutil.disk_usage(existing).free
    except (OSError, StopIteration) as error:
        if isinstance(error, CryosamError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot write to {folder}: {reason}; choose another folder") from error
    if free < n_bytes:
        raise OutputError(
            f"no space for the result in {folder}: it takes up to {n_bytes / 1e9:.2g} GB, {free / 1e9:.2g} GB are free"
        )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are not there.

    Raises
    ------
    OutputError
        If it is a file, or cannot be made.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     make_folder(Path(parent, "a", "b"))
    ...     Path(parent, "a", "b").is_dir()
    True
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error


@contextmanager
def output_folder(folder: Path, names: Sequence[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder to write files in; on success they appear in ``folder``, on any exception nothing does.

    Parameters
    ----------
    folder
        A new one appears at once, with everything in it. In an existing one every file is replaced whole, and those of
        an earlier run that this one does not have are removed; the last of ``names`` goes first and comes last, so that
        where it is, all files are of one run.
    names
        Files and folders that may be written; looked at once all are. Others in ``folder`` are left alone.
    overwrite
        Whether ``folder`` may hold anything.

    Raises
    ------
    OutputExistsError, OutputError
        As `check_output`; OutputError also if writing fails.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with output_folder(Path(parent, "new"), ["a.txt"]) as temporary:
    ...         _ = (temporary / "a.txt").write_text("a")
    ...     Path(parent, "new", "a.txt").read_text()
    'a'
    """
    target = folder.absolute()
    check_output(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with atomic_path(target) as temporary:
                temporary.mkdir()
                yield temporary
            return
        temporary = target / f".partial-{secrets.token_hex(4)}"
        try:
            temporary.mkdir()
            yield temporary
            _move_into(target, temporary, names)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if isinstance(error, CryosamError):
            raise
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _move_into(folder: Path, temporary: Path, names: Sequence[str]) -> None:
    """Put the files of ``temporary`` in the place of those of an earlier run."""
    (folder / names[-1]).unlink(missing_ok=True)
    for name in names:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        if (temporary / name).exists():
            (temporary / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
