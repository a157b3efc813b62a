"""What vectors and correlations say about candidates of which it is known what they are."""

from dataclasses import replace

import numpy as np
import pytest

from cryosam.classification.two_views import TwoViews
from cryosam.config import VectorSearchConfig

N_KIND, N_OTHER, N_DECOYS = 20, 80, 60
N = N_KIND + N_OTHER
MEMBERS = np.array([3, 0, 7, 1])
SETTINGS = VectorSearchConfig()


def views(seed: int = 0, apart: float = 1.0) -> TwoViews:
    """Twenty of the kind, of which four are averaged, eighty other objects, and decoys that match nothing."""
    random = np.random.default_rng(seed)
    angles = np.concatenate([random.normal(1.3 - 0.6 * apart, 0.1, N_KIND), random.normal(1.3, 0.1, N_OTHER)])
    z = np.concatenate([random.normal(0.4 + 0.3 * apart, 0.08, N_KIND), random.normal(0.4, 0.08, N_OTHER)])
    decoys = np.cos(random.normal(1.4, 0.1, N_DECOYS)), random.normal(0.2, 0.05, N_DECOYS)
    return TwoViews(np.cos(angles), z, MEMBERS, *decoys)


@pytest.mark.parametrize("seed", range(4))
def test_the_kind_is_told_from_other_objects(seed: int) -> None:
    found = views(seed).probabilities(SETTINGS)
    assert (found[:N_KIND] > 0.5).mean() >= 0.9
    assert (found[N_KIND:] > 0.5).mean() <= 0.03


@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_is_so(seed: int) -> None:
    """Where the two overlap, about as many of the accepted are false as their probabilities say."""
    false, said, n = 0.0, 0.0, 0
    for k in range(20):
        found = views(100 * seed + k, apart=0.6).probabilities(SETTINGS)
        accepted = found > 0.5
        false += np.count_nonzero(accepted[N_KIND:])
        said += float((1 - found[accepted]).sum())
        n += np.count_nonzero(accepted)
    assert n > 100
    assert abs(false - said) / n < 0.1


def test_what_chance_reaches_is_not_the_kind() -> None:
    """The same candidates, and decoys that match the average as well as the kind does."""
    given = views()
    as_good = replace(given, chance_z=np.random.default_rng(1).normal(0.7, 0.08, N_DECOYS))
    assert (given.probabilities(SETTINGS) > 0.5).sum() >= 18
    assert (as_good.probabilities(SETTINGS) > 0.5).sum() <= 5


def test_both_views_count() -> None:
    """One candidate has the vector of the kind only, one the correlation only: neither is as probable as one of it."""
    given = views()
    one = replace(
        given,
        similarity=np.append(given.similarity, [np.cos(0.7), np.cos(1.3), np.cos(0.7)]),
        z=np.append(given.z, [0.25, 0.7, 0.7]),
    )
    found = one.probabilities(SETTINGS)
    assert found[N + 2] > 0.9
    assert found[N] < 0.5
    assert found[N + 1] < 0.5


def test_members_come_first_and_then_the_kind() -> None:
    order = np.argsort(-views().ranking(SETTINGS))
    assert set(order[:4]) == set(MEMBERS)
    assert set(order[:N_KIND]) == set(range(N_KIND))


def test_a_ranking_does_not_depend_on_units() -> None:
    given = views()
    other = replace(given, similarity=0.5 * given.similarity + 0.1, z=3 * given.z - 2)
    np.testing.assert_array_equal(np.argsort(other.ranking(SETTINGS)), np.argsort(given.ranking(SETTINGS)))


def test_those_unlike_decoys_are_counted() -> None:
    """Of the others, about half are nearer than a typical decoy if they are decoys themselves."""
    given = views()
    assert given.n_unlike_decoys() >= N_KIND
    nothing = replace(given, similarity=given.chance_similarity, z=given.chance_z)
    assert nothing.n_unlike_decoys() == pytest.approx(N_DECOYS / 2, abs=12)


@pytest.mark.parametrize(("n", "members"), [(1, [0]), (2, [0]), (2, [0, 1]), (3, [2, 0]), (4, [1])])
def test_few_candidates_have_finite_probabilities(n: int, members: list[int]) -> None:
    """Also where nothing but members is left to compare with, and where there are no decoys."""
    random = np.random.default_rng(n)
    few = TwoViews(
        random.uniform(-1, 1, n), random.normal(0.4, 0.1, n), np.array(members), random.uniform(-1, 1, 3), np.ones(3)
    )
    for given in (few, replace(few, chance_similarity=np.zeros(0), chance_z=np.zeros(0))):
        found = given.probabilities(SETTINGS)
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert np.isfinite(given.ranking(SETTINGS)).all()
