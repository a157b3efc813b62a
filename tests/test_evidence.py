"""Probabilities that mean what they say."""

from dataclasses import replace

import numpy as np
import pytest

from cryosam.classification.evidence import KindEvidence, by_correlation, kind_evidence
from cryosam.saved_query import KnownMembers


def test_correlations_of_two_groups_become_probabilities() -> None:
    """In each draw nearly all are told; over the draws, probabilities are shares."""
    is_kind, expected, unsure = np.arange(160) < 40, [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        correlations = np.concatenate([random.normal(0.75, 0.05, 40), random.normal(0.55, 0.05, 120)])
        probability = kind_evidence(correlations, np.arange(20), np.full(200, 0.2)).probabilities
        assert ((probability > 0.5) == is_kind).mean() > 0.93
        expected.append(probability.sum())
        is_unsure = (probability > 0.1) & (probability < 0.9)
        unsure.append((probability - is_kind)[is_unsure])
    assert abs(np.mean(expected) - 40) < 4
    assert abs(np.concatenate(unsure).mean()) < 0.2


def test_background_stands_for_what_is_not_among_the_candidates() -> None:
    """All of the kind are found in each draw, and the two that are not are refused in most of them."""
    is_refused = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        kind, others = random.normal(0.6, 0.06, 14), np.array([0.3, 0.34])
        background = random.normal(0.15, 0.06, 200)
        probability = kind_evidence(np.concatenate([kind, others]), np.arange(10), background).probabilities
        assert probability[:14].min() > 0.5
        is_refused.append(probability[14:].max() < 0.5)
    assert np.mean(is_refused) >= 0.75


@pytest.mark.parametrize("seed", range(6))
def test_the_prior_score_separates_kinds_that_both_differ_from_the_background(seed) -> None:
    random = np.random.default_rng(seed)
    correlations = np.concatenate([random.normal(0.88, 0.02, 14), random.normal(0.8, 0.02, 6)])
    prior_score = np.concatenate([random.uniform(0.85, 1, 14), random.uniform(0.3, 0.5, 6)])
    background, is_kind = random.normal(0.3, 0.1, 60), np.arange(20) < 14
    alone = kind_evidence(correlations, np.arange(8), background).probabilities
    both = kind_evidence(correlations, np.arange(8), background, prior_score).probabilities
    assert (alone[14:] > 0.5).all()
    assert ((both > 0.5) == is_kind).all()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_unlike_any_particle_is_not_the_rest_that_the_kind_stands_apart_from(seed) -> None:
    """Candidates of no prior_score at all, and other kinds in between: the kind is divided from these."""
    random = np.random.default_rng(seed)
    rest = [(40, 0.70, 0.06, 0.5, 0.6), (35, 0.63, 0.08, 0.8, 1.0), (60, 0.47, 0.06, 0.5, 1.0)]
    groups = [(35, 0.99, 0.1, 0.0, 0.3), *rest]
    z = np.concatenate([random.normal(mean, spread, n) for n, mean, spread, _, _ in groups])
    unlike = np.concatenate([np.abs(random.normal(mean, spread, n)) for n, _, _, mean, spread in groups])
    correlations = np.tanh(np.append(z, random.normal(0.44, 0.05, 130)))
    prior_score = np.append(np.exp(-unlike), np.zeros(130))
    found = kind_evidence(correlations, np.arange(30), np.full(60, 0.3), prior_score)
    accepted = found.probabilities > 0.5
    assert np.count_nonzero(accepted[:35]) >= 28
    assert np.count_nonzero(accepted[35:]) <= 3


@pytest.mark.parametrize("seed", range(6))
def test_a_prior_score_without_information_changes_little(seed) -> None:
    random = np.random.default_rng(seed)
    correlations = np.concatenate([random.normal(0.7, 0.04, 20), random.normal(0.3, 0.04, 60)])
    found = kind_evidence(correlations, np.arange(15), np.full(60, 0.2), random.uniform(0.2, 1, 80))
    assert ((found.probabilities > 0.5) == (np.arange(80) < 20)).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("spread", "other_spread"), [(0.02, 0.1), (0.1, 0.02)])
def test_a_higher_correlation_is_never_less_probable(spread, other_spread, seed) -> None:
    random = np.random.default_rng(seed)
    z = np.concatenate([random.normal(0.7, spread, 20), random.normal(0.4, other_spread, 60), [-0.5, 0.0, 0.95, 0.98]])
    probability = kind_evidence(z, np.arange(15), np.full(200, 0.2)).probabilities
    assert (np.diff(probability[np.argsort(z)]) >= -1e-12).all()
    assert probability[-1] > 0.9 > 0.1 > probability[80]


@pytest.mark.parametrize("seed", range(6))
def test_groups_far_apart_are_well_separated_and_one_group_is_not(seed) -> None:
    random = np.random.default_rng(seed)
    two = np.concatenate([random.normal(0.7, 0.04, 20), random.normal(0.3, 0.04, 60)])
    one = np.sort(random.normal(0.5, 0.04, 80))[::-1]
    assert kind_evidence(two, np.arange(15), np.full(200, 0.2)).separation > 6
    assert kind_evidence(one, np.arange(15), np.full(200, 0.2)).separation < 3.8


@pytest.mark.parametrize("seed", range(6))
def test_where_all_that_was_looked_at_is_alike_all_is_of_the_kind(seed) -> None:
    """Many particles and nothing else: the background stands for everything else, and the kind is not cut in two."""
    random = np.random.default_rng(seed)
    correlations, background = random.normal(0.7, 0.04, 30), random.normal(0.25, 0.05, 60)
    found = kind_evidence(correlations, np.arange(8), background, prior_score=random.uniform(0.8, 1, 30))
    assert found.probabilities.min() > 0.9
    assert found.separation > 6


@pytest.mark.parametrize("seed", range(6))
def test_known_members_tell_that_none_is_of_the_kind(seed) -> None:
    """Two kinds, neither of which is meant: without known_members the upper one is taken for it."""
    random = np.random.default_rng(seed)
    correlations = np.concatenate([random.normal(0.45, 0.02, 8), random.normal(0.3, 0.02, 12)])
    prior_score = np.concatenate([random.uniform(0.5, 0.7, 8), random.uniform(0.2, 0.4, 12)])
    background, averaged = np.full(50, 0.1), np.arange(8)
    alone = kind_evidence(correlations, averaged, background, prior_score)
    assert alone.probabilities[:8].min() > 0.5
    known_members = KnownMembers(
        np.array([0.72, 0.7, 0.68, 0.66, 0.4, 0.35, 0.3, 0.33]),
        np.array([0.95, 0.9, 0.92, 0.97, 0.5, 0.3, 0.4, 0.2]),
        np.arange(8) < 4,
    )
    told = kind_evidence(correlations, averaged, background, prior_score, known_members)
    assert told.probabilities.max() < 0.5
    with_two = np.concatenate([[0.7, 0.69], correlations]), np.concatenate([[0.93, 0.96], prior_score])
    told = kind_evidence(with_two[0], averaged, background, with_two[1], known_members)
    assert (told.probabilities > 0.5).tolist() == [True, True] + [False] * 20


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
@pytest.mark.parametrize(("added", "others", "is_told"), [(0.7, 0.4, True), (0.7, 0.6, False), (0.55, 0.3, False)])
def test_correlations_alone_tell_what_leaves_a_gap_and_lies_with_the_kind(added, others, is_told, seed) -> None:
    """Not where the others are near, nor where what would be added is less like the average than what was found."""
    random = np.random.default_rng(seed)
    z = np.concatenate([random.normal(mean, 0.03, 12) for mean in (0.72, added, others)])
    is_first = np.arange(36) < 12
    found = KindEvidence(is_first.astype(float), z, 6.0)
    told = by_correlation(np.tanh(z), np.arange(12), np.ones(36, dtype=bool), found)
    assert (told is not None) == is_told
    if told is not None:
        np.testing.assert_array_equal(told.probabilities > 0.5, np.arange(36) < 24)
    possible = np.arange(36) % 3 != 1
    told = by_correlation(np.tanh(z), np.arange(0, 12, 3), possible, found)
    assert (told is not None) == is_told
    if told is not None:
        np.testing.assert_array_equal(told.probabilities > 0.5, possible & (np.arange(36) < 24))
    everything = replace(found, probabilities=(np.arange(36) < 24).astype(float))
    assert by_correlation(np.tanh(z), np.arange(12), np.ones(36, dtype=bool), everything) is None
