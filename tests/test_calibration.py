"""Probabilities that mean what they say, and the thresholds that follow from them."""

import numpy as np
import pytest

from cryosam.calibration import choose_threshold, kind_probability, limit_false_discovery


def test_correlations_of_two_groups_become_probabilities() -> None:
    random = np.random.default_rng(0)
    kind, others = random.normal(0.75, 0.05, 40), random.normal(0.55, 0.05, 120)
    probability = kind_probability(np.concatenate([kind, others]), np.arange(20), np.arange(30), np.full(200, 0.2))
    is_kind = np.arange(160) < 40
    assert abs(probability.sum() - 40) < 4
    assert ((probability > 0.5) == is_kind).mean() > 0.95
    unsure = (probability > 0.1) & (probability < 0.9)
    assert abs(probability[unsure].mean() - is_kind[unsure].mean()) < 0.3


def test_background_stands_for_what_is_not_among_the_candidates() -> None:
    random = np.random.default_rng(0)
    kind, others = random.normal(0.6, 0.06, 14), np.array([0.3, 0.34])
    background = random.normal(0.15, 0.06, 200)
    probability = kind_probability(np.concatenate([kind, others]), np.arange(10), np.arange(16), background)
    assert ((probability > 0.5) == (np.arange(16) < 14)).all()


@pytest.mark.parametrize(("share", "threshold"), [(0.01, 1.0), (0.05, 0.9), (0.2, 0.5), (0.9, 0.1)])
def test_false_discovery_is_limited(share, threshold) -> None:
    assert limit_false_discovery(np.array([1.0, 0.9, 0.5, 0.1]), share) == threshold


def test_nothing_is_sure_enough() -> None:
    assert limit_false_discovery(np.array([0.5, 0.4]), 0.1) == 1.0
    assert limit_false_discovery(np.zeros(0), 0.1) == 1.0


def test_threshold_lies_between_two_groups() -> None:
    scores = np.array([0.95, 0.93, 0.92, 0.90, 0.52, 0.51, 0.5, 0.49, 0.48])
    assert 0.52 < choose_threshold(scores) < 0.9


def test_threshold_of_nothing_is_strict() -> None:
    assert choose_threshold(np.zeros(0)) == choose_threshold(np.full(5, 0.1)) == 0.8
