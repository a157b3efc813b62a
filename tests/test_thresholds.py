"""Thresholds that follow from probabilities and from similarities."""

import numpy as np
import pytest

from cryosam.classification.thresholds import choose_threshold, limit_false_discovery


@pytest.mark.parametrize(("share", "threshold"), [(0.01, 1.0), (0.05, 0.9), (0.2, 0.5), (0.9, 0.1)])
def test_false_discovery_is_limited(share, threshold) -> None:
    assert limit_false_discovery(np.array([1.0, 0.9, 0.5, 0.1]), share) == threshold


def test_equal_probabilities_are_accepted_together_or_not_at_all() -> None:
    probabilities = np.array([*np.ones(20), *np.zeros(50)])
    assert limit_false_discovery(probabilities, 0.1) == 1.0
    assert limit_false_discovery(probabilities[:22], 0.1) == 0.0


def test_nothing_is_sure_enough() -> None:
    assert limit_false_discovery(np.array([0.5, 0.4]), 0.1) == 1.0
    assert limit_false_discovery(np.zeros(0), 0.1) == 1.0


def test_threshold_lies_between_two_groups() -> None:
    scores = np.array([0.95, 0.93, 0.92, 0.90, 0.52, 0.51, 0.5, 0.49, 0.48])
    assert 0.52 < choose_threshold(scores) < 0.9


def test_threshold_of_nothing_is_strict() -> None:
    assert choose_threshold(np.zeros(0)) == choose_threshold(np.full(5, 0.1)) == 0.8
