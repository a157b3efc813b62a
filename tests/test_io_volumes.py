import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryosam.errors import InputError, InputNotFoundError, OutputError, TomogramError, VoxelSizeError
from cryosam.io import VolumeInfo, read_info, read_tomogram, read_volume, write_volume

READERS = [read_tomogram, read_volume, read_info]
SUFFIXES = [".mrc", ".rec", ".map", ".st", ".mrcs", ".mrc.gz", ".tif", ".tiff", ".zarr", ".ome.zarr"]
VOXELS = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".MRC", ".Rec.GZ", ".TIF"])
def test_every_format_from_the_name_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"TS_01.b4{suffix}"
    write_volume(path, VOXELS, 13.48)
    for given_as in (path, str(path)):
        tomogram = read_tomogram(given_as)
        np.testing.assert_array_equal(tomogram.data, VOXELS)
        assert (tomogram.voxel_size_angstrom, tomogram.name) == (13.48, "TS_01.b4")
    info = read_info(path)
    assert (info.shape, info.dtype, info.voxel_size_angstrom) == ((3, 4, 5), np.float32, 13.48)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_masks_and_labels_of_one_section_in_every_format(tmp_path: Path, suffix: str) -> None:
    mask = np.zeros((1, 4, 5), dtype=bool)
    mask[0, 1, 2:] = True
    write_volume(tmp_path / f"m{suffix}", mask, None)
    np.testing.assert_array_equal(read_volume(tmp_path / f"m{suffix}"), mask)
    assert read_info(tmp_path / f"m{suffix}").dtype.itemsize == 1
    with pytest.raises(TomogramError, match="2D image, 1 x 4 x 5"):
        read_tomogram(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("name", ["t.png", "t", "t.gz", "t.tif.gz", "t.mrc.bz2", ".mrc"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for read in READERS:
        with pytest.raises(InputError, match=r"unknown volume format.*\.mrc .*\.tif .*\.zarr"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="unknown volume format"):
        write_volume(tmp_path / name, VOXELS, 10.0)
    assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_named(tmp_path: Path, suffix: str, read) -> None:
    with pytest.raises(InputNotFoundError, match=r"absent.*no such file"):
        read(tmp_path / f"absent{suffix}")


@pytest.mark.parametrize("read", READERS)
def test_a_folder_is_no_file(tmp_path: Path, read) -> None:
    (tmp_path / "t.mrc").mkdir()
    with pytest.raises(InputError, match="this is a folder"):
        read(tmp_path / "t.mrc")


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz", ".tif"])
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"t{suffix}"
    write_volume(path, VOXELS, 10.0)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    with pytest.raises(InputError, match=r"t\..*cannot be read: Permission denied"):
        read_tomogram(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_folder_that_does_not_exist_is_one_line(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_volume(tmp_path / "absent" / f"t{suffix}", VOXELS, 10.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit stands in for a full disk on Linux")
@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz", ".tif", ".zarr"])
def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files makes the system refuse in the middle, as a full disk does."""
    program = f"""
import resource
import numpy as np
from cryosam.errors import OutputError
from cryosam.io import write_volume
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
data = np.random.default_rng(0).random((64, 64, 64), dtype=np.float32)
try:
    write_volume({str(tmp_path / f"t{suffix}")!r}, data, 10.0)
except OutputError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("cannot write ")
    assert done.stdout.count("\n") == 1
    assert not done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz", ".tif", ".zarr"])
def test_a_folder_that_may_not_be_entered_is_one_line(tmp_path: Path, suffix: str) -> None:
    """Asked by a user without rights, in a process of its own: no file in there can even be looked for."""
    closed = tmp_path / "closed"
    closed.mkdir()
    write_volume(closed / f"t{suffix}", VOXELS, 10.0)
    closed.chmod(0)
    program = f"""
import os
import numpy as np
from cryosam.errors import CryosamError
from cryosam.io import read_info, read_tomogram, read_volume, write_volume
write = lambda path: write_volume(path, np.zeros((3, 4, 5), np.float32), 10.0)
write({str(tmp_path / f"warm{suffix}")!r})
read_tomogram({str(tmp_path / f"warm{suffix}")!r})
os.setuid(65534)
for use in (read_info, read_tomogram, read_volume, write):
    try:
        use({str(closed / f"t{suffix}")!r})
    except CryosamError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    closed.chmod(0o755)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["InputError"] * 3 + ["OutputError"]
    assert all("Permission denied" in line for line in lines)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(36, "File name too long")])
@pytest.mark.parametrize("read", READERS)
def test_a_path_that_cannot_be_looked_up_is_one_line(
    tmp_path: Path, read, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(InputError, match=rf"t\.mrc: cannot be read: {error.strerror}"):
        read(tmp_path / "t.mrc")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [0.0, -10.0, float("nan"), float("inf")])
def test_a_nonsensical_voxel_size_is_not_written(tmp_path: Path, suffix: str, size: float) -> None:
    with pytest.raises(VoxelSizeError, match="must be positive"):
        write_volume(tmp_path / f"t{suffix}", VOXELS, size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_volume_is_not_written(tmp_path: Path, suffix: str, unchecked: None) -> None:
    for wrong in (VOXELS[0], VOXELS[None], VOXELS[:0]):
        with pytest.raises(TomogramError, match="only a volume"):
            write_volume(tmp_path / f"t{suffix}", wrong, 10.0)
    for kind in ("complex64", "object"):
        with pytest.raises(InputError, match=f"{kind} cannot be written"):
            write_volume(tmp_path / f"t{suffix}", VOXELS.astype(kind), 10.0)
    assert not list(tmp_path.iterdir())


def test_finite_voxels_do_not_become_infinite(tmp_path: Path) -> None:
    for suffix in (".mrc", ".tif"):
        with pytest.raises(InputError, match="beyond the range of float32"):
            write_volume(tmp_path / f"t{suffix}", np.full((1, 2, 3), 1e300), 10.0)
    assert not list(tmp_path.iterdir())
    write_volume(tmp_path / "t.zarr", np.full((1, 2, 3), 1e300), 10.0)
    assert (read_volume(tmp_path / "t.zarr") == 1e300).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
def test_voxels_land_where_they_belong_however_they_lie_in_memory(
    tmp_path: Path, suffix: str, order: str, layout: str
) -> None:
    for kind in ("i2", "f4"):
        data = np.asarray(VOXELS.astype(order + kind), order="F" if layout == "F" else "C")
        data = data[::-1, :, ::-1] if layout == "reversed" else data
        write_volume(tmp_path / f"t{suffix}", data, 10.0)
        np.testing.assert_array_equal(read_volume(tmp_path / f"t{suffix}"), data)


@pytest.mark.parametrize("spacing", [(10.0, 10.0, 0.0), (10.0, 10.0, -10.0), (10.0, 10.0, float("nan"))])
def test_a_nonsensical_header_is_an_error_and_no_guess(spacing: tuple[float, float, float]) -> None:
    info = VolumeInfo(Path("t.mrc"), "MRC", (3, 4, 5), np.dtype("int8"), spacing)
    with pytest.raises(VoxelSizeError, match=r"t\.mrc.*not cubes"):
        _ = info.voxel_size_angstrom


def test_importing_the_package_does_not_import_the_formats() -> None:
    program = "import sys, cryosam.io.volumes; print([m for m in ('zarr', 'tifffile', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
