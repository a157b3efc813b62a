"""From clicks to structures and to the full map, with finders that answer at once."""

from types import SimpleNamespace

import numpy as np
import pytest

from cryosam import structure_search
from cryosam.config import Config
from cryosam.errors import PromptError, VoxelSizeError
from cryosam.full_map import FullMap
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.scene import RunOptions
from cryosam.structure_results import StructureResult
from cryosam.structure_search import find_map, find_structures, take_for
from cryosam.tomogram import Tomogram
from stand_in_structures import SHAPE, SIZE, StandIn, box_mask, filament, lumen, membrane

CHOSEN = structure_search._finder

CLICK = np.array([[6.0, 5.0, 5.0]])
FOUND = {
    "membrane": (membrane(6, 0.8), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Stand-ins for the finders and the guess; what they were given."""
    given = SimpleNamespace(guess=SimpleNamespace(structure="membrane", confidence=0.95, text="a sheet"), points=[])

    def guess(tomogram, point, chance):
        given.points.append(point)
        return given.guess

    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: StandIn(FOUND[structure]))
    monkeypatch.setattr(structure_search, "chance_in", lambda tomogram: None)
    monkeypatch.setattr(structure_search, "guess_structure", guess)
    return given


@pytest.fixture
def tomogram():
    return Tomogram(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), SIZE, "TS_01")


def result(structure, kind=None):
    return StructureResult(SHAPE, structure, FOUND[structure], CLICK, SIZE, kind=kind or structure)


def particles(point, mask, score=0.85, kind="particle"):
    return Segmentation(SHAPE, np.array([point], float), np.array([score]), (mask,), kind=kind)


def test_the_instances_come_with_the_tomogram_and_how_it_was_opened(tomogram):
    config = Config().override(tomogram__contrast="bright", tomogram__tilt_range=(-50.0, 40.0))
    found = find_structures(tomogram, PointPrompts(CLICK), "membrane", config)
    assert (found.shape, found.structure, found.name, found.kind) == (SHAPE, "membrane", "TS_01", "membrane")
    assert found.scores.tolist() == [0.8, 0.4]
    assert (found.report.contrast, found.report.lowest_tilt, found.report.highest_tilt) == ("bright", -50.0, 40.0)
    assert "membrane" in found.report.seconds


def test_settings_masks_and_negative_clicks_leave_instances_out(tomogram):
    clicks = PointPrompts(CLICK)
    lower = np.zeros(SHAPE, dtype=bool)
    lower[:12] = True
    few = Config().override(matching__threshold=0.5)
    against = PointPrompts(np.array([[6.0, 5, 5], [20.0, 5, 5]]), np.array([True, False]))
    for found in (
        find_structures(tomogram, clicks, "membrane", few),
        find_structures(tomogram, clicks, "membrane", Config().override(matching__max_particles=1)),
        find_structures(tomogram, clicks, "membrane", options=RunOptions(search_mask=lower)),
        find_structures(tomogram, against, "membrane"),
        find_structures(tomogram, clicks, "membrane", is_search=False),
    ):
        assert found.scores.tolist() == [0.8]


def test_only_the_instance_under_each_click_is_kept(tomogram):
    found = find_structures(tomogram, PointPrompts(np.array([[12.0, 27.0, 9.0]])), "filament", is_search=False)
    assert found.scores.tolist() == [0.6]


def test_a_guess_is_followed_if_it_is_confident(tomogram, seen):
    assert find_structures(tomogram, PointPrompts(CLICK)).structure == "membrane"
    seen.guess.confidence = 0.4
    taken = take_for(tomogram, PointPrompts(CLICK))
    assert (taken.structure, taken.guess) == ("particle", "membrane")
    with pytest.raises(PromptError, match=r"not clearly.*; particles are found by cryosam\.segment"):
        find_structures(tomogram, PointPrompts(CLICK))


def test_without_a_voxel_size_nothing_is_guessed_or_found(tomogram, seen):
    unknown = Tomogram(tomogram.data)
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        take_for(unknown, PointPrompts(CLICK))
    assert not seen.points
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        find_structures(unknown, PointPrompts(CLICK), "membrane")


def test_errors_name_the_kind(tomogram):
    bad = PointPrompts(np.array([[20.0, 5.0, 5.0]]), name="er")
    with pytest.raises(PromptError, match=r"^er: nothing like a structure"):
        find_map(tomogram, [bad], {"er": "membrane"})
    with pytest.raises(PromptError, match=r"cryosam\.segment"):
        find_map(tomogram, [PointPrompts(CLICK)], {})


def test_progress_is_that_of_the_kind_and_never_falls(tomogram, monkeypatch):
    class Staged(StandIn):
        def find(self, tomogram, clicks, progress=None):
            for stage in ("ridges", "sheets", "masks"):
                for done in range(3):
                    progress(stage, done, 2)
            return self.found

    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: Staged(FOUND[structure]))
    seen = []
    options = RunOptions(progress=lambda *report: seen.append(report))
    find_structures(tomogram, PointPrompts(CLICK, name="er"), "membrane", options=options)
    assert {stage for stage, _, _ in seen} == {"er"}
    shares = [done / total for _, done, total in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[2], shares[-1]) == (0, 0.5, 0.875)


def test_particles_in_a_full_map_are_those_of_a_search_for_them(tomogram, monkeypatch):
    asked = []

    def segment(tomogram, prompts, config, options):
        asked.append(prompts.name)
        return particles((12, 20, 5), box_mask((10, 18, 3), (15, 23, 8)), kind=prompts.name)

    monkeypatch.setattr(structure_search, "segment", segment)
    stages = []
    options = RunOptions(progress=lambda stage, done, total: stages.append(stage))
    kinds = [PointPrompts(CLICK, name="ribosome"), PointPrompts(CLICK, name="tube"), PointPrompts(CLICK, name="er")]
    found = find_map(tomogram, kinds, {"tube": "filament", "er": "membrane"}, options=options)
    assert asked == ["ribosome"]
    assert stages == ["tube", "er"]
    assert [(each.label, each.kind, each.structure, each.n_instances) for each in found.legend()] == [
        (1, "ribosome", "particle", 1),
        (2, "tube", "filament", 2),
        (3, "er", "membrane", 2),
    ]


def test_a_voxel_belongs_to_the_better_score_and_a_lumen_never_overwrites():
    everything = FullMap(
        ("cell", "er", "tube", "ribosome"),
        (result("compartment", "cell"), result("membrane", "er"), result("filament", "tube")),
        particles((12, 20, 10), box_mask((10, 18, 8), (15, 23, 13)), 0.85, "ribosome"),
    )
    semantic = everything.semantic()
    assert semantic[12, 20, 10] == 3  # filament 0.9 against particle 0.85
    assert semantic[14, 22, 10] == 4  # the particle against the lumen
    assert semantic[6, 12, 10] == 2  # the membrane against the lumen, in which it lies
    assert semantic[9, 12, 10] == 1
    assert semantic[9, 2, 10] == 0


def test_of_equal_scores_the_particle_comes_first():
    ball = box_mask((5, 5, 5), (8, 8, 8))
    tie = StructureResult(SHAPE, "membrane", (membrane(6, 0.8),), CLICK, SIZE, kind="er")
    for order in (("er", "p"), ("p", "er")):
        found = FullMap(order, (tie,), particles((6, 6, 6), ball, 0.8, "p"))
        assert found.semantic()[6, 6, 6] == order.index("p") + 1


def test_particles_know_the_membrane_and_the_compartment_they_are_at():
    everything = FullMap(
        ("er", "cell", "p"),
        (result("membrane", "er"), result("compartment", "cell")),
        particles((11, 12, 9), box_mask((10, 11, 8), (13, 14, 11)), kind="p"),
    )
    relations = everything.relations()
    assert relations.distance_angstrom.tolist() == [50.0]  # five voxels above the sheet at z 6
    assert relations.membrane.tolist() == [0]
    assert relations.compartment.tolist() == [0]
    without = FullMap(("tube", "p"), (result("filament", "tube"),), everything.particles).relations()
    assert np.isnan(without.distance_angstrom).all()
    assert without.compartment.tolist() == [-1]


def test_a_finder_has_the_settings_of_its_section() -> None:
    config = Config().override(filament__n_directions=80, membrane__ridges__share=0.1, compartment__patience=3)
    filament, membrane, compartment = (
        CHOSEN(structure, config) for structure in ("filament", "membrane", "compartment")
    )
    assert (filament.settings, membrane.settings) == (config.filament, config.membrane)
    assert compartment.settings == config.compartment
