"""Averages of particles that lie in any way: orientations, centres and correlations that are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.classification.kind_average import Alignment, Known, align
from cryosam.config import AveragingConfig
from cryosam.matching.descriptors import Resemblance
from cryosam.saved_query import KnownMembers
from cryosam.tomogram import Tomogram
from scenes import BLOBS, scene, search_for


@pytest.fixture(scope="module")
def found() -> tuple[Alignment, np.ndarray, Rotation]:
    tomogram, centres, turns = scene()
    off = np.random.default_rng(3).uniform(-1.2, 1.2, centres.shape)
    return align(search_for(tomogram), centres + off, np.array([0])), centres, turns


def test_the_kind_is_told_from_another(found) -> None:
    alignment, _, _ = found
    assert alignment.correlations[:12].min() > alignment.correlations[12:].max() + 0.05
    assert alignment.correlations[:12].min() > np.quantile(alignment.background, 0.95)
    probabilities = alignment.evidence.probabilities
    assert probabilities[:12].min() > 0.9
    assert np.count_nonzero(probabilities[12:] > 0.5) <= 1
    assert np.mean(alignment.members < 12) > 0.9


def test_what_is_not_of_the_kind_is_not_averaged() -> None:
    tomogram, centres, _ = scene()
    is_possible = np.arange(18) % 2 == 0
    found = align(search_for(tomogram), centres, np.array([0, 2]), prior_score=is_possible.astype(float))
    assert is_possible[found.members].all()


def test_members_are_compared_with_an_average_that_they_are_no_part_of() -> None:
    """Noise that is averaged resembles itself: without held-out averages the members would stand out."""
    noise = Tomogram(np.random.default_rng(0).standard_normal((50, 90, 90)).astype(np.float32))
    points = np.array([(25.0, y, x) for y in range(12, 90, 12) for x in range(12, 90, 12)])
    search = replace(search_for(noise, 10.0), config=AveragingConfig(n_averages=1))
    found = align(search, points, np.array([0]))
    others = np.setdiff1d(np.arange(len(points)), found.members)
    spread = found.correlations[others].std()
    assert found.correlations[found.members].mean() < found.correlations[others].mean() + 1.5 * spread


def test_vectors_choose_the_first_members_where_correlations_mislead() -> None:
    """What correlates with the click is of another kind, as gold and membranes are; only the vectors tell."""
    tomogram, centres, _ = scene(noise=0.3)
    search = replace(search_for(tomogram), config=AveragingConfig(n_averages=1))
    is_kind = np.arange(18) >= 12  # six of the other kind, clicked on one of the first
    vectors = np.eye(2)[(is_kind | (np.arange(18) == 0)).astype(int)]
    without = align(search, centres, np.array([0]))
    led = align(search, centres, np.array([0]), resemblance=Resemblance(vectors, 10.0, -6.0))
    assert is_kind[led.members].sum() > is_kind[without.members].sum()


def test_centres_are_moved_onto_the_average(found) -> None:
    alignment, centres, _ = found
    offsets = alignment.rotations[:12].inv().apply(alignment.points[:12] - centres[:12])
    assert np.linalg.norm(offsets - offsets.mean(axis=0), axis=1).max() < 1.5


def test_the_average_looks_like_the_kind(found) -> None:
    alignment, _, turns = found
    frames = turns[:12].inv() * alignment.rotations[:12]
    frame = min(frames, key=lambda one: np.median((one.inv() * frames).magnitude())).inv()
    edge = len(alignment.average.data)
    grid = np.stack(np.indices(alignment.average.data.shape), axis=-1) - edge // 2
    true = sum(np.exp(-((grid - blob) ** 2).sum(axis=-1) / 8) for blob in frame.apply(BLOBS))
    inside = np.linalg.norm(grid, axis=-1) < 11
    assert np.corrcoef(alignment.average.data[inside], true[inside])[0, 1] > 0.8


def test_what_lies_at_a_face_is_compared_too() -> None:
    """A face cuts through the first of each row of particles, and a corner holds nothing."""
    tomogram, centres, _ = scene()
    search, points = search_for(Tomogram(tomogram.data[:, :, 14:].copy())), centres - (0, 0, 14)
    assert np.count_nonzero(points[:12, 2] < 7) == 3
    found = align(search, points, np.array([1]))
    assert found.correlations[:12].min() > found.correlations[12:].max()
    assert (found.evidence.probabilities > 0.5).tolist() == [True] * 12 + [False] * 6
    with_corner = align(search, np.vstack([points, np.zeros((1, 3))]), np.array([1]))
    assert with_corner.correlations[-1] < 0.5 < with_corner.correlations[:-1].min()


def test_a_known_average_takes_the_place_of_a_start_and_tells_how_all_lie(found) -> None:
    known_from, _, _ = found
    tomogram, centres, turns = scene(n_kind=5, n_other=9, seed=4)
    is_kind = np.arange(18) < 12
    known_members = KnownMembers(known_from.correlations, np.where(is_kind, 0.9, 0.5), is_kind)
    known, prior_score = Known(known_from.average, 12.0, known_members), np.where(np.arange(14) < 5, 0.9, 0.5)
    there = align(search_for(tomogram), centres, np.zeros(0, dtype=int), prior_score=prior_score, known=known)
    assert (there.evidence.probabilities > 0.5).tolist() == [True] * 5 + [False] * 9
    # the average is that of both, so that it lies in the particles as the known one does in its own
    _, _, turns_from = scene()
    reference = (turns_from[:12].inv() * known_from.rotations[:12]).mean()
    errors = (reference.inv() * (turns[:5].inv() * there.rotations[:5])).magnitude()
    assert np.degrees(np.median(errors)) < 25
