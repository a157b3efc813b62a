"""Budgets, and arrays that are kept in files when there is none left."""

import gc
import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryosam import memory
from cryosam.errors import ConfigError, OutputError
from cryosam.memory import Workspace, ahead, give_back, memory_limit, parse_bytes, release

BESIDE = memory._FIXED  # bytes of a limit that arrays do not get
MB = 2**20


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("8GB", 8e9), ("8gb", 8e9), ("8 G", 8e9), ("8GiB", 8e9), ("1.5G", 1.5e9), ("500MB", 5e8), ("2T", 2e12), ("7", 7)],
)
def test_sizes(text, n_bytes) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "8XB", "8GB8", "1e9", "8,5GB"])
def test_what_is_no_size(text) -> None:
    with pytest.raises(ConfigError, match="such as 8GB"):
        parse_bytes(text)


def test_a_containers_limit_counts(tmp_path, monkeypatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(memory, "_CGROUPS", [(str(limit), str(used)), (str(tmp_path / "none"), str(used))])
    used.write_text("200\n")
    limit.write_text("max\n")
    assert memory_limit() > 1e6
    limit.write_text("1200\n")
    assert memory_limit() == pytest.approx(0.7 * 1000)
    (tmp_path / "memory.stat").write_text("anon 50\nfile 150\n")
    assert memory_limit() == pytest.approx(0.7 * 1150)


def test_arrays_are_in_memory_while_the_budget_lasts_and_give_it_back(tmp_path) -> None:
    workspace = Workspace(BESIDE + 5 * MB, tmp_path)
    first = workspace.empty((3, MB), np.uint8)
    second = workspace.empty((3, MB), np.uint8)
    assert not isinstance(first, np.memmap)
    assert isinstance(second, np.memmap)
    view = first[1:]
    del first
    gc.collect()
    assert isinstance(workspace.empty((3, MB), np.uint8), np.memmap)  # a part of the first is still in use
    del view
    gc.collect()
    assert not isinstance(workspace.empty((3, MB), np.uint8), np.memmap)


def test_a_file_is_an_array_like_any_and_leaves_nothing_behind(tmp_path) -> None:
    array = Workspace(1.0, tmp_path).empty((3, 5, MB), np.float16)
    assert list(tmp_path.iterdir()) == []
    array[:] = np.arange(5)[:, None]
    release(array)
    release(array[1])
    release(np.zeros(3))
    np.testing.assert_array_equal(array[:, :, -1], np.broadcast_to(np.arange(5), (3, 5)))


def test_small_arrays_need_no_file(tmp_path) -> None:
    assert not isinstance(Workspace(1.0, tmp_path).empty((1000,), np.float32), np.memmap)


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made = [threading.Event() for _ in range(4)]

    def make() -> Iterator[int]:
        for i, event in enumerate(made):
            event.set()
            yield i

    for i in ahead(make()):
        assert made[min(i + 1, 3)].wait(timeout=20)


def test_what_fails_ahead_fails_where_it_is_needed() -> None:
    items = ahead(1 // n for n in (1, 0))
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_a_full_disk_is_said_at_once(tmp_path) -> None:
    with pytest.raises(OutputError, match=r"no space for .* set TMPDIR"):
        Workspace(1.0, tmp_path).empty((1 << 58,), np.uint8)
    with pytest.raises(OutputError, match="No such file"):
        Workspace(1.0, tmp_path / "none").empty((MB,), np.uint8)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident memory is read from /proc")
def test_memory_that_is_free_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    blocks = [np.ones(12_000, dtype=np.uint8) for _ in range(20_000)]
    full, last = resident(), blocks[-1]  # which keeps the C library from giving the others back by itself
    del blocks
    give_back()
    assert full - resident() > 100e6
    assert last.all()
