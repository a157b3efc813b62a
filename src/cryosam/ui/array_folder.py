"""Large values on disk, one file each; they never change, so each is written only once."""

import hashlib
import io
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from cryosam.io import atomic_path

__all__ = ["ArrayFolder"]

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")


class ArrayFolder(Generic[_Item]):
    """Stores values that consist of arrays in a folder, in files named by a hash of their content.

    Parameters
    ----------
    folder
        An existing folder; other files in it are not changed.
    what
        What a value is, such as "score map"; the names of the files begin with the first word.
    to_arrays
        Returns the arrays of a value, by name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sets = ArrayFolder[frozenset](Path(folder), "set", lambda item: {"of": np.array(sorted(item))})
    ...     name = sets.write(frozenset([3, 1]))
    ...     sets.read(name, lambda arrays: frozenset(arrays["of"].tolist()))
    frozenset({1, 3})
    """

    def __init__(self, folder: Path, what: str, to_arrays: Callable[[_Item], Mapping[str, Any]]) -> None:
        self._folder, self._what, self._to_arrays = folder, what, to_arrays
        self._start = what.partition(" ")[0]
        self._names: WeakKeyDictionary[_Item, str] = WeakKeyDictionary()

    def write(self, item: _Item) -> str:
        """Write a value unless it is stored already; return its name.

        Raises
        ------
        OutputError
            If there is no space or no permission.
        """
        name = self._names.get(item)
        if name is not None and self._path(name).exists():
            return name
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self._to_arrays(item))
        content = buffer.getvalue()
        name = self._names[item] = hashlib.sha256(content).hexdigest()[:16]
        with atomic_path(self._path(name)) as temporary:
            temporary.write_bytes(content)
        return name

    def read(self, name: str, from_arrays: Callable[[Mapping[str, Any]], _Item]) -> _Item | None:
        """Make a value from the arrays of this name; None, with a warning, if that fails: it can be found again."""
        try:
            with np.load(self._path(name), allow_pickle=False) as arrays:
                item = from_arrays(dict(arrays))
        except Exception as error:  # any problem: the session is still usable without it
            _log.warning("a saved %s cannot be read (%s); to see and export it, find all again", self._what, error)
            return None
        self._names[item] = name
        return item

    def keep_only(self, names: Collection[str]) -> None:
        """Delete all values except those with these names."""
        kept = {self._path(name) for name in names}
        for path in set(self._folder.glob(f"{self._start}-*.npz")) - kept:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._start}-{name}.npz"
