"""Batches in which clicks are on membranes, filaments and compartments, with finders that answer at once."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import starfile
from click.testing import CliRunner

from cryosam import structure_search
from cryosam.batch import resources, work
from cryosam.batch.coordinator import plan_batch
from cryosam.batch.ledger import Ledger
from cryosam.batch.project import read_project
from cryosam.batch.resources import Resources
from cryosam.batch.structure_choices import ALL, StructureChoices
from cryosam.batch.summary import write_summary
from cryosam.batch.work import describe_points, search_tomogram
from cryosam.cli import main
from cryosam.errors import ConfigError, PromptError
from cryosam.io import write_volume
from cryosam.io.queries import write_queries
from cryosam.results import Segmentation
from stand_in_structures import SHAPE, SIZE, StandIn, box_mask, filament, lumen, membrane, structure_query
from stand_ins import query

FOUND = {
    "membrane": (membrane(6, 0.8), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}
PROJECT = """
tomograms = "t/*.mrc"
points = "{name}.csv"
out = "results"
spacing = 60
export = ["warp", "dynamo", "copick"]
[kinds.er]
structure = "membrane"
[kinds.mt]
structure = "filament"
spacing = 50
"""
GOOD = "z,y,x,name\n6,5,5,er\n12,20,9,mt\n11,12,9,ribosome\n"


@pytest.fixture(autouse=True)
def taken(monkeypatch):
    """Stand-ins for the searches; what a click is taken for can be changed."""
    guess = SimpleNamespace(structure="membrane", confidence=0.95, text="a sheet")

    def segment(tomogram, prompts, config, options):
        mask = box_mask((10, 11, 8), (13, 14, 11))
        place, size = np.array([[11.0, 12, 9]]), tomogram.voxel_size_angstrom
        return Segmentation(SHAPE, place, np.array([0.95]), (mask,), voxel_size_angstrom=size, kind=prompts.name)

    for module in (structure_search, work):
        monkeypatch.setattr(module, "segment", segment)
    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: StandIn(FOUND[structure]))
    monkeypatch.setattr(structure_search, "chance_in", lambda tomogram: None)
    monkeypatch.setattr(structure_search, "guess_structure", lambda tomogram, point, chance: guess)
    return guess


@pytest.fixture
def folder(tmp_path):
    """Three tomograms; in c there is nothing at the click."""
    (tmp_path / "t").mkdir()
    for k, name in enumerate("abc"):
        data = np.random.default_rng(k).normal(size=SHAPE).astype(np.float32)
        write_volume(tmp_path / "t" / f"{name}.mrc", data, SIZE)
        (tmp_path / f"{name}.csv").write_text(GOOD)
    (tmp_path / "c.csv").write_text("z,y,x,name\n20,5,5,er\n")
    (tmp_path / "project.toml").write_text(PROJECT)
    return tmp_path


def write_project(folder, **changes):
    """The project with other lines at its top."""
    lines = [line for line in PROJECT.partition("[kinds")[0].splitlines() if line.partition(" =")[0] not in changes]
    kept = [f"{key} = {value}" for key, value in changes.items() if value is not None]
    (folder / "project.toml").write_text("\n".join([*lines, *kept]))


def batch(folder, *words):
    return CliRunner().invoke(main, ["batch", str(folder / "project.toml"), *map(str, words)])


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_structures_of_all_tomograms_in_tables_and_files(folder):
    project = read_project(folder / "project.toml")
    outcomes = [search_tomogram(job) for job in project.jobs]
    assert [each.status for each in outcomes] == ["done", "done", "failed"]
    assert outcomes[0].found == "er: 2 membranes, mt: 2 filaments, ribosome: 1 particle"
    assert outcomes[2].is_final
    assert outcomes[2].reason.startswith("er: nothing like a structure is at 20,5,5")
    assert [search_tomogram(job).status for job in project.jobs[:2]] == ["unchanged", "unchanged"]
    done = batch(folder)
    assert done.exit_code == 1
    assert "2 done, 1 failed: 4 er, 4 mt, 2 ribosome" in done.stdout
    out = folder / "results"
    first, _, last = rows(out / "summary.csv")
    assert (first["er_membranes"], first["mt_filaments"], first["ribosome_particles"]) == ("2", "2", "1")
    assert (first["er_score_q50"], last["status"], last["er_membranes"]) == ("0.6", "failed", "")
    tables = {name: rows(out / f"{name}.csv") for name in ("membranes", "filaments")}
    assert [(row["tomogram"], row["kind"], row["membrane"]) for row in tables["membranes"]] == [
        (name, "er", number) for name in "ab" for number in "12"
    ]
    assert {row["tomogram"] for row in tables["filaments"]} == {"a", "b"}
    page = (out / "summary.html").read_text()
    assert "filaments.star" in page
    assert 'href="a/report.html"' in page


def test_points_of_all_tomograms_are_those_of_each(folder):
    project = read_project(folder / "project.toml")
    for job in project.jobs[:2]:
        search_tomogram(job)
    write_summary(project)
    out = folder / "results"
    for name in ("membranes.star", "filaments.star"):
        whole = starfile.read(out / name)
        assert set(whole["rlnTomoName"]) == {"a", "b"}
        for tomogram in "ab":
            own = starfile.read(out / tomogram / name)
            mine = whole[whole["rlnTomoName"] == tomogram].reset_index(drop=True)
            assert list(own) == list(mine)
            numbers = own.select_dtypes("number").columns
            np.testing.assert_allclose(mine[numbers], own[numbers], atol=2e-6)
    warp = starfile.read(out / "filaments-warp.star")
    assert set(warp["rlnMicrographName"]) == {"a.tomostar", "b.tomostar"}
    assert set(warp["rlnHelicalTubeID"]) == {1, 2}
    assert "rlnAngleTiltPrior" not in warp
    assert warp["rlnCoordinateZ"].tolist() == pytest.approx([12.0] * len(warp))
    regions = {line.split()[20] for line in (out / "filaments.tbl").read_text().splitlines()}
    assert regions == {"1", "2"}
    assert (out / "filaments-copick").is_dir()


def test_a_batch_without_a_spacing_has_no_points(folder):
    (folder / "project.toml").write_text(PROJECT.replace("spacing = 60\n", "").replace("spacing = 50\n", ""))
    project = read_project(folder / "project.toml")
    search_tomogram(project.jobs[0])
    write_summary(project)
    assert (folder / "results" / "filaments.csv").is_file()
    assert not (folder / "results" / "filaments.star").exists()


def test_other_structures_and_spacings_are_another_job(folder):
    job, *_ = read_project(folder / "project.toml").jobs
    search_tomogram(job)
    assert Ledger(job.out).is_finished(job)
    for choices in (StructureChoices(structures={"mt": "membrane"}), StructureChoices(spacings={ALL: 40.0})):
        (other, *_) = read_project(folder / "project.toml", choices=choices).jobs
        assert not Ledger(job.out).is_finished(other)
    assert [each.name for each in plan_batch(read_project(folder / "project.toml")).waiting] == ["b", "c"]


def test_the_command_line_says_what_the_file_does_not(folder):
    write_project(folder, spacing=None, export=None)
    said = batch(folder, "--dry-run", "--structure", "filament", "--kind", "er", "--structure", "membrane")
    assert said.exit_code == 0, said.output
    assert "3 points (er: membrane, mt: filament, ribosome: filament) in" in said.stdout
    assert "points (" not in batch(folder, "--dry-run").stdout
    idle = batch(folder, "--kind", "er")
    assert (idle.exit_code, "--kind er says which kind" in idle.stderr) == (2, True)


def test_a_guess_is_made_in_each_tomogram_and_said(folder, taken):
    write_project(folder, structure='"auto"', export=None)
    (folder / "a.csv").write_text("z,y,x\n6,5,5\n")
    (folder / "b.csv").write_text("z,y,x\n11,12,9\n")
    project = read_project(folder / "project.toml")
    assert search_tomogram(project.jobs[0]).found == "2 membranes"
    taken.structure, taken.text = "particle", "a blob"
    assert search_tomogram(project.jobs[1]).n_particles == 1
    totals = write_summary(project)
    assert totals.n_particles == {"membrane": 2, "particle": 1}
    told = json.loads((folder / "results" / "a" / "run.json").read_text())
    assert told["job"]["guesses"] == {"particle": "a sheet"}
    page = (folder / "results" / "summary.html").read_text()
    assert [row["warnings"] for row in rows(folder / "results" / "summary.csv")] == [
        str(len(told["warnings"])),
        str(len(json.loads((folder / "results" / "b" / "run.json").read_text())["warnings"])),
        "0",
    ]
    assert "particle: a sheet" in page
    assert "particle: a blob" in page


def test_a_query_is_searched_for_in_all_tomograms(folder):
    write_queries(folder / "q.npz", [structure_query(name="er"), structure_query("compartment", "cell")])
    write_project(folder, points=None, query='"q.npz"', export='["warp"]')
    assert "a saved query, no points (er: membrane, cell: compartment)" in batch(folder, "--dry-run").stdout
    project = read_project(folder / "project.toml")
    write_summary(project)
    assert "er_membranes" in (folder / "results" / "summary.csv").read_text().splitlines()[0]
    assert {search_tomogram(job).found for job in project.jobs} == {"er: 2 membranes, cell: 1 compartment"}
    assert batch(folder).exit_code == 0
    assert len(rows(folder / "results" / "compartments.csv")) == 3
    assert len(set(starfile.read(folder / "results" / "membranes.star")["rlnTomoName"])) == 3


@pytest.mark.parametrize(
    ("changes", "more", "text"),
    [
        ({"structure": '"vesicle"'}, "", "structure is one of auto, particle, membrane"),
        ({"spacing": "0"}, "", "spacing is a positive number"),
        ({"spacing": "true"}, "", "spacing has a value of the wrong type"),
        ({}, "", "spacing is for points on membranes and along filaments"),
        ({"structure": '"compartment"'}, "", "spacing is for points on membranes and along filaments"),
        ({"structure": '"membrane"'}, '[kinds.er]\nspacing = "far"', "kinds.er: spacing is a positive number"),
        (
            {"structure": '"membrane"'},
            '[kinds.mt]\nstructure = "filament"\ndiameter_angstrom = 3',
            "diameter_angstrom has no effect on filaments",
        ),
        (
            {"structure": '"membrane"'},
            '[kinds.mt]\nstructure = "filament"\n[kinds.mt.matching]\nedge_margin = 3',
            "matching.edge_margin has no effect on filaments",
        ),
        (
            {"structure": '"filament"'},
            "[kinds.mt]\ndiameter_angstrom = 3",
            "kinds.mt: diameter_angstrom has no effect on filaments",
        ),
        (
            {"points": None, "query": '"q.npz"'},
            "[kinds.er]\ndiameter_angstrom = 3",
            "kinds.er: diameter_angstrom has no effect on membranes",
        ),
        (
            {"structure": '"membrane"'},
            '[kinds.ribosome]\nstructure = "particle"\nspacing = 50',
            "kinds.ribosome: spacing has no effect on particles",
        ),
        (
            {"structure": '"membrane"'},
            '[kinds.cell]\nstructure = "compartment"\nspacing = 50',
            "kinds.cell: spacing has no effect on compartments",
        ),
        (
            {"spacing": None, "export": None},
            "[kinds.mt.filament]\nleast_length_angstrom = 500",
            "kinds.mt: filament has no effect on particles",
        ),
        ({"structure": '"compartment"', "spacing": None}, "", "give a spacing"),
        ({"structure": '"membrane"', "export": '["dynamo"]'}, "", "export: dynamo has no points on membranes"),
        ({"points": None, "query": '"q.npz"', "structure": '"filament"'}, "", "not what query 'er' finds"),
        ({"points": None, "query": '"q.npz"'}, '[kinds.mt]\nstructure = "filament"', "no query is for kind 'mt'"),
        ({"points": None, "query": '"p.npz"', "structure": '"membrane"'}, "", "which is particles"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(folder, changes, more, text):
    write_queries(folder / "q.npz", [structure_query(name="er")])
    write_queries(folder / "p.npz", [query()])
    write_project(folder, **changes)
    with (folder / "project.toml").open("a") as stream:
        stream.write(f"\n{more}\n")
    with pytest.raises(ConfigError) as refused:
        read_project(folder / "project.toml")
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_kind_that_is_guessed_may_have_any_settings_and_the_command_line_says_what_others_are(folder):
    write_project(folder, structure='"auto"')
    with (folder / "project.toml").open("a") as stream:
        stream.write("\n[kinds.mt]\ndiameter_angstrom = 250\n[kinds.mt.filament]\nleast_length_angstrom = 500\n")
    assert read_project(folder / "project.toml").jobs[0].kind_configs["mt"].diameter_angstrom == 250
    said = batch(folder, "--dry-run", "--structure", "filament")
    assert (said.exit_code, "kinds.mt: diameter_angstrom has no effect on filaments" in said.stderr) == (2, True)


def test_a_kind_has_a_threshold_of_its_own(folder):
    with (folder / "project.toml").open("a") as stream:
        stream.write("[kinds.er.matching]\nthreshold = 0.5\n")
    outcome = search_tomogram(read_project(folder / "project.toml").jobs[0])
    assert outcome.found == "er: 1 membrane, mt: 2 filaments, ribosome: 1 particle"


def test_particles_that_cannot_be_searched_for_are_a_warning(folder, monkeypatch):
    def refuse(*_):
        raise PromptError("the diameter is far off")

    monkeypatch.setattr(structure_search, "segment", refuse)
    project = read_project(folder / "project.toml")
    assert search_tomogram(project.jobs[0]).found == "er: 2 membranes, mt: 2 filaments, ribosome: 0 particles"
    assert write_summary(project).n_particles == {"er": 2, "mt": 2, "ribosome": 0}
    told = json.loads((folder / "results" / "a" / "run.json").read_text())
    assert "the diameter is far off" in told["warnings"]


def test_a_search_for_structures_needs_memory_by_cubes_of_twenty_angstrom(folder, monkeypatch):
    monkeypatch.setattr(resources, "_free_memory", lambda: 30e9)
    monkeypatch.setattr(resources, "_count_cores", lambda: 100)
    monkeypatch.setattr(resources, "_list_gpus", lambda: ())
    info = SimpleNamespace(shape=(200, 1000, 1000), voxel_size_angstrom=10.0)
    monkeypatch.setattr(resources, "read_info", lambda path: info)

    def n_workers(structure):
        write_project(folder, structure=f'"{structure}"', spacing=None, export=None)
        jobs = read_project(folder / "project.toml").jobs
        return Resources.of_machine(jobs * 20).n_workers

    assert (n_workers("particle"), n_workers("membrane"), n_workers("auto")) == (6, 10, 6)
    info.voxel_size_angstrom = 20.0
    assert (n_workers("particle"), n_workers("filament"), n_workers("auto")) == (6, 1, 1)


def test_points_say_what_they_are_taken_for(folder):
    (first, *_) = read_project(folder / "project.toml").jobs
    assert describe_points(first).startswith("3 points (er: membrane, mt: filament, ribosome: particle) in")
