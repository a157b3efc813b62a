"""copick's projects: our reading and writing, and the package copick over what we wrote, in an environment of its own.

copick needs an older Zarr than this package, so it cannot be installed beside it. ``CRYOSAM_COPICK_PYTHON`` names the
Python of an environment with copick (``pip install copick``).
"""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io import PointTable, read_points, read_tomogram, read_volume, write_volume
from cryosam.io.copick import copick_name, find_picks, write_copick, write_copick_masks
from cryosam.io.tomogram_points import TomogramPoints

SHAPE = (5, 8, 13)  # z, y, x
TURN = Rotation.from_euler("ZYX", [[25, -60, 110], [0, 10, 0]], degrees=True)  # z, y, x


def particles() -> TomogramPoints:
    table = PointTable(
        np.array([[1.0, 6.0, 11.0], [2.25, 3.0, 4.0], [3.0, 3.0, 3.0]]),
        np.array([0.75, 0.5, 0.25]),
        ("ring_1", "ring_1", "barrel"),
        np.array([1, 3, 2]),
        Rotation.concatenate([TURN, TURN[:1]]),
    )
    return TomogramPoints(table=table, name="TS_01", shape=SHAPE, voxel_size_angstrom=10.0)


def labels() -> np.ndarray:
    volume = np.zeros(SHAPE, dtype=np.uint8)
    volume[1, 6, 10:12], volume[3, 3, 3], volume[2, 3, 4] = 1, 2, 3
    return volume


def test_a_project_is_added_to_and_not_overwritten(tmp_path: Path) -> None:
    write_copick(tmp_path, [particles()])
    other = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_02", voxel_size_angstrom=5.0, kinds=("tube",))
    config = json.loads((tmp_path / "config.json").read_text())
    config["pickable_objects"][0]["color"] = [1, 2, 3, 255]  # a user's own
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_copick(tmp_path, [other])
    objects = json.loads((tmp_path / "config.json").read_text())["pickable_objects"]
    assert [(o["name"], o["label"]) for o in objects] == [("ring-1", 1), ("barrel", 2), ("tube", 3)]
    assert objects[0]["color"] == [1, 2, 3, 255]
    assert len(read_points(tmp_path, voxel_size_angstrom=10.0, tomogram_name="TS_01")) == 3
    np.testing.assert_allclose(
        read_points(tmp_path, voxel_size_angstrom=5.0, tomogram_name="TS_02").points, [[1, 1, 1]]
    )


def test_all_objects_of_a_run_come_back_with_their_names(tmp_path: Path) -> None:
    write_copick(tmp_path, [particles()])
    table = read_points(tmp_path / "ExperimentRuns" / "TS_01", voxel_size_angstrom=10.0)
    assert table.names == ("barrel", "ring-1", "ring-1")
    np.testing.assert_allclose(table.select("barrel").points, [[3, 3, 3]])
    np.testing.assert_allclose(table.scores, [0.25, 0.75, 0.5])


def test_what_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    write_copick(tmp_path, [particles()])
    with pytest.raises(PointsFileError, match=r"no run named 'TS_02'.*runs are TS_01"):
        read_points(tmp_path, voxel_size_angstrom=10.0, tomogram_name="TS_02")
    folder = tmp_path / "ExperimentRuns/TS_01/Picks"
    (folder / "me_7_barrel.json").write_text((folder / "cryosam_0_barrel.json").read_text())
    with pytest.raises(PointsFileError, match=r"several sets of picks of barrel: .*cryosam_0_barrel.*me_7_barrel"):
        find_picks(tmp_path, "TS_01")
    (tmp_path / "far.json").write_text('{"pickable_objects": [], "overlay_root": "s3://bucket/project"}')
    with pytest.raises(PointsFileError, match=r"is stored at s3://bucket/project; copy it"):
        read_points(tmp_path / "far.json", voxel_size_angstrom=10.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PointsFileError, match=r"no run named None.*the runs are none"):
        read_points(tmp_path / "empty", voxel_size_angstrom=10.0)
    no_instances = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_01", voxel_size_angstrom=10.0)
    with pytest.raises(PointsFileError, match="have no instance labels"):
        write_copick_masks(tmp_path, no_instances, labels())


def test_orientations_that_are_not_to_be_trusted_are_none(tmp_path: Path) -> None:
    write_copick(tmp_path, [particles()])
    path = tmp_path / "ExperimentRuns/TS_01/Picks/cryosam_0_barrel.json"
    picks = json.loads(path.read_text())
    assert picks["trust_orientation"]
    path.write_text(json.dumps(picks | {"trust_orientation": False}))
    assert read_points(path, voxel_size_angstrom=10.0).rotations is None


def test_masks_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    write_copick(tmp_path, [particles()])
    write_copick_masks(tmp_path, particles(), labels())
    run = tmp_path / "ExperimentRuns/TS_01"
    instances = read_volume(run / "InstanceSegmentations/10.000_cryosam_0_ring-1.zarr")
    np.testing.assert_array_equal(instances, np.where(labels() == 2, 0, labels()))
    np.testing.assert_array_equal(read_volume(run / "Segmentations/10.000_cryosam_0_barrel.zarr"), labels() == 2)


def test_kinds_that_copick_could_not_tell_apart_are_refused(tmp_path: Path) -> None:
    both = TomogramPoints(
        table=PointTable(np.ones((2, 3)), names=("a b", "a_b")), name="TS_01", voxel_size_angstrom=10.0
    )
    with pytest.raises(PointsFileError, match="a b and a_b would both be named a-b"):
        write_copick(tmp_path / "new", [both])
    assert not (tmp_path / "new").exists()


def test_names_are_those_that_copick_allows() -> None:
    assert copick_name("a_b c/d") == "a-b-c-d"
    assert copick_name("___") == "particle"


def test_a_run_is_found_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "ExperimentRuns/TS_07/VoxelSpacing10.000"
    folder.mkdir(parents=True)
    write_volume(folder / "wbp.zarr", labels(), 10.0)
    for path in (folder, folder.parent):
        tomogram = read_tomogram(path)
        assert (tomogram.name, tomogram.shape) == ("TS_07", SHAPE)
