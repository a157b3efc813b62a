"""One particle, several kinds that claim it."""

from dataclasses import replace

import numpy as np
import pytest

from cryosam.classification.exclusive_kinds import compete
from stand_ins import AVERAGE, candidates


@pytest.mark.parametrize("edge", [0, 5])
def test_the_more_probable_kind_gets_the_particle(edge) -> None:
    a = candidates([(10, 10, 10), (30, 30, 30)], [0.9, 0.8], edge)
    b = candidates([(11, 10, 10), (50, 50, 50)], [0.99, 0.7], edge)
    first, second = compete([a, b])
    np.testing.assert_allclose(first.points, [(30, 30, 30), (10, 10, 10)])
    np.testing.assert_allclose(first.scores, [0.8, 0])
    odds = 0.99 / 0.01
    np.testing.assert_allclose(second.scores, [odds / (1 + odds + 9), 0.7])


def test_what_nobody_else_claims_keeps_its_probability() -> None:
    a, b = candidates([(10, 10, 10)], [0.6]), candidates([(30, 10, 10)], [0.9])
    assert [each.scores.tolist() for each in compete([a, b])] == [pytest.approx([0.6]), pytest.approx([0.9])]


def test_the_order_of_the_kinds_does_not_matter() -> None:
    random = np.random.default_rng(0)
    kinds = [candidates(random.uniform(5, 40, (30, 3)), np.sort(random.random(30))[::-1]) for _ in range(3)]
    forward, backward = compete(kinds), compete(kinds[::-1])[::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_allclose(one.scores, other.scores)
        np.testing.assert_allclose(one.points, other.points)


@pytest.mark.parametrize("threshold", [0.5, 0.15])
def test_at_its_threshold_no_particle_has_two_kinds(threshold) -> None:
    random = np.random.default_rng(1)
    place = random.uniform(5, 60, (40, 3))
    kinds = [candidates(place + random.normal(0, 0.5, place.shape), random.random(40)) for _ in range(4)]
    settled = compete([replace(each, threshold=threshold) for each in kinds])
    accepted = np.concatenate([each.points[each.scores >= threshold] for each in settled])
    assert len(accepted) > 10
    distances = np.linalg.norm(accepted[:, None] - accepted, axis=2) + 99 * np.eye(len(accepted))
    assert distances.min() > 2


def test_a_ruled_out_candidate_stays_out_and_nothing_is_nothing() -> None:
    a, b = candidates([(10, 10, 10)], [0.0]), candidates(np.zeros((0, 3)), [])
    first, second = compete([a, b])
    assert first.scores.tolist() == [0]
    assert len(second.points) == 0


@pytest.mark.parametrize("pair", [(0.75, 0.71), (0.9, 0.9), (1.0, 1.0), (0.5, 0.5)])
def test_a_particle_that_a_kind_accepts_is_not_lost_to_the_competition(pair) -> None:
    """Of one kind or of neither its probability may be below a half: one kind still has it, and only one."""
    kinds = [candidates([(10, 10, 10)], [score]) for score in pair]
    scores = [float(each.scores[0]) for each in compete(kinds)]
    assert sorted(score >= 0.5 for score in scores) == [False, True]
    assert scores[0] >= 0.5


def test_equal_probabilities_are_told_apart_by_the_averages() -> None:
    a, b = (
        replace(candidates([(10, 10, 10)], [1.0]), correlation=np.array([correlation])) for correlation in (0.4, 0.6)
    )
    first, second = compete([a, b])
    assert (first.scores[0], second.scores[0] >= 0.5) == (0, True)


@pytest.mark.parametrize(("score", "rival", "wins"), [(0.9, 0.85, True), (0.8, 0.9, False), (0.85, 0.75, True)])
def test_similarities_are_no_probabilities(score, rival, wins) -> None:
    """The kind whose score is farther above its own threshold has the particle, with the score that it had."""
    a = candidates([(10, 10, 10)], [score], threshold=0.7, average=None)
    for average, threshold in ((None, 0.7), (AVERAGE, 0.6)):
        b = candidates([(11, 10, 10)], [rival], threshold=threshold, average=average)
        first, second = compete([a, b])
        if average is None:
            assert (first.scores[0], second.scores[0]) == ((score, 0) if wins else (0, rival))
        assert sorted([first.scores[0] > 0, second.scores[0] > 0]) == [False, True]


def test_what_no_kind_accepts_takes_nothing_from_another() -> None:
    a = candidates([(10, 10, 10)], [0.3], threshold=0.7, average=None)
    b = candidates([(11, 10, 10)], [0.55], threshold=0.7, average=None)
    assert [each.scores.tolist() for each in compete([a, b])] == [[0.3], [0.55]]
