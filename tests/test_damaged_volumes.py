"""A damaged volume is read right, or refused in one line, or what is doubtful is said; never a traceback.

``make fuzz`` runs these tests with many more examples.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosam.errors import CryosamError
from cryosam.io import read_tomogram
from cryosam.io.mrc import write_mrc
from cryosam.io.ome_zarr import write_ome_zarr
from cryosam.io.tiff import write_tiff
from cryosam.tomogram import Tomogram
from damage import Damage, bytes_damage, json_damage

SIZE = 12.5
VOXELS = np.random.default_rng(0).normal(size=(7, 9, 11)).astype(np.float32)


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = VOXELS
        file["raw"].attrs["element_size_um"] = [SIZE / 1e4] * 3


WRITERS: dict[str, Callable[[Path], None]] = {
    "t.mrc": lambda path: write_mrc(path, VOXELS, SIZE),
    "bytes.mrc": lambda path: write_mrc(path, (20 * VOXELS).astype(np.int8), SIZE),
    "t.mrc.gz": lambda path: write_mrc(path, VOXELS, SIZE),
    "t.tif": lambda path: write_tiff(path, VOXELS, SIZE),
    "pages.tif": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack"),
    "t.h5": write_hdf5,
    "t4.zarr": lambda path: write_ome_zarr(path, VOXELS, SIZE, "0.4"),
    "t5.zarr": lambda path: write_ome_zarr(path, VOXELS, SIZE, "0.5"),
}
FILES = [name for name in WRITERS if not name.endswith(".zarr")]
FEWER = settings(max_examples=max(1, settings().max_examples // 5))  # a volume of Zarr is many files
METADATA = [("t4.zarr", ".zattrs"), ("t4.zarr", ".zgroup"), ("t4.zarr", "0/.zarray"), ("t5.zarr", "zarr.json")]
METADATA += [("t5.zarr", "0/zarr.json")]


@cache
def written(name: str) -> Path:
    """A whole volume, in a folder that lives as long as the tests."""
    path = Path(_FOLDER.name, name)
    WRITERS[name](path)
    return path


_FOLDER = tempfile.TemporaryDirectory(prefix="cryosam-tests-")


@contextmanager
def logged() -> Iterator[list[str]]:
    """What the package logs."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collect = Collect(logging.WARNING)
    logging.getLogger("cryosam").addHandler(collect)
    try:
        yield lines
    finally:
        logging.getLogger("cryosam").removeHandler(collect)


def read(path: Path) -> Tomogram | str:
    """Read a volume; its voxels, or why it is refused."""
    try:
        return read_tomogram(path)
    except CryosamError as error:
        return str(error)


def check(path: Path, whole: str) -> None:
    """The voxels are those of the whole volume, or the reader says that something is wrong."""
    with logged() as said:
        found = read(path)
    if isinstance(found, str):
        assert path.name in found
        assert "\n" not in found
        return
    expected = read_tomogram(written(whole))
    is_right = found.shape == expected.shape and np.array_equal(found.data, expected.data)
    assert is_right or said or np.ptp(found.data) == 0  # a run refuses a volume of one value
    assert not is_right or said or found.voxel_size_angstrom in (SIZE, None)


@pytest.mark.parametrize("name", WRITERS)
def test_the_whole_volume_is_read(name: str) -> None:
    found = read(written(name))
    assert isinstance(found, Tomogram)
    assert found.shape == VOXELS.shape
    assert found.voxel_size_angstrom == (None if name == "pages.tif" else SIZE)


def check_damaged(name: str, damage: Damage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(damage.to_bytes(written(name).read_bytes()))
        check(path, name)


@pytest.mark.parametrize("name", FILES)
@given(damage=bytes_damage("shorten", "append"))
def test_damaged_file(name: str, damage: Damage) -> None:
    check_damaged(name, damage)


@pytest.mark.parametrize("name", ["t.mrc", "bytes.mrc", "t.mrc.gz"])
@given(damage=bytes_damage("drop", "double"))
def test_moved_bytes(name: str, damage: Damage) -> None:
    """TIFF and HDF5 files may have bytes that mean nothing."""
    check_damaged(name, damage)


@pytest.mark.parametrize(("name", "member"), METADATA)
@given(damages=json_damage())
@FEWER
def test_damaged_metadata_of_zarr(name: str, member: str, damages: list[Damage]) -> None:
    with changed_zarr(name) as path:
        text = (path / member).read_text()
        for damage in damages:
            text = damage.to_json(text)
        (path / member).write_text(text)
        check(path, name)


@pytest.mark.parametrize("name", ["t4.zarr", "t5.zarr"])
@given(which=st.integers(0, 10), damage=bytes_damage("shorten"))
@FEWER
def test_damaged_or_missing_files_of_zarr(name: str, which: int, damage: Damage) -> None:
    with changed_zarr(name) as path:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        file = files[which % len(files)]
        if damage.second % 2:
            file.unlink()
        else:
            file.write_bytes(damage.to_bytes(file.read_bytes()))
        check(path, name)


@contextmanager
def changed_zarr(name: str) -> Iterator[Path]:
    """A copy of a volume."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(written(name), Path(folder, name)))


@pytest.mark.parametrize("stamp", [b"\x44\x44\0\0", b"\x11\x11\0\0", bytes(4), b"\xff" * 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_wrong_machine_stamp_changes_nothing(tmp_path: Path, order: str, stamp: bytes) -> None:
    content = written("t.mrc").read_bytes()
    if order == ">":
        words = np.frombuffer(content, "<i4").astype(">i4").tobytes()
        content = words[:208] + content[208:212] + words[212:]
    (tmp_path / "t.mrc").write_bytes(content[:212] + stamp + content[216:])
    found = read(tmp_path / "t.mrc")
    assert isinstance(found, Tomogram)
    np.testing.assert_array_equal(found.data, VOXELS)
    assert found.voxel_size_angstrom == SIZE


def test_the_check_sum_of_a_compressed_file_is_checked(tmp_path: Path) -> None:
    content = bytearray(written("t.mrc.gz").read_bytes())
    content[-8] ^= 1
    (tmp_path / "t.mrc.gz").write_bytes(content)
    assert "damaged or truncated gzip file" in str(read(tmp_path / "t.mrc.gz"))


def test_a_header_of_an_mrc_file_that_has_moved_is_no_header(tmp_path: Path) -> None:
    content = written("t.mrc").read_bytes()
    (tmp_path / "t.mrc").write_bytes(content[4:])
    assert "the word MAP is missing" in str(read(tmp_path / "t.mrc"))
    (tmp_path / "t.mrc").write_bytes(content + bytes(12))
    with logged() as said:
        found = read(tmp_path / "t.mrc")
    assert isinstance(found, Tomogram)
    assert "12 bytes after the voxels are ignored" in said[0]


@pytest.mark.parametrize("length", [0, 15, 16, 500])
def test_a_chunk_that_is_cut_off_is_refused(length: int) -> None:
    with changed_zarr("t4.zarr") as path:
        (chunk,) = (file for file in (path / "0").rglob("*") if file.is_file() and not file.name.startswith("."))
        chunk.write_bytes(chunk.read_bytes()[:length])
        assert "is cut off" in str(read(path))
