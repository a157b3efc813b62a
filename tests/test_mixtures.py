"""Classes of candidates with a known answer."""

import numpy as np
import pytest

from cryosam.classification.mixtures import Mixture, bimodality, two_groups

N_EACH = 40


@pytest.fixture
def three_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence of three classes, the prior score of each candidate, and its class."""
    random, truth = np.random.default_rng(2), np.repeat(np.arange(3), N_EACH)
    middles = np.array([[0.9, 0.5], [0.5, 0.9], [0.2, 0.2]])
    return middles[truth] + random.normal(0, 0.06, (len(truth), 2)), random.normal(-0.3, 0.1, len(truth)), truth


def _guess(truth: np.ndarray) -> np.ndarray:
    """Two of three are guessed right."""
    guessed = np.where(np.arange(len(truth)) % 3 == 0, (truth + 1) % 3, truth)
    return 0.05 + 0.85 * np.eye(3)[guessed]


def test_every_candidate_finds_its_class_where_two_of_three_are_guessed(three_classes) -> None:
    evidence, alike, truth = three_classes
    shares = Mixture.fit(evidence, alike, _guess(truth), 20).assign(evidence, alike)
    assert np.array_equal(shares.argmax(axis=1), truth)
    assert np.allclose(shares.sum(axis=1), 1)


def test_classes_are_apart_by_their_spread(three_classes) -> None:
    evidence, alike, truth = three_classes
    apart = Mixture.fit(evidence, alike, _guess(truth), 20).distances()
    assert np.allclose(np.diag(apart), 0)
    assert np.allclose(apart, apart.T)
    expected = 0.4 * np.sqrt(2) / 0.06 / np.sqrt(1.3)  # variances are counted by 0.3 larger
    assert apart[0, 1] == pytest.approx(expected, rel=0.15)


def test_the_prior_score_separates_classes_of_the_same_evidence() -> None:
    random = np.random.default_rng(3)
    evidence = random.normal(0, 0.1, (2 * N_EACH, 2))
    alike = np.concatenate([random.normal(-0.2, 0.05, N_EACH), random.normal(-2.0, 0.05, N_EACH)])
    start = np.where(np.arange(2 * N_EACH)[:, None] % N_EACH < 10, np.eye(2)[np.repeat([0, 1], N_EACH)], 0.5)
    shares = Mixture.fit(evidence, alike, start, 20).assign(evidence, alike)
    assert np.array_equal(shares.argmax(axis=1), np.repeat([0, 1], N_EACH))


@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_one_heap_is_not_taken_for_two(apart: float) -> None:
    """Two normal distributions that overlap have no gap between them."""
    random = np.random.default_rng(4)
    gains = [bimodality(random.normal(0, 3, 40) + apart * 3 * (np.arange(40) < 20)) for _ in range(20)]
    assert np.mean(np.array(gains) > 8) <= 0.1


@pytest.mark.parametrize("n_first", [4, 20, 36])
def test_two_heaps_are_seen_whatever_their_sizes(n_first: int) -> None:
    random = np.random.default_rng(5)
    values = 0.1 * random.normal(0, 1, 40) + 0.6 * (np.arange(40) < n_first)
    assert bimodality(values) > 10
    assert bimodality(100 - 7 * values) == pytest.approx(bimodality(values))


@pytest.mark.parametrize("values", [[0.3], [0.3, 1.0], [0.3, 0.3, 1.0], [1.0] * 5])
def test_equal_values_and_few_are_one_heap(values: list[float]) -> None:
    assert bimodality(np.array(values)) == 0


def test_what_is_known_of_values_stays() -> None:
    values = np.array([0.0, 0.1, 1.0, 1.1, 0.9, 0.2])
    share, separation = two_groups(values, np.array([0.3, 0.3, 0.6, 0.6, 1.0, 0.0]), 4)
    assert share.round().tolist() == [0, 0, 1, 1, 1, 0]
    assert separation > 5
