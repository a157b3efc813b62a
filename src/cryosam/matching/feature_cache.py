"""Features on disk, so that a second click on a tomogram does not run the model again.

An entry is a folder of ``.npy`` files named by a key, with a manifest of their checksums. It appears under its name
only when it is complete, by one rename; it disappears the same way. So runs that share a folder, or are killed, never
see half an entry, and no locks are needed: of two runs that compute the same entry, the first to finish keeps it.

The key has the digest of the voxels themselves, never a file's name or date: reading all of a tomogram takes two
seconds a gigabyte, and what changes voxels in place may leave both as they were. The checksums are CRC-32: they are
to find damage, at two gigabytes a second, and not forgery.
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
_PIECE = 1 << 22  # bytes that are read at a time
_PARSING = threading.Lock()  # NumPy reads headers with `ast.literal_eval`, which two threads of Python 3.11 can break


def entry_key(**parts: object) -> str:
    """Name of an entry: SHA-256 of everything that its content depends on.

    Parameters
    ----------
    parts
        Digests of data and model, and settings: strings, numbers, or lists and dictionaries of them.

    Examples
    --------
    >>> entry_key(data="ab", stride=4) == entry_key(stride=4, data="ab")
    True
    >>> entry_key(data="ab", stride=4) == entry_key(data="ab", stride=2)
    False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _limit() -> float:
    """Bytes of all entries together, where nothing else is said."""
    try:
        return parse_bytes(os.environ.get("CRYOSAM_CACHE_LIMIT") or "50GB")
    except ConfigError as error:
        raise ConfigError(f"CRYOSAM_CACHE_LIMIT: {error}") from error


@dataclass(frozen=True)
class Entry:
    """What a cache holds under one key.

    Parameters
    ----------
    path
        Its folder.
    n_bytes
        Of its files.
    used
        Seconds since 1970 when it was last read or written.
    """

    path: Path
    n_bytes: int
    used: float


class FeatureCache:
    """Named sets of arrays on disk, the least recently used given up first.

    Parameters
    ----------
    folder
        Created when first needed; by default that of the environment variable ``CRYOSAM_CACHE``, or
        ``~/.cache/cryosam/features``.
    max_bytes
        Of all entries together; an entry larger than this is not stored at all. By default that of the environment
        variable ``CRYOSAM_CACHE_LIMIT``, such as ``200GB``, or 50 GB.

    Raises
    ------
    ConfigError
        If the environment variable is no size.

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
        """Arrays of an entry, computed and stored if they are not there or not what was stored.

        Parameters
        ----------
        key
            As `entry_key` gives it.
        compute
            Gives the arrays by name; names are file names without ending.

        Returns
        -------
        arrays
            Memory-mapped; writing to them changes the memory, never the file. If the disk is full or the folder cannot
            be written, a warning is logged and the arrays are those that ``compute`` gave.
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
            _log.warning("features are not kept for the next run: %s", error)
            return arrays

    def _read(self, entry: Path) -> dict[str, np.ndarray] | None:
        """Arrays of an entry if it is there and is what was stored; a damaged one is removed."""
        try:
            checksums = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
            if all(_checksum(entry / f"{name}.npy") == checksum for name, checksum in checksums.items()):
                os.utime(entry / _MANIFEST)
                return _load(entry, checksums)
        except (OSError, ValueError, AttributeError) as error:  # no file, no JSON, not a dictionary
            _log.debug("cannot read the entry %s: %s", entry, error)
        if entry.is_dir():
            _log.warning("the stored features in %s are damaged and will be computed again", entry)
            self._remove(entry)
        return None

    def _store(self, entry: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an entry under a temporary name and give it its own when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        try:
            checksums = {}
            for name, array in arrays.items():
                path = unfinished / f"{name}.npy"
                np.save(path, array, allow_pickle=False)
                checksums[name] = _checksum(path)
            (unfinished / _MANIFEST).write_text(json.dumps(checksums), encoding="utf-8")
            with suppress(FileExistsError):  # another run was first; its entry is as good
                _rename(unfinished, entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """What is there, the least recently used first.

        Examples
        --------
        >>> cache = FeatureCache(Path(tempfile.mkdtemp()))
        >>> _ = cache.get_or_compute("key", lambda: {"tokens": np.zeros(1000)})
        >>> [(entry.path.name, entry.n_bytes > 8000) for entry in cache.entries()]
        [('key', True)]
        """
        found: list[Entry] = []
        for path in self._folders():
            if path.name.startswith(_UNFINISHED):  # though all may be written but the name
                continue
            with suppress(OSError):  # another run may remove it meanwhile
                used = (path / _MANIFEST).stat().st_mtime
                found.append(Entry(path, sum(file.stat().st_size for file in path.iterdir()), used))
        return sorted(found, key=lambda entry: entry.used)

    def clear(self) -> int:
        """Remove all entries, and what killed runs left; the number of bytes that were freed.

        Runs that use an entry keep it in memory until they end; those that are writing one are not disturbed.
        """
        entries = self.entries()
        for entry in entries:
            self._remove(entry.path)
        self._sweep()
        return sum(entry.n_bytes for entry in entries)

    def _folders(self) -> list[Path]:
        """All that is in the folder."""
        try:
            return list(self.folder.iterdir())
        except OSError:  # nothing was ever stored
            return []

    def _sweep(self) -> None:
        """Remove what killed runs left behind."""
        for path in self._folders():
            with suppress(OSError):
                is_old = time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS
                if path.name.startswith(_UNFINISHED) and is_old:
                    shutil.rmtree(path, ignore_errors=True)

    def _evict(self, keep: Path) -> None:
        """Remove the entries used longest ago until the rest fit, and what killed runs left behind."""
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
        """Take an entry away at once, then delete its files; who has them mapped keeps them."""
        doomed = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        with suppress(OSError):  # another run took it away
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
