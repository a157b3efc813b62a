"""Output folders whose files appear complete or not at all."""

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
    """Check, before a long computation, that its result can be written; no file is left behind.

    Parameters
    ----------
    folder
        The output folder.
    overwrite
        Whether existing files in it may be replaced.
    n_bytes
        Size of the result.

    Raises
    ------
    OutputExistsError
        If the folder is not empty, and ``overwrite`` is False.
    OutputError
        If the path is a file, the folder cannot be created or written to, or the disk has too little space.

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
        with tempfile.TemporaryFile(dir=existing):  # permission bits are not enough: root, read-only disks, quotas
            pass
        free = shutil.disk_usage(existing).free
    except (OSError, StopIteration) as error:
        if isinstance(error, CryosamError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot write to {folder}: {reason}; choose another folder") from error
    if free < n_bytes:
        raise OutputError(
            f"not enough space in {folder}: the result needs up to {n_bytes / 1e9:.2g} GB, {free / 1e9:.2g} GB are free"
        )


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, if they do not exist.

    Raises
    ------
    OutputError
        If the path is a file, or the folder cannot be created.

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
        raise OutputError(f"cannot create the folder {folder}: {error.strerror or error}") from error


@contextmanager
def output_folder(folder: Path, names: Sequence[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Provide an empty folder for new files; on success they appear in ``folder``, on any exception nothing changes.

    Parameters
    ----------
    folder
        A new folder appears in one step, with all its files. In an existing folder each file is replaced as a whole,
        and files of an earlier run that are not written again are deleted. The last of ``names`` is deleted first and
        written last, so that all files are from the same run whenever it exists.
    names
        Files and folders that may be written; read only after writing has finished. Others in ``folder`` are kept.
    overwrite
        Whether ``folder`` may contain files.

    Raises
    ------
    OutputExistsError, OutputError
        As in `check_output`; OutputError also if writing fails.

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
    """Replace the files of an earlier run by those in ``temporary``."""
    (folder / names[-1]).unlink(missing_ok=True)
    for name in dict.fromkeys(names):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        if (temporary / name).exists():
            (temporary / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
