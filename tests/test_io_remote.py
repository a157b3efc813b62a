"""Tomograms at an address, served by this machine alone, and in folders as the data portal has them."""

import builtins
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from cryosam.cli import main
from cryosam.errors import InputError, InputNotFoundError, PointsFileError
from cryosam.io import read_info, read_points, read_tomogram
from cryosam.io.locations import RemotePath, as_location, storage_options
from cryosam.io.ome_zarr import write_ome_zarr

VOXELS = np.arange(3 * 5 * 70, dtype=np.int16).reshape(3, 5, 70)  # of two chunks
PORTAL = "10426/TS_01/Reconstructions/VoxelSpacing10.000/Tomograms/100/TS_01.zarr"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A folder as the data portal has it."""
    path = tmp_path / PORTAL
    path.parent.mkdir(parents=True)
    write_ome_zarr(path, VOXELS, 10.0)
    (path.parent / "tomogram_metadata.json").write_text("{}")
    return tmp_path


@pytest.fixture
def address(bucket: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(bucket)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_tomogram_is_read_from_an_address(address: str) -> None:
    for url in (f"{address}/{PORTAL}", Path(f"{address}/{PORTAL}"), f"{address}/{PORTAL}/0"):  # a path loses a slash
        tomogram = read_tomogram(url)
        np.testing.assert_array_equal(tomogram.data, VOXELS)
        assert (tomogram.voxel_size_angstrom, tomogram.name) == (10, "TS_01")
    assert str(read_info(f"{address}/{PORTAL}").path) == f"{address}/{PORTAL}"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_tomogram_is_read_through_fsspec(tmp_path: Path, version: str) -> None:
    write_ome_zarr(tmp_path / "t.zarr", VOXELS, 5.0, version)  # type: ignore[arg-type]
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "t.zarr"), "/bucket/t.zarr", recursive=True)
    tomogram = read_tomogram("memory://bucket/t.zarr")
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert tomogram.voxel_size_angstrom == 5
    memory.rm("/bucket", recursive=True)


def test_addresses_that_cannot_be_used_end_in_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputNotFoundError, match=r"http://127\.0\.0\.1:\d+/absent\.zarr: no Zarr array or group"):
        read_tomogram(f"{address}/absent.zarr")
    with pytest.raises(InputError, match="only OME-Zarr can be read over the network; download the file"):
        read_tomogram(f"{address}/t.mrc")
    port = address.rpartition(":")[2]
    with pytest.raises((InputError, InputNotFoundError)) as caught:
        read_tomogram(f"http://127.0.0.1:{int(port) % 60000 + 1}/t.zarr")  # nobody listens
    assert "\n" not in str(caught.value)

    def without(name: str, *more: object, **also: object) -> object:
        if name.partition(".")[0] == "fsspec":
            raise ImportError("No module named 'fsspec'")
        return real(name, *more, **also)  # type: ignore[arg-type]

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install -e '\.\[remote\]'"):
        read_tomogram(f"{address}/{PORTAL}")


def test_buckets_are_public_unless_someone_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(variable, raising=False)
    public = RemotePath("s3://cryoet-data-portal-public/a.zarr")
    assert storage_options(public) == {"anon": True}
    assert storage_options(RemotePath("https://example.org/a.zarr")) == {}
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert storage_options(public) == {}


def test_addresses_keep_their_slashes() -> None:
    for text in ("https://example.org/a/b.zarr", "s3://bucket/b.zarr"):
        location = as_location(Path(text))
        assert isinstance(location, RemotePath)
        assert str(location) == text
        assert str((location / "0").parent) == text
    assert isinstance(as_location("http.mrc"), Path)


def test_folders_of_the_data_portal_stand_for_their_tomogram(bucket: Path) -> None:
    tomograms = bucket / PORTAL
    for folder in (tomograms.parent, tomograms.parents[2], tomograms.parents[4]):  # 100, VoxelSpacing10.000, TS_01
        tomogram = read_tomogram(folder)
        assert (tomogram.name, tomogram.shape) == ("TS_01", VOXELS.shape)
    write_ome_zarr(tomograms.with_name("TS_01_denoised.zarr"), VOXELS, 10.0)
    with pytest.raises(
        InputError, match=r"this folder has 2 tomograms; give one of them: TS_01\.zarr, TS_01_denoised\.zarr"
    ):
        read_tomogram(tomograms.parent)
    with pytest.raises(InputError, match="this is a folder"):
        read_tomogram(bucket)


def test_points_are_read_from_an_address(bucket: Path, address: str) -> None:
    (bucket / "p.ndjson").write_text('{"location": {"x": 3, "y": 2, "z": 1}}')
    np.testing.assert_array_equal(read_points(Path(f"{address}/p.ndjson")).points, [[1, 2, 3]])
    (bucket / "q.ndjson").write_text("{}")
    with pytest.raises(PointsFileError, match=rf"^{address}/q\.ndjson, line 1: no location"):
        read_points(f"{address}/q.ndjson")
    with pytest.raises(InputNotFoundError, match=r"absent\.star: no file at this address"):
        read_points(f"{address}/absent.star")
    with pytest.raises(PointsFileError, match="unknown points format"):
        read_points(f"{address}/p.doc")


def test_info_tells_the_address_to_go_on_with(address: str) -> None:
    said = CliRunner().invoke(main, ["info", f"{address}/{PORTAL}"])
    assert said.exit_code == 0, said.output
    assert "3 x 5 x 70 (z, y, x)" in said.output
    assert f"next: cryosam segment {address}/{PORTAL} --point" in said.output


def test_the_portals_points_lie_on_its_voxels(bucket: Path) -> None:
    annotation = bucket / "10426/TS_01/Reconstructions/VoxelSpacing10.000/Annotations/5/ring-1.0_orientedpoint.ndjson"
    annotation.parent.mkdir(parents=True)
    annotation.write_text('{"type": "point", "location": {"x": 69, "y": 4, "z": 1}}')  # without a last line end
    z, y, x = read_points(annotation).points[0].astype(int)
    assert read_tomogram(bucket / PORTAL).data[z, y, x] == VOXELS[1, 4, 69]
