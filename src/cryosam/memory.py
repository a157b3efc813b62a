"""The memory limit of a run, large arrays that are kept in files beyond that limit, and reading ahead."""

import ctypes
import gc
import mmap
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from cryosam.errors import ConfigError, OutputError

__all__ = ["LastKept", "Workspace", "ahead", "give_back", "memory_limit", "parse_bytes", "release"]

_Item = TypeVar("_Item")

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SHARE = 0.7  # fraction of the free memory that a run may take if the user sets no limit
_FIXED = 1.5e9  # bytes for programs, models and temporary arrays, independent of the size of the tomogram
_LEAST = 1 << 20  # bytes: smaller arrays are not counted
_CGROUPS = (  # files with the limit and the usage of a container or a cluster job
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def parse_bytes(text: str) -> float:
    """Convert a size such as ``8GB``, ``500 MB`` or ``1.5G`` to bytes; 1 GB is 1000 MB.

    Raises
    ------
    ConfigError
        If the text is not a positive number with or without a unit.

    Examples
    --------
    >>> parse_bytes("8GB")
    8000000000.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)I?B?\s*", text.upper())
    if found is None or float(found[1]) <= 0:
        raise ConfigError(f"a size is a positive number with a unit, such as 8GB or 500MB, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def memory_limit() -> float:
    """Bytes that a run may take if the user sets no limit: 70 % of the memory that is free now.

    Free memory is what the system can provide without swapping, within the limit of the container or cluster job.

    Examples
    --------
    >>> memory_limit() > 0
    True
    """
    return _SHARE * min([_free(), *(limit for pair in _CGROUPS for limit in _of_cgroup(*pair))])


def _free() -> float:
    """Bytes that the machine can provide."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return 8e9


def _of_cgroup(limit: str, used: str) -> list[float]:
    """Bytes that are free within the limit of a control group; an empty list if there is no such limit."""
    try:
        left = float(Path(limit).read_text("ascii")) - float(Path(used).read_text("ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return []
    try:
        kept = dict(line.split() for line in Path(used).with_name("memory.stat").read_text("ascii").splitlines())
    except OSError:
        kept = {}
    # cached files count as free: the system drops them when memory is needed
    return [max(0.0, left + float(kept.get("file", kept.get("cache", 0))))]


class Workspace:
    """Allocates large arrays: in memory up to a budget, and beyond it in temporary files.

    A file is deleted together with its array. Results do not depend on where an array is kept.

    Parameters
    ----------
    limit
        Bytes that the whole process may take; None takes `memory_limit`. Of these, 1.5 GB are reserved for programs and
        models, and the rest is the budget for arrays.
    folder
        Folder for the files; by default the system's folder for temporary files (``TMPDIR``).

    Examples
    --------
    >>> array = Workspace(limit=1e6).empty((3, 400, 500), np.float32)
    >>> array.shape, isinstance(array, np.memmap)
    ((3, 400, 500), True)
    """

    def __init__(self, limit: float | None = None, folder: Path | None = None) -> None:
        self._left = (memory_limit() if limit is None else limit) - _FIXED
        self._folder = folder

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Allocate an array with arbitrary content.

        Raises
        ------
        OutputError
            If the array does not fit into the budget and there is no space for a file.
        """
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        if n_bytes >= _LEAST and n_bytes > self._left:
            return self._in_file(shape, np.dtype(dtype), n_bytes)
        array = np.empty(shape, dtype)
        if n_bytes >= _LEAST:
            self._left -= n_bytes
            weakref.finalize(array, self._give_back, n_bytes)
        return array

    def _in_file(self, shape: tuple[int, ...], dtype: np.dtype, n_bytes: int) -> np.ndarray:
        folder = self._folder or Path(tempfile.gettempdir())
        try:
            with tempfile.TemporaryFile(dir=folder) as file:  # the memory map stays valid after the file is closed
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, n_bytes)  # reserve now: a full disk must not stop a run later
                return np.memmap(file, dtype, "r+", 0, shape)
        except OSError as error:
            raise OutputError(
                f"no space for {n_bytes / 1e9:.1f} GB in {folder} ({error.strerror or error}): "
                "set TMPDIR to a larger disk, or allow more --memory"
            ) from error

    def _give_back(self, n_bytes: int) -> None:
        self._left += n_bytes


class LastKept(Generic[_Item]):
    """Cache for one object that is large or slow to make: the last one that was requested.

    Examples
    --------
    >>> kept = LastKept[str]()
    >>> kept.get("key", lambda: "made once"), kept.get("key", lambda: "made again")
    ('made once', 'made once')
    """

    def __init__(self) -> None:
        self._kept: tuple[Hashable, _Item] | None = None

    def get(self, key: Hashable, make: Callable[[], _Item]) -> _Item:
        """Return the cached object if it has this key; otherwise drop it, and make and cache a new one."""
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, make()
        return self._kept[1]

    def copy(self) -> "LastKept[_Item]":
        """Another cache, which holds the same object until one of the two is asked for a different one."""
        copied = LastKept[_Item]()
        copied._kept = self._kept
        return copied


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield the items, while another thread prepares the next one: reading and computing overlap.

    Examples
    --------
    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        following = other_thread.submit(next, items, end)
        while (item := following.result()) is not end:
            following = other_thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end


def give_back() -> None:
    """Return the memory that is no longer used to the system; the C library keeps most of what was freed.

    Examples
    --------
    >>> give_back()
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # of glibc only
    if trim is not None:
        trim(0)


def release(array: np.ndarray) -> None:
    """Release the memory of a memory-mapped array; its pages are read again from the file when they are needed.

    An array that is in memory is left as it is. Changes to a copy-on-write map are lost.

    Examples
    --------
    >>> mapped = Workspace(limit=1e6).empty((1 << 20,), np.float32)
    >>> mapped[:] = 3
    >>> release(mapped)
    >>> float(mapped.sum()) / len(mapped)
    3.0
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
