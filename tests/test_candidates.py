"""Which candidate a click means."""

import numpy as np
import pytest

from stand_ins import candidates

POINTS = [(10.0, 10, 10), (10, 10, 15), (10, 10, 40)]


def test_a_positive_click_means_the_nearest_candidate_within_a_diameter() -> None:
    found = candidates(POINTS, [0.9, 0.8, 0.7])  # of diameter 6
    clicks = np.array([[10.0, 10, 12], [10, 10, 34.5], [10, 10, 30]])
    assert found.clicked(clicks).tolist() == [0, 2, -1]
    assert candidates(np.zeros((0, 3)), []).clicked(clicks).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(("edge", "expected"), [(5, [1, 0, -1]), (0, [0, 0, -1]), (11, [0, 0, 2])])
def test_a_negative_click_means_what_it_lies_on(edge, expected) -> None:
    """The nearest whose mask holds it, else the nearest within half a diameter; not a neighbour."""
    found = candidates(POINTS, [0.9, 0.8, 0.7], edge)
    clicks = np.array([[10.0, 10, 12.4 if edge != 5 else 13], [12.9, 10, 10], [10, 10, 36]])
    assert found.under(clicks).tolist() == expected


def test_what_was_ruled_out_is_not_accepted_at_any_threshold() -> None:
    assert candidates(POINTS, [0.9, 0.1, 0.0], threshold=0.0).is_accepted.tolist() == [True, True, False]
