"""Queries for structures: their files, searching with them, and what contradicts them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from cryosam import segmentation, structure_search
from cryosam.cli import main
from cryosam.errors import PromptError, QueryError
from cryosam.io import write_volume
from cryosam.io.queries import read_queries, write_queries
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.structure_search import find_map, find_structures, make_structure_query
from cryosam.tomogram import Tomogram
from stand_in_structures import KINDS, SHAPE, SIZE, StandIn, box_mask, filament, lumen, membrane, structure_query
from stand_ins import query

FOUND = {
    "membrane": (membrane(6, 0.8), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}
GOOD, BAD = np.array([[6.0, 5.0, 5.0]]), np.array([[20.0, 5.0, 5.0]])


@pytest.fixture(autouse=True)
def particles(monkeypatch):
    """Stand-ins for the searches, and whether that for particles refuses."""
    given = SimpleNamespace(refuses=False)

    def segment(tomogram, prompts, config, options):
        if given.refuses:
            raise PromptError("the diameter is far off")
        mask = box_mask((10, 11, 8), (13, 14, 11))
        return Segmentation(
            SHAPE, np.array([[11.0, 12, 9]]), np.array([0.95]), (mask,), voxel_size_angstrom=SIZE, kind=prompts.name
        )

    monkeypatch.setattr(segmentation, "segment", segment)
    monkeypatch.setattr(structure_search, "segment", segment)
    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: StandIn(FOUND[structure]))
    return given


def tomogram(name="TS_02"):
    return Tomogram(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), SIZE, name)


@pytest.fixture
def tomo(tmp_path):
    write_volume(tmp_path / "tomo.mrc", tomogram().data, SIZE)
    return tmp_path / "tomo.mrc"


def run(command, *words):
    return CliRunner().invoke(main, [command, *map(str, words)])


def clicks(name, points=GOOD):
    return PointPrompts(points, name=name)


def test_what_is_written_is_read(tmp_path):
    written = [structure_query(), query(), structure_query("filament", "mt"), structure_query("compartment")]
    write_queries(tmp_path / "q.npz", written)
    again = read_queries(tmp_path / "q.npz")
    assert [each.name for each in again] == ["membrane", "ribosome", "mt", "compartment"]
    assert [each.digest() for each in again] == [each.digest() for each in written]
    np.testing.assert_array_equal(again[0].kind.profiles, KINDS["membrane"].profiles)
    assert (again[2].structure, again[2].kind.step_angstrom, again[2].n_instances) == ("filament", 20.0, 2)


def test_a_file_for_particles_alone_is_what_it_always_was(tmp_path):
    write_queries(tmp_path / "q.npz", [query()])
    with np.load(tmp_path / "q.npz") as arrays:
        assert json.loads(arrays["description"].tobytes())["format"] == 2


def test_queries_differ_by_what_they_hold():
    assert structure_query().digest() != structure_query("filament", "membrane").digest()
    assert structure_query().digest() != structure_query(contrast="bright").digest()
    assert structure_query().digest() == structure_query(source="TS_03").digest()


@pytest.mark.parametrize(
    ("key", "value"),
    [("0.profiles", None), ("0.profiles", np.zeros(3)), ("0.least_likeness", np.zeros(2)), ("0.profiles", np.zeros(0))],
)
def test_damage_is_told_in_one_line(tmp_path, key, value):
    write_queries(tmp_path / "q.npz", [structure_query()])
    with np.load(tmp_path / "q.npz") as arrays:
        content = {name: arrays[name] for name in arrays.files if name != key}
    np.savez(tmp_path / "q.npz", **(content if value is None else content | {key: value}))
    with pytest.raises(QueryError) as refused:
        read_queries(tmp_path / "q.npz")
    assert "\n" not in str(refused.value)


def test_lengths_are_positive():
    with pytest.raises(QueryError, match="not positive"):
        structure_query(voxel_size_angstrom=0.0)


def test_a_query_is_made_at_the_click_and_finds_elsewhere():
    made, here = make_structure_query(tomogram("TS_01"), clicks("er"), "membrane")
    assert (made.name, made.structure, made.n_instances, made.source) == ("er", "membrane", 2, "TS_01")
    assert (here.kind, here.prompts.tolist()) == ("er", GOOD.tolist())
    found = find_structures(tomogram(), made)
    assert (found.kind, found.structure, len(found.prompts)) == ("er", "membrane", 0)
    assert found.scores.tolist() == [0.8, 0.4]
    assert find_structures(tomogram("empty"), made).instances == ()
    with pytest.raises(QueryError, match="finds membranes"):
        find_structures(tomogram(), made, "filament")
    with pytest.raises(QueryError, match="nothing to save"):
        make_structure_query(tomogram("empty"), clicks("er"), "membrane")


def test_the_contrast_of_a_query_is_that_of_its_tomogram():
    for contrast in ("dark", "bright"):
        assert find_structures(tomogram(), structure_query(contrast=contrast)).report.contrast == contrast


def test_progress_never_falls_while_a_query_is_made():
    seen = []
    options = segmentation.RunOptions(progress=lambda *report: seen.append(report))
    make_structure_query(tomogram(), clicks("er"), "membrane", options=options)
    shares = [done / total for _, done, total in seen]
    assert shares == sorted(shares)


def test_a_kind_with_a_bad_click_does_not_take_the_others_with_it():
    found = find_map(tomogram(), [clicks("er", BAD), clicks("tube")], {"er": "membrane", "tube": "filament"})
    assert [(each.kind, each.n_instances) for each in found.legend()] == [("er", 0), ("tube", 2)]
    assert [warning for warning in found.warnings if "nothing like a structure" in warning]
    assert found.structures[0].report.warnings[-1].code == "nothing_at_click"


def test_particles_that_cannot_be_searched_for_do_not_take_structures_with_them(particles):
    particles.refuses = True
    found = find_map(tomogram(), [clicks("ribosome"), clicks("er")], {"er": "membrane"})
    assert [(each.kind, each.n_instances) for each in found.legend()] == [("ribosome", 0), ("er", 2)]
    assert any("diameter is far off" in warning for warning in found.warnings)
    several = find_map(tomogram(), [clicks("a"), clicks("b"), clicks("er")], {"er": "membrane"})
    assert [each.n_instances for each in several.legend()] == [0, 0, 2]


def test_where_nothing_was_found_a_bad_click_is_an_error():
    with pytest.raises(PromptError, match=r"^er: nothing like a structure"):
        find_map(tomogram("empty"), [clicks("er", BAD), structure_query("filament")], {"er": "membrane"})


def test_a_partial_result_is_written_with_a_warning(tomo, tmp_path):
    kinds = ("--kind", "er", "--structure", "membrane", "--point", "20,5,5")
    more = ("--kind", "mt", "--structure", "filament", "--point", "12,20,9", "--kind", "ribosome", "--point", "11,12,9")
    done = run("segment", tomo, *kinds, *more, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "warning: er: nothing like a structure is at 20,5,5" in done.stderr
    assert done.stdout.splitlines()[:3] == ["er: 0 membranes", "mt: 2 filaments", "ribosome: 1 particle"]
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "nothing_at_click" in told["warning_codes"]
    assert any("er: nothing like" in warning for warning in told["warnings"])
    assert (tmp_path / "out" / "filaments.csv").is_file()


def test_query_and_segment_on_the_command_line(tomo, tmp_path):
    file = tmp_path / "q.npz"
    kinds = ("--kind", "er", "--structure", "membrane", "--point", "6,5,5")
    made = run("query", tomo, *kinds, "--kind", "cell", "--structure", "compartment", "--point", "9,9,9", "--out", file)
    assert made.exit_code == 0, made.output
    assert "er: the query finds 2 membranes here" in made.stdout
    done = run("segment", tomo, "--query", file, "--spacing", 50, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == ["er: 2 membranes", "cell: 1 compartment"]
    assert {"membranes.csv", "membranes.star"} <= {path.name for path in (tmp_path / "out").iterdir()}
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [(each["kind"], each["structure"], each["n_instances"]) for each in told["queries"]] == [
        ("er", "membrane", 2),
        ("cell", "compartment", 1),
    ]
    assert "Through the best membrane of kind er" in (tmp_path / "out" / "report.html").read_text()
    mixed = ("--query", file, "--kind", "mt", "--structure", "filament", "--point", "12,20,9", "--kind", "er")
    done = run("segment", tomo, *mixed, "--spacing", 60, "--out", tmp_path / "mixed")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "mixed").iterdir()}
    assert "membranes.star" in names
    assert "filaments.star" not in names


def test_a_kind_named_particle_may_be_a_membrane(tomo, tmp_path):
    words = ("--kind", "particle", "--structure", "membrane", "--point", "6,5,5", "--out", tmp_path / "q.npz")
    assert run("query", tomo, *words).exit_code == 0
    assert [each.name for each in read_queries(tmp_path / "q.npz")] == ["membrane"]


def test_a_query_keeps_no_negative_clicks():
    prompts = PointPrompts(np.concatenate([GOOD, BAD]), np.array([True, False]), name="er")
    with pytest.raises(PromptError, match="no negative clicks"):
        make_structure_query(tomogram(), prompts, "membrane")


def test_what_contradicts_a_query_is_refused(tomo, tmp_path):
    write_queries(tmp_path / "er.npz", [structure_query(name="er")])
    write_queries(tmp_path / "p.npz", [query()])
    words = ("segment", tomo, "--out", tmp_path / "out", "--query")
    wrong = run(*words, tmp_path / "er.npz", "--structure", "filament")
    assert (wrong.exit_code, "not what query 'er' finds, which is membranes" in wrong.stderr) == (2, True)
    assert run(*words, tmp_path / "er.npz", "--structure", "auto").exit_code == 2
    odd = run(*words, tmp_path / "p.npz", "--structure", "membrane")
    assert (odd.exit_code, "which is particles" in odd.stderr) == (2, True)
    assert run(*words, tmp_path / "er.npz", "--structure", "membrane").exit_code == 0
    words = ("segment", tomo, "--out", tmp_path / "more", "--query")
    negative = run(*words, tmp_path / "er.npz", "--kind", "er", "--negative", "6,5,5")
    assert (negative.exit_code, "--negative has no effect on kind er" in negative.stderr) == (2, True)
    unknown = run(*words, tmp_path / "er.npz", "--kind", "mt", "--spacing", "50")
    assert (unknown.exit_code, "kind mt has no point" in unknown.stderr) == (2, True)
    pick = run("pick", tomo, "--query", tmp_path / "er.npz", "--out", tmp_path / "pick")
    assert (pick.exit_code, "use cryosam segment" in pick.stderr) == (2, True)
    bad = run("query", tomo, "--structure", "membrane", "--point", "20,5,5", "--out", tmp_path / "bad.npz")
    assert (bad.exit_code, (tmp_path / "bad.npz").exists()) == (2, False)
