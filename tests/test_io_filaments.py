"""Files of filaments, read back by other programs' readers and by the conventions written out here once more."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from cryosam.errors import PointsFileError
from cryosam.io.dynamo import read_dynamo
from cryosam.io.filament_files import (
    sample_filaments,
    transport_frames,
    write_filaments_copick,
    write_filaments_csv,
    write_filaments_dynamo,
    write_filaments_star,
)
from cryosam.masks import InstanceMask
from cryosam.structure_results import Filament, StructureResult

SHAPE = (40, 60, 80)  # z, y, x
VOXEL = 10.0


def make_filament(start: list[float], direction: list[float], n: int, gap: slice | None = None) -> Filament:
    """A straight filament with a point a voxel."""
    tangent = np.array(direction) / np.linalg.norm(direction)
    points = np.array(start) + np.arange(n)[:, None] * tangent
    inferred = np.zeros(SHAPE, dtype=bool)
    if gap is not None:
        inferred[tuple(np.rint(points[gap]).astype(int).T)] = True
    return Filament(
        mask=InstanceMask.empty(),
        score=0.75,
        points=points,
        tangents=np.tile(tangent, (n, 1)),
        length_angstrom=(n - 1) * VOXEL,
        radius_angstrom=125.0,
        inferred=InstanceMask.crop(inferred),
    )


DIRECTIONS = ([0.1, 0.2, 0.97], [0.5, -0.6, 0.3])  # z, y, x


@pytest.fixture
def result() -> StructureResult:
    filaments = (
        make_filament([5.0, 6.0, 7.0], DIRECTIONS[0], 41),
        make_filament([10.0, 50.0, 20.0], DIRECTIONS[1], 31),
    )
    return StructureResult(SHAPE, "filament", filaments, np.array([[5.0, 6.0, 7.0]]), VOXEL, "TS_01", "microtubule")


def relion_matrix(angles: np.ndarray) -> np.ndarray:
    """RELION's matrix A of rot, tilt, psi, as in its ``Euler_angles2matrix``: x, y, z of the reference to the image."""
    (sa, sb, sg), (ca, cb, cg) = np.sin(np.radians(angles)), np.cos(np.radians(angles))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


@pytest.mark.parametrize("program", ["relion5", "relion4"])
def test_the_product_of_both_rotations_turns_z_into_the_tangent(
    tmp_path: Path, result: StructureResult, program: str
) -> None:
    write_filaments_star(tmp_path / "f.star", [result], 82.0, program=program)
    read = starfile.read(tmp_path / "f.star")
    rows = read["particles"] if isinstance(read, dict) else read
    for _, row in rows.iterrows():
        outer = relion_matrix(
            row[["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]].to_numpy(float)
        )
        inner = relion_matrix(row[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(float))
        tangent = np.array(DIRECTIONS[int(row["rlnHelicalTubeID"]) - 1])[::-1]
        np.testing.assert_allclose((outer @ inner)[:, 2], tangent / np.linalg.norm(tangent), atol=1e-5)
        # the filament lies along x of the frame in which RELION searches
        np.testing.assert_allclose(np.abs(outer[:, 0] @ tangent), np.linalg.norm(tangent), atol=1e-5)
    assert (rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy() == [0, 90, 0]).all()
    assert (rows["rlnAngleTiltPrior"] == 90).all()
    assert (rows["rlnAnglePsiPrior"] == 0).all()
    assert (rows["rlnAnglePsiFlipRatio"] == 0.5).all()
    assert sorted(rows["rlnHelicalTubeID"].unique()) == [1, 2]


def test_places_and_track_lengths_follow_the_spacing(tmp_path: Path, result: StructureResult) -> None:
    write_filaments_star(tmp_path / "f.star", [result], 82.0, is_polar=True)
    rows = starfile.read(tmp_path / "f.star")
    first = rows[rows["rlnHelicalTubeID"] == 1]
    np.testing.assert_allclose(first["rlnHelicalTrackLengthAngst"], 41 + 82 * np.arange(5), atol=1e-3)
    xyz = first[
        ["rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst"]
    ].to_numpy()
    tangent = np.array(DIRECTIONS[0][::-1]) / np.linalg.norm(DIRECTIONS[0])
    start = (np.array([7.0, 6.0, 5.0]) - np.array(SHAPE[::-1]) / 2) * VOXEL
    np.testing.assert_allclose(
        xyz, start + first["rlnHelicalTrackLengthAngst"].to_numpy()[:, None] * tangent, atol=1e-2
    )
    assert (rows["rlnAnglePsiFlipRatio"] == 0).all()


def test_warp_gets_voxels_and_one_rotation(tmp_path: Path, result: StructureResult) -> None:
    write_filaments_star(tmp_path / "f.star", [result], 100.0, program="warp")
    rows = starfile.read(tmp_path / "f.star")
    assert "rlnTomoSubtomogramRot" not in rows
    assert (rows["rlnMicrographName"] == "TS_01.tomostar").all()
    for _, row in rows.iterrows():
        turn = relion_matrix(row[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(float))
        tangent = np.array(DIRECTIONS[int(row["rlnHelicalTubeID"]) - 1])[::-1]
        np.testing.assert_allclose(turn[:, 2], tangent / np.linalg.norm(tangent), atol=1e-5)
    np.testing.assert_allclose(
        rows[["rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]].iloc[0], [5.5, 7, 11.9], atol=0.1
    )


def test_dynamo_and_copick_keep_the_pose_and_the_filament(tmp_path: Path, result: StructureResult) -> None:
    write_filaments_dynamo(tmp_path / "f.tbl", [result], 100.0)
    table = np.loadtxt(tmp_path / "f.tbl")
    assert sorted(set(table[:, 20])) == [1, 2]
    back = read_dynamo(tmp_path / "f.tbl").rotations
    expected = np.array(DIRECTIONS)[table[:, 20].astype(int) - 1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(back.apply([1.0, 0, 0]), expected, atol=1e-4)

    write_filaments_copick(tmp_path / "project", [result], 100.0)
    (file,) = (tmp_path / "project").rglob("*_microtubule.json")
    points = json.loads(file.read_text())["points"]
    matrices = np.array([point["transformation_"] for point in points])
    np.testing.assert_allclose(matrices[:, :3, 2], expected[:, ::-1], atol=1e-6)
    assert [point["instance_id"] for point in points] == table[:, 20].astype(int).tolist()


def test_the_csv_has_every_point_in_order(tmp_path: Path, result: StructureResult) -> None:
    write_filaments_csv(tmp_path / "filaments.csv", result)
    with (tmp_path / "filaments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["filament", "z", "y", "x"]
    assert [row["filament"] for row in rows] == ["1"] * 41 + ["2"] * 31
    np.testing.assert_allclose(
        [[float(row[c]) for c in "zyx"] for row in rows[:41]], result.instances[0].points, atol=1e-3
    )
    assert float(rows[40]["track_angstrom"]) == 400


def test_what_was_bridged_gives_no_particles_but_counts_as_length() -> None:
    filament = make_filament([20.0, 30.0, 5.0], [0, 0, 1], 61, gap=slice(20, 40))
    gapped = StructureResult(SHAPE, "filament", (filament,), np.zeros((0, 3)), VOXEL)
    sampled = sample_filaments(gapped, 50.0)
    assert not ((sampled.points[:, 2] > 25) & (sampled.points[:, 2] < 44)).any()
    assert sampled.track_angstrom.max() == 575


def test_frames_are_carried_without_twist() -> None:
    angle = np.linspace(0, 2, 50)
    tangents = np.stack([np.sin(angle), np.cos(angle), np.zeros(50)], axis=1)  # a bend in the z-y plane
    frames = transport_frames(tangents)
    np.testing.assert_allclose(frames.apply([1.0, 0, 0]), tangents, atol=1e-12)
    steps = frames[:-1].inv() * frames[1:]
    np.testing.assert_allclose(steps.magnitude(), 2 / 49, rtol=1e-6)  # each turn is the bend and nothing else


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan")])
def test_a_spacing_must_be_given(result: StructureResult, spacing: float) -> None:
    with pytest.raises(PointsFileError, match="spacing"):
        sample_filaments(result, spacing)


def test_no_filaments_make_files_without_rows(tmp_path: Path) -> None:
    nothing = StructureResult(SHAPE, "filament", (), np.zeros((0, 3)), VOXEL)
    assert len(sample_filaments(nothing, 82.0).points) == 0
    write_filaments_csv(tmp_path / "filaments.csv", nothing)
    assert (tmp_path / "filaments.csv").read_text().count("\n") == 1
    write_filaments_star(tmp_path / "f.star", [nothing], 82.0)


def test_the_pose_of_a_planted_rotation_is_recovered(tmp_path: Path) -> None:
    turn = Rotation.from_euler("ZYZ", [33, 71, 0], degrees=True).as_matrix()  # x, y, z
    filament = make_filament([20.0, 30.0, 20.0], turn[:, 2][::-1].tolist(), 12)
    write_filaments_star(
        tmp_path / "f.star", [StructureResult(SHAPE, "filament", (filament,), np.zeros((0, 3)), VOXEL)], 40.0
    )
    row = starfile.read(tmp_path / "f.star").iloc[0]
    outer, inner = (
        Rotation.from_euler(
            "ZYZ", row[[f"{stem}{angle}" for angle in ("Rot", "Tilt", "Psi")]].to_numpy(float), degrees=True
        ).inv()
        for stem in ("rlnTomoSubtomogram", "rlnAngle")
    )
    np.testing.assert_allclose((outer * inner).apply([0, 0, 1.0]), turn[:, 2], atol=1e-5)
