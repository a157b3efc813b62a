"""What vectors say about a set that was accepted: whether it holds together, and whether it is of one kind."""

from itertools import product

import numpy as np
import pytest
from jaxtyping import Float

from cryosam.classification.vector_groups import agreement, disagrees, of_known_kind, share_above

_LENGTH = 64
_SIGNIFICANCE = 0.05


def _vectors(n: int, centre: int, seed: int = 0) -> Float[np.ndarray, "n v"]:
    """Vectors of length 1 around a unit vector, with ten times the spread in some directions as in others."""
    random = np.random.default_rng(seed)
    found = np.eye(_LENGTH)[centre] + random.normal(size=(n, _LENGTH)) * np.linspace(0.15, 0.015, _LENGTH)
    unit: Float[np.ndarray, "n v"] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def test_the_share_above_counts_pairs_and_half_of_the_ties() -> None:
    random = np.random.default_rng(1)
    values, is_accepted = random.integers(0, 5, 30).astype(float), random.random(30) < 0.4
    pairs = list(product(values[is_accepted], values[~is_accepted]))
    assert share_above(values, is_accepted) == pytest.approx(np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))
    assert share_above(values, np.ones(30, dtype=bool)) is None
    assert share_above(values, np.zeros(30, dtype=bool)) is None


def test_one_kind_agrees_and_a_mixture_does_not() -> None:
    vectors = np.concatenate([_vectors(20, 0), _vectors(40, 1, 1), _vectors(40, 2, 2)])
    rows = np.arange(len(vectors))
    assert (agreement(vectors, rows < 20) or 0) > 0.99
    assert (agreement(vectors, rows % 2 == 0) or 1) < 0.7
    assert agreement(vectors, rows == 0) is None


def test_an_accepted_candidate_is_not_compared_with_itself() -> None:
    random = np.random.default_rng(2)
    found = [agreement(random.normal(size=(40, _LENGTH)), np.arange(40) < 10) or 0.0 for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_a_doubt_needs_an_agreement_below_the_limit_by_more_than_chance() -> None:
    """The same agreement of 0.82 or so: of many candidates it is below 0.91, of few it may be chance."""
    random = np.random.default_rng(3)
    is_accepted = np.arange(1200) % 3 == 0
    vectors = 0.45 * random.normal(size=(1200, 6)) + np.where(is_accepted[:, None], np.eye(6)[0], 0.45 * np.eye(6)[0])
    assert agreement(vectors, is_accepted) == pytest.approx(0.82, abs=0.04)
    assert disagrees(vectors, is_accepted, 0.91, _SIGNIFICANCE)
    assert not disagrees(vectors, is_accepted, 0.7, _SIGNIFICANCE)
    assert not disagrees(vectors[:12], is_accepted[:12], 0.91, _SIGNIFICANCE)
    assert disagrees(vectors[:120], is_accepted[:120], 0.91, 0.2)


@pytest.mark.parametrize("n", [12, 40, 200])
def test_one_kind_is_seldom_divided(n: int) -> None:
    """At a level of 5 %: of 20 sets, at most 3 with a probability of 0.98."""
    kept = [of_known_kind(_vectors(n, 0, seed), np.arange(n) == 0, _SIGNIFICANCE).all() for seed in range(20)]
    assert np.count_nonzero(~np.array(kept)) <= 3


@pytest.mark.parametrize("known", [0, 30, 60])
def test_of_three_kinds_the_known_one_is_kept(known: int) -> None:
    vectors = np.concatenate([_vectors(25, 0), _vectors(30, 1, 1), _vectors(20, 2, 2)])
    kind = np.repeat([0, 1, 2], [25, 30, 20])
    kept = of_known_kind(vectors, np.arange(75) == known, _SIGNIFICANCE)
    np.testing.assert_array_equal(kept, kind == kind[known])


def test_the_group_with_more_known_ones_is_kept() -> None:
    vectors = np.concatenate([_vectors(20, 0), _vectors(20, 1, 1)])
    is_known = np.isin(np.arange(40), [3, 25, 26])
    np.testing.assert_array_equal(of_known_kind(vectors, is_known, _SIGNIFICANCE), np.arange(40) >= 20)


def test_few_or_equal_vectors_are_not_divided() -> None:
    two = np.concatenate([_vectors(3, 0), _vectors(4, 1)])
    assert of_known_kind(two, np.arange(7) == 0, _SIGNIFICANCE).all()
    assert of_known_kind(np.tile(np.eye(_LENGTH)[0], (20, 1)), np.arange(20) == 0, _SIGNIFICANCE).all()


def test_the_known_one_stays_whatever_the_level() -> None:
    vectors = _vectors(40, 0)
    assert of_known_kind(vectors, np.arange(40) == 7, 1.0)[7]
