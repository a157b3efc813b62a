"""What is something, where it is known what chance gives."""

import numpy as np
import pytest

from cryosam.classification.chance import Chance


def test_what_is_as_likely_by_chance_is_nothing() -> None:
    random = np.random.default_rng(0)
    given = Chance(random.normal(0.3, 0.05, 400), 1.0).probabilities(random.normal(0.3, 0.05, 400))
    assert given.mean() < 0.05


def test_what_chance_never_gives_is_something() -> None:
    random = np.random.default_rng(1)
    assert Chance(random.normal(0.3, 0.05, 400), 1.0).probabilities(random.normal(0.8, 0.05, 50)).min() > 0.99


def test_the_probabilities_sum_to_the_number_that_is_real() -> None:
    random = np.random.default_rng(2)
    z = np.concatenate([random.normal(0.5, 0.05, 150), random.normal(0.3, 0.05, 300)])
    given = Chance(random.normal(0.3, 0.05, 300), 1.0).probabilities(z)
    assert given.sum() == pytest.approx(150, rel=0.1)


def test_a_better_candidate_is_no_less_probable() -> None:
    random = np.random.default_rng(3)
    z = np.sort(random.normal(0.4, 0.1, 200))
    chance = Chance(random.normal(0.3, 0.05, 100), 2.0)
    given = chance.probabilities(z)
    assert (np.diff(given) >= 0).all()
    assert given.min() >= 0
    assert given.max() <= 1
    order = random.permutation(len(z))
    np.testing.assert_array_equal(chance.probabilities(z[order]), given[order])


def test_a_place_that_stands_for_more_counts_for_more() -> None:
    """Two of ten by chance are four of ten where the searched volume is twice as large."""
    z, chance = np.linspace(0.5, 0.6, 10), np.array([0.52, 0.58])
    each = [Chance(chance, weight).probabilities(z).sum() for weight in (0.5, 1.0, 2.0)]
    assert each[0] > each[1] > each[2]


def test_where_chance_gives_nothing_all_is_something() -> None:
    assert Chance(np.zeros(0), 1.0).probabilities(np.array([0.1, 0.5])).tolist() == [1, 1]
    assert len(Chance(np.array([0.1]), 1.0).probabilities(np.zeros(0))) == 0
