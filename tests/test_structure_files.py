"""The result folder of a run with structures: what is in it, that it agrees, and that it appears as a whole."""

import csv
import json
import re

import numpy as np
import pytest
import starfile
from click.testing import CliRunner

from cryosam.cli import main
from cryosam.errors import InputNotFoundError, OutputExistsError
from cryosam.full_map import FullMap
from cryosam.io import read_points, read_volume, structure_files, write_volume
from cryosam.io.earlier_results import read_results
from cryosam.io.lines import read_lines
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.io.structure_files import write_map
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.structure_results import StructureResult
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
