"""One particle, several kinds that claim it."""

from dataclasses import replace

import numpy as np
import pytest

from cryosam.backends.classical import ClassicalSegmenter
from cryosam.competition import compete
from cryosam.config import PropagationConfig
from cryosam.masks import InstanceMask, ScoreMap
from cryosam.prompted import Prompted
from cryosam.propagation import Instances
from cryosam.search import Candidates
from cryosam.tomogram import Tomogram

INSTANCES = Instances(Tomogram(np.zeros((3, 3, 3), dtype=np.float32)), ClassicalSegmenter(), PropagationConfig())
MAP = ScoreMap(np.zeros((1, 1, 1), dtype=np.float32), 4)


def candidates(points, scores, edge=5):
    masks = tuple(
        InstanceMask(tuple(int(c) - edge // 2 for c in p), np.ones((edge,) * 3, dtype=bool))
        if edge
        else InstanceMask.empty()
        for p in points
    )
    prompted = Prompted((), (), 6.0, INSTANCES, 1.0)
    return Candidates(np.array(points, dtype=float), np.array(scores), masks, prompted, 6.0, MAP, 0.5)


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
