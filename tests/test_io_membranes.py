"""Membranes on disk: tables, meshes in the tomogram's frame, and normals as RELION and its readers understand them."""

import csv

import numpy as np
import pytest
import starfile
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosam.errors import OutputError
from cryosam.geometry import unit
from cryosam.io.membrane_files import membrane_points, normals_to_rotations, write_membrane_star, write_membranes
from cryosam.io.meshes import write_obj, write_ply
from cryosam.masks import InstanceMask
from cryosam.structure_results import Membrane, Mesh, StructureResult

SHAPE = (40, 50, 60)


def membrane(centre=(20.0, 25.0, 30.0), radius=12.0, is_closed=True) -> Membrane:
    normals = unit(np.random.default_rng(5).normal(size=(900, 3)))
    corners = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Membrane(
        mask=InstanceMask((0, 0, 0), np.ones((1, 2, 3), dtype=bool)),
        score=0.75,
        points=np.array(centre) + radius * normals,
        normals=normals,
        mesh=Mesh(corners + centre, faces),
        is_closed=is_closed,
        thickness_angstrom=42.0,
        area_angstrom2=1234.5,
        enclosed_angstrom3=5678.0 if is_closed else float("nan"),
        curvature_radius_angstrom=float("inf"),
    )


def result(*membranes: Membrane) -> StructureResult:
    return StructureResult(SHAPE, "membrane", membranes, np.zeros((1, 3)), 10.0, name="TS_01")


def test_star_angles_turn_z_to_the_normal_for_an_independent_reader(tmp_path):
    one, other = membrane(), membrane((18.0, 20.0, 22.0), 5.0)
    n = write_membrane_star(tmp_path / "m.star", result(one, other), 60.0)
    rows = starfile.read(tmp_path / "m.star")
    assert len(rows) == n
    assert set(rows["rlnClassNumber"]) == {1, 2}
    # the matrix A = Rz(-psi) Ry(-tilt) Rz(-rot) turns the reference into the particle: its last column is the normal
    angles = rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    _, tilt, psi = np.radians(angles).T
    z = np.stack([-np.sin(tilt) * np.cos(psi), np.sin(tilt) * np.sin(psi), np.cos(tilt)], axis=1)
    assert np.allclose(Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply([0, 0, 1]), z, atol=1e-6)
    centred = rows[[f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"]].to_numpy() / 10
    at = centred + np.array([60, 50, 40]) / 2
    for number, centre in ((1, [30.0, 25.0, 20.0]), (2, [22.0, 20.0, 18.0])):
        mine = rows["rlnClassNumber"].to_numpy() == number
        assert np.allclose(z[mine], unit(at[mine] - centre), atol=1e-4)
    assert set(rows["rlnAutopickFigureOfMerit"]) == {0.75}


def test_points_are_spaced_and_cover_the_membrane():
    each = membrane()
    chosen = each.points[membrane_points(each, 4.0)]
    distance = cKDTree(chosen).query(chosen, k=2)[0][:, 1]
    assert distance.min() >= 4.0 - 1e-6
    assert cKDTree(chosen).query(each.points)[0].max() <= 4.0


def test_normals_of_all_directions_become_rotations():
    normals = np.concatenate([unit(np.random.default_rng(0).normal(size=(30, 3))), np.eye(3), -np.eye(3)])
    rotations = normals_to_rotations(normals)
    assert np.allclose(rotations.apply([1.0, 0.0, 0.0]), normals)
    assert np.allclose(np.linalg.det(rotations.as_matrix()), 1)


def test_the_table_leaves_empty_what_was_not_measured(tmp_path):
    write_membranes(tmp_path / "membranes.csv", [membrane(), membrane(is_closed=False)])
    with (tmp_path / "membranes.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["closed"] == "yes"
    assert float(first["enclosed_angstrom3"]) == 5678
    assert second["membrane"] == "2"
    assert second["enclosed_angstrom3"] == second["curvature_radius_angstrom"] == ""
    assert first["n_voxels"] == "6"


def test_meshes_are_x_first_in_angstrom_and_turned_outwards(tmp_path):
    mesh = membrane().mesh
    write_obj(tmp_path / "m.obj", mesh, 10.0)
    lines = (tmp_path / "m.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], dtype=float)
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], dtype=int) - 1
    assert vertices[0].tolist() == [300.0, 250.0, 200.0]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6 == pytest.approx(1000 / 6)
    write_ply(tmp_path / "m.ply", mesh, 10.0)
    head, _, body = (tmp_path / "m.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 4" in head
    assert np.allclose(np.frombuffer(body[:48], dtype="<f4").reshape(4, 3), vertices)
    stored = np.frombuffer(body[48:], dtype=[("n", "u1"), ("v", "<i4", (3,))])
    assert (stored["n"] == 3).all()
    assert (stored["v"] == faces).all()


def test_no_membranes_and_no_spacing(tmp_path):
    write_ply(tmp_path / "m.ply", Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)), 10.0)
    assert b"element face 0" in (tmp_path / "m.ply").read_bytes()
    with pytest.raises(OutputError, match="positive"):
        write_membrane_star(tmp_path / "m.star", result(membrane()), 0.0)
