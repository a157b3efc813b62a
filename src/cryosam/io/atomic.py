"""Outputs that appear whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryosam.errors import CryosamError, OutputError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, on any exception it is deleted.

    Parameters
    ----------
    path
        The file or folder to make. What is there already is replaced, and only at the end. Its parent must exist.

    Yields
    ------
    temporary
        A sibling of ``path`` whose name ends like it, so that writers that look at the suffix do the same.
        Write a file there, or make a folder.

    Raises
    ------
    OutputError
        Where the operating system refuses: no space, no permission, no such folder.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "answer.txt")
    ...     with atomic_path(target) as temporary:
    ...         _ = temporary.write_text("42")
    ...     target.read_text()
    '42'
    """
    target = Path(path)
    temporary = target.with_name(f".partial-{secrets.token_hex(4)}-{target.name}")
    try:
        yield temporary
        _flush(temporary)
        _replace(temporary, target)
    except BaseException as error:  # Ctrl-C too must leave nothing behind
        _remove(temporary)
        if isinstance(error, OSError) and not isinstance(error, CryosamError):
            raise OutputError(f"cannot write {target}: {_reason(error)}") from error
        raise


def _reason(error: OSError) -> str:
    """What the operating system said; numpy reports a short write without its reason."""
    said = error.strerror or f"only a part was written ({error})"
    return f"{said}; free some space, or choose a folder that exists and that you may write to"


def _flush(temporary: Path) -> None:
    """Make the content reach the disk before its name does."""
    files = [temporary] if temporary.is_file() else [p for p in temporary.rglob("*") if p.is_file()]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, target: Path) -> None:
    """Rename, over a file at once; a folder cannot be replaced at once, so the old one steps aside first."""
    if not (target.is_dir() and temporary.is_dir()):
        temporary.replace(target)
        return
    aside = target.with_name(f".replaced-{secrets.token_hex(4)}-{target.name}")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    """Delete a file or a folder, if it is there and may be deleted."""
    with suppress(OSError):  # even to ask what it is may be refused
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
