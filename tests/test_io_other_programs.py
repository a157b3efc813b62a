"""Other programs over what we write, and the reverse, in an environment of their own.

copick needs an older Zarr than this package, so it cannot be installed beside it. ``CRYOSAM_REFERENCE_PYTHON`` names
the Python of an environment with copick and cryoCAT: ``pip install copick cryocat``. Without it they are skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.io import PointTable, TomogramPoints, read_points, read_tomogram
from cryosam.io.copick import write_copick, write_copick_masks
from cryosam.io.exports import write_exports

SHAPE = (5, 8, 13)  # z, y, x
TURN = Rotation.from_euler("ZYX", [[25, -60, 110], [0, 10, 0]], degrees=True)  # z, y, x

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

READ_BY_CRYOCAT = """
import json, sys
import starfile
from cryocat.cryomotl import DynamoMotl, EmMotl, RelionMotl
tables = {"em": EmMotl(sys.argv[1] + "/particles.em"), "dynamo": DynamoMotl(sys.argv[1] + "/particles.tbl")}
columns = ["x", "y", "z", "phi", "theta", "psi"]
said = {name: motl.df[columns].astype(float).values.tolist() for name, motl in tables.items()}
relion = RelionMotl()
relion.convert_angles_from_relion(starfile.read(sys.argv[1] + "/particles-relion4.star")["particles"])
said["relion4"] = relion.df[["phi", "theta", "psi"]].astype(float).values.tolist()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def reference_python() -> str:
    python = os.environ.get("CRYOSAM_REFERENCE_PYTHON")
    if not python:
        pytest.skip("CRYOSAM_REFERENCE_PYTHON is not set: the Python of an environment with copick and cryocat")
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


def test_copick_reads_what_we_write(tmp_path: Path, reference_python: str) -> None:
    write_copick(tmp_path, [particles()])
    write_copick_masks(tmp_path, particles(), labels())
    command = [reference_python, "-c", READ_BY_COPICK, str(tmp_path / "config.json")]
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


def test_we_read_what_copick_writes(tmp_path: Path, reference_python: str) -> None:
    config = {
        "config_type": "filesystem",
        "overlay_root": f"local://{tmp_path}",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    config |= {"pickable_objects": [{"name": "ring", "is_particle": True, "label": 1}], "name": "p", "version": "1.0.0"}
    (tmp_path / "copick.json").write_text(json.dumps(config))
    subprocess.run([reference_python, "-c", WRITE_BY_COPICK, str(tmp_path)], check=True, capture_output=True)
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


def test_cryocat_reads_the_same_orientations_in_three_formats(tmp_path: Path, reference_python: str) -> None:
    """Its angles are TOM's: about z by phi, about x by theta, about z by psi, of a reference."""
    write_exports(tmp_path, ["em", "dynamo", "relion4"], [particles()], tilt_series_pixel_size_angstrom=2.5)
    command = [reference_python, "-W", "ignore", "-c", READ_BY_CRYOCAT, str(tmp_path)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    expected = particles().table
    for name, rows in said.items():
        numbers = np.array(rows)
        matrices = Rotation.from_euler("zxz", numbers[:, -3:], degrees=True).as_matrix()
        assert expected.rotations is not None
        np.testing.assert_allclose(matrices, expected.rotations.as_matrix()[:, ::-1, ::-1], atol=1e-6, err_msg=name)
        if name != "relion4":
            np.testing.assert_allclose(numbers[:, :3], expected.points[:, ::-1] + 1, atol=1e-6, err_msg=name)
