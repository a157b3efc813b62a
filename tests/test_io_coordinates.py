"""One particle, the same place and the same orientation in every format, told by other readers and by each definition.

A tomogram holds a particle with three arms of unlike length. Our writers say where it is and how it lies; another
reader and the format's own definition, element by element, then say where the ends of its arms are, and there they
must be.
"""

import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dynamotable
import emfile
import eulerangles
import imodmodel
import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from cryosam.errors import InputError, PointsFileError, VoxelSizeError
from cryosam.io import PointTable, read_points, write_points
from cryosam.io.copick import write_copick
from cryosam.io.exports import EXPORTS, check_exports, write_exports
from cryosam.io.point_files import POINT_FORMATS
from cryosam.io.star_output import write_star
from cryosam.io.tomogram_points import TomogramPoints, number_kinds

SHAPE = (21, 25, 31)  # z, y, x
SIZE, TILT_SERIES = 10.0, 2.5  # angstrom a voxel, and a pixel of the tilt series
PLACE = np.array([9.0, 11.0, 17.0])  # z, y, x
ARMS = np.array([[5.0, 0, 0], [0, 3, 0], [0, 0, 7]])  # ends of the reference's arms, x, y, z
CYCLE = np.array(
    [[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]
)  # x to y, y to z, z to x: on whole voxels, and not its own inverse
GENERAL = Rotation.from_euler("ZYX", [25, -60, 110], degrees=True).as_matrix()  # x, y, z
TURNS = {"cycle": CYCLE, "general": GENERAL}


def part(turn: np.ndarray = CYCLE, name: str = "TS_01", **columns: Any) -> TomogramPoints:
    """The particle and another one, turned otherwise."""
    matrices = np.stack([turn, turn.T])[:, ::-1, ::-1]  # z, y, x
    table = PointTable(np.stack([PLACE, [2.25, 3.5, 4.75]]), rotations=Rotation.from_matrix(matrices), **columns)
    return TomogramPoints(table=table, name=name, shape=SHAPE, voxel_size_angstrom=SIZE)


# --- definitions, element by element ----------------------------------------------------------------------------------


def relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """RELION's A: from the reference to the tomogram, x, y, z."""
    (ca, cb, cg), (sa, sb, sg) = (f(np.radians([rot, tilt, psi])) for f in (np.cos, np.sin))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def dynamo_matrix(tdrot: float, tilt: float, narot: float) -> np.ndarray:
    """Dynamo's euler2matrix: from the particle to the template, x, y, z."""
    (ct, cx, cn), (s_t, sx, sn) = (f(np.radians([tdrot, tilt, narot])) for f in (np.cos, np.sin))
    return np.array(
        [
            [ct * cn - s_t * cx * sn, -cn * s_t - ct * cx * sn, sn * sx],
            [ct * sn + cn * s_t * cx, ct * cn * cx - s_t * sn, -cn * sx],
            [s_t * sx, ct * sx, cx],
        ]
    )


def tom_matrix(phi: float, psi: float, theta: float) -> np.ndarray:
    """TOM's rotation of a reference, x, y, z: about z by phi, about x by theta, about z by psi, all axes fixed."""

    def about(axis: int, angle: float) -> np.ndarray:
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        matrix = np.eye(3)
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        matrix[[first, second], [first, second]] = c
        matrix[first, second], matrix[second, first] = -s, s
        return matrix

    return about(2, psi) @ about(0, theta) @ about(2, phi)


# --- each format by another reader: voxels x, y, z from 0, and the matrix from the reference to the tomogram ----------


def by_starfile(path: Path, to_voxels: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    blocks = starfile.read(path, always_dict=True)
    rows = blocks["particles"]
    columns = [c for c in rows if "Coordinate" in c]
    angles = rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    return to_voxels(rows[columns].to_numpy()), np.array([relion_matrix(*a) for a in angles])


def relion5(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return by_starfile(folder / "particles.star", lambda c: c / SIZE + np.array(SHAPE[::-1]) / 2)


def relion4(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return by_starfile(folder / "particles-relion4.star", lambda c: c * TILT_SERIES / SIZE)


def warp(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return by_starfile(folder / "particles-warp.star", lambda c: c)


def dynamo(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = dynamotable.read(str(folder / "particles.tbl"))
    xyz = rows[["x", "y", "z"]].to_numpy() + rows[["dx", "dy", "dz"]].to_numpy() - 1
    return xyz, np.array([dynamo_matrix(*a).T for a in rows[["tdrot", "tilt", "narot"]].to_numpy()])


def em(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = emfile.read(folder / "particles.em")[1][0]
    assert rows.shape[1] == 20
    return rows[:, 7:10] + rows[:, 10:13] - 1, np.array([tom_matrix(*a) for a in rows[:, 16:19]])


def imod(folder: Path) -> tuple[np.ndarray, None]:
    return imodmodel.read(folder / "particles-TS_01.mod")[["x", "y", "z"]].to_numpy() - [0.5, 0.5, 0], None


def ndjson(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [json.loads(line) for line in (folder / "particles-TS_01-particle.ndjson").read_text().splitlines()]
    assert {row["type"] for row in rows} == {"orientedPoint"}
    xyz = np.array([[row["location"][axis] for axis in "xyz"] for row in rows])
    return xyz, np.array([row["xyz_rotation_matrix"] for row in rows])


def copick(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    picks = json.loads((folder / "copick/ExperimentRuns/TS_01/Picks/cryosam_0_particle.json").read_text())
    transformations = np.array([p["transformation_"] for p in picks["points"]])
    centres = np.array([[p["location"][a] for a in "xyz"] for p in picks["points"]]) + transformations[:, :3, 3]
    return centres / SIZE, transformations[:, :3, :3]


READERS = {"relion5": relion5, "relion4": relion4, "warp": warp, "dynamo": dynamo, "em": em, "imod": imod}
READERS |= {"ndjson": ndjson, "copick": copick}
FILES = {
    "relion5": "particles.star",
    "relion4": "particles-relion4.star",
    "warp": "particles-warp.star",
    "dynamo": "particles.tbl",
    "em": "particles.em",
    "imod": "particles-TS_01.mod",
    "ndjson": "particles-TS_01-particle.ndjson",
    "copick": "copick",
}
FORMATS = pytest.mark.parametrize("name", READERS)


def write(folder: Path, name: str, *parts: TomogramPoints) -> Path:
    if name == "relion5":
        write_star(folder / "particles.star", parts)
    else:
        write_exports(folder, [name], parts, tilt_series_pixel_size_angstrom=TILT_SERIES)
    return folder / FILES[name]


def read(path: Path, tomogram_name: str = "TS_01") -> PointTable:
    return read_points(path, shape=SHAPE, voxel_size_angstrom=SIZE, tomogram_name=tomogram_name)


def assert_alike(found: Rotation | None, expected: Rotation | None, tolerance: float = 1e-5) -> None:
    assert found is not None
    assert expected is not None
    assert (found * expected.inv()).magnitude().max(initial=0) < tolerance


@FORMATS
def test_the_ends_of_the_arms_are_where_the_density_is(tmp_path: Path, name: str) -> None:
    density = np.zeros(SHAPE)
    for arm in ARMS:
        z, y, x = (PLACE + (CYCLE @ arm)[::-1]).astype(int)
        density[z, y, x] = np.linalg.norm(arm)  # each end has its own brightness: a mirrored particle differs
    write(tmp_path, name, part())
    xyz, matrices = READERS[name](tmp_path)
    np.testing.assert_allclose(xyz[0], PLACE[::-1], atol=1e-4)
    if matrices is None:
        return
    for arm in ARMS:
        x, y, z = np.round(xyz[0] + matrices[0] @ arm).astype(int)
        assert density[z, y, x] == np.linalg.norm(arm)


@FORMATS
@pytest.mark.parametrize("turn", TURNS)
def test_other_readers_find_the_same_place_and_orientation(tmp_path: Path, name: str, turn: str) -> None:
    write(tmp_path, name, part(TURNS[turn]))
    xyz, matrices = READERS[name](tmp_path)
    np.testing.assert_allclose(xyz, [[17, 11, 9], [4.75, 3.5, 2.25]], atol=1e-4)
    if matrices is not None:
        np.testing.assert_allclose(matrices, [TURNS[turn], TURNS[turn].T], atol=1e-5)


@FORMATS
def test_what_is_written_comes_back(tmp_path: Path, name: str) -> None:
    known = part(GENERAL, scores=np.array([0.9, 0.25]), names=("ring", "ring"))
    path = write(tmp_path, name, known)
    if name == "ndjson":
        path = tmp_path / "particles-TS_01-ring.ndjson"
    table = read(path)
    np.testing.assert_allclose(table.points, known.table.points, atol=1e-4)
    if name == "imod":
        assert table.rotations is None
    else:
        assert_alike(table.rotations, known.table.rotations)
    if name == "ndjson":
        assert table.scores is None
    else:
        np.testing.assert_allclose(table.scores, [0.9, 0.25], atol=1e-6)
    expected = {"imod": ("ring",) * 2, "copick": ("ring",) * 2, "ndjson": None}.get(name, ("1", "1"))
    assert table.names == expected


def test_the_same_pose_in_dynamo_and_in_relion() -> None:
    """Published with the package eulerangles: both give the same reconstruction."""
    dynamo_pose, relion_pose = [-47.2730, 1.1777, -132.3000], [137.7000, 1.1777, 42.7270]
    np.testing.assert_allclose(dynamo_matrix(*dynamo_pose).T, relion_matrix(*relion_pose), atol=2e-6)


def test_dynamo_angles_are_those_that_eulerangles_makes_of_relions(tmp_path: Path) -> None:
    known = part(GENERAL)
    write(tmp_path, "dynamo", known)
    write(tmp_path, "relion5", known)
    theirs = dynamotable.read(str(tmp_path / "particles.tbl"))[["tdrot", "tilt", "narot"]].to_numpy()
    ours = starfile.read(tmp_path / "particles.star")[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    converted = eulerangles.convert_eulers(theirs, source_meta="dynamo", target_meta="relion")
    for theirs_as_ours, angles in zip(converted, ours, strict=True):
        np.testing.assert_allclose(relion_matrix(*theirs_as_ours), relion_matrix(*angles), atol=1e-5)


@pytest.mark.parametrize("name", ["relion5", "relion4", "warp"])
def test_the_particles_are_the_first_table_of_a_star_file(tmp_path: Path, name: str) -> None:
    """RELION 4's import of coordinates, and Warp, read the first and no other."""
    path = write(tmp_path, name, part(names=("ring", "barrel")))
    assert next(line for line in path.read_text().splitlines() if line.startswith("data_")) == "data_particles"


def test_the_page_names_every_format() -> None:
    page = (Path(__file__).parent.parent / "docs" / "coordinates.md").read_text(encoding="utf-8")
    assert all(f"`{ending}`" in page for ending in POINT_FORMATS)
    assert all(name in page.lower() for name in EXPORTS)


# --- literal files, answers worked out by hand ------------------------------------------------------------------------


def model(
    points: list[list[float]],
    size: tuple[int, int, int],
    scale: float | None = None,
    *,
    flags: int = 0,
    start: tuple[float, float, float] = (0, 0, 0),
) -> bytes:
    """An IMOD model of one contour, as the specification spells it out; ``start`` is otrans - ctrans in angstrom."""
    numbers = (*size, 1, flags, 1, 1, 0, 255, 0, 0, 0, 1, 1, 1, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0)
    header = struct.pack(">128s4iI4i6f5ifii3f", b"", *numbers)
    an_object = struct.pack(">64s16IiIii3fi8B2i", b"", *[0] * 16, 1, 0, 0, 1, 0, 1, 0, 0, *[1] * 8, 0, 0)
    contour = struct.pack(">iIii", len(points), 0, 0, 0) + b"".join(struct.pack(">3f", *p) for p in points)
    material = b"IMAT" + struct.pack(">i", 16) + bytes(16)
    origin = np.array([7.0, 8.0, 9.0])
    reference = (1, 1, 1, *(origin + start), 0, 0, 0, *[scale or 1] * 3, *origin, 0, 0, 0)
    minx = b"MINX" + struct.pack(">i18f", 72, *reference)
    chunks = (b"IMODV1.2", header, b"OBJT", an_object, b"CONT", contour, material, minx if scale else b"", b"IEOF")
    return b"".join(chunks)


def motive_list(rows: np.ndarray, machine: int = 6) -> bytes:
    order = "<" if machine == 6 else ">"
    header = struct.pack(f"{order}bbbb3i", machine, 0, 0, 5, 20, len(rows), 1)
    return header.ljust(512, b"\0") + rows.astype(f"{order}f4").tobytes()


def table_line(**columns: float) -> str:
    row = np.zeros(35)
    for name, value in columns.items():
        row[int(name[1:]) - 1] = value
    return " ".join(f"{v:g}" for v in row) + "\n"


def test_literal_files_name_the_place(tmp_path: Path) -> None:
    """Voxel (9, 11, 17), x first in all of them."""
    row = np.zeros((1, 20))
    row[0, [7, 8, 9, 10]] = 18.5, 12, 10, -0.5
    picks = {"pickable_object_name": "ring", "user_id": "me", "session_id": "1", "unit": "angstrom"}
    picks["points"] = [{"location": {"x": 160.0, "y": 110.0, "z": 90.0}, "transformation_": np.eye(4).tolist()}]
    picks["points"][0]["transformation_"][0][3] = 10.0  # a shift along x
    picture = (31, 25, 21)
    contents: dict[str, bytes | str] = {
        "a.mod": model([[17.5, 11.5, 9]], picture),
        "little.em": motive_list(row),
        "big.em": motive_list(row, machine=5),
        "a.tbl": table_line(c24=17.5, c25=12, c26=10, c4=0.5),
        "a.ndjson": '{"type": "point", "location": {"x": 17, "y": 11, "z": 9}}',
        "marked.ndjson": '\ufeff{"type": "point", "location": {"x": 17, "y": 11, "z": 9}}',
        "marked.tbl": "\ufeff" + table_line(c24=18, c25=12, c26=10),
        "marked.json": "\ufeff" + json.dumps(picks),
        "a.json": json.dumps(picks),
        "warp.star": "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnMicrographName\n"
        "_rlnMagnification\n_rlnDetectorPixelSize\n34 22 18 TS_01.tomostar 20000 10\n",
        "matching.star": "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnMicrographName\n"
        f"{17 / 31} {11 / 25} {9 / 21} TS_01.tomostar\n",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        np.testing.assert_allclose(read(path).points, [PLACE], atol=1e-9, err_msg=name)
        assert read(path).rotations is None  # the angles that are there say "not turned"
        assert read(path).scores is None


def test_literal_angles_turn_the_axes(tmp_path: Path) -> None:
    """A quarter about z: of TOM's phi from x to y, of Dynamo's tdrot from y to x."""
    row = np.zeros((1, 20))
    row[0, 16] = 90
    (tmp_path / "a.em").write_bytes(motive_list(row))
    (tmp_path / "a.tbl").write_text(table_line(c7=90))
    for name, end in (("a.em", [0, 1, 0]), ("a.tbl", [0, -1, 0])):
        turned = read(tmp_path / name).rotations
        assert turned is not None
        np.testing.assert_allclose(turned.apply([0.0, 0, 1])[0][::-1], end, atol=1e-7)  # from x; z, y, x


def test_a_subtomograms_rotation_comes_after_the_particles_own(tmp_path: Path) -> None:
    """As in ``ParticleSet::getMatrix3x3``."""
    names = [f"rln{kind}{angle}" for kind in ("Angle", "TomoSubtomogram") for angle in ("Rot", "Tilt", "Psi")]
    header = "".join(f"_{n}\n" for n in ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", *names])
    (tmp_path / "p.star").write_text(f"data_\nloop_\n{header}1 2 3 10 20 30 40 50 60\n")
    turned = read(tmp_path / "p.star").rotations
    assert turned is not None
    expected = relion_matrix(40, 50, 60) @ relion_matrix(10, 20, 30)
    np.testing.assert_allclose(turned.as_matrix()[0, ::-1, ::-1], expected, atol=1e-9)


# --- round trips ------------------------------------------------------------------------------------------------------


@st.composite
def columns(draw: st.DrawFn) -> dict[str, np.ndarray | None]:
    n = draw(st.integers(1, 5))
    return {
        "points": draw(hnp.arrays(float, (n, 3), elements=st.floats(0, 1000))),
        "turns": draw(st.none() | hnp.arrays(float, (n, 3), elements=st.floats(-3, 3))),
        "scores": draw(st.none() | hnp.arrays(float, n, elements=st.floats(0.01, 1))),
    }


@given(columns(), st.sampled_from(list(READERS)), st.floats(1, 30))
@settings(max_examples=150)
def test_every_format_brings_everything_back(
    tmp_path_factory: pytest.TempPathFactory, known: dict[str, np.ndarray], name: str, size: float
) -> None:
    turns = None if known["turns"] is None else Rotation.from_rotvec(known["turns"] + 0.1)  # never all unturned
    table = PointTable(known["points"], known["scores"], rotations=turns)
    shape = (101, 203, 305)
    folder = tmp_path_factory.mktemp("round")
    path = write(folder, name, TomogramPoints(table=table, name="TS_01", shape=shape, voxel_size_angstrom=size))
    found = read_points(path, shape=shape, voxel_size_angstrom=size, tomogram_name="TS_01")
    np.testing.assert_allclose(found.points, table.points, atol=2e-3 if name == "relion4" else 2e-4)
    if table.rotations is not None and name != "imod":
        assert_alike(found.rotations, table.rotations, 3e-5)
    elif name != "ndjson":
        assert found.rotations is None
    if table.scores is not None and name != "ndjson":
        np.testing.assert_allclose(found.scores, table.scores, atol=2e-6)
    else:
        assert found.scores is None


def test_write_points_knows_every_ending_that_it_can_write(tmp_path: Path) -> None:
    table = part(GENERAL).table
    for ending in ("csv", "star", "tbl", "em", "mod", "ndjson"):
        path = tmp_path / f"p.{ending}"
        write_points(path, table, shape=SHAPE, voxel_size_angstrom=SIZE, tomogram_name="TS_01")
        np.testing.assert_allclose(read(path).points, table.points, atol=1e-3, err_msg=ending)
    with pytest.raises(PointsFileError, match="give a folder"):
        write_points(tmp_path / "p.json", table)


# --- several tomograms, several kinds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relion5", "relion4", "warp", "dynamo", "em", "copick"])
def test_several_tomograms_in_one_file_are_told_apart(tmp_path: Path, name: str) -> None:
    """One of them has no particles."""
    first, second = part(GENERAL), part(CYCLE, "rec TS_02")
    second = TomogramPoints(table=second.table.take(np.array([1])), name="TS_02", shape=SHAPE, voxel_size_angstrom=SIZE)
    empty = TomogramPoints(table=PointTable(np.zeros((0, 3))), name="TS_03", shape=SHAPE, voxel_size_angstrom=SIZE)
    path = write(tmp_path, name, first, second, empty)
    assert len(read(path, "TS_01")) == 2
    table = read(path, "tomograms/TS_02.mrc" if name != "copick" else "TS_02")
    np.testing.assert_allclose(table.points, second.table.points, atol=1e-4)
    assert_alike(table.rotations, second.table.rotations)
    with pytest.raises(PointsFileError, match=r"TS_01(\.tomostar)?, TS_02"):
        read(path, "TS_99")


def test_orientations_that_are_known_in_some_tomograms_only_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = TomogramPoints(
        table=PointTable(np.ones((1, 3))), name="TS_02", shape=SHAPE, voxel_size_angstrom=SIZE, kinds=("ring",)
    )
    with caplog.at_level(logging.WARNING):
        path = write(tmp_path, "relion5", part(GENERAL), plain)
    assert "some tomograms have no orientations" in caplog.text
    assert_alike(read(path, "TS_01").rotations, part(GENERAL).table.rotations)
    assert starfile.read(path)["rlnAngleTilt"].to_list()[2:] == [0]


def test_numbered_tomograms_need_their_names(tmp_path: Path) -> None:
    path = write(tmp_path, "em", part(GENERAL), part(CYCLE, "TS_02"))
    (tmp_path / "particles.doc").unlink()
    with pytest.raises(PointsFileError, match=r"2 tomograms \(1, 2\), and 0 of them match 'TS_02'.*particles\.doc"):
        read(path, "TS_02")
    assert_alike(read(path, "2").rotations, part(CYCLE).table.rotations)
    (tmp_path / "particles.doc").write_text("one TS_01\n")
    with pytest.raises(PointsFileError, match="every line must have a number"):
        read(path, "TS_02")


@pytest.mark.parametrize("name", ["relion5", "warp", "dynamo", "em", "imod", "ndjson", "copick"])
def test_tomograms_of_the_same_name_are_refused(tmp_path: Path, name: str) -> None:
    """Two folders often have a tomo.mrc each; in one file their particles would be mixed, or one's would be lost."""
    with pytest.raises(PointsFileError, match="two tomograms are named TS_01"):
        write(tmp_path, name, part(), part(name="other/TS_01.mrc"))
    with pytest.raises(PointsFileError, match="no tomograms to write"):
        write(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_particles_without_a_number_are_numbered(tmp_path: Path) -> None:
    """RELION tells particles by their names: several of number 0, those without a mask, would be one."""
    path = write(tmp_path, "relion4", part(instances=np.array([0, 0])), part(name="TS_02", instances=np.array([7, 4])))
    names = starfile.read(path)["particles"]["rlnTomoParticleName"].to_list()
    assert names == ["TS_01/1", "TS_01/2", "TS_02/7", "TS_02/4"]


def test_names_with_folders_do_not_leave_theirs(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    written = write_exports(tmp_path / "out", ["imod", "copick"], [part(name="../day 2/TS_01")])
    assert [path.name for path in written] == ["particles-_day 2_TS_01.mod", "copick"]
    assert [path.name for path in (tmp_path / "out/copick/ExperimentRuns").iterdir()] == ["_day 2_TS_01"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_kinds_have_one_number_over_all_tomograms(tmp_path: Path) -> None:
    first = part(names=("ring", "ring"))
    second = part(name="TS_02", names=("barrel", "ring"))
    for name, column in (("dynamo", 22), ("em", 20)):
        path = write(tmp_path, name, first, second)
        assert (read(path, "TS_01").names, read(path, "TS_02").names) == (("1", "1"), ("2", "1")), column
    star = write(tmp_path, "relion5", first, second)
    assert star.read_text().startswith("# version 50001\n# class 1: ring\n# class 2: barrel\n")
    assert starfile.read(star)["rlnClassNumber"].to_list() == [1, 1, 2, 1]
    searched = TomogramPoints(table=first.table, kinds=("barrel", "ring"))
    assert number_kinds([searched]) == {"barrel": 1, "ring": 2}


def test_kinds_are_objects_of_a_model_and_files_of_the_portal(tmp_path: Path) -> None:
    known = part(names=("ring", "barrel"), scores=np.array([0.9, 0.25]))
    table = read(write(tmp_path, "imod", known))
    assert table.names == ("ring", "barrel")
    np.testing.assert_allclose(table.scores, [0.9, 0.25])
    objects = imodmodel.ImodModel.from_file(tmp_path / "particles-TS_01.mod").objects
    assert [o.header.name for o in objects] == ["ring", "barrel"]
    assert [o.contours[0].extra[0].value for o in objects] == pytest.approx([0.9, 0.25])
    write(tmp_path, "ndjson", known)
    assert len(read(tmp_path / "particles-TS_01-barrel.ndjson")) == 1
    with pytest.raises(PointsFileError, match="has one kind, but the points have ring, barrel"):
        write_points(tmp_path / "p.ndjson", known.table)


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["em", "imod", "ndjson", "copick"])
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, part(GENERAL, scores=np.array([0.9, 0.25])))
    if path.is_dir():
        path = path / "ExperimentRuns/TS_01/Picks/cryosam_0_particle.json"
    content = path.read_bytes()
    whole = len(content.rstrip())
    for length in [*range(0, whole, max(1, whole // 60)), whole - 1]:
        if name == "ndjson" and (length == 0 or content[:length].rstrip().endswith(b"}}")):
            continue  # no lines, or whole ones
        path.write_bytes(content[:length])
        with pytest.raises(PointsFileError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "star", "tbl", "em", "mod", "ndjson", "json"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, ending: str) -> None:
    for i, content in enumerate((bytes(range(256)) * 4, b"\0" * 600, b"hello", "[1, 2]".encode("utf-16"))):
        path = tmp_path / f"{i}.{ending}"
        path.write_bytes(content)
        with pytest.raises(PointsFileError) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.tbl", "1 2 3\n", "line 1: 3 columns, but a Dynamo table has 26 or more"),
        ("p.tbl", table_line(c24=1) + table_line(c24=1).replace(" 1 ", " nan ", 1), "line 2: column 24 is 'nan'"),
        ("p.tbl", table_line(c24=1) + "x", "line 2: 1 columns"),
        ("p.tbl", table_line(c24=1) + table_line(c24=1)[:-5], "line 2: 33 columns, but the lines above have 35"),
        ("p.ndjson", '{"type": "point"}', "line 1: no location with x, y and z"),
        ("p.ndjson", '{"location": {"x": 1, "y": 2, "z": "3"}}', "line 1: z is '3', not a number"),
        ("p.ndjson", "[1, 2, 3]", "line 1: not a JSON object"),
        (
            "p.ndjson",
            '{"location": {"x": 1, "y": 2, "z": 3}, "xyz_rotation_matrix": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}',
            "point 1: its matrix is not a rotation",
        ),
        (
            "p.ndjson",
            '{"location": {"x": 1, "y": 2, "z": 3}, "xyz_rotation_matrix": [[1, 0], [0, 1]]}',
            "line 1: xyz_rotation_matrix must be three rows",
        ),
        ("p.json", '{"points": []}', "not a copick picks file"),
        ("p.json", '{"pickable_object_name": "a", "points": [], "unit": "pixel"}', "the unit is 'pixel'"),
        (
            "p.json",
            '{"pickable_object_name": "a", "points": [{"location": {"x": 1}}]}',
            "point 1: not a copick pick.*no 'y'",
        ),
        ("p.json", '{"pickable_object_name": "a", "points": [3]}', "point 1: not a copick pick"),
        ("p.json", "[]", "not a JSON object"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PointsFileError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_motive_lists_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "p.em"
    path.write_bytes(struct.pack("<bbbb3i", 6, 0, 0, 5, 4, 4, 4).ljust(512, b"\0") + bytes(256))
    with pytest.raises(PointsFileError, match="20 x N x 1 numbers, this one 4 x 4 x 4"):
        read(path)
    path.write_bytes(motive_list(np.full((1, 20), np.nan)))
    with pytest.raises(PointsFileError, match="particle 1: not a finite number"):
        read(path)


def test_other_binnings_of_dynamo_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "p.tbl").write_text(table_line(c24=17).rstrip() + " 20\n")
    with pytest.raises(PointsFileError, match="column 36 is 20 angstrom, but that of the tomogram is 10"):
        read(tmp_path / "p.tbl")


# --- IMOD: models of flipped, cut and binned images -------------------------------------------------------------------

BY_3DMOD = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15
FLIPPED = BY_3DMOD | 1 << 16


@pytest.mark.parametrize(
    ("points", "size", "scale", "flags", "start"),
    [
        ([[17.5, 11.5, 9]], (31, 25, 21), 10.0, BY_3DMOD, (0, 0, 0)),
        ([[17.5, 9.5, 11]], (31, 21, 25), 10.0, FLIPPED, (0, 0, 0)),
        ([[17.5, 9.5, 11]], (31, 21, 25), None, FLIPPED, (0, 0, 0)),
        ([[8.75, 5.75, 4.5]], (15, 12, 10), None, BY_3DMOD, (0, 0, 0)),  # binned by 2, the last voxels left out
        ([[8.75, 5.75, 4.5]], (16, 13, 11), 20.0, BY_3DMOD, (0, 0, 0)),  # binned by 2, the last pixels filled up
        ([[8.75, 5.75, 4.5]], (15, 12, 10), 20.08, BY_3DMOD, (0, 0, 0)),  # a rounded pixel size
        ([[35, 23, 18]], (62, 50, 42), 5.0, BY_3DMOD, (0, 0, 0)),  # the tomogram is the binned one
        ([[35, 23, 18]], (62, 50, 42), None, BY_3DMOD, (0, 0, 0)),
        ([[7.5, 6.5, 6]], (20, 20, 18), 10.0, BY_3DMOD, (100, 50, 30)),  # a part of the image
        ([[7.5, 6, 6.5]], (20, 18, 20), 10.0, FLIPPED, (100, 50, 30)),  # MINX has the axes of the file
        ([[3.75, 3.25, 3]], (10, 10, 9), 20.0, BY_3DMOD, (100, 50, 30)),  # a part of a binned image
        ([[17.5, 11.5, 9]], (31, 25, 21), 20.0, BY_3DMOD, (0, 0, 0)),  # the same grid under a wrong header
    ],
)
def test_models_of_other_views_of_the_tomogram_name_the_place(
    tmp_path: Path, points: list[list[float]], size: tuple[int, int, int], scale: float | None, flags: int, start: Any
) -> None:
    """Voxel (9, 11, 17); IMOD's half pixel in a flipped view leaves half a voxel open."""
    (tmp_path / "p.mod").write_bytes(model(points, size, scale, flags=flags, start=start))
    np.testing.assert_allclose(read(tmp_path / "p.mod").points, [PLACE], atol=0.5)


def test_models_of_cut_and_binned_images_say_what_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "p.mod"
    path.write_bytes(model([[8.75, 5.75, 4.5]], (15, 12, 10), flags=BY_3DMOD))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(read(path).points, [PLACE])
    assert "drawn on another binning; points are multiplied by 2, 2, 2" in caplog.text
    path.write_bytes(model([[7.5, 6.5, 6]], (20, 20, 18), 10.0, flags=BY_3DMOD, start=(100, 50, 30)))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(read(path).points, [PLACE])
        np.testing.assert_allclose(read_points(path).points, [PLACE])  # the tomogram need not be known
    assert "its first pixel z, y, x, 3,5,10, is added" in caplog.text


@pytest.mark.parametrize(
    ("size", "scale", "flags", "start", "message"),
    [
        ((20, 20, 18), 10.0, BY_3DMOD, (0, 0, 0), r"20 x 20 x 18 pixels .* of 10 angstrom, .* has 31 x 25 x 21 of 10"),
        ((20, 20, 18), None, BY_3DMOD, (0, 0, 0), r"20 x 20 x 18 pixels .*, but the tomogram has 31 x 25 x 21"),
        ((31, 21, 25), 10.0, BY_3DMOD, (0, 0, 0), "31 x 21 x 25 pixels"),  # not said to be flipped
        ((20, 20, 18), 10.0, BY_3DMOD, (200, 50, 30), "20 x 20 x 18 pixels"),  # reaches beyond the tomogram
        ((20, 20, 18), 10.0, BY_3DMOD, (-100, 0, 0), "20 x 20 x 18 pixels"),
        ((16, 13, 21), 20.0, BY_3DMOD, (0, 0, 0), "16 x 13 x 21 pixels"),
        # the tomogram may be that part, or the image
        ((31, 25, 21), 10.0, BY_3DMOD, (100, 0, 30), r"31 x 25 x 21 pixels .*, from pixel 10,0,3 of another, but"),
        ((31, 21, 25), 10.0, BY_3DMOD | 1 << 17, (0, 0, 0), "the model is that of a rotated view"),
    ],
)
def test_models_of_images_that_do_not_fit_are_refused(
    tmp_path: Path, size: tuple[int, int, int], scale: float | None, flags: int, start: Any, message: str
) -> None:
    (tmp_path / "p.mod").write_bytes(model([[1, 2, 3]], size, scale, flags=flags, start=start))
    with pytest.raises(PointsFileError, match=message) as caught:
        read(tmp_path / "p.mod")
    assert "\n" not in str(caught.value)


def test_a_model_without_a_tomogram_says_of_which_image_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "p.mod"
    path.write_bytes(model([[8.75, 5.75, 4.5]], (15, 12, 10), flags=BY_3DMOD))
    np.testing.assert_allclose(read_points(path).points, np.array([[4.5, 5.75, 8.75]]) - [0, 0.5, 0.5])
    assert "drawn on an image of 15 x 12 x 10 pixels (x, y, z); if the tomogram has another size" in caplog.text


def test_a_model_of_other_pixels_needs_the_shape(tmp_path: Path) -> None:
    """The voxel size alone may be that of a binning, or may correct a wrong header of the same image."""
    path = tmp_path / "p.mod"
    path.write_bytes(model([[8.75, 5.75, 4.5]], (15, 12, 10), 20.0, flags=BY_3DMOD))
    with pytest.raises(PointsFileError, match=r"pixels of 20 angstrom, but the voxel size is 10, .*; give its shape"):
        read_points(path, voxel_size_angstrom=10.0)
    np.testing.assert_allclose(read_points(path, voxel_size_angstrom=20.1).points, [[4.5, 5.25, 8.25]])
    np.testing.assert_allclose(read_points(path).points, [[4.5, 5.25, 8.25]])


def test_a_size_that_is_no_images_is_not_taken_for_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Programs that make models of points know no image, and say so with bit 11."""
    (tmp_path / "p.mod").write_bytes(model([[17.5, 11.5, 9]], (18, 12, 10), flags=1 << 11))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(read(tmp_path / "p.mod").points, [PLACE])
    assert "read as pixels of this tomogram" in caplog.text


def test_warps_particles_for_relion_count_pixels_of_their_images(tmp_path: Path) -> None:
    """Exported at 5 angstrom from a tilt series of 2.5: ``ReconstructParticleSeries`` divides by the former."""
    optics = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n_rlnImagePixelSize\n1 2.5 5\n\n"
    columns = ("TomoName", "CoordinateX", "CoordinateY", "CoordinateZ", "OpticsGroup")
    header = "data_particles\n\nloop_\n" + "".join(f"_rln{c}\n" for c in columns)
    for name, size in (("TS_01.tomostar", 5.0), ("TS_01", 2.5)):  # RELION's own would count those of the tilt series
        x, y, z = PLACE[::-1] * SIZE / size
        (tmp_path / "p.star").write_text(f"{optics}{header}{name} {x} {y} {z} 1\n")
        np.testing.assert_allclose(read(tmp_path / "p.star").points, [PLACE])


def test_fractions_of_warp_need_the_shape(tmp_path: Path) -> None:
    header = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnMicrographName\n"
    (tmp_path / "p.star").write_text(f"{header}0.5 0.25 0.75 TS_01.tomostar\n")
    with pytest.raises(PointsFileError, match="fractions of the tomogram size, as in Warp; give its shape"):
        read_points(tmp_path / "p.star", voxel_size_angstrom=SIZE)
    (tmp_path / "p.star").write_text(f"{header}0.5 0.25 0.75 TS_01.mrc\n")  # not Warp's: pixels
    np.testing.assert_allclose(read(tmp_path / "p.star").points, [[0.75, 0.25, 0.5]])


def test_what_a_format_needs_is_asked_for_before_anything_is_computed() -> None:
    check_exports(["dynamo", "em", "imod", "ndjson"], None)
    for name in ("warp", "copick", "relion4"):
        with pytest.raises(VoxelSizeError, match=f"{name} needs the voxel size"):
            check_exports([name], None, 2.5)
    with pytest.raises(InputError, match="--tilt-series-pixel-size"):
        check_exports(["relion4"], 10.0)
    with pytest.raises(InputError, match="unknown format 'eman'"):
        check_exports(["eman"], 10.0)


def test_copick_needs_a_voxel_size(tmp_path: Path) -> None:
    path = write(tmp_path, "copick", part())
    with pytest.raises(VoxelSizeError, match="copick coordinates are in angstrom"):
        read_points(path, tomogram_name="TS_01")
    with pytest.raises(VoxelSizeError, match="copick needs the voxel size of TS_01"):
        write_copick(tmp_path, [TomogramPoints(table=PointTable(np.zeros((1, 3))), name="TS_01")])
