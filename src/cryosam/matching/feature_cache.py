"""Features on disk, so that a second click on a tomogram does not run the model again.

An entry is a folder of ``.npy`` files with a manifest of their checksums; the folder's name is a key. A complete entry
is renamed into place in one step, and removed by a rename too. So even if runs share a folder or are killed, no run
ever sees an incomplete entry, and no locks are needed: if two runs compute the same entry, the first to finish stores
it.

The key includes the digest of the voxels themselves, not the name or date of a file. Reading a whole tomogram takes two
seconds per gigabyte, but a program that changes voxels in place may leave name and date unchanged. The checksums are
CRC-32, at two gigabytes per second: they detect damage, not forgery.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosam.errors import ConfigError
from cryosam.memory import parse_bytes

__all__ = ["Entry", "FeatureCache", "entry_key"]

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"
_UNFINISHED_SECONDS = 24 * 3600
_PIECE = 1 << 22  # bytes read at a time
_PARSING = threading.Lock()  # NumPy reads headers with `ast.literal_eval`, which two threads of Python 3.11 can break


def entry_key(**parts: object) -> str:
    """Key of an entry: SHA-256 of everything that its content depends on.

    Parameters
    ----------
    parts
        Digests of data and model, and settings: strings, numbers, or lists and dictionaries of these.

    Examples
    --------
    >>> entry_key(data="ab", stride=4) == entry_key(stride=4, data="ab")
    True
    >>> entry_key(data="ab", stride=4) == entry_key(data="ab", stride=2)
    False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _limit() -> float:
    """Default limit on the size of the cache, in bytes."""
    try:
        return parse_bytes(os.environ.get("CRYOSAM_CACHE_LIMIT") or "50GB")
    except ConfigError as error:
        raise ConfigError(f"CRYOSAM_CACHE_LIMIT: {error}") from error


@dataclass(frozen=True)
class Entry:
    """One entry of a cache.

    Parameters
    ----------
    path
        The entry's folder.
    n_bytes
        Total size of its files.
    used
        When it was last read or written, in seconds since 1970.
    """

    path: Path
    n_bytes: int
    used: float


class FeatureCache:
    """Named sets of arrays on disk; the least recently used ones are removed first.

    Parameters
    ----------
    folder
        Created when first needed. The default is the value of the environment variable ``CRYOSAM_CACHE``, or
        ``~/.cache/cryosam/features``.
    max_bytes
        Limit on all entries together; a larger entry is not stored at all. The default is the value of the environment
        variable ``CRYOSAM_CACHE_LIMIT``, such as ``200GB``, or 50 GB.

    Raises
    ------
    ConfigError
        If the value of ``CRYOSAM_CACHE_LIMIT`` is not a size.

    Examples
    --------
    >>> cache = FeatureCache(Path(tempfile.mkdtemp()))
    >>> key = entry_key(data="digest of a tomogram", backend="digest of a model", stride=4)
    >>> cache.get_or_compute(key, lambda: {"tokens": np.arange(3.0)})["tokens"]
    memmap([0., 1., 2.])
    >>> cache.get_or_compute(key, lambda: {})["tokens"]
    memmap([0., 1., 2.])
    """

    def __init__(self, folder: Path | None = None, max_bytes: float | None = None) -> None:
        default = os.environ.get("CRYOSAM_CACHE") or Path.home() / ".cache" / "cryosam" / "features"
        self.folder = Path(folder or default)
        self.max_bytes = _limit() if max_bytes is None else max_bytes

    def get_or_compute(self, key: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays of an entry; they are computed and stored if the entry is missing or damaged.

        Parameters
        ----------
        key
            The result of `entry_key`.
        compute
            Returns the arrays by name; a name is a file name without suffix.

        Returns
        -------
        arrays
            Memory-mapped; writing to them changes the copy in memory, never the file. If the disk is full or the folder
            cannot be written, a warning is logged and the arrays are those that ``compute`` returned.
        """
        entry = self.folder / key
        stored = self._read(entry)
        if stored is not None:
            return stored
        arrays = dict(compute())
        if sum(array.nbytes for array in arrays.values()) > self.max_bytes:
            return arrays
        try:
            self._store(entry, arrays)
            self._evict(keep=entry)
            return _load(entry, arrays)
        except OSError as error:
            _log.warning("the features could not be stored for the next run: %s", error)
            return arrays

    def _read(self, entry: Path) -> dict[str, np.ndarray] | None:
        """Arrays of an entry; None if it is missing or damaged. A damaged entry is removed."""
        try:
            checksums = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
            if all(_checksum(entry / f"{name}.npy") == checksum for name, checksum in checksums.items()):
                os.utime(entry / _MANIFEST)
                return _load(entry, checksums)
        except (OSError, ValueError, AttributeError) as error:  # no file, no JSON, not a dictionary
            _log.debug("cannot read the entry %s: %s", entry, error)
        if entry.is_dir():
            _log.warning("the stored features in %s are damaged; they are computed again", entry)
            self._remove(entry)
        return None

    def _store(self, entry: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an entry under a temporary name, and rename it when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        try:
            checksums = {}
            for name, array in arrays.items():
                path = unfinished / f"{name}.npy"
                np.save(path, array, allow_pickle=False)
                checksums[name] = _checksum(path)
            (unfinished / _MANIFEST).write_text(json.dumps(checksums), encoding="utf-8")
            with suppress(FileExistsError):  # another run was first; its entry has the same content
                _rename(unfinished, entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """All complete entries, the least recently used first.

        Examples
        --------
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()))
        >>> _ = cache.get_or_compute("key", lambda: {"tokens": np.zeros(1000)})
        >>> [(entry.path.name, entry.n_bytes > 8000) for entry in cache.entries()]
        [('key', True)]
        """
        found: list[Entry] = []
        for path in self._folders():
            if path.name.startswith(_UNFINISHED):  # incomplete, or not yet renamed
                continue
            with suppress(OSError):  # another run may remove it meanwhile
                used = (path / _MANIFEST).stat().st_mtime
                found.append(Entry(path, sum(file.stat().st_size for file in path.iterdir()), used))
        return sorted(found, key=lambda entry: entry.used)

    def clear(self) -> int:
        """Remove all entries and the remains of killed runs; returns the number of bytes freed.

        Runs that use an entry keep it mapped until they end. Runs that are writing an entry are not affected.
        """
        entries = self.entries()
        for entry in entries:
            self._remove(entry.path)
        self._sweep()
        return sum(entry.n_bytes for entry in entries)

    def _folders(self) -> list[Path]:
        """Everything in the cache's folder."""
        try:
            return list(self.folder.iterdir())
        except OSError:  # nothing was ever stored
            return []

    def _sweep(self) -> None:
        """Remove the remains of killed runs."""
        for path in self._folders():
            with suppress(OSError):
                is_old = time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS
                if path.name.startswith(_UNFINISHED) and is_old:
                    shutil.rmtree(path, ignore_errors=True)

    def _evict(self, keep: Path) -> None:
        """Remove the least recently used entries until the rest fit into the limit, and the remains of killed runs."""
        self._sweep()
        entries = self.entries()
        total = sum(entry.n_bytes for entry in entries)
        for entry in entries:
            if total <= self.max_bytes:
                break
            if entry.path != keep:
                self._remove(entry.path)
                total -= entry.n_bytes

    def _remove(self, entry: Path) -> None:
        """Rename an entry away in one step, then delete its files; runs that have them mapped can still read them."""
        doomed = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        with suppress(OSError):  # another run has removed it
            entry.rename(doomed / entry.name)
        shutil.rmtree(doomed, ignore_errors=True)


def _rename(source: Path, target: Path) -> None:
    """Rename a folder unless the target exists."""
    try:
        source.rename(target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(str(target)) from error
        raise


def _load(entry: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of an entry, memory-mapped."""
    with _PARSING:
        return {name: np.load(entry / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names}


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
