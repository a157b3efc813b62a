"""Kinds that an average gathered together come apart when averages compete."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.averaging.orientations import OrientationSearch
from cryosam.classification.classes import classify
from cryosam.classification.kind_average import Alignment, align
from cryosam.config import AveragingConfig
from scenes import ONE_ARM_ELSEWHERE, OTHER, scene, search_for

N_KIND, N_OTHER = 10, 10
IS_KIND = np.arange(N_KIND + N_OTHER) < N_KIND
CONFIG = AveragingConfig()


@pytest.fixture(scope="module")
def mixed() -> tuple[OrientationSearch, np.ndarray, Alignment, Rotation]:
    """Two kinds, and an average that was led astray: it took both for one."""
    tomogram, centres, turns = scene(N_KIND, N_OTHER)
    search = search_for(tomogram)
    found = align(search, centres, np.array([3]))
    everything = replace(found.evidence, probabilities=np.ones(len(centres)), separation=2.0)
    return search, centres, replace(found, evidence=everything, members=np.arange(len(centres))), turns


@pytest.mark.parametrize(("noise", "seed", "clicked"), [(0.2, 2, 2), (0.2, 3, 15), (0.6, 3, 2), (1.0, 4, 15)])
def test_kinds_that_the_average_gathered_come_apart_in_each_draw(noise: float, seed: int, clicked: int) -> None:
    """More noise than signal in the last two; in all of these the average took nearly all particles for one kind."""
    tomogram, centres, _ = scene(N_KIND, N_OTHER, noise=noise, seed=seed)
    points = centres + np.random.default_rng(seed).uniform(-1.2, 1.2, centres.shape)
    search = search_for(tomogram)
    found = align(search, points, np.array([clicked]))
    classified, reliance = classify(search, points, found, np.array([clicked]), CONFIG, np.ones(len(points)))
    is_found = classified.evidence.probabilities > reliance / 2
    assert np.count_nonzero(is_found != (IS_KIND[clicked] == IS_KIND)) <= 1
    assert np.mean(IS_KIND[classified.members] == IS_KIND[clicked]) >= 0.9
    assert classified.evidence.probabilities.max() <= reliance <= 1


@pytest.mark.parametrize(
    ("other", "noise", "seed"), [(ONE_ARM_ELSEWHERE, 0.2, 1), (ONE_ARM_ELSEWHERE, 0.5, 2), (OTHER, 1.0, 3)]
)
def test_kinds_that_cannot_be_told_apart_are_not_cut(other: np.ndarray, noise: float, seed: int) -> None:
    """Both are the clicked kind as a whole: a class that holds half of each would be worse than none."""
    tomogram, centres, _ = scene(N_KIND, N_OTHER, noise=noise, other=other, seed=seed)
    points = centres + np.random.default_rng(seed).uniform(-1.2, 1.2, centres.shape)
    search = search_for(tomogram)
    found = align(search, points, np.array([2]))
    classified, reliance = classify(search, points, found, np.array([2]), CONFIG, np.ones(len(points)))
    is_found = classified.evidence.probabilities > reliance / 2
    n_kind, n_other = np.count_nonzero(is_found & IS_KIND), np.count_nonzero(is_found & ~IS_KIND)
    assert n_kind >= N_KIND - 1
    assert n_other <= 1 or n_other >= N_OTHER - 2


@pytest.mark.parametrize("clicked", [2, N_KIND + 5])
def test_all_but_one_particle_go_to_their_kind(mixed, clicked) -> None:
    search, centres, found, _ = mixed
    classified, reliance = classify(search, centres, found, np.array([clicked]), CONFIG, np.ones(len(centres)))
    is_found = classified.evidence.probabilities > reliance / 2
    is_right = is_found == (IS_KIND[clicked] == IS_KIND)
    assert np.count_nonzero(~is_right) <= 1
    assert np.mean(IS_KIND[classified.members] == IS_KIND[clicked]) >= 0.9
    assert classified.evidence.separation > 3
    assert classified.evidence.probabilities.max() <= reliance <= 1


def test_all_are_told_though_only_some_compete(mixed, monkeypatch) -> None:
    """The averaged ones, who always do, are of one kind here; of the others it is known by the averages."""
    search, centres, found, _ = mixed
    some = np.concatenate([np.flatnonzero(IS_KIND)[:6], np.flatnonzero(~IS_KIND)[:2]])
    monkeypatch.setattr("cryosam.classification.classes._MOST_POOL", 12)
    classified, reliance = classify(
        search, centres, replace(found, members=some), np.array([2]), CONFIG, np.ones(len(centres))
    )
    is_right = (classified.evidence.probabilities > reliance / 2) == IS_KIND
    assert np.count_nonzero(~is_right) <= 2


def test_orientations_are_those_of_the_new_average(mixed) -> None:
    search, centres, found, turns = mixed
    classified, _ = classify(search, centres, found, np.array([2]), CONFIG, np.ones(len(centres)))
    frames = turns[:N_KIND].inv() * classified.rotations[:N_KIND]
    middle = min(frames, key=lambda one: np.median((one.inv() * frames).magnitude()))
    errors = np.degrees((middle.inv() * frames).magnitude())
    assert np.median(errors) < 25  # about the step between neighbouring rotations
    offsets = classified.rotations[:N_KIND].inv().apply(classified.points[:N_KIND] - centres[:N_KIND])
    assert np.median(np.linalg.norm(offsets - np.median(offsets, axis=0), axis=1)) < 1.5


def test_what_is_ruled_out_is_not_averaged(mixed) -> None:
    search, centres, found, _ = mixed
    prior_score = np.where(np.arange(len(centres)) % 5 == 4, 0.0, 1.0)
    classified, _ = classify(search, centres, found, np.array([2]), CONFIG, prior_score)
    assert (prior_score[classified.members] > 0).all()


@pytest.mark.parametrize(("separation", "stays"), [(7.0, True), (3.0, False)])
def test_a_kind_that_stands_well_apart_stays_where_its_class_agrees(mixed, separation, stays) -> None:
    search, centres, found, _ = mixed
    evidence = replace(found.evidence, probabilities=IS_KIND.astype(float), separation=separation)
    found = replace(found, evidence=evidence, members=np.flatnonzero(IS_KIND))
    classified, reliance = classify(search, centres, found, np.array([2]), CONFIG, np.ones(len(centres)))
    assert (classified is found) == stays
    assert (reliance == 1) == stays


def test_what_only_its_mask_sets_apart_is_found_by_the_correlations(mixed) -> None:
    """Half of the kind was told from the rest by its prior score: by the average it is like the other half."""
    search, centres, _, _ = mixed
    prior_score = np.where(IS_KIND & (np.arange(len(centres)) % 2 == 1), 0.5, 1.0)
    found = align(search, centres, np.array([2]))
    first = IS_KIND & (prior_score == 1)
    narrow = replace(found, evidence=replace(found.evidence, probabilities=first.astype(float), separation=9.0))
    classified, reliance = classify(search, centres, narrow, np.array([2]), CONFIG, prior_score)
    is_found = classified.evidence.probabilities > reliance / 2
    assert reliance == 1
    np.testing.assert_array_equal(is_found, IS_KIND)


@pytest.mark.parametrize(("noise", "seed"), [(0.2, 1), (0.6, 2), (1.0, 3)])
def test_one_kind_is_not_cut_in_two(noise: float, seed: int) -> None:
    tomogram, centres, _ = scene(18, 0, noise=noise, seed=seed)
    search = search_for(tomogram)
    found = align(search, centres, np.array([3]))
    classified, reliance = classify(search, centres, found, np.array([3]), CONFIG, np.ones(len(centres)))
    assert np.count_nonzero(classified.evidence.probabilities > reliance / 2) >= 16
