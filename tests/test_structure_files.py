"""The result folder of a run with structures: what is in it, that it agrees, and that it appears as a whole."""

import csv
import json
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import starfile
from click.testing import CliRunner

from cryosam.cli import main
from cryosam.errors import InputError, InputNotFoundError, OutputExistsError
from cryosam.full_map import FullMap
from cryosam.io import read_points, read_tomogram, read_volume, structure_files, write_volume
from cryosam.io.earlier_results import read_results
from cryosam.io.earlier_structures import read_structure_results
from cryosam.io.lines import read_lines
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.io.structure_files import write_map
from cryosam.io.surfaces import are_inferred, simplify, surface_of, thinned_tube
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.structure_results import Repeat, Straightened, StructureResult
from cryosam.tomogram import Tomogram
from stand_in_structures import SHAPE, SIZE, box_mask, filament, lumen, membrane

CLICK = np.array([[6.0, 5.0, 5.0]])
GAP = box_mask((5, 0, 0), (8, 4, 4))


@pytest.fixture
def tomogram():
    return Tomogram(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), SIZE, "TS_01")


def result(structure, *instances, kind=None, report=None):
    report = report or RunReport()
    return StructureResult(SHAPE, structure, instances, CLICK, SIZE, "TS_01", kind or structure, report)


def everything():
    """One kind of each structure."""
    points = np.array([[11.0, 12, 9], [3.0, 24, 36]])
    masks = (box_mask((10, 11, 8), (13, 14, 11)), box_mask((2, 23, 35), (5, 26, 38)))
    ribosomes = Segmentation(SHAPE, points, np.array([0.95, 0.3]), masks, voxel_size_angstrom=SIZE, kind="ribosome")
    warned = RunReport(contrast="dark", warnings=(RunWarning("tilts", "the tilts are doubtful"),))
    return FullMap(
        ("ribosome", "er", "tube", "cell"),
        (
            result("membrane", membrane(6, 0.8, inferred=GAP), membrane(20, 0.4), kind="er", report=warned),
            result("filament", filament(), kind="tube"),
            result("compartment", lumen(), kind="cell"),
        ),
        ribosomes,
    )


def clicks(found):
    points = {"ribosome": np.array([[11.0, 12, 9]])}
    return [PointPrompts(points.get(kind, CLICK), name=kind) for kind in found.kinds]


def write(folder, found, tomogram, **options):
    return write_map(folder, found, tomogram=tomogram, prompts=clicks(found), **options)


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_one_kind_has_plain_names(tmp_path, tomogram):
    found = FullMap(("membrane",), (result("membrane", membrane(6, 0.8, inferred=GAP), membrane(20)),))
    out = write(tmp_path / "out", found, tomogram)
    instances, inferred = (read_volume(out / f"{name}.mrc") for name in ("instances", "inferred"))
    assert np.array_equal(instances, found.structures[0].labels())
    assert np.array_equal(inferred, found.structures[0].inferred())
    assert inferred[6, 0, 0] == 1
    assert np.array_equal(read_volume(out / "semantic.mrc"), found.semantic())
    assert not (out / "particles.csv").exists()
    run = json.loads((out / "run.json").read_text())
    assert run["structures"][0]["inferred_voxels"] == GAP.n_voxels
    assert set(run["outputs"]) | {"report.html", "run.json"} == {path.name for path in out.iterdir()}


def test_a_full_map_is_exclusive_and_keeps_what_overlaps(tmp_path, tomogram):
    found = everything()
    out = write(tmp_path / "out", found, tomogram)
    semantic = read_volume(out / "semantic.mrc")
    assert np.array_equal(semantic, found.semantic())
    legend = rows_of(out / "labels.csv")
    assert [(row["label"], row["kind"], row["structure"], row["instances"]) for row in legend] == [
        ("1", "ribosome", "particle", "2"),
        ("2", "er", "membrane", "2"),
        ("3", "tube", "filament", "1"),
        ("4", "cell", "compartment", "1"),
    ]
    assert set(np.unique(semantic)) == {0, 1, 2, 3, 4}
    cell = read_volume(out / "instances-cell.mrc")
    assert (cell > 0).sum() == lumen().mask.n_voxels > (semantic == 4).sum()
    assert np.array_equal(read_volume(out / "instances.mrc"), found.particles.labels())
    assert (out / "inferred-er.mrc").exists()
    assert not (out / "inferred-tube.mrc").exists()


def test_particles_keep_their_table_and_their_relations_have_one_of_their_own(tmp_path, tomogram):
    found = everything()
    out = write(tmp_path / "out", found, tomogram)
    alone = write_segmentation(tmp_path / "alone", found.particles, tomogram=tomogram, prompts=PointPrompts(CLICK))
    for name in ("particles.csv", "particles.star", "instances.mrc"):
        assert (out / name).read_bytes()[1024:] == (alone / name).read_bytes()[1024:], name
    assert (out / "particles.csv").read_text().startswith("z,y,x,score,instance\n")
    first, second = rows_of(out / "relations.csv")
    assert (first["particle"], first["distance_to_membrane_angstrom"], first["membrane"]) == ("1", "50.0", "1")
    assert (first["membrane_kind"], first["compartment_kind"], first["compartment"]) == ("er", "cell", "1")
    assert (second["distance_to_membrane_angstrom"], second["compartment"]) == ("30.0", "")


def test_the_table_of_compartments(tmp_path, tomogram):
    (row,) = rows_of(write(tmp_path / "out", everything(), tomogram) / "compartments.csv")
    assert row == {
        "compartment": "1",
        "z": "10.000",
        "y": "16.500",
        "x": "16.500",
        "volume_angstrom3": "4000000",
        "is_cut": "0",
        "score": "0.70000",
        "voxels": str(11 * 14 * 26),
    }


def test_filaments_can_be_read_again_and_are_sampled_only_where_a_spacing_is_given(tmp_path, tomogram):
    out = write(tmp_path / "out", everything(), tomogram)
    (line,) = read_lines(out / "filaments.csv")
    assert np.allclose(line, filament().points, atol=1e-3)
    assert not list(out.glob("filaments*.star"))
    out = write(tmp_path / "sampled", everything(), tomogram, spacings={"tube": 100.0})
    points = read_points(out / "filaments.star", shape=SHAPE, voxel_size_angstrom=SIZE)
    assert len(points) == 4
    assert np.allclose(np.diff(points.points, axis=0), [[0, 0, 10.0]] * 3, atol=1e-3)


def test_filaments_are_written_for_other_programs_too(tmp_path, tomogram):
    found = FullMap(("tube",), (result("filament", filament(), kind="tube"),))
    run = RunInfo(exports=("warp", "dynamo", "copick"))
    out = write(tmp_path / "out", found, tomogram, spacings={"tube": 100.0}, run=run)
    names = {path.name for path in out.iterdir()}
    assert {"filaments.star", "filaments-warp.star", "filaments.tbl", "filaments-copick"} <= names
    assert set(json.loads((out / "run.json").read_text())["outputs"]) | {"report.html", "run.json"} == names
    write(out, found, tomogram, overwrite=True)
    assert not {path.name for path in out.iterdir()} & {"filaments.star", "filaments.tbl", "filaments-copick"}


def test_membranes_have_a_table_meshes_and_points_with_normals(tmp_path, tomogram):
    found = FullMap(("er",), (result("membrane", membrane(6, 0.8, inferred=GAP), membrane(20, 0.4), kind="er"),))
    run = RunInfo(origin_angstrom=(100.0, 200.0, 300.0), exports=("warp",))
    out = write(tmp_path / "out", found, tomogram, spacings={"er": 60.0}, run=run)
    first, second = rows_of(out / "membranes.csv")
    assert (first["membrane"], float(first["score"]), first["enclosed_angstrom3"]) == ("1", 0.8, "")
    assert float(second["area_angstrom2"]) == SHAPE[1] * SHAPE[2] * SIZE**2
    assert sorted(path.name for path in (out / "meshes").iterdir()) == [
        f"er-{number:03d}.{ending}" for number in (1, 2) for ending in ("obj", "ply")
    ]
    lines = [line.split() for line in (out / "meshes" / "er-001.obj").read_text().splitlines()]
    vertices = np.array([line[1:] for line in lines if line[0] == "v"], dtype=float)
    assert np.allclose(vertices[0], [300, 200, 100 + 60])  # x, y, z in angstrom
    corners = [[int(word.split("/")[0]) - 1 for word in line[1:]] for line in lines if line[0] == "f"]
    for a, b, c in vertices[corners]:
        assert np.cross(b - a, c - a)[2] > 0  # counterclockwise seen from where the normal points
    points = read_points(out / "membranes.star", shape=SHAPE, voxel_size_angstrom=SIZE)
    near = np.linalg.norm(points.points[:, None] - points.points[None], axis=2) + 99 * np.eye(len(points))
    assert near.min() >= 6 - 1e-6
    assert np.allclose(points.rotations.apply([1.0, 0, 0]), [1, 0, 0], atol=1e-6)
    assert (out / "membranes-warp.star").exists()
    rows = starfile.read(out / "membranes.star")
    assert rows["rlnTomoManifoldIndex"].dtype.kind == "i"
    assert set(rows["rlnTomoManifoldIndex"]) == {1, 2}
    assert np.allclose(rows["rlnAngleTiltPrior"], rows["rlnAngleTilt"])


def test_a_folder_is_scored_by_the_files_of_its_structure(tmp_path, tomogram):
    out, found = write(tmp_path / "out", everything(), tomogram), everything()
    for part, name in zip(found.structures, ("er", "tube", "cell"), strict=True):
        write_volume(tmp_path / f"{name}.mrc", part.labels(), SIZE)
    cases = (("membrane", "er.mrc", "f1"), ("filament", "out", "f1"), ("compartment", "cell.mrc", "dice"))
    for structure, truth, score in cases:
        done = CliRunner().invoke(
            main, ["evaluate", str(out), str(tmp_path / truth), "--structure", structure, "--json"]
        )
        assert json.loads(done.stdout)[score] == 1.0, done.output
    two = FullMap(("a", "b"), (result("filament", filament(), kind="a"), result("filament", filament(), kind="b")))
    out = write(tmp_path / "two", two, tomogram)
    done = CliRunner().invoke(main, ["evaluate", str(out), str(out), "--structure", "filament"])
    assert "give one of the files filaments-a.csv, filaments-b.csv" in done.stderr
    with pytest.raises(InputNotFoundError, match="structures but no particles"):
        read_results(out)


def test_two_kinds_of_one_structure_have_tables_of_their_own(tmp_path, tomogram):
    found = FullMap(("a", "b"), (result("compartment", lumen(), kind="a"), result("compartment", lumen(), kind="b")))
    out = write(tmp_path / "out", found, tomogram)
    assert sorted(path.name for path in out.glob("compartments*")) == ["compartments-a.csv", "compartments-b.csv"]


def test_the_page_shows_every_kind_its_warnings_and_its_files(tmp_path, tomogram):
    out = write(tmp_path / "out", everything(), tomogram)
    page = (out / "report.html").read_text()
    assert "2 particles, 2 membranes, 1 filament, 1 compartment found" in page
    assert "er: the tilts are doubtful" in page
    for name in ("labels.csv", "semantic.mrc", "instances-tube.mrc", "particles.html"):
        assert name in page
    titles = set(re.findall(r"<title>([^<]*)</title></path>", page))
    assert {"ribosome 1", "tube 1, score 0.900", "er 1, score 0.800, inferred", "cell 1, score 0.700"} <= titles
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "2 particles" in (out / "particles.html").read_text()


def test_the_folder_appears_as_a_whole_and_leaves_nothing_of_an_earlier_run(tmp_path, tomogram, monkeypatch):
    out = write(tmp_path / "out", everything(), tomogram)
    (out / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(OutputExistsError):
        write(out, everything(), tomogram)
    with monkeypatch.context() as broken:
        broken.delattr(structure_files, "render_structures")
        with pytest.raises(NameError):
            write(out, everything(), tomogram, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    found = FullMap(("cell",), (result("compartment", lumen(), kind="cell"),))
    write(out, found, tomogram, overwrite=True)
    kept = {"notes.txt", "compartments.csv", "instances.mrc", "labels.csv", "report.html", "run.json", "semantic.mrc"}
    assert {path.name for path in out.iterdir()} == kept
    particles = everything().particles
    write_segmentation(out, particles, tomogram=tomogram, prompts=PointPrompts(CLICK), overwrite=True)
    left = {path.name for path in out.iterdir()}
    assert not left & {"compartments.csv", "labels.csv"}
    assert "notes.txt" in left


def test_the_clicked_filament_is_kept_straight_with_what_was_seen_of_its_repeat(tmp_path, tomogram):
    box = np.random.default_rng(0).random((38, 7, 9)).astype(np.float32)
    for seen, repeat in (("82.3", Repeat(82.3, 12.0, 3.0, 111)), ("", Repeat(82.3, 2.0, 3.0, 111))):
        made = Straightened(2, box, box[:9], 120.0, 105.0, repeat)
        found = replace(result("filament", filament(20), filament(26)), straightened=made)
        out = write(tmp_path / f"out{seen}", FullMap(("filament",), (found,)), tomogram)
        assert np.array_equal(read_volume(out / "straightened.mrc"), box)
        assert read_tomogram(out / "straightened-average.mrc").voxel_size_angstrom == SIZE
        assert {(row["filament"], row["repeat_angstrom"]) for row in rows_of(out / "filaments.csv")} == {
            ("1", ""),
            ("2", seen),
        }
        (described,) = json.loads((out / "run.json").read_text())["structures"]
        assert described["straightened"]["repeat_angstrom"] == (82.3 if seen else None)
        assert described["straightened"]["largest_excess_by_chance"] == 3
        page = (out / "report.html").read_text()
        assert ("Repeat 82.3 Å" in page, "No repeat is seen" in page) == (bool(seen), not seen)
    write(tmp_path / "out", FullMap(("filament",), (result("filament", filament()),)), tomogram, overwrite=True)
    assert not list((tmp_path / "out").glob("straightened*"))


def test_the_page_holds_its_surfaces_and_needs_nothing_else(tmp_path, tomogram):
    out = write(tmp_path / "out", everything(), tomogram)
    page = (out / "report.html").read_text()
    content = json.loads(re.search(r'id="solid-content">(.*?)</script>', page)[1])
    assert content["shape"] == list(SHAPE[::-1])
    assert [each["kind"] for each in content["surfaces"]] == ["er", "er", "tube", "cell"]
    assert [each["kind"] for each in content["balls"]] == ["ribosome"]
    sheet = np.frombuffer(b64decode(content["surfaces"][0]["points"]), "<u2").reshape(-1, 3)
    sheet = (sheet / 65535 * 1.5 - 0.25) * max(SHAPE) - 0.5
    np.testing.assert_allclose(sheet[:, 2], 6, atol=1e-3)  # z is last
    np.testing.assert_allclose(sheet[:, 0].max(), SHAPE[2] - 1, atol=1e-3)
    assert content["surfaces"][0]["inferred"]
    assert not content["surfaces"][1]["inferred"]
    assert not re.findall(r'(?:src|href)="(?!data:|particles\.html|#)', page)


def test_a_surface_has_fewer_triangles_and_its_shape():
    mask = np.linalg.norm(np.indices((70, 70, 70)) - 34.5, axis=0) < 30
    ball = replace(lumen(), mask=InstanceMask.crop(mask))
    full = surface_of(ball)
    simple, marks = simplify(full, 5.0, full.vertices[:, 0] > 34.5)
    assert len(simple.faces) < len(full.faces) / 8
    away = np.linalg.norm(simple.vertices - 34.5, axis=1)
    assert np.abs(away - 30).max() < 1.5
    np.testing.assert_array_equal(
        marks[np.abs(simple.vertices[:, 0] - 34.5) > 5],
        (simple.vertices[:, 0] > 34.5)[np.abs(simple.vertices[:, 0] - 34.5) > 5],
    )
    edges = np.sort(simple.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).mean() > 0.98  # it is closed


def test_what_is_inferred_is_marked_on_surfaces():
    sheet = membrane(6, inferred=GAP)  # rows 0 to 3, columns 0 to 3 of three
    assert are_inferred(sheet).tolist() == [True, False, False, False]
    line = replace(filament(), inferred=box_mask((11, 19, 20), (14, 22, 30)))
    mesh, marks = thinned_tube(line, 3.0)
    assert len(mesh.vertices) == len(marks) < len(surface_of(line).vertices)
    x = mesh.vertices[:, 2]
    np.testing.assert_array_equal(marks, (x >= 20) & (x < 30))
    assert (x.min(), x.max()) == (2.0, 39.0)


def test_structures_come_back_as_they_were_written(tmp_path, tomogram):
    found = everything()
    run = RunInfo(origin_angstrom=(100.0, -30.0, 55.0))
    results = read_structure_results(write(tmp_path / "out", found, tomogram, run=run))
    assert [(each.kind, each.structure, each.shape) for each in results] == [
        ("er", "membrane", SHAPE),
        ("tube", "filament", SHAPE),
        ("cell", "compartment", SHAPE),
    ]
    sheets, lines, lumens = results
    assert [str(warning) for warning in sheets.report.warnings] == ["the tilts are doubtful"]
    assert (sheets.report.contrast, lines.report.warnings) == ("dark", ())
    np.testing.assert_array_equal(sheets.prompts, CLICK)
    for old, new in zip(found.structures[0].instances, sheets.instances, strict=True):
        assert (new.score, new.is_closed, new.thickness_angstrom) == (old.score, old.is_closed, old.thickness_angstrom)
        assert (new.area_angstrom2, new.curvature_radius_angstrom) == (old.area_angstrom2, np.inf)
        assert np.isnan(new.enclosed_angstrom3)
        np.testing.assert_allclose(new.mesh.vertices, old.mesh.vertices, atol=1e-4)  # without the origin of the file
        np.testing.assert_array_equal(new.mesh.faces, old.mesh.faces)
        np.testing.assert_allclose(new.normals, np.tile(old.normals[0], (2, 1)), atol=1e-6)
        np.testing.assert_allclose(new.points[:, 0], old.points[0, 0], atol=1e-4)
    assert (sheets.instances[0].inferred.n_voxels, sheets.instances[1].inferred.n_voxels) == (GAP.n_voxels, 0)
    (line,), (old,) = lines.instances, found.structures[1].instances
    np.testing.assert_allclose(line.points, old.points, atol=1e-3)
    np.testing.assert_allclose(line.tangents, old.tangents, atol=1e-4)
    assert (line.length_angstrom, line.radius_angstrom, line.score) == (370.0, 15.0, 0.9)
    (cell,) = lumens.instances
    assert (cell.volume_angstrom3, cell.is_cut, cell.mask.iou(lumen().mask)) == (4e6, False, 1.0)


def test_a_damaged_mesh_or_table_of_an_earlier_run_is_named(tmp_path, tomogram):
    out = write(tmp_path / "out", everything(), tomogram)
    mesh = out / "meshes" / "er-001.ply"
    mesh.write_bytes(mesh.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"er-001\.ply is not a surface"):
        read_structure_results(out)
    (out / "membranes.csv").unlink()
    with pytest.raises(InputError, match=r"membranes\.csv does not describe"):
        read_structure_results(out)
