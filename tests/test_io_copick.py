"""copick's projects: our reading and writing, and the package copick over what we wrote, in an environment of its own.

copick needs an older Zarr than this package, so it cannot be installed beside it. ``CRYOSAM_COPICK_PYTHON`` names the
Python of an environment with copick (``pip install copick``).
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io import PointTable, read_points, read_tomogram, read_volume, write_volume
from cryosam.io.copick import copick_name, find_picks, write_copick, write_copick_masks
from cryosam.io.tomogram_points import TomogramPoints

SHAPE = (5, 8, 13)  # z, y, x
TURN = Rotation.from_euler("ZYX", [[25, -60, 110], [0, 10, 0]], degrees=True)

READ_BY_COPICK = """
import json, sys
import copick
root = copick.from_file(sys.argv[1])
run = root.get_run("TS_01")
picks = run.get_picks(object_name="ring-1")[0]
xyz, transforms = picks.numpy()
segmentations = run.get_segmentations(name="ring-1") + run.get_segmentations(name="ring-1", is_instance=True)
print(json.dumps({
    "objects": [[o.name, o.label, o.is_particle] for o in root.pickable_objects],
    "runs": sorted(r.name for r in root.runs),
    "centres": (xyz + transforms[:, :3, 3]).tolist(),
    "matrices": transforms[:, :3, :3].tolist(),
    "scores": picks.scores().tolist(),
    "instances": picks.instance_ids().tolist(),
    "trusted": picks.trust_orientation,
    "is_from_tool": picks.from_tool,
    "voxel_size": [s.voxel_size for s in segmentations],
    "voxels": [__import__("numpy").argwhere(s.numpy()).tolist() for s in segmentations],
    "values": [sorted(set(s.numpy().ravel().tolist())) for s in segmentations],
}))
"""

WRITE_BY_COPICK = """
import sys
import numpy as np
import copick
from scipy.spatial.transform import Rotation
root = copick.from_file(sys.argv[1] + "/copick.json")
run = root.new_run("TS_01")
picks = run.new_picks(object_name="ring", user_id="me", session_id="7")
transform = np.eye(4)
transform[:3, :3] = Rotation.from_euler("zyx", [30, 40, 50], degrees=True).as_matrix()
transform[:3, 3] = 5, 0, 0
picks.from_numpy(np.array([[105.0, 60.0, 10.0]]), transform[None])
tomogram = run.new_voxel_spacing(10.0).new_tomogram("wbp")
data = np.zeros((5, 8, 13), dtype=np.float32)
data[1, 6, 11] = 7
tomogram.from_numpy(data)
"""


@pytest.fixture(scope="module")
def copick_python() -> str:
    python = os.environ.get("CRYOSAM_COPICK_PYTHON")
    if not python:
        pytest.skip(
            "CRYOSAM_COPICK_PYTHON is not set: the Python of an environment with copick, which needs an older Zarr"
        )
    return python


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


def test_copick_reads_what_we_write(tmp_path: Path, copick_python: str) -> None:
    write_copick(tmp_path, [particles()])
    write_copick_masks(tmp_path, particles(), labels())
    command = [copick_python, "-c", READ_BY_COPICK, str(tmp_path / "config.json")]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert said["objects"] == [["ring-1", 1, True], ["barrel", 2, True]]
    assert said["runs"] == ["TS_01"]
    np.testing.assert_allclose(said["centres"], [[110, 60, 10], [40, 30, 22.5]])
    np.testing.assert_allclose(said["matrices"], TURN.as_matrix()[:, ::-1, ::-1], atol=1e-8)
    assert (said["scores"], said["instances"]) == ([0.75, 0.5], [1, 3])
    assert said["trusted"]
    assert said["is_from_tool"]
    assert said["voxel_size"] == [10, 10]
    assert said["voxels"] == [[[1, 6, 10], [1, 6, 11], [2, 3, 4]]] * 2
    assert said["values"] == [[0, 1], [0, 1, 3]]


def test_we_read_what_copick_writes(tmp_path: Path, copick_python: str) -> None:
    config = {
        "config_type": "filesystem",
        "overlay_root": f"local://{tmp_path}",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    config |= {"pickable_objects": [{"name": "ring", "is_particle": True, "label": 1}], "name": "p", "version": "1.0.0"}
    (tmp_path / "copick.json").write_text(json.dumps(config))
    subprocess.run([copick_python, "-c", WRITE_BY_COPICK, str(tmp_path)], check=True, capture_output=True)
    for path in (tmp_path, tmp_path / "copick.json", tmp_path / "ExperimentRuns/TS_01/Picks/me_7_ring.json"):
        table = read_points(path, voxel_size_angstrom=10.0, tomogram_name="TS_01")
        np.testing.assert_allclose(table.points, [[1, 6, 11]])
        assert table.names == ("ring",)
        expected = Rotation.from_euler("zyx", [30, 40, 50], degrees=True).as_matrix()  # x, y, z
        assert table.rotations is not None
        np.testing.assert_allclose(table.rotations.as_matrix()[0, ::-1, ::-1], expected, atol=1e-9)
    tomogram = read_tomogram(tmp_path / "ExperimentRuns/TS_01/VoxelSpacing10.000/wbp.zarr")
    assert np.argwhere(tomogram.data).tolist() == [[1, 6, 11]]
    assert (tomogram.voxel_size_angstrom, tomogram.name) == (10, "TS_01")


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
    with pytest.raises(PointsFileError, match=r"lies at s3://bucket/project; copy it"):
        read_points(tmp_path / "far.json", voxel_size_angstrom=10.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PointsFileError, match=r"no run named None.*the runs are none"):
        read_points(tmp_path / "empty", voxel_size_angstrom=10.0)
    no_instances = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_01", voxel_size_angstrom=10.0)
    with pytest.raises(PointsFileError, match="do not say which label is theirs"):
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
