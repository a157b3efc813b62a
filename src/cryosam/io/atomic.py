"""Writing files and folders so that they appear complete or not at all."""

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
    """Provide a temporary path to write to; on success it is renamed to ``path``, on any exception it is deleted.

    Parameters
    ----------
    path
        The file or folder to create. An existing one is replaced only at the end. The parent folder must exist.

    Yields
    ------
    temporary
        A path in the same folder with the same suffix, because writers may choose a format by the suffix.
        Create a file or a folder there.

    Raises
    ------
    OutputError
        If the operating system refuses to write: no space, no permission, no such folder.

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
    """Return the reason of the operating system; numpy reports an incomplete write without a reason."""
    reason = error.strerror or f"only a part was written ({error})"
    return f"{reason}; free some space, or choose an existing folder with write permission"


def _flush(temporary: Path) -> None:
    """Write the content to the disk before the file is renamed."""
    files = [temporary] if temporary.is_file() else [p for p in temporary.rglob("*") if p.is_file()]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, target: Path) -> None:
    """Replace ``target``; a folder cannot be replaced in one step, so the old one is renamed first."""
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
    """Delete a file or a folder if possible."""
    with suppress(OSError):  # even is_dir may be refused
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
