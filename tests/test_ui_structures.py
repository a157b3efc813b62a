"""Membranes, filaments and compartments in a session and on the server, with finders that answer at once."""

import json
import logging
import struct
import threading
import time
import zipfile
from functools import partial
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from cryosam import segmentation, structure_scene, structure_search
from cryosam.errors import InputError, PromptError, VoxelSizeError
from cryosam.io import read_volume, write_volume
from cryosam.io.surfaces import surface_of, tube
from cryosam.masks import InstanceMask
from cryosam.results import Segmentation
from cryosam.structure_results import StructureResult
from cryosam.structures.guess import Guess
from cryosam.ui import guessing
from cryosam.ui.array_folder import ArrayFolder
from cryosam.ui.description import describe_candidates
from cryosam.ui.earlier import add_results
from cryosam.ui.exchange import write_all, write_tables
from cryosam.ui.item_arrays import arrays_of_instance, instance_of
from cryosam.ui.opening import open_searched
from cryosam.ui.server import make_app
from cryosam.ui.session import Session
from cryosam.ui.shapes import outlines
from cryosam.ui.state import Candidate, View
from cryosam.ui.storage import Store
from cryosam.ui.structures import centre_of, search_steps, with_structures
from cryosam.ui.viewed import Gallery, ViewedTomogram
from stand_in_structures import SHAPE, SIZE, StandIn, box_mask, filament, lumen, membrane

HOST, TOKEN = "127.0.0.1:8765", "not-a-secret"
CLICK = (6.0, 5.0, 5.0)
INFERRED = box_mask((9, 0, 0), (11, 4, 4))
FOUND = {
    "membrane": (membrane(6, 0.8, INFERRED), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Stand-ins for the finders and for the search for particles; what was searched for."""
    given = SimpleNamespace(found=dict(FOUND), searched=[], masked=[])

    def finder(structure, config):
        given.searched.append(structure)
        return StandIn(given.found[structure])

    def segment(tomogram, prompts, config, options=None):
        given.searched.append("particle")
        mask = box_mask((10, 11, 8), (13, 14, 11))
        point, score = np.array([[11.0, 12.0, 9.0]]), np.array([0.9])
        return Segmentation(
            SHAPE,
            point,
            score,
            (mask,),
            candidate_points=point,
            candidate_scores=score,
            candidate_masks=(mask,),
            prompt_masks=(mask,) * len(prompts.positive),
            voxel_size_angstrom=SIZE,
            kind=prompts.name,
        )

    def window(tomogram, box, limits, prompts, config):
        given.masked.append(prompts.points.tolist())
        return segment(tomogram, prompts, config)

    monkeypatch.setattr(structure_search, "_finder", finder)
    monkeypatch.setattr(segmentation, "segment", segment)
    monkeypatch.setattr(segmentation, "segment_window", window)
    return given


@pytest.fixture
def file(tmp_path):
    write_volume(tmp_path / "tomo.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), SIZE)
    return tmp_path / "tomo.mrc"


@pytest.fixture
def session(file):
    session = Session(Gallery([ViewedTomogram(file)]))
    yield session
    session.close()


def wait(session):
    """Until the search has ended; its error, if any."""
    deadline = time.monotonic() + 60
    while session.describe()["job"] is not None:
        assert time.monotonic() < deadline, "the search does not end"
        time.sleep(0.01)


def find(session, kind, error=None):
    """Search for one kind, and expect this error."""
    said = []
    stop = session.subscribe(lambda event, content: said.append(content["error"]) if event == "done" else None)
    session.find(0, [kind])
    wait(session)
    stop()
    assert said == [error]


def searched(session, structure="membrane", point=CLICK):
    """A kind of a structure with one click, and what was found of it."""
    kind = session.add_kind(structure, "#4cc9f0")
    session.change_kind(kind, structure=structure)
    session.add_click(0, kind, point)
    find(session, kind)
    return kind


# -------------------------------------------------------------------------------------------------------- clicks, kinds


def test_a_kind_is_one_of_particles_until_that_is_changed_and_undo_restores_it(session):
    kind = session.add_kind("thing", "#4cc9f0")
    assert session.describe()["kinds"][0]["structure"] == "particle"
    session.change_kind(kind, structure="membrane")
    assert session.describe()["kinds"][0] == {
        "id": kind,
        "name": "thing",
        "colour": "#4cc9f0",
        "structure": "membrane",
    }
    session.undo()
    assert session.state.kind(kind).structure == "particle"


def test_a_click_on_a_particle_has_a_mask_and_one_on_a_membrane_has_none(session, seen):
    particle, sheet = session.add_kind("particle", "#4cc9f0"), session.add_kind("sheet", "#ff0000")
    session.change_kind(sheet, structure="membrane")
    session.add_click(0, particle, CLICK)
    session.add_click(0, sheet, CLICK)
    assert seen.masked == [[list(CLICK)]]
    assert session.state.view(0, particle).clicks[0].mask.n_voxels
    (click,) = session.state.view(0, sheet).clicks
    assert (click.mask.n_voxels, click.message) == (0, None)
    with pytest.raises(PromptError):
        session.add_click(0, sheet, (6.0, 5.0, 99.0))


def test_particles_are_searched_for_as_before(session, seen):
    kind = session.add_kind("particle", "#4cc9f0")
    session.add_click(0, kind, CLICK)
    find(session, kind)
    assert seen.searched[-1] == "particle"
    assert session.state.view(0, kind).searched_as == "particle"
    assert all(candidate.instance is None for candidate in session.state.view(0, kind).candidates)


# -------------------------------------------------------------------------------------------------------------- finding


@pytest.mark.parametrize("structure", ["membrane", "filament", "compartment"])
def test_a_search_finds_instances_with_scores_measures_and_a_place_on_them(session, structure):
    kind = searched(session, structure)
    view = session.state.view(0, kind)
    assert [candidate.score for candidate in view.candidates] == [each.score for each in FOUND[structure]]
    assert len(view.shown) == len(FOUND[structure])
    for candidate in view.candidates:
        assert candidate.mask.holds(np.array(candidate.point))
    plain = describe_candidates(session.state, 0)[str(kind)][0]
    assert plain["measures"]["structure"] == structure
    json.dumps(plain, allow_nan=False)


def test_measures_are_in_angstrom_and_none_where_there_is_no_measure(session):
    kind = searched(session)
    first = describe_candidates(session.state, 0)[str(kind)][0]
    assert first["measures"] == {
        "structure": "membrane",
        "area": SHAPE[1] * SHAPE[2] * SIZE**2,
        "thickness": 30.0,
        "volume": None,
        "is_closed": False,
    }


def test_a_search_can_be_undone_and_redone(session):
    kind = searched(session)
    session.undo()
    assert session.state.view(0, kind).candidates == ()
    session.redo()
    assert len(session.state.view(0, kind).candidates) == 2


def test_where_nothing_like_it_is_the_search_says_so(session):
    kind = session.add_kind("sheet", "#4cc9f0")
    session.change_kind(kind, structure="membrane")
    session.add_click(0, kind, (20.0, 5.0, 5.0))
    find(session, kind, "nothing like a structure is at 20,5,5: click on one")
    assert session.state.view(0, kind).searched is None


def test_a_cancelled_search_changes_nothing(session, monkeypatch):
    asked, going = threading.Event(), threading.Event()

    class Slow:
        def find(self, tomogram, clicks, progress=None):
            asked.set()
            going.wait(30)
            progress("ridges", 1, 3)
            return FOUND["membrane"]

    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: Slow())
    kind = session.add_kind("sheet", "#4cc9f0")
    session.change_kind(kind, structure="membrane")
    session.add_click(0, kind, CLICK)
    job = session.find(0, [kind])
    assert asked.wait(30)
    assert session.describe()["job"]["step"] == "finding membranes"
    session.cancel(job)
    going.set()
    session.find(0, [kind])  # it waits for the thread of the first one
    wait(session)
    assert session.revision == 5  # 1 at the start, then a kind, its structure, a click, one search


def test_particles_and_structures_are_found_in_one_search(session, seen):
    kinds = {each: session.add_kind(each, "#4cc9f0") for each in ("filament", "particle", "membrane")}
    for name, kind in kinds.items():
        session.change_kind(kind, structure=name)
        session.add_click(0, kind, CLICK)
    seen.searched.clear()
    session.find(0)
    wait(session)
    assert seen.searched == ["particle", "filament", "membrane"]
    found = {name: session.state.view(0, kind) for name, kind in kinds.items()}
    assert {name: view.searched_as for name, view in found.items()} == {name: name for name in kinds}
    assert [len(view.candidates) for view in found.values()] == [2, 1, 2]


def test_a_kind_of_which_nothing_is_found_does_not_take_the_others_with_it(session):
    sheet, line = session.add_kind("sheet", "#4cc9f0"), session.add_kind("line", "#ff0000")
    session.change_kind(sheet, structure="membrane")
    session.change_kind(line, structure="filament")
    session.add_click(0, sheet, (20.0, 5.0, 5.0))
    session.add_click(0, line, CLICK)
    said = []
    session.subscribe(lambda event, content: said.append(content["error"]) if event == "done" else None)
    session.find(0)
    wait(session)
    assert said == ["sheet: nothing like a structure is at 20,5,5: click on one"]
    assert session.state.view(0, sheet).searched is None
    assert len(session.state.view(0, line).candidates) == 2


def test_the_progress_of_several_kinds_never_falls_and_ends_at_one():
    steps = search_steps(["membrane", "particle", "filament"])
    reports = [("starting", 1, 1), ("segmenting", 1, 1), ("matching", 1, 1), ("refining", 1, 1)]
    reports += [("0", 0, 1), ("0", 1, 3), ("0", 1, 2), ("1", 1, 2), ("1", 1, 1)]
    shares = [steps.update(*report).share for report in reports]
    assert shares == sorted(shares)
    assert shares[4] == pytest.approx(1 / 3, abs=0.01)
    assert shares[-1] == pytest.approx(1)
    assert steps.now.step == "finding filaments"


def test_without_a_voxel_size_there_are_only_particles(tmp_path):
    write_volume(tmp_path / "tomo.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), None)
    session = Session(Gallery([ViewedTomogram(tmp_path / "tomo.mrc")]))
    kind = session.add_kind("sheet", "#4cc9f0")
    session.add_click(0, kind, CLICK)
    session.change_kind(kind, structure="membrane")
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        session.find(0, [kind])
    session.close()


def test_another_structure_makes_the_results_outdated(session):
    kind = searched(session)
    assert not session.describe()["views"]["0"]["kinds"][str(kind)]["stale"]
    session.change_kind(kind, structure="compartment")
    assert session.describe()["views"]["0"]["kinds"][str(kind)]["stale"]
    find(session, kind)
    view = session.state.view(0, kind)
    assert [candidate.instance for candidate in view.candidates] == list(FOUND["compartment"])


# ------------------------------------------------------------------------------------------------------------- verdicts


def test_verdicts_stay_with_what_is_found_again_and_an_accepted_one_is_kept(session, seen):
    kind = searched(session)
    first, second = session.state.view(0, kind).candidates
    session.judge(0, kind, first.id, "rejected")
    session.judge(0, kind, second.id, "accepted")
    moved, other = membrane(7, 0.7), membrane(12, 0.9)  # the first one shares two of its three layers
    seen.found["membrane"] = (other, moved)
    session.add_click(0, kind, (6.0, 9.0, 9.0))
    find(session, kind)
    verdicts = {candidate.instance: candidate.verdict for candidate in session.state.view(0, kind).candidates}
    assert verdicts == {other: None, moved: "rejected", second.instance: "accepted"}


def test_verdicts_on_another_structure_are_forgotten():
    mask = box_mask((5, 0, 0), (8, 4, 4))
    view = View(candidates=(Candidate(1, CLICK, 0.9, mask, "accepted"), Candidate(2, CLICK, 0.9, mask, "rejected")))
    found = StructureResult(SHAPE, "membrane", (), np.zeros((0, 3)), SIZE)
    assert with_structures(view, view, found, iter(range(9)).__next__).candidates == ()


def test_structures_are_not_placed_by_hand(session):
    kind = searched(session)
    candidate = session.state.view(0, kind).candidates[0]
    for act in (
        lambda: session.add_candidate(0, kind, CLICK),
        lambda: session.move_candidate(0, kind, candidate.id, CLICK),
        lambda: session.add_points(0, kind, np.array([CLICK]), are_clicks=False),
    ):
        with pytest.raises(InputError, match="only particles can be placed by hand"):
            act()
    session.add_points(0, kind, np.array([CLICK]), are_clicks=True)
    assert len(session.state.view(0, kind).clicks) == 2


def test_the_middle_of_a_hollow_compartment_is_in_it():
    data = np.ones((40, 90, 90), dtype=bool)
    data[5:-5, 5:-5, 5:-5] = False
    shell = InstanceMask((1, 2, 3), data)
    assert shell.holds(np.array(centre_of(type(lumen())(shell, 0.9, 1.0, False))))


# ------------------------------------------------------------------------------------------------------- what is drawn


def test_outlines_tell_measured_from_inferred_voxels(session):
    kind = searched(session)
    first = session.state.view(0, kind).candidates[0]
    drawn = [outline for outline in outlines(session.state, 0, "y", 2) if outline.candidate == first.id]
    assert [outline.inferred for outline in drawn] == [False, True]
    rows = [np.array(path)[:, 0] for outline in drawn for path in outline.paths]
    assert [(rows[i].min(), rows[i].max()) for i in range(2)] == [(4.5, 7.5), (8.5, 10.5)]
    assert [outline.inferred for outline in outlines(session.state, 0, "z", 6)] == [False]


def test_surfaces_are_the_mesh_a_tube_and_a_hull():
    sheet = membrane(6)
    np.testing.assert_allclose(surface_of(sheet).vertices, sheet.mesh.vertices)
    line = filament(20)
    made = surface_of(line)
    away = np.linalg.norm(made.vertices[:, :2] - [12, 20], axis=1)
    np.testing.assert_allclose(away, line.radius_angstrom / SIZE, rtol=1e-5)
    assert (made.vertices[:, 2].min(), made.vertices[:, 2].max()) == (2.0, 39.0)
    hull = surface_of(lumen()).vertices
    np.testing.assert_allclose(hull.min(axis=0), [4.5, 9.5, 3.5], atol=0.3)
    np.testing.assert_allclose(hull.max(axis=0), [15.5, 23.5, 29.5], atol=0.3)


def test_the_hull_of_a_large_compartment_is_coarse_and_in_place():
    mask = InstanceMask((10, 20, 30), np.ones((60, 300, 200), dtype=bool))
    hull = surface_of(type(lumen())(mask, 0.9, 1.0, False))
    assert len(hull.vertices) < 30_000
    np.testing.assert_allclose(hull.vertices.min(axis=0), [9.5, 19.5, 29.5], atol=2)
    np.testing.assert_allclose(hull.vertices.max(axis=0), [69.5, 319.5, 229.5], atol=2)


def test_a_tube_does_not_twist_where_its_line_bends():
    angle = np.linspace(0, np.pi, 40)
    points = 20 * np.stack([np.zeros_like(angle), np.sin(angle), np.cos(angle)], axis=1)
    tangents = np.stack([np.zeros_like(angle), np.cos(angle), -np.sin(angle)], axis=1)
    rings = tube(points, tangents, 3.0).vertices.reshape(40, -1, 3)
    np.testing.assert_allclose(np.linalg.norm(rings - points[:, None], axis=2), 3, rtol=1e-5)
    steps = np.linalg.norm(np.diff(rings, axis=0), axis=2)
    assert steps.max() < 1.2 * 23 * (angle[1] - angle[0])


# -------------------------------------------------------------------------------------------------------------- guesses


@pytest.fixture
def guesses(monkeypatch):
    """Stand-ins for the guess; how often chance was measured."""
    given = SimpleNamespace(chances=0, is_broken=False)

    def chance(opened):
        given.chances += 1
        return "chance"

    def guess(opened, point, *, chance):
        assert chance == "chance"
        if given.is_broken:
            raise RuntimeError("no guess today")
        return Guess("membrane", 0.75, "taken for a membrane; to say otherwise: --structure particle")

    monkeypatch.setattr(guessing, "chance_in", chance)
    monkeypatch.setattr(guessing, "guess_structure", guess)
    return given


def guess_of(session, click):
    """The guess at a click, once it is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        views = session.describe()["views"]["0"]["kinds"].values()
        (found,) = (each["guess"] for view in views for each in view["clicks"] if each["id"] == click)
        if found is not None:
            return found
        time.sleep(0.01)
    return None


def test_clicks_are_guessed_in_the_background_and_chance_is_measured_once(file, guesses):
    session = Session(Gallery([ViewedTomogram(file)]), guesses=True)
    told = []
    session.subscribe(lambda event, content: told.append((event, content.get("revision"))))
    kind = session.add_kind("thing", "#4cc9f0")
    first, second = session.add_click(0, kind, CLICK), session.add_click(0, kind, (9.0, 9.0, 9.0))
    guess = {"structure": "membrane", "confidence": 0.75}
    assert (guess_of(session, first), guess_of(session, second)) == (guess, guess)
    assert guesses.chances == 1
    session.undo()
    session.redo()
    assert guess_of(session, second) == guess
    assert session.state.kind(kind).structure == "particle", "a guess is offered, not followed"
    assert told.count(("session", 4)) >= 2, "the page is told of a guess although the revision is the same"
    session.close()


def test_a_click_of_a_kind_that_is_known_is_not_guessed(file, guesses):
    session = Session(Gallery([ViewedTomogram(file)]), guesses=True)
    kind = session.add_kind("sheet", "#4cc9f0")
    session.change_kind(kind, structure="membrane")
    session.add_click(0, kind, CLICK)
    known = session.add_kind("particle", "#4cc9f0")
    session.add_click(0, known, CLICK)
    assert guess_of(session, session.state.view(0, known).clicks[0].id) is not None
    assert session.describe()["views"]["0"]["kinds"][str(kind)]["clicks"][0]["guess"] is None
    session.close()


def test_a_guess_that_fails_leaves_the_session_alone(file, guesses, caplog):
    guesses.is_broken = True
    session = Session(Gallery([ViewedTomogram(file)]), guesses=True)
    kind = session.add_kind("thing", "#4cc9f0")
    session.add_click(0, kind, CLICK)
    deadline = time.monotonic() + 30
    with caplog.at_level(logging.ERROR):
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    guesses.is_broken = False
    assert guess_of(session, session.add_click(0, kind, CLICK)) is not None
    session.close()


def test_nothing_is_guessed_without_a_voxel_size_or_unless_asked_for(tmp_path, file, guesses):
    write_volume(tmp_path / "unknown.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), None)
    for session in (
        Session(Gallery([ViewedTomogram(tmp_path / "unknown.mrc")]), guesses=True),
        Session(Gallery([ViewedTomogram(file)])),
    ):
        kind = session.add_kind("thing", "#4cc9f0")
        session.add_click(0, kind, CLICK)
        time.sleep(0.1)
        assert guesses.chances == 0
        session.close()


# --------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("structure", ["membrane", "filament", "compartment"])
def test_a_session_that_is_reopened_has_the_structures(file, tmp_path, structure):
    store = Store(tmp_path / "session", [ViewedTomogram(file)])
    session = Session(Gallery([ViewedTomogram(file)]), store)
    kind = searched(session, structure)
    first = session.state.view(0, kind).candidates[0]
    session.judge(0, kind, first.id, "accepted")
    session.close()
    again = Session(Gallery([ViewedTomogram(file)]), Store(tmp_path / "session", [ViewedTomogram(file)]))
    view = again.state.view(0, kind)
    assert again.state.kind(kind).structure == view.searched_as == structure
    assert [candidate.verdict for candidate in view.candidates][:1] == ["accepted"]
    for candidate, expected in zip(view.candidates, FOUND[structure], strict=True):
        assert type(candidate.instance) is type(expected)
        for name, value in vars(expected).items():
            kept = getattr(candidate.instance, name)
            if isinstance(value, InstanceMask):
                assert kept.origin == value.origin
                np.testing.assert_array_equal(kept.data, value.data)
            elif name == "mesh":
                np.testing.assert_array_equal(kept.faces, value.faces)
                np.testing.assert_array_equal(kept.vertices, value.vertices)
            else:
                np.testing.assert_array_equal(kept, value)
        assert candidate.mask is candidate.instance.mask
    again.close()


def test_a_structure_that_cannot_be_read_is_left_out_with_a_warning(file, tmp_path, caplog):
    store = Store(tmp_path / "session", [ViewedTomogram(file)])
    session = Session(Gallery([ViewedTomogram(file)]), store)
    kind = searched(session)
    session.close()
    files = sorted((tmp_path / "session").glob("structure-*.npz"))
    assert len(files) == 2
    files[0].write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        again = Session(Gallery([ViewedTomogram(file)]), Store(tmp_path / "session", [ViewedTomogram(file)]))
    assert "find all again" in caplog.text
    assert len(again.state.view(0, kind).candidates) == 1
    again.remove_kind(kind)
    again.close()
    assert not list((tmp_path / "session").glob("structure-*.npz"))


def test_an_instance_beyond_the_tomogram_is_not_read(tmp_path, caplog):
    folder = ArrayFolder(tmp_path, "structure", arrays_of_instance)
    name = folder.write(lumen())
    assert folder.read(name, partial(instance_of, shape=SHAPE)) is not None
    assert folder.read(name, partial(instance_of, shape=(10, 10, 10))) is None
    assert "reaches beyond" in caplog.text


def test_sessions_from_before_there_were_structures_are_read(file, tmp_path):
    """Format 2, which knew only particles."""
    store = Store(tmp_path / "session", [ViewedTomogram(file)])
    session = Session(Gallery([ViewedTomogram(file)]), store)
    kind = session.add_kind("particle", "#4cc9f0")
    session.add_click(0, kind, CLICK)
    find(session, kind)
    session.close()
    with np.load(store.path) as arrays:
        parts = dict(arrays)
    content = json.loads(parts["content"].tobytes())
    content["format"] = 2
    content["kinds"] = [row[:3] for row in content["kinds"]]
    for view in content["views"]:
        del view["structures"], view["searched_as"]
    parts["content"] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    np.savez(store.path, **parts)
    again = Session(Gallery([ViewedTomogram(file)]), Store(tmp_path / "session", [ViewedTomogram(file)]))
    assert again.state.kind(kind).structure == "particle"
    assert len(again.state.view(0, kind).candidates) == 1
    again.close()


# --------------------------------------------------------------------------------------------------------------- export


def test_what_is_exported_is_the_folder_of_the_command_line(session, tmp_path):
    sheets = searched(session)
    searched(session, "filament")
    first = session.state.view(0, sheets).candidates[0]
    session.judge(0, sheets, first.id, "rejected")
    write_all(session, 0, tmp_path / "out", "cryosam serve")
    listed = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"labels.csv", "semantic.mrc", "instances-membrane.mrc", "instances-filament.mrc", "run.json"} <= listed
    assert "particles.csv" not in listed
    semantic = np.asarray(read_volume(tmp_path / "out" / "semantic.mrc"))
    assert semantic[20, 0, 0] == 1, "the membrane that is shown"
    assert semantic[6, 0, 0] == 0, "the one that was rejected"
    assert semantic[12, 20, 10] == 2
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [each["structure"] for each in run["structures"]] == ["membrane", "filament"]


def test_the_clicked_filament_is_straightened_where_it_is_exported(session, tmp_path, monkeypatch):
    made = []
    straighten = structure_scene.straighten
    monkeypatch.setattr(structure_scene, "straighten", lambda *given: made.append(given) or straighten(*given))
    searched(session, "filament", (12.0, 20.0, 9.0))
    assert not made, "nobody sees it on the page"
    write_all(session, 0, tmp_path / "out")
    assert len(made) == 1
    assert read_volume(tmp_path / "out" / "straightened.mrc").shape[0] == 38
    (described,) = json.loads((tmp_path / "out" / "run.json").read_text())["structures"]
    assert described["straightened"]["filament"] == 1


def test_particles_and_structures_are_exported_together_and_the_tables_have_the_particles(session, tmp_path):
    searched(session)
    kind = session.add_kind("ribosome", "#ff0000")
    session.add_click(0, kind, CLICK)
    find(session, kind)
    write_all(session, 0, tmp_path / "out")
    listed = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"particles.csv", "particles.star", "relations.csv", "semantic.mrc", "instances-membrane.mrc"} <= listed
    (tmp_path / "tables").mkdir()
    write_tables(session, 0, tmp_path / "tables")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"particles.csv", "particles.star"}


def test_tables_of_particles_are_refused_if_there_are_only_structures(session, tmp_path):
    searched(session)
    with pytest.raises(InputError, match="only other structures"):
        write_tables(session, 0, tmp_path)


def test_a_result_with_particles_and_structures_gives_both(session, file, tmp_path):
    searched(session)
    kind = session.add_kind("ribosome", "#ff0000")
    session.add_click(0, kind, (11.0, 12.0, 9.0))
    find(session, kind)
    write_all(session, 0, tmp_path / "out")
    other = Session(Gallery([ViewedTomogram(file)]))
    assert add_results(other, [tmp_path / "out"]) == []
    assert [(kind.name, kind.structure) for kind in other.state.kinds] == [
        ("ribosome", "particle"),
        ("membrane", "membrane"),
    ]
    views = [other.state.view(0, kind.id) for kind in other.state.kinds]
    assert [[click.point for click in view.clicks] for view in views] == [[(11.0, 12.0, 9.0)], [CLICK]]
    assert [len(view.candidates) for view in views] == [1, 2]
    other.close()


@pytest.mark.parametrize("structure", ["membrane", "filament", "compartment"])
def test_a_batch_of_structures_alone_opens_and_shows_them(session, tmp_path, structure):
    kind = searched(session, structure)
    write_all(session, 0, tmp_path / "batch" / "TS_01")
    viewed, left_out = open_searched([tmp_path / "batch"])
    other = Session(Gallery(viewed))
    assert (add_results(other, [tmp_path / "batch"]), left_out) == ([], [])
    (again,) = other.state.kinds
    assert (again.name, again.structure) == (structure, structure)
    before, after = session.state.view(0, kind), other.state.view(0, again.id)
    assert [click.point for click in after.clicks] == [CLICK]
    assert not after.is_outdated(again)
    assert [c.score for c in after.candidates] == [c.score for c in before.candidates]
    for old, new in zip(before.candidates, after.candidates, strict=True):
        assert new.mask.iou(old.mask) == 1
        assert new.instance.inferred.iou(old.instance.inferred) == float(old.instance.inferred.n_voxels > 0)
        assert outlines(other.state, 0, "z", 6) is not None
    write_all(other, 0, tmp_path / "again")
    for name in (f"{structure}s.csv", "labels.csv"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "batch" / "TS_01" / name).read_text()
    other.close()


# --------------------------------------------------------------------------------------------------------------- server


@pytest.fixture
def client(session):
    app = make_app(session, token=TOKEN, hosts=[HOST])
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get(f"/?token={TOKEN}")
        yield client


def test_the_server_takes_the_structure_of_a_kind_and_gives_measures_and_meshes(client, session):
    kind = client.post("/api/kinds", json={"name": "sheet", "colour": "#4cc9f0"}).json()["kind"]
    assert client.patch(f"/api/kinds/{kind}", json={"structure": "membrane"}).is_success
    assert client.patch(f"/api/kinds/{kind}", json={"structure": "gold"}).status_code == 422
    click = client.post("/api/tomograms/0/clicks", json={"kind": kind, "point": CLICK, "positive": True})
    assert click.is_success
    assert client.post("/api/tomograms/0/find", json={"kinds": [kind]}).is_success
    wait(session)
    (view,) = client.get("/api/session").json()["views"]["0"]["kinds"].values()
    assert (view["is_searched"], view["n_candidates"], view["clicks"][0]["guess"]) == (True, 2, None)
    listed = client.get("/api/tomograms/0/candidates").json()["kinds"][str(kind)]
    assert [each["measures"]["area"] for each in listed] == [126000.0, 126000.0]
    content = client.get(f"/api/tomograms/0/meshes/{kind}").content
    count, first, n_vertices, n_faces = struct.unpack_from("<IIII", content)
    assert (count, first, n_vertices, n_faces) == (2, listed[0]["id"], 4, 2)
    refused = client.post(f"/api/tomograms/0/kinds/{kind}/candidates", json={"point": CLICK})
    assert (refused.status_code, "by hand" in refused.json()["detail"]) == (422, True)


def test_everything_is_downloaded_with_its_folders(client, session):
    searched(session)
    answer = client.get("/api/tomograms/0/export?format=zip")
    assert "tomo-structures.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        names = archive.namelist()
    assert {"semantic.mrc", "run.json", "report.html"} <= set(names)
