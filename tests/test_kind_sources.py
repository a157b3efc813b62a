"""A kind that was clicked in one tomogram is found in others."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cryosam.config import Config
from cryosam.errors import ConfigError, PromptError, QueryError, VoxelSizeError
from cryosam.evaluation.scores import match_points, score_detections
from cryosam.prompts import PointPrompts
from cryosam.scene import RunOptions
from cryosam.segmentation import make_queries, pick, segment, segment_kinds
from cryosam.tomogram import Tomogram
from scenes import scene

SIZE = 10.0
COMPACT = np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3], [-3, 0, 0], [0, -3, 0]])


def tomogram_of(**settings):
    tomogram, centres, turns = scene(**settings)
    return replace(tomogram, voxel_size_angstrom=SIZE, name="elsewhere"), centres, turns


@pytest.fixture(scope="module")
def made():
    """A query, what it was made of, and the truth there."""
    tomogram, centres, turns = tomogram_of(n_kind=13, n_other=6)
    clicks = PointPrompts(np.round(centres[:1]), name="snake")
    (query,), found = make_queries(tomogram, [clicks])
    return query, found, centres, turns


def frames(found, centres, turns):
    """How the average lies in the particles' own frame, by each of them."""
    pairs = match_points(found.points, centres, 4.0)
    return turns[pairs.truth].inv() * found.rotations[pairs.predicted]


def test_the_query_is_what_was_found(made) -> None:
    query, found, centres, _ = made
    assert score_detections(found.points, centres[:13], 4.0).f1 > 0.9
    assert query.n_particles == len(found.points)
    assert (query.name, query.voxel_size_angstrom, query.contrast) == ("snake", SIZE, "bright")
    assert query.diameter_angstrom == pytest.approx(SIZE * float(found.provenance["diameter_voxels"]))
    assert query.average.step == pytest.approx(SIZE * found.average.step)
    assert query.known_members.is_kind.sum() == 4
    assert query.known_members.correlations[query.known_members.is_kind].min() > 0.3


def test_the_kind_is_found_elsewhere_without_a_click_and_lies_as_in_the_query(made) -> None:
    query, there, centres_there, turns_there = made
    tomogram, centres, turns = tomogram_of(n_kind=11, n_other=7, seed=5)
    found = segment(tomogram, query)
    assert score_detections(found.points, centres[:11], 4.0).f1 > 0.9
    assert found.kind == "snake"
    # orientations in all tomograms are those to one reference
    reference = frames(there, centres_there[:13], turns_there)
    errors = [np.degrees((reference.inv() * frame).magnitude()) for frame in frames(found, centres[:11], turns)]
    assert np.median(errors) < 20


@pytest.mark.parametrize(("n_kind", "n_other"), [(0, 15), (3, 9)])
def test_few_or_none_of_the_kind_are_no_more_than_that(made, n_kind, n_other) -> None:
    tomogram, centres, _ = tomogram_of(n_kind=n_kind, n_other=n_other, seed=9, other=COMPACT)
    found = pick(tomogram, made[0])
    assert len(match_points(found.points, centres[:n_kind], 4.0).predicted) == len(found.points)
    assert len(found.points) >= min(n_kind, 2)
    assert found.average is not None


def test_voxels_of_another_size(made) -> None:
    tomogram, centres, _ = tomogram_of(n_kind=11, n_other=7, seed=5)
    coarse = Tomogram(ndimage.zoom(ndimage.gaussian_filter(tomogram.data, 0.4), 0.8, order=1), SIZE / 0.8)
    truth = (centres[:11] + 0.5) * 0.8 - 0.5
    assert score_detections(segment(coarse, made[0]).points, truth, 3.2).f1 > 0.9


def test_a_query_and_clicks_compete(made) -> None:
    tomogram, centres, _ = tomogram_of(n_kind=11, n_other=7, seed=5)
    rods = PointPrompts(np.round(centres[-2:]), name="rod")
    found = segment_kinds(tomogram, [made[0], rods])
    names = np.array(found.names)
    assert score_detections(found.points[names == "snake"], centres[:11], 4.0).f1 > 0.9
    assert score_detections(found.points[names == "rod"], centres[11:], 4.0).f1 > 0.8


def test_a_kind_has_settings_of_its_own(made) -> None:
    tomogram, _, _ = tomogram_of(n_kind=11, n_other=7, seed=5)
    few = Config().override(matching__max_particles=2)
    found = segment_kinds(tomogram, [made[0]], options=RunOptions(kind_configs={"snake": few}))
    assert len(found.points) == 2
    with pytest.raises(ConfigError, match="kind 'snake'"):
        segment_kinds(
            tomogram, [made[0]], options=RunOptions(kind_configs={"snake": few.override(tomogram__contrast="dark")})
        )


@pytest.mark.parametrize(
    ("changes", "settings", "size", "told"),
    [
        ({"features": "dinov2-small"}, {}, SIZE, "made with features dinov2-small, but this run uses invariants"),
        ({}, {"propagation__segmenter": "classical"}, SIZE, "made with segmenter embedded"),
        ({"segmenter_digest": "0"}, {}, SIZE, "another version of embedded"),
        ({"features_digest": "0"}, {}, SIZE, "another version of invariants"),
        ({"feature": np.zeros(7, dtype=np.float32)}, {}, 1.5 * SIZE, "another version of invariants"),
        ({}, {}, 2.1 * SIZE, "voxels of 10 angstrom, but those of elsewhere are 21"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(made, changes, settings, size, told) -> None:
    tomogram = Tomogram(np.random.default_rng(0).random((30, 31, 32), dtype=np.float32), size, "elsewhere")
    with pytest.raises(QueryError, match=told):
        segment(tomogram, replace(made[0], **changes), Config().override(**settings))


def test_lengths_need_a_voxel_size(made) -> None:
    tomogram = Tomogram(np.random.default_rng(0).random((30, 31, 32), dtype=np.float32))
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        segment(tomogram, made[0])
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        make_queries(tomogram, [PointPrompts(np.array([[5.0, 6, 7]]))])


def test_nothing_found_makes_no_query() -> None:
    noise = Tomogram(np.random.default_rng(0).normal(size=(30, 41, 42)).astype(np.float32), SIZE)
    with pytest.raises(QueryError, match="nothing to save"):
        make_queries(noise, [PointPrompts(np.array([[15.0, 20, 21]]))])


def test_trials_need_a_click(made) -> None:
    with pytest.raises(PromptError, match="no click"):
        segment(tomogram_of(n_kind=2, n_other=1)[0], made[0], options=RunOptions(n_trials=2))
