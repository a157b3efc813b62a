import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cryosam.errors import ConfigError
from cryosam.matching.feature_cache import FeatureCache, entry_key

ARRAYS = {
    "tokens": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "shape": np.array([7, 8, 9]),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3)),
}


def never():
    raise AssertionError("computed again")


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_time_comes_from_disk(tmp_path):
    first = FeatureCache(tmp_path).get_or_compute("k", lambda: ARRAYS)
    second = FeatureCache(tmp_path).get_or_compute("k", never)
    for arrays in (first, second):
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype
    assert isinstance(second["tokens"], np.memmap)


def test_writing_to_the_answer_does_not_change_the_file(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.get_or_compute("k", lambda: ARRAYS)["tokens"][:] = -1
    np.testing.assert_array_equal(cache.get_or_compute("k", never)["tokens"], ARRAYS["tokens"])


def test_every_part_of_a_key_counts_and_their_order_does_not():
    base = {"data": "a", "backend": "b", "settings": {"stride": 4, "token_voxels": 1.5}}
    assert entry_key(**base) == entry_key(**dict(reversed(base.items())))
    others = [
        {**base, "data": "c"},
        {**base, "settings": {"stride": 2, "token_voxels": 1.5}},
        {"data": "a", "backend": "b"},
    ]
    assert len({entry_key(**parts) for parts in (base, *others)}) == 4


def flip_a_bit(entry):
    path = entry / "tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a bit flipped": flip_a_bit,
    "a file cut off": lambda entry: (entry / "tokens.npy").write_bytes((entry / "tokens.npy").read_bytes()[:-1]),
    "a file missing": lambda entry: (entry / "shape.npy").unlink(),
    "no manifest": lambda entry: (entry / "manifest.json").unlink(),
    "an empty manifest": lambda entry: (entry / "manifest.json").write_bytes(b""),
    "another manifest": lambda entry: (entry / "manifest.json").write_text("[1, 2]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_computed_again(tmp_path, caplog, damage):
    cache = FeatureCache(tmp_path)
    cache.get_or_compute("k", lambda: ARRAYS)
    damage(tmp_path / "k")
    again = cache.get_or_compute("k", lambda: {"tokens": np.ones(3)})
    np.testing.assert_array_equal(again["tokens"], np.ones(3))
    assert again.keys() == {"tokens"}
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(cache.get_or_compute("k", never)["tokens"], np.ones(3))
    assert entries(tmp_path) == ["k"]


def test_the_least_recently_used_is_given_up_first(tmp_path):
    cache = FeatureCache(tmp_path, max_bytes=3000)
    for age, key in enumerate(["old", "older", "oldest"]):
        cache.get_or_compute(key, lambda: {"a": np.zeros(80)})  # 768 bytes on disk and a manifest
        os.utime(tmp_path / key / "manifest.json", (1000 - age, 1000 - age))
    cache.get_or_compute("oldest", never)  # a use makes it the youngest
    cache.get_or_compute("new", lambda: {"a": np.zeros(80)})
    assert entries(tmp_path) == ["new", "old", "oldest"]


def test_the_environment_limits_it(tmp_path, monkeypatch):
    assert FeatureCache(tmp_path).max_bytes == 50e9
    monkeypatch.setenv("CRYOSAM_CACHE_LIMIT", "200GB")
    assert FeatureCache(tmp_path).max_bytes == 200e9
    monkeypatch.setenv("CRYOSAM_CACHE_LIMIT", "much")
    with pytest.raises(ConfigError, match="CRYOSAM_CACHE_LIMIT"):
        FeatureCache(tmp_path)


def test_what_is_larger_than_the_limit_is_not_stored(tmp_path):
    arrays = FeatureCache(tmp_path, max_bytes=100).get_or_compute("k", lambda: {"a": np.ones(80)})
    assert arrays["a"].sum() == 80
    assert entries(tmp_path) == []


def test_evicted_arrays_stay_readable(tmp_path):
    cache = FeatureCache(tmp_path, max_bytes=1200)
    first = cache.get_or_compute("first", lambda: {"a": np.ones(80)})["a"]
    cache.get_or_compute("second", lambda: {"a": np.zeros(80)})
    assert entries(tmp_path) == ["second"]
    assert first.sum() == 80


def test_runs_at_the_same_time_agree(tmp_path):
    def run(i):
        key = f"k{i % 3}"
        return i % 3, FeatureCache(tmp_path, max_bytes=2500).get_or_compute(key, lambda: {"a": np.full(80, i % 3)})["a"]

    with ThreadPoolExecutor(8) as pool:
        for value, array in pool.map(run, range(60)):
            assert (array == value).all()
    assert not [name for name in entries(tmp_path) if name.startswith(".")]


def test_a_killed_run_leaves_no_entry_and_its_remains_are_removed_later(tmp_path):
    program = f"""
import time, numpy as np, cryosam.matching.feature_cache as cache
save = np.save
def slow(path, array, **options):
    save(path, array, **options)
    print("writing", flush=True)
    time.sleep(60)
np.save = slow
cache.FeatureCache(cache.Path({str(tmp_path)!r})).get_or_compute("k", lambda: {{"a": np.ones(3), "b": np.ones(3)}})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"writing\n"
        run.send_signal(signal.SIGKILL)
    (remains,) = entries(tmp_path)
    assert remains != "k"
    cache = FeatureCache(tmp_path)
    assert cache.get_or_compute("k", lambda: {"a": np.zeros(3)})["a"].sum() == 0
    assert entries(tmp_path) == [remains, "k"]  # it might belong to a run that is still writing
    os.utime(tmp_path / remains, (time.time() - 2 * 86400,) * 2)
    cache.get_or_compute("l", lambda: {"a": np.zeros(3)})
    assert entries(tmp_path) == ["k", "l"]


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    arrays = FeatureCache(tmp_path / "file").get_or_compute("k", lambda: ARRAYS)
    assert arrays["tokens"] is ARRAYS["tokens"]
    assert "could not be stored" in caplog.text


def test_a_full_disk_leaves_nothing_behind(tmp_path, caplog, monkeypatch):
    def full(path, array, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    arrays = FeatureCache(tmp_path).get_or_compute("k", lambda: ARRAYS)
    assert arrays["tokens"] is ARRAYS["tokens"]
    assert "No space left" in caplog.text
    assert entries(tmp_path) == []


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOSAM_CACHE", str(tmp_path / "here"))
    assert FeatureCache().folder == tmp_path / "here"
    monkeypatch.delenv("CRYOSAM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FeatureCache().folder == tmp_path / ".cache" / "cryosam" / "features"


def test_what_is_there_can_be_listed_and_cleared(tmp_path):
    cache = FeatureCache(tmp_path / "not yet")
    assert cache.entries() == []
    assert cache.clear() == 0
    for age, key in enumerate(["new", "old"]):
        cache.get_or_compute(key, lambda: {"a": np.zeros(80)})
        os.utime(cache.folder / key / "manifest.json", (1000 - age, 1000 - age))
    (cache.folder / "of the user").write_text("not ours")
    found = cache.entries()
    assert [(entry.path.name, entry.used) for entry in found] == [("old", 999), ("new", 1000)]
    assert all(768 < entry.n_bytes < 900 for entry in found)
    assert cache.clear() == sum(entry.n_bytes for entry in found)
    assert entries(cache.folder) == ["of the user"]


def test_clearing_does_not_disturb_who_reads_and_who_writes(tmp_path):
    cache = FeatureCache(tmp_path)
    reading = cache.get_or_compute("read", lambda: ARRAYS)

    def write():
        cache.clear()
        return {"a": np.ones(3)}

    assert cache.get_or_compute("written", write)["a"].sum() == 3
    np.testing.assert_array_equal(reading["tokens"], ARRAYS["tokens"])
    assert entries(tmp_path) == ["written"]


def test_damage_anywhere_is_noticed(tmp_path):
    cache = FeatureCache(tmp_path)
    large = {"a": np.arange(3 << 20, dtype=np.float16)}  # more than one piece that is read at a time
    cache.get_or_compute("k", lambda: large)
    path = tmp_path / "k" / "a.npy"
    for place in np.linspace(128, path.stat().st_size - 1, 5).astype(int):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        again = cache.get_or_compute("k", lambda: large)
        np.testing.assert_array_equal(again["a"], large["a"])
    cache.get_or_compute("k", never)


def test_what_lacks_only_its_name_is_no_entry_yet(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.get_or_compute("key", lambda: {"a": np.zeros(9)})
    (tmp_path / "key").rename(tmp_path / ".unfinished-abc")
    assert cache.entries() == []
    assert cache.clear() == 0
    assert (tmp_path / ".unfinished-abc" / "a.npy").exists()


def test_runs_that_are_killed_at_any_moment_leave_whole_entries(tmp_path):
    """Several processes store, evict and clear in one folder, and are killed in the midst of it."""
    program = f"""
import numpy as np, cryosam.matching.feature_cache as cache
kept = cache.FeatureCache(cache.Path({str(tmp_path)!r}), max_bytes=40_000)
for i in range(10**9):
    n = 1 + i % 7
    assert (kept.get_or_compute(f"k{{n}}", lambda: {{"a": np.full(1000, n), "b": np.full(9, n)}})["a"] == n).all()
    if i % 50 == 49:
        kept.clear()
    if i == 3:
        print("at work", flush=True)
"""
    runs = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    for i, each in enumerate(runs):
        assert each.stdout.readline() == b"at work\n"
        time.sleep(0.07 * i)
        each.send_signal(signal.SIGKILL)
        each.communicate()
        assert each.returncode == -signal.SIGKILL  # and not an error before
    cache = FeatureCache(tmp_path)
    for entry in cache.entries():
        n = int(entry.path.name[1:])
        arrays = cache.get_or_compute(entry.path.name, never)
        assert (arrays["a"] == n).all()
        assert (arrays["b"] == n).all()
