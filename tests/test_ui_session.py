"""A session: what people do with tomograms on a page, without HTTP."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cryosam import segmentation
from cryosam.arrays import Plane
from cryosam.errors import (
    ConflictError,
    InputError,
    InputNotFoundError,
    PointsFileError,
    PromptError,
    UnknownItemError,
    VoxelSizeError,
)
from cryosam.io import read_points, read_volume, write_volume
from cryosam.masks import InstanceMask
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram
from cryosam.ui.copies import DiskCopy
from cryosam.ui.exchange import import_points, write_all, write_tables
from cryosam.ui.filling import with_masks
from cryosam.ui.masking import Masked
from cryosam.ui.opening import open_tomograms
from cryosam.ui.session import Session
from cryosam.ui.shapes import contours, outlines, surface
from cryosam.ui.state import Size
from cryosam.ui.storage import Store
from cryosam.ui.viewed import Gallery, ViewedTomogram
from quick_core import BLOBS, SHAPE, TURNS, cube, make_volume

BLUE, RED = "#4cc9f0", "#ff0000"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_volume(tmp_path / "tomo.mrc", make_volume(), 10.0)
    return tmp_path / "tomo.mrc"


@pytest.fixture
def session(file: Path) -> Iterator[Session]:
    session = Session(Gallery([ViewedTomogram(file)]))
    yield session
    session.close()


def wait(session: Session) -> None:
    """Until the search has ended."""
    deadline = time.monotonic() + 60
    while session.describe()["job"] is not None:
        assert time.monotonic() < deadline, "the search does not end"
        time.sleep(0.01)


def searched(session: Session) -> int:
    """A kind with one click and what was found of it."""
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    session.find(0, [kind])
    wait(session)
    return kind


# ------------------------------------------------------------------------------------------------------------- looking


def test_slices_are_the_files_between_two_percentiles(file: Path) -> None:
    viewed, volume = ViewedTomogram(file), make_volume()
    low, high = np.percentile(volume, (0.5, 99.5))
    expected = np.clip((volume - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)
    direct = [viewed.pixels(plane, 7).astype(int) for plane in ("z", "y", "x")]
    viewed.start_copy(on_disk=False)
    viewed.await_copy()
    copied = [viewed.pixels(plane, 7).astype(int) for plane in ("z", "y", "x")]
    for axis in range(3):
        assert np.abs(direct[axis] - np.take(expected, 7, axis=axis)).max() <= 1
        np.testing.assert_array_equal(direct[axis], copied[axis])


def test_a_slab_is_the_mean_of_its_slices_cut_at_the_face(file: Path) -> None:
    viewed = ViewedTomogram(file)
    sections = np.stack([viewed.pixels("y", i) for i in range(3)]).astype(float)
    np.testing.assert_array_equal(viewed.pixels("y", 0, slab=5), np.round(sections.mean(axis=0)))


def test_denoising_lessens_differences(file: Path) -> None:
    viewed = ViewedTomogram(file)
    assert viewed.pixels("z", 3, smooth=2.0).std() < 0.5 * viewed.pixels("z", 3).std()


@pytest.mark.parametrize(("plane", "index"), [("z", 29), ("y", 31), ("x", 0)])
def test_slices_do_not_wait_for_the_copy(file: Path, monkeypatch: pytest.MonkeyPatch, plane: Plane, index: int) -> None:
    monkeypatch.setattr("cryosam.ui.viewed._MAPPED", 7)  # the depth of 30 is read in five pieces
    viewed = ViewedTomogram(file)
    at_once = viewed.pixels(plane, index)
    viewed.start_copy(on_disk=False)
    viewed.await_copy()
    np.testing.assert_array_equal(viewed.pixels(plane, index), at_once)


def test_there_is_no_slice_beyond_the_face(file: Path) -> None:
    with pytest.raises(UnknownItemError, match="slices 0 to 39 of plane y"):
        ViewedTomogram(file).pixels("y", 40)


def test_copies_stay_within_their_budget(tmp_path: Path) -> None:
    for name in "abc":
        write_volume(tmp_path / f"{name}.mrc", make_volume(), 10.0)
    viewed, _ = open_tomograms([tmp_path])
    gallery = Gallery(viewed, budget=2 * int(np.prod(SHAPE)))
    for t in (0, 1, 0, 2):
        gallery.pixels(t, "z", 3)
        viewed[t].await_copy()
    assert [each._copy is not None for each in viewed] == [True, False, True]
    np.testing.assert_array_equal(gallery.pixels(1, "x", 3), gallery.pixels(0, "x", 3))


def test_what_the_first_click_needs_is_there_before_it(session: Session, quick: SimpleNamespace) -> None:
    session.warm_up()
    assert session.tomograms[0]._copy is not None
    assert [shape for shape, _ in quick.calls] == [(40, 40, 40)]
    assert session.state.kinds == ()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_copy_that_is_dropped_is_made_again(file: Path, on_disk: bool) -> None:
    viewed = ViewedTomogram(file)
    for _ in range(2):
        viewed.start_copy(on_disk=on_disk)
        viewed.await_copy()
        assert viewed._copy is not None
        viewed.drop_copy()
        assert viewed._copy is None


def test_what_is_too_large_for_memory_is_copied_to_disk(file: Path) -> None:
    viewed = ViewedTomogram(file)
    n_bytes = int(np.prod(SHAPE))
    gallery = Gallery([viewed], budget=n_bytes - 1, disk_budget=n_bytes)
    gallery.prepare(0)
    assert isinstance(viewed._copy, DiskCopy)
    for plane, index in (("z", 7), ("y", 31), ("x", 49)):
        np.testing.assert_array_equal(gallery.pixels(0, plane, index), ViewedTomogram(file).pixels(plane, index))
    unlimited = Gallery([ViewedTomogram(file)], budget=0, disk_budget=0)
    unlimited.prepare(0)
    assert unlimited[0]._copy is None
    np.testing.assert_array_equal(unlimited.pixels(0, "x", 3), gallery.pixels(0, "x", 3))


def test_a_full_disk_makes_slices_slow_and_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    gallery = Gallery([ViewedTomogram(file)], budget=0)
    for _ in range(2):
        gallery.prepare(0)
    assert caplog.text.count("slow") == 1
    assert "TMPDIR" in caplog.text
    np.testing.assert_array_equal(gallery.pixels(0, "x", 3), ViewedTomogram(file).pixels("x", 3))


def test_voxels_that_are_not_numbers_are_shown_as_something(tmp_path: Path) -> None:
    volume = make_volume()
    volume[3, 4, 5] = np.nan
    write_volume(tmp_path / "t.mrc", volume, 10.0)
    grey = ViewedTomogram(tmp_path / "t.mrc").grey
    assert grey.low < grey.high
    assert sum(grey.histogram) > 0


def test_describing_a_session_reads_no_voxel(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryosam.ui import viewed

    monkeypatch.setattr(viewed, "read_tomogram", lambda *_: pytest.fail("voxels were read"))
    (described,) = Session(Gallery([ViewedTomogram(file)])).describe()["tomograms"]
    assert described == {"id": 0, "name": file.name, "shape": list(SHAPE), "voxel_size_angstrom": 10.0}


def test_a_folder_gives_its_tomograms_and_says_what_is_none(tmp_path: Path) -> None:
    write_volume(tmp_path / "b.mrc", make_volume(), 10.0)
    write_volume(tmp_path / "a.mrc", make_volume(), 10.0)
    (tmp_path / "broken.mrc").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    found, left_out = open_tomograms([tmp_path, tmp_path / "a.mrc"])
    assert [viewed.name for viewed in found] == ["a.mrc", "b.mrc"]
    assert len(left_out) == 1
    assert "broken.mrc" in left_out[0]


def test_same_names_get_their_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_volume(tmp_path / folder / "t.mrc", make_volume(), 10.0)
    found, _ = open_tomograms([tmp_path / "one", tmp_path / "two"])
    assert [viewed.name for viewed in found] == ["one/t.mrc", "two/t.mrc"]


@pytest.mark.parametrize("name", ["missing.mrc", "empty", "notes.txt"])
def test_what_is_no_tomogram_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises((InputError, InputNotFoundError), match=name):
        open_tomograms([tmp_path / name])


# --------------------------------------------------------------------------------------------------- clicks and search


def test_a_click_gets_the_mask_under_it(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[1])
    (click,) = session.state.view(0, kind).clicks
    assert click.mask.iou(cube(BLOBS[1])) == 1
    assert session.describe()["views"]["0"]["kinds"][str(kind)]["clicks"][0]["has_mask"]


def test_a_click_looks_only_at_what_is_around_it(tmp_path: Path, quick: SimpleNamespace) -> None:
    volume = np.random.default_rng(0).normal(size=(20, 24, 300)).astype(np.float32)
    write_volume(tmp_path / "long.mrc", volume, 10.0)
    session = Session(Gallery([ViewedTomogram(tmp_path / "long.mrc")]))
    session.add_click(0, session.add_kind("a", BLUE), (5.0, 6.0, 200.0))
    shape, config = quick.calls[0]
    assert shape == (20, 24, 129)
    assert config.tomogram.percentiles == (0, 100)
    message = session.state.view(0, session.state.kinds[0].id).clicks[0].message
    assert message is not None
    assert message.endswith("at point 5,6,200")


def test_a_second_click_is_as_large_as_the_first(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    click = session.add_click(0, kind, BLOBS[0])
    session.add_click(0, kind, BLOBS[1])
    session.add_click(0, kind, BLOBS[2], is_positive=False)
    first, second, negative = (config for _, config in quick.calls)
    assert first.diameter_voxels is None
    for later in (second, negative):
        assert (later.diameter_voxels, later.propagation.smoothing) == (4.5, 1.25)
    session.undo()
    session.undo()
    session.remove_click(0, click)
    session.add_click(0, kind, BLOBS[1])
    assert quick.calls[-1][1].diameter_voxels is None


def test_the_size_of_what_is_long_bounds_nothing(session: Session, quick: SimpleNamespace) -> None:
    quick.shape = (3, 3, 12)
    kind = session.add_kind("filament", BLUE)
    session.add_click(0, kind, BLOBS[0])
    session.add_click(0, kind, BLOBS[1])
    assert quick.calls[-1][1].diameter_voxels is None


def test_a_click_on_nothing_says_so_and_a_negative_one_does_not(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    for is_positive in (True, False):
        session.add_click(0, kind, (2.0, 2.0, 45.0), is_positive=is_positive)
    positive, negative = session.state.view(0, kind).clicks
    assert positive.mask.n_voxels == 0
    assert positive.message is not None
    assert "nothing stands out" in positive.message
    assert negative.message is None


def test_a_point_outside_is_refused(session: Session) -> None:
    kind = session.add_kind("ribosome", BLUE)
    with pytest.raises(PromptError, match="outside"):
        session.add_click(0, kind, (2.0, 2.0, 50.0))
    assert session.state.view(0, kind).clicks == ()


def test_all_that_was_looked_at_can_be_shown(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    view = session.state.view(0, kind)
    assert [candidate.score for candidate in view.candidates] == [0.9, 0.7, 0.2]
    assert [candidate.mask.n_voxels for candidate in view.candidates] == [27, 27, 27]
    assert len(view.shown) == 2
    session.set_threshold(0, kind, 0.1)
    assert len(session.state.view(0, kind).shown) == 3
    session.set_threshold(0, kind, 0.8)
    assert len(session.state.view(0, kind).shown) == 1
    described = session.describe()["views"]["0"]["kinds"][str(kind)]
    assert described["threshold"] == 0.8
    assert described["default_threshold"] == 0.5
    assert described["is_probability"]
    assert described["warnings"] == ["look twice"]
    assert described["diameter_voxels"] == 8


def test_a_click_takes_the_mask_that_the_search_used(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    assert session.state.view(0, kind).clicks[0].mask.n_voxels == 125


def test_negative_clicks_and_the_diameter_reach_the_search(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[2], is_positive=False)
    with pytest.raises(PromptError, match="click a particle"):
        session.find(0, [kind])
    session.add_click(0, kind, BLOBS[0])
    session.find(0, None, 250.0)
    wait(session)
    prompts, config = quick.calls[-1]
    np.testing.assert_array_equal(prompts.positive, [BLOBS[0]])
    np.testing.assert_array_equal(prompts.negative, [BLOBS[2]])
    assert config.diameter_angstrom == 250


def test_a_diameter_needs_a_voxel_size(tmp_path: Path, quick: SimpleNamespace) -> None:
    write_volume(tmp_path / "t.mrc", make_volume(), None)
    session = Session(Gallery([ViewedTomogram(tmp_path / "t.mrc")]))
    kind = session.add_kind("a", BLUE)
    session.add_click(0, kind, BLOBS[0])
    with pytest.raises(VoxelSizeError):
        session.find(0, [kind], 250.0)
    assert session.describe()["job"] is None


def test_several_kinds_are_searched_for_together(session: Session, quick: SimpleNamespace) -> None:
    first, second = session.add_kind("a", BLUE), session.add_kind("b c", RED)
    third = session.add_kind("without a click", BLUE)
    session.add_click(0, first, BLOBS[0])
    session.add_click(0, second, BLOBS[1])
    quick.gate.clear()
    session.find(0)
    assert session.describe()["job"]["kind"] is None
    quick.gate.set()
    wait(session)
    assert [len(session.state.view(0, kind).candidates) for kind in (first, second, third)] == [3, 3, 0]


def test_another_click_makes_the_search_stale_until_it_is_undone(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    assert not session.state.view(0, kind).is_stale
    session.add_click(0, kind, BLOBS[1])
    assert session.state.view(0, kind).is_stale
    session.undo()
    assert not session.state.view(0, kind).is_stale


def test_judgements_outlive_another_search(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    first, second, third = session.state.view(0, kind).candidates
    session.judge(0, kind, first.id, "rejected")
    session.move_candidate(0, kind, second.id, (14.0, 29.0, 36.0))
    session.judge(0, kind, second.id, "accepted")
    by_hand = session.add_candidate(0, kind, (25.0, 5.0, 45.0))
    session.find(0, [kind])
    wait(session)
    view = session.state.view(0, kind)
    assert [candidate.verdict for candidate in view.candidates] == ["accepted", "rejected", "accepted", None]
    assert view.candidates[0].point == (25.0, 5.0, 45.0)
    assert view.candidates[2].point == (14.0, 29.0, 36.0)
    assert view.candidates[2].is_moved
    assert {by_hand} == {c.id for c in view.candidates} & {by_hand, first.id, second.id, third.id}


def test_searches_share_a_cache(file: Path, quick: SimpleNamespace, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    session = Session(Gallery([ViewedTomogram(file)]), cache=cache)
    try:
        for name, blob in zip(("ribosome", "proteasome"), BLOBS, strict=False):
            session.add_click(0, session.add_kind(name, BLUE), blob)
            session.find(0)
            wait(session)
            assert quick.cache is cache
    finally:
        session.close()


def test_a_search_tells_what_it_has_so_far(session: Session, quick: SimpleNamespace) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    session.subscribe(lambda event, content: told.append((event, content)))
    kinds = [session.add_kind(name, BLUE) for name in ("ribosome", "proteasome")]
    for kind, blob in zip(kinds, BLOBS, strict=False):
        session.add_click(0, kind, blob)
    job = session.find(0, kinds)
    wait(session)
    so_far = [content for event, content in told if event == "so_far"]
    assert so_far == [
        {"job": job, "kind": kind, "points": [list(blob)]} for kind, blob in zip(kinds, BLOBS, strict=False)
    ]


def test_a_search_is_cancelled(session: Session, quick: SimpleNamespace) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    session.subscribe(lambda event, content: told.append((event, content)))
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    quick.gate.clear()
    job = session.find(0, [kind])
    with pytest.raises(ConflictError, match="is running"):
        session.find(0, [kind])
    session.cancel(job)
    wait(session)
    time.sleep(0.05)
    assert session.state.view(0, kind).candidates == ()
    assert ("done", {"job": job, "error": None}) in told
    assert any(event == "job" and content["state"] == "cancelling" for event, content in told)
    with pytest.raises(UnknownItemError, match="ended"):
        session.cancel(job)


def test_a_search_that_is_cancelled_at_its_very_end_changes_nothing(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    quick.gate.clear()
    job = session.find(0, [kind])
    time.sleep(0.01)  # within its first wait
    session.cancel(job)
    quick.gate.set()
    wait(session)
    assert session.state.view(0, kind).candidates == ()


def test_a_search_that_fails_says_why(
    session: Session, quick: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Segmentation:
        raise ZeroDivisionError("by nothing")

    told: list[tuple[str, dict[str, Any]]] = []
    session.subscribe(lambda event, content: told.append((event, content)))
    monkeypatch.setattr(segmentation, "segment", fail)
    with caplog.at_level(logging.CRITICAL):
        searched(session)
    time.sleep(0.05)
    assert "by nothing" in told[-1][1]["error"]


def test_what_was_removed_meanwhile_stays_removed(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    quick.gate.clear()
    session.find(0, [kind])
    session.remove_kind(kind)
    quick.gate.set()
    wait(session)
    assert session.state.kinds == ()
    with pytest.raises(UnknownItemError):
        session.state.view(0, kind)


# the core itself, not what answers in its place


def test_the_real_core_finds_all_from_one_click(session: Session) -> None:
    kind = searched(session)
    (click,) = session.state.view(0, kind).clicks
    assert click.mask.holds(np.array(BLOBS[0]))
    shown = session.state.view(0, kind).shown
    for blob in BLOBS:
        assert min(np.linalg.norm(np.array(candidate.point) - blob) for candidate in shown) < 2
    assert session.state.view(0, kind).size is not None
    whole = segmentation.segment_prompts(Tomogram(make_volume()), PointPrompts(np.array([BLOBS[1]])))
    session.add_click(0, kind, BLOBS[1])
    assert session.state.view(0, kind).clicks[1].mask.iou(whole.prompt_masks[0]) > 0.8


def test_the_real_core_answers_where_the_click_is(tmp_path: Path) -> None:
    """It is shown a part of the tomogram: masks and messages are of the whole."""
    volume = np.random.default_rng(0).normal(0, 0.05, (30, 40, 300)).astype(np.float32)
    volume[:, :, 180:230] += make_volume()
    write_volume(tmp_path / "long.mrc", volume, 10.0)
    session = Session(Gallery([ViewedTomogram(tmp_path / "long.mrc")]))
    kind, blob = session.add_kind("a", BLUE), np.add(BLOBS[0], (0, 0, 180))
    for point in (tuple(blob.tolist()), (15.0, 20.0, 100.0)):
        session.add_click(0, kind, point)
    on_blob, on_nothing = session.state.view(0, kind).clicks
    assert on_blob.message is None
    assert np.linalg.norm(on_blob.mask.centroid - blob) < 1
    assert on_nothing.message == "nothing stands out from the background at point 15,20,100"


def test_the_real_core_leaves_out_what_a_negative_click_is_on_and_tells_how_far_it_is(session: Session) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    session.subscribe(lambda event, content: told.append((event, content)))
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    session.add_click(0, kind, BLOBS[2], is_positive=False)
    job = session.find(0, [kind])
    wait(session)
    shown = np.array([candidate.point for candidate in session.state.view(0, kind).shown])
    nearest = np.linalg.norm(shown[:, None] - np.array(BLOBS), axis=2).min(axis=0)
    assert nearest[0] < 2 < 5 < nearest[2]
    assert {content["job"] for event, content in told if event == "so_far"} == {job}
    assert any(event == "job" and content["stage"] == "segmenting" for event, content in told)


def test_the_real_core_is_cancelled_on_its_way(session: Session) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    has_begun = threading.Event()

    def note(event: str, content: dict[str, Any]) -> None:
        told.append((event, content))
        if event == "job" and content.get("total"):
            has_begun.set()

    session.subscribe(note)
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    job = session.find(0, [kind])
    assert has_begun.wait(60)
    session.cancel(job)
    wait(session)
    assert session.state.view(0, kind).candidates == ()
    assert not session.state.view(0, kind).searched


# ------------------------------------------------------------------------------------------------- kinds and judgements


def test_kinds_are_named_apart(session: Session) -> None:
    kind = session.add_kind(" ribosome  70S ", BLUE)
    assert session.state.kind(kind).name == "ribosome 70S"
    with pytest.raises(InputError, match="same name"):
        session.add_kind("ribosome 70S", RED)
    other = session.add_kind("other", RED)
    with pytest.raises(InputError, match="same name"):
        session.change_kind(other, name="ribosome 70S")
    session.change_kind(other, colour=BLUE)
    assert session.state.kind(other).colour == BLUE


@pytest.mark.parametrize(
    ("name", "colour"), [("", BLUE), ("x" * 61, BLUE), ("a\x00b", BLUE), ("a", "red"), ("a", "#12345g")]
)
def test_odd_names_and_colours_are_refused(session: Session, name: str, colour: str) -> None:
    with pytest.raises(InputError):
        session.add_kind(name, colour)
    assert session.state.kinds == ()


def test_verdicts_decide_before_scores(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    best, _, worst = session.state.view(0, kind).candidates
    session.judge(0, kind, best.id, "rejected")
    session.judge(0, kind, worst.id, "accepted")
    assert worst.id in {c.id for c in session.state.view(0, kind).shown}
    assert best.id not in {c.id for c in session.state.view(0, kind).shown}
    session.judge(0, kind, best.id, None)
    assert best.id in {c.id for c in session.state.view(0, kind).shown}


def test_a_moved_candidate_gets_another_mask(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    candidate = session.state.view(0, kind).candidates[1]
    session.move_candidate(0, kind, candidate.id, BLOBS[2])
    moved = session.state.view(0, kind).candidate(candidate.id)
    assert moved.point == BLOBS[2]
    assert moved.is_moved
    assert moved.mask.iou(cube(BLOBS[2])) == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_score(session: Session, threshold: float) -> None:
    kind = session.add_kind("a", BLUE)
    with pytest.raises(InputError, match="between 0 and 1"):
        session.set_threshold(0, kind, threshold)


def test_undo_and_redo_go_through_everything(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    candidate = session.state.view(0, kind).candidates[0]
    session.judge(0, kind, candidate.id, "rejected")
    session.set_threshold(0, kind, 0.9)
    session.add_candidate(0, kind, BLOBS[2])
    session.remove_click(0, session.state.view(0, kind).clicks[0].id)
    session.change_kind(kind, name="another")
    session.remove_kind(kind)
    last = session.state
    n = 0
    while session.describe()["can_undo"]:
        session.undo()
        n += 1
    assert n == 9  # a kind, a click, a search, and the six above
    assert session.state.kinds == ()
    with pytest.raises(ConflictError, match="nothing to undo"):
        session.undo()
    for _ in range(n):
        session.redo()
    assert session.state is last
    with pytest.raises(ConflictError, match="nothing to redo"):
        session.redo()


def test_a_new_change_ends_what_can_be_made_again(session: Session) -> None:
    session.add_kind("a", BLUE)
    session.undo()
    session.add_kind("b", BLUE)
    assert not session.describe()["can_redo"]


def test_a_change_based_on_an_old_revision_is_refused(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    one, other, _ = session.state.view(0, kind).candidates
    seen = session.revision
    session.judge(0, kind, one.id, "accepted", expected=seen)
    session.judge(0, kind, other.id, "accepted", expected=seen)  # another thing: no conflict
    with pytest.raises(ConflictError, match="changed in the meantime"):
        session.judge(0, kind, one.id, "rejected", expected=seen)
    session.judge(0, kind, one.id, "rejected", expected=session.revision)
    seen = session.revision
    session.undo()
    with pytest.raises(ConflictError):
        session.set_threshold(0, kind, 0.3, expected=seen)


def test_many_threads_lose_no_change(session: Session) -> None:
    def add(start: int) -> None:
        for i in range(25):
            session.add_kind(f"kind {start + i}", BLUE)

    threads = [threading.Thread(target=add, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(session.state.kinds) == 100
    assert len({kind.id for kind in session.state.kinds}) == 100
    assert session.revision == 101


def test_each_change_is_told_once_until_unsubscribed(session: Session) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    stop = session.subscribe(lambda event, content: told.append((event, content)))
    session.add_kind("a", BLUE)
    stop()
    session.add_kind("b", BLUE)
    assert told == [("session", {"revision": 2})]


# --------------------------------------------------------------------------------------------------------------- shapes


def test_outlines_are_where_the_masks_are(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    z, y, x = BLOBS[2]
    drawn = {(o.candidate, o.click): o for o in outlines(session.state, 0, "x", int(x))}
    third = session.state.view(0, kind).candidates[2]
    path = np.array(drawn[third.id, None].paths[0])
    np.testing.assert_array_equal(path[0], path[-1])
    np.testing.assert_allclose((path.min(axis=0) + path.max(axis=0)) / 2, (z, y))
    np.testing.assert_allclose(np.ptp(path, axis=0), 3)
    assert (None, session.state.view(0, kind).clicks[0].id) in drawn


def test_contours_in_each_plane_keep_the_order_of_axes() -> None:
    mask = InstanceMask((10, 20, 30), np.ones((1, 2, 4), dtype=bool))
    for plane, index, low, high in (
        ("z", 10, (19.5, 29.5), (21.5, 33.5)),
        ("y", 21, (9.5, 29.5), (10.5, 33.5)),
        ("x", 33, (9.5, 19.5), (10.5, 21.5)),
    ):
        (path,) = contours(mask, plane, index)
        np.testing.assert_allclose(np.min(path, axis=0), low)
        np.testing.assert_allclose(np.max(path, axis=0), high)
    assert contours(mask, "z", 11) == []


def test_a_surface_is_closed_and_around_its_mask() -> None:
    grid = np.mgrid[:15, :15, :15] - 7
    ball = InstanceMask((5, 6, 7), (grid**2).sum(axis=0) <= 36)
    vertices, faces = surface(ball)
    np.testing.assert_allclose(vertices.mean(axis=0), (12, 13, 14), atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(vertices - (12, 13, 14), axis=1), 6.2, atol=0.5)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_nothing_has_no_surface() -> None:
    assert len(surface(InstanceMask.empty()).faces) == 0


# -------------------------------------------------------------------------------------------------------------- storage


def test_a_session_is_there_again(file: Path, tmp_path: Path, quick: SimpleNamespace) -> None:
    tomograms = [ViewedTomogram(file)]
    session = Session(Gallery(tomograms), Store.for_tomograms(tomograms, tmp_path / "state"))
    kind = searched(session)
    session.move_candidate(0, kind, session.state.view(0, kind).candidates[0].id, BLOBS[1])
    session.judge(0, kind, session.state.view(0, kind).candidates[1].id, "rejected")
    before, candidates = session.describe(), session.state.view(0, kind).candidates
    session.close()

    tomograms = [ViewedTomogram(file)]
    again = Session(Gallery(tomograms), Store.for_tomograms(tomograms, tmp_path / "state"))
    after = again.describe()
    assert after["revision"] > before["revision"]
    assert after["views"] == before["views"]
    assert after["kinds"] == before["kinds"]
    for old, new in zip(candidates, again.state.view(0, kind).candidates, strict=True):
        assert replace(new, mask=old.mask).__dict__ == old.__dict__
        assert new.mask.iou(old.mask) == 1
    score_map = again.state.view(0, kind).score_map
    assert score_map is not None
    assert (score_map.data.shape, score_map.stride) == ((4, 5, 7), 8)
    assert np.isnan(score_map.data).all()
    assert again.add_kind("new", BLUE) not in {kind, *(c.id for c in candidates)}
    again.close()


def test_a_score_map_is_written_once_and_deleted_with_its_search(
    file: Path, tmp_path: Path, quick: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    tomograms, folder = [ViewedTomogram(file)], tmp_path / "state"
    session = Session(Gallery(tomograms), Store(folder, tomograms))
    kind = searched(session)
    session.close()
    (path,) = folder.glob("score-*.npz")
    written = path.stat().st_mtime_ns
    session = Session(Gallery(tomograms), Store(folder, tomograms))
    session.set_threshold(0, kind, 0.1)
    session.close()
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"spoilt")
    session = Session(Gallery(tomograms), Store(folder, tomograms))
    assert session.state.view(0, kind).score_map is None
    assert len(session.state.view(0, kind).candidates) == 3
    assert "score map cannot be read" in caplog.text
    session.remove_kind(kind)
    session.close()
    assert not list(folder.glob("score-*.npz"))


@pytest.mark.parametrize("damage", ["cut", "zeros", "pickle", "other"])
def test_what_cannot_be_believed_is_set_aside(
    file: Path, tmp_path: Path, quick: SimpleNamespace, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    tomograms, folder = [ViewedTomogram(file)], tmp_path / "state"
    session = Session(Gallery(tomograms), Store(folder, tomograms))
    searched(session)
    session.close()
    path = folder / "session.npz"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "zeros":
        path.write_bytes(bytes(len(content)))
    elif damage == "pickle":
        with path.open("wb") as opened:
            np.savez(opened, content=np.array([{"a": 1}], dtype=object))
    else:
        write_volume(file, make_volume()[:, :, ::-1], 10.0)
        tomograms = [ViewedTomogram(file)]
    spoilt = path.read_bytes()
    again = Session(Gallery(tomograms), Store(folder, tomograms))
    assert again.state.kinds == ()
    assert "was renamed to" in caplog.text
    (aside,) = folder.glob("set-aside-*")
    assert aside.read_bytes() == spoilt
    again.add_kind("a", BLUE)
    again.close()
    last = Session(Gallery(tomograms), Store(folder, tomograms))
    assert [kind.name for kind in last.state.kinds] == ["a"]
    last.close()


def test_a_session_is_open_once(file: Path, tmp_path: Path) -> None:
    tomograms = [ViewedTomogram(file)]
    store = Store(tmp_path / "state", tomograms)
    with pytest.raises(ConflictError, match="another cryosam serve"):
        Store(tmp_path / "state", tomograms)
    store.close()
    Store(tmp_path / "state", tomograms).close()


# ------------------------------------------------------------------------------------------------------------- exchange


def test_export_writes_what_the_command_line_writes(session: Session, quick: SimpleNamespace, tmp_path: Path) -> None:
    kind = searched(session)
    first, second, third = session.state.view(0, kind).candidates
    session.judge(0, kind, first.id, "rejected")
    session.judge(0, kind, third.id, "accepted")
    session.add_candidate(0, kind, (25.0, 5.0, 45.0))
    write_all(session, 0, tmp_path / "out", "cryosam serve tomo.mrc")
    table = read_points(tmp_path / "out" / "particles.csv")
    np.testing.assert_allclose(table.points, [(25.0, 5.0, 45.0), second.point, third.point])
    np.testing.assert_allclose(table.scores, [1.0, 0.7, 0.2])
    assert table.instances is not None
    assert table.instances.tolist() == [0, 2, 3]
    star = read_points(tmp_path / "out" / "particles.star", shape=SHAPE, voxel_size_angstrom=10.0)
    np.testing.assert_allclose(star.points, table.points, atol=1e-3)
    labels = read_volume(tmp_path / "out" / "instances.mrc")
    assert labels[14, 28, 36] == 2
    assert np.count_nonzero(labels) == 54
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"semantic.mrc", "candidates.csv", "average.mrc", "score.mrc", "run.json", "report.html"}


def test_orientations_are_exported_where_all_have_one(session: Session, quick: SimpleNamespace, tmp_path: Path) -> None:
    kind = searched(session)
    _, second, third = session.state.view(0, kind).candidates
    write_tables(session, 0, tmp_path)
    rotations = read_points(tmp_path / "particles.star", shape=SHAPE, voxel_size_angstrom=10.0).rotations
    assert rotations is not None
    assert (rotations * TURNS[:2].inv()).magnitude().max() < 1e-4
    session.judge(0, kind, third.id, "accepted")  # below the search's threshold
    write_all(session, 0, tmp_path / "out")
    assert read_points(tmp_path / "out" / "particles.star", shape=SHAPE, voxel_size_angstrom=10.0).rotations is None
    assert "1 of 3 particles have none" in (tmp_path / "out" / "run.json").read_text()
    session.undo()
    near, far = np.add(second.point, 1), np.array(BLOBS[2])
    session.move_candidate(0, kind, second.id, tuple(near))
    assert session.state.view(0, kind).candidate(second.id).rotation == second.rotation
    session.move_candidate(0, kind, second.id, tuple(far))
    assert session.state.view(0, kind).candidate(second.id).rotation is None


def test_the_score_map_is_exported(session: Session, quick: SimpleNamespace, tmp_path: Path) -> None:
    searched(session)
    write_all(session, 0, tmp_path / "out")
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "score.mrc"), np.full((4, 5, 7), -1))


def test_several_kinds_are_exported_together(session: Session, quick: SimpleNamespace, tmp_path: Path) -> None:
    for name, blob in (("a b", BLOBS[0]), ("a/b", BLOBS[1])):
        session.add_click(0, session.add_kind(name, BLUE), blob)
    session.find(0)
    wait(session)
    kind = session.state.kinds[0].id  # the same was found of both
    session.judge(0, kind, session.state.view(0, kind).candidates[0].id, "rejected")
    write_tables(session, 0, tmp_path)
    names = read_points(tmp_path / "particles.csv").names
    assert names is not None
    assert len(set(names)) == 2
    assert not any("/" in name or " " in name for name in names)
    write_all(session, 0, tmp_path / "out")
    assert read_volume(tmp_path / "out" / "semantic.mrc").max() == 2


def test_nothing_shown_is_nothing_to_export(session: Session, tmp_path: Path) -> None:
    session.add_kind("a", BLUE)
    with pytest.raises(InputError, match="nothing to export"):
        write_tables(session, 0, tmp_path)


@pytest.mark.parametrize("are_clicks", [True, False])
def test_points_come_in(session: Session, are_clicks: bool, tmp_path: Path) -> None:
    kind = session.add_kind("b", BLUE)
    content = b"name,x,y,z\na,1,2,3\nb,14,12,15\nb,36,28,14\n"
    assert import_points(session, 0, kind, "../../picks.CSV", content, are_clicks=are_clicks) == 2
    view = session.state.view(0, kind)
    assert [each.point for each in (view.clicks if are_clicks else view.candidates)] == [*BLOBS[:2]]
    assert len(view.shown) == (0 if are_clicks else 2)
    if not are_clicks:
        write_tables(session, 0, tmp_path)
        assert len(read_points(tmp_path / "particles.csv")) == 2
    session.undo()
    assert session.state.view(0, kind).clicks == session.state.view(0, kind).candidates == ()


@pytest.mark.parametrize(
    ("filename", "content", "said"),
    [
        ("a.doc", b"z,y,x\n1,2,3\n", "unknown points format"),
        ("a.csv", b"z,y,x\n1,2,none\n", "a.csv, line 2"),
        ("a.csv", b"z,y,x\n", "no points"),
        ("a.csv", b"z,y,x\n1,2,300\n", "outside"),
        ("a.star", b"\x00\x01", "a.star"),
    ],
)
def test_points_that_cannot_be_used_are_refused(session: Session, filename: str, content: bytes, said: str) -> None:
    kind = session.add_kind("a", BLUE)
    with pytest.raises((PointsFileError, PromptError), match=said):
        import_points(session, 0, kind, filename, content, are_clicks=True)
    assert session.state.view(0, kind).clicks == ()


# ---------------------------------------------------------------------------------------------------------- segmenting


def test_imported_points_get_masks(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    nowhere = (25.0, 5.0, 45.0)
    session.add_points(0, kind, np.array([*BLOBS, nowhere]), are_clicks=False)
    told: list[str] = []
    session.subscribe(lambda event, content: told.append(content["text"]) if event == "note" else None)
    session.segment(0, kind)
    wait(session)
    view = session.state.view(0, kind)
    assert [candidate.mask.n_voxels for candidate in view.candidates] == [27, 27, 27, 0]
    assert [candidate.verdict for candidate in view.candidates] == ["accepted"] * 4
    assert view.size is not None
    assert view.size.diameter == 4.5
    assert told == ["Nothing was segmented at 1 of 4 points."]
    assert {config.tomogram.contrast for _, config in quick.calls} == {"bright"}
    session.undo()
    assert all(candidate.mask.n_voxels == 0 for candidate in session.state.view(0, kind).candidates)


def test_points_of_a_known_kind_are_segmented_at_its_size(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_click(0, kind, BLOBS[0])
    session.add_points(0, kind, np.array(BLOBS[1:]), are_clicks=False)
    quick.calls.clear()
    session.segment(0, kind)
    wait(session)
    assert [config.diameter_voxels for _, config in quick.calls] == [4.5, 4.5]


def test_masks_that_were_made_outlive_a_cancel(
    session: Session, quick: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_points(0, kind, np.array(BLOBS), are_clicks=False)
    look, second = session._mask, threading.Event()

    def slow(tomogram: int, point: Any, size: Any, config: Any = None) -> Any:
        if point == BLOBS[1]:
            second.set()
            assert quick.gate.wait(60)
        return look(tomogram, point, size, config)

    monkeypatch.setattr(session, "_mask", slow)
    quick.gate.clear()
    job = session.segment(0, kind)
    assert second.wait(60)
    session.cancel(job)
    quick.gate.set()
    wait(session)
    assert [candidate.mask.n_voxels for candidate in session.state.view(0, kind).candidates] == [27, 27, 0]


def test_what_changed_while_masks_were_made_stays(session: Session, quick: SimpleNamespace) -> None:
    kind = session.add_kind("ribosome", BLUE)
    session.add_points(0, kind, np.array(BLOBS), are_clicks=False)
    view = session.state.view(0, kind)
    first, second, third = view.candidates
    masked = Masked(cube(BLOBS[0]), None, Size(4.5, 1.25))
    moved = replace(view, candidates=(replace(first, point=(9.0, 9.0, 9.0)), replace(second, mask=cube(BLOBS[1], 5))))
    kept = with_masks(moved, [(candidate, masked) for candidate in view.candidates])
    assert [candidate.mask.n_voxels for candidate in kept.candidates] == [0, 125]
    assert third.id not in {candidate.id for candidate in kept.candidates}


def test_where_all_have_masks_there_is_nothing_to_segment(session: Session, quick: SimpleNamespace) -> None:
    kind = searched(session)
    with pytest.raises(InputError, match="already have a mask"):
        session.segment(0, kind)
