"""Structures on the command line, with finders and a search for particles that answer at once."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from cryosam import segmentation, structure_search
from cryosam.cli import main, structures
from cryosam.full_map import FullMap
from cryosam.io import read_volume, write_volume
from cryosam.results import Segmentation
from cryosam.run_report import RunReport
from cryosam.structure_results import StructureResult
from stand_in_structures import SHAPE, SIZE, StandIn, box_mask, filament, lumen, membrane

FOUND = {
    "membrane": (membrane(6, 0.8), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}


@pytest.fixture
def tomo(tmp_path):
    write_volume(tmp_path / "tomo.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), SIZE)
    return tmp_path / "tomo.mrc"


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """What was searched for, and the guess from a click."""
    given = SimpleNamespace(
        guess=SimpleNamespace(structure="membrane", confidence=0.95, text="a sheet"),
        expected_false=0.1,
        particles=[],
        structures=[],
    )

    def segment(tomogram, prompts, config, options):
        given.particles.append(prompts.name)
        mask = box_mask((10, 11, 8), (13, 14, 11))
        size = tomogram.voxel_size_angstrom
        return Segmentation(
            SHAPE,
            np.array([[11.0, 12, 9]]),
            np.array([0.95]),
            (mask,),
            voxel_size_angstrom=size,
            kind=prompts.name,
            report=RunReport(expected_false=given.expected_false),
        )

    def finder(structure, config):
        given.structures.append(structure)
        return StandIn(FOUND[structure])

    for name in ("segment", "segment_prompts"):
        monkeypatch.setattr(segmentation, name, segment)
    monkeypatch.setattr(structure_search, "segment", segment)
    monkeypatch.setattr(structure_search, "_finder", finder)
    monkeypatch.setattr(structure_search, "chance_in", lambda tomogram: None)
    monkeypatch.setattr(structure_search, "guess_structure", lambda tomogram, point, chance: given.guess)
    return given


def run(command, *words):
    return CliRunner().invoke(main, [command, *map(str, words)])


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_structure_is_searched_for_and_said_how_often_it_was_found(tomo, tmp_path, seen):
    done = run("segment", tomo, "--structure", "membrane", "--point", "6,5,5", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 membranes\n")
    assert "a sheet" not in done.stderr
    assert (seen.structures, seen.particles) == (["membrane"], [])
    assert {"instances.mrc", "semantic.mrc", "labels.csv", "run.json", "report.html"} <= names(tmp_path / "out")
    run_json = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run_json["labels"] == [{"label": 1, "kind": "membrane", "structure": "membrane", "n_instances": 2}]


def test_the_clicked_filament_is_straightened_in_the_folder(tomo, tmp_path, seen):
    words = ("segment", tomo, "--structure", "filament", "--point")
    assert run(*words, "12,26,9", "--out", tmp_path / "out").exit_code == 0
    (described,) = json.loads((tmp_path / "out" / "run.json").read_text())["structures"]
    assert described["straightened"]["filament"] == 2, "the one that was clicked, not the best"
    assert read_volume(tmp_path / "out" / "straightened.mrc").shape[0] == 38, "one section for each voxel along it"
    assert run(*words, "12,5,9", "--out", tmp_path / "far").exit_code == 0
    assert "straightened.mrc" not in names(tmp_path / "far"), "none is within reach of the click"


def test_each_kind_has_a_structure_of_its_own(tomo, tmp_path, seen):
    kinds = ("--kind", "er", "--structure", "membrane", "--point", "6,5,5", "--kind", "mt", "--structure=filament")
    more = ("--point", "12,20,9", "--kind", "ribosome", "--structure", "particle", "--point", "11,12,9")
    done = run("segment", tomo, *kinds, *more, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:3] == ["er: 2 membranes", "mt: 2 filaments", "ribosome: 1 particle"]
    assert (seen.structures, seen.particles) == (["membrane", "filament"], ["ribosome"])
    assert {"instances-er.mrc", "instances-mt.mrc", "particles.csv", "relations.csv"} <= names(tmp_path / "out")


def test_a_structure_before_the_kinds_is_that_of_all_kinds_without_their_own(tomo, tmp_path, seen):
    kinds = ("--kind", "a", "--point", "6,5,5", "--kind", "b", "--structure", "compartment", "--point", "9,12,9")
    done = run("segment", tomo, "--structure", "filament", *kinds, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert seen.structures == ["filament", "compartment"]


def test_mask_keeps_what_was_clicked(tomo, tmp_path, seen):
    done = run("mask", tomo, "--structure", "filament", "--point", "12,20,9", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 filament\n")
    assert run("mask", tomo, "--point", "11,12,9", "--structure", "particle", "--out", tmp_path / "p").exit_code == 0
    assert seen.particles == ["particle"]


def test_a_guess_is_said_with_the_way_to_say_otherwise(tomo, tmp_path, seen):
    words = ("segment", tomo, "--structure", "auto", "--point", "6,5,5", "--out")
    done = run(*words, tmp_path / "sure")
    assert (seen.structures, seen.particles) == (["membrane"], [])
    assert "the click: a sheet" in done.stderr
    seen.guess.confidence = 0.3
    done = run(*words, tmp_path / "unsure")
    assert seen.particles == ["particle"]
    assert "the click: looks like a membrane, but not clearly, so particles are searched for" in done.stderr
    seen.guess.structure, seen.guess.text = "particle", "a blob"
    assert "the click: a blob" in run(*words, tmp_path / "particle").stderr


def test_without_a_voxel_size_a_guess_is_refused_and_particles_are_found(tmp_path, seen):
    write_volume(tmp_path / "tomo.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), None)
    words = ("segment", tmp_path / "tomo.mrc", "--point", "6,5,5", "--out")
    refused = run(*words, tmp_path / "auto", "--structure", "auto")
    assert (refused.exit_code, "--voxel-size" in refused.stderr) == (2, True)
    seen.expected_false = 1.0
    done = run(*words, tmp_path / "plain")
    assert (done.exit_code, "looks like" in done.stderr) == (0, False)


def test_a_search_for_particles_that_found_little_says_what_else_the_click_may_be_on(tomo, tmp_path, seen):
    words = ("segment", tomo, "--point", "11,12,9", "--out")
    assert "looks like" not in run(*words, tmp_path / "fine").stderr
    seen.expected_false = 0.6
    done = run(*words, tmp_path / "doubtful")
    assert "the click looks like a membrane; to find those instead: --structure membrane" in done.stderr
    assert "looks like" not in run(*words, tmp_path / "asked", "--structure", "particle").stderr
    seen.guess.confidence = 0.3
    assert "looks like" not in run(*words, tmp_path / "unsure").stderr


def test_a_run_with_particles_alone_writes_what_it_always_did(tomo, tmp_path, seen):
    plain = run("segment", tomo, "--structure", "particle", "--point", "11,12,9", "--out", tmp_path / "out")
    assert plain.exit_code == 0, plain.output
    assert not names(tmp_path / "out") & {"labels.csv", "relations.csv", "particles.html"}
    assert not seen.structures


def test_what_cannot_be_is_refused(tomo, tmp_path, seen):
    nothing = run("segment", tomo, "--structure", "membrane", "--point", "20,5,5", "--out", tmp_path / "out")
    assert nothing.exit_code != 0
    assert "nothing like a structure is at" in nothing.stderr
    assert not (tmp_path / "out").exists()
    trials = ("--structure", "membrane", "--point", "6,5,5", "--trials", "2", "--out", tmp_path / "out")
    assert "--trials" in run("segment", tomo, *trials).stderr
    export = ("--structure", "filament", "--point", "12,20,9", "--export", "warp", "--out", tmp_path / "out")
    assert "--spacing" in run("segment", tomo, *export).stderr
    assert run("segment", tomo, *export, "--spacing", 82).exit_code == 0
    assert {"filaments.star", "filaments-warp.star"} <= names(tmp_path / "out")


def test_what_would_have_no_effect_is_said_or_refused(tomo, tmp_path, seen):
    words = ("segment", tomo, "--structure", "membrane", "--point", "6,5,5", "--out")
    assert "--edge-margin has no effect" in run(*words, tmp_path / "margin", "--edge-margin", "5").stderr
    twice = run(*words, tmp_path / "twice", "--structure", "filament")
    assert (twice.exit_code, "--structure was given more than once" in twice.stderr) == (2, True)
    spaced = ("segment", tomo, "--structure", "compartment", "--point", "6,12,9", "--spacing", "50")
    assert "--spacing is for points on" in run(*spaced, "--out", tmp_path / "spaced").stderr
    others = ("--kind", "er", "--structure", "membrane", "--point", "6,5,5", "--spacing", "50", "--kind", "ribosome")
    idle = run("segment", tomo, *others, "--point", "11,12,9", "--spacing", "50", "--out", tmp_path / "idle")
    assert (idle.exit_code, "no effect on kind ribosome, which is a particle" in idle.stderr) == (2, True)
    kinds = ("--kind", "a", "--structure", "membrane", "--point", "6,5,5", "--kind", "a", "--structure", "filament")
    assert "more than once for kind a" in run("segment", tomo, *kinds, "--out", tmp_path / "two").stderr


def test_a_spacing_belongs_to_its_kind():
    both = [
        StructureResult(SHAPE, "filament", FOUND["filament"], np.zeros((1, 3)), SIZE, kind=kind)
        for kind in ("mt", "actin")
    ]
    found = FullMap(("mt", "actin"), tuple(both))
    assert structures.spacings_of({"spacings": {"mt": 82.0}}, found) == {"mt": 82.0}
    assert structures.spacings_of({"spacings": {None: 50.0, "mt": 82.0}}, found) == {"mt": 82.0, "actin": 50.0}
