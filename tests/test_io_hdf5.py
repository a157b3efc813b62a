"""HDF5: which dataset, how large its voxels, and what cannot be used."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cryosam.errors import InputError, InputNotFoundError, TomogramError, VoxelSizeError
from cryosam.io import is_volume_name, read_info, read_tomogram, read_volume, write_volume

VOXELS = np.arange(3 * 5 * 4, dtype=np.int16).reshape(3, 5, 4)


def by_hand(path: Path, datasets: dict[str, np.ndarray], attributes: dict[str, dict[str, Any]] | None = None) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file.create_dataset(name, data=data)
        for name, values in (attributes or {}).items():
            file[name].attrs.update(values)
    return path


@pytest.mark.parametrize("ending", ["h5", "hdf5", "hdf", "H5"])
def test_the_only_volume_is_taken(tmp_path: Path, ending: str) -> None:
    others = {"meta/angles": np.zeros(7), "slice": VOXELS[0], "name": np.array(b"tomogram")}
    path = by_hand(tmp_path / f"TS_01.{ending}", {"deep/down/raw": VOXELS, **others})
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert (tomogram.name, tomogram.voxel_size_angstrom) == ("TS_01", None)
    assert read_tomogram(path, 7.5).voxel_size_angstrom == 7.5
    info = read_info(path)
    assert (info.format, info.shape, info.dtype) == ("HDF5", (3, 5, 4), np.int16)
    assert is_volume_name(path)


def test_one_of_several_is_named(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "a.h5", {"raw": VOXELS, "labels/all": VOXELS[:2], "slice": VOXELS[0]})
    with pytest.raises(TomogramError, match=r"2 volumes \(/labels/all, /raw\); name one .* \S+a\.h5:/labels/all$"):
        read_tomogram(path)
    np.testing.assert_array_equal(read_volume(f"{path}:/labels/all"), VOXELS[:2])
    np.testing.assert_array_equal(read_volume(f"{path}:raw"), VOXELS)
    np.testing.assert_array_equal(read_volume(f"{path}:/labels"), VOXELS[:2])  # the only one in this group
    assert read_tomogram(f"{path}:/raw").name == "a"
    with pytest.raises(TomogramError, match="no dataset /mask; the file has /labels/all, /raw"):
        read_tomogram(f"{path}:/mask")
    with pytest.raises(TomogramError, match=r"/slice is not a volume of real numbers: \(5, 4\) int16"):
        read_tomogram(f"{path}:/slice")


def test_single_channels_and_other_byte_orders(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "a.h5", {"raw": VOXELS[None, None].astype(">f4")})
    np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
    assert read_info(path).dtype == np.float32


@pytest.mark.parametrize(
    "data",
    [VOXELS[None, ..., None], VOXELS[..., None], VOXELS[:, None], VOXELS[None, :, None, :, None]],
    ids=lambda data: str(data.shape),
)
def test_single_axes_are_dropped_wherever_they_are_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: np.ndarray
) -> None:
    path = by_hand(tmp_path / "a.h5", {"raw": data})
    np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
    assert read_info(path).shape == VOXELS.shape
    assert "are read as z, y, x" in caplog.text


def test_named_axes_may_have_any_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As ilastik names them; without names the order is z, y, x."""
    tags = json.dumps({"axes": [{"key": key, "typeFlags": 2} for key in "txyzc"]})
    data = VOXELS.transpose(2, 1, 0)[None, ..., None]
    path = by_hand(tmp_path / "a.h5", {"raw": data}, {"raw": {"axistags": tags}})
    np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
    assert "are read as z, y, x" in caplog.text
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["raw"] = data[0, ..., 0]
        for dimension, label in zip(file["raw"].dims, "xyz", strict=True):
            dimension.label = label
    np.testing.assert_array_equal(read_tomogram(tmp_path / "b.h5").data, VOXELS)
    for broken in ("{", "[]", json.dumps({"axes": [{"key": "z"}]}), json.dumps({"axes": "zyx"}), 7):
        path = by_hand(tmp_path / "c.h5", {"raw": VOXELS}, {"raw": {"axistags": broken}})
        np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)


def test_several_channels_are_no_volume(tmp_path: Path) -> None:
    tags = json.dumps({"axes": [{"key": key} for key in "czyx"]})
    for data, names in ((np.stack([VOXELS, VOXELS]), {}), (VOXELS[None].repeat(2, 0), {"axistags": tags})):
        with pytest.raises(TomogramError, match="no dataset with three dimensions"):
            read_tomogram(by_hand(tmp_path / "a.h5", {"raw": data}, {"raw": names}))


def test_the_voxel_size_is_read_where_it_has_a_unit(tmp_path: Path) -> None:
    eman = {"EMAN.apix_x": 5.0, "EMAN.apix_y": 5.0, "EMAN.apix_z": 5.0}
    path = by_hand(tmp_path / "eman.hdf", {"MDF/images/0/image": VOXELS}, {"MDF/images/0": eman})
    assert read_tomogram(path).voxel_size_angstrom == 5
    micrometres = {"element_size_um": np.array([0.001, 0.001, 0.001])}
    path = by_hand(tmp_path / "fiji.h5", {"t0/channel0": VOXELS}, {"t0/channel0": micrometres})
    assert read_tomogram(path).voxel_size_angstrom == 10
    path = by_hand(tmp_path / "cremi.h5", {"raw": VOXELS}, {"raw": {"resolution": [4.0, 4.0, 4.0]}})
    assert read_tomogram(path).voxel_size_angstrom is None  # of what?
    unequal = {"element_size_um": np.array([0.003, 0.001, 0.001])}
    with pytest.raises(VoxelSizeError, match="30 x 10 x 10"):
        read_tomogram(by_hand(tmp_path / "b.h5", {"raw": VOXELS}, {"raw": unequal}))


def test_what_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"absent\.h5: no such file"):
        read_tomogram(tmp_path / "absent.h5:/raw")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(TomogramError, match="not an HDF5 file, or truncated"):
        read_tomogram(tmp_path / "text.h5")
    with pytest.raises(TomogramError, match="no dataset with three dimensions"):
        read_tomogram(by_hand(tmp_path / "flat.h5", {"slice": VOXELS[0], "complex": VOXELS * 1j}))
    with pytest.raises(InputError, match="HDF5 files cannot be written"):
        write_volume(tmp_path / "new.h5", VOXELS, 10.0)
    whole = by_hand(tmp_path / "whole.h5", {"raw": np.zeros((9, 40, 40))}).read_bytes()
    for length in range(1, len(whole), len(whole) // 20):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(TomogramError) as caught:
            read_tomogram(tmp_path / "cut.h5")
        assert "\n" not in str(caught.value)
