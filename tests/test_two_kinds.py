"""Particles of two kinds, of each of which one is known."""

import numpy as np
import pytest

from cryosam.classification.two_kinds import divide
from cryosam.tomogram import Tomogram
from scenes import ONE_ARM_ELSEWHERE, scene, search_for

N_KIND, N_OTHER = 11, 9


@pytest.fixture(scope="module")
def two_kinds() -> tuple[Tomogram, np.ndarray]:
    tomogram, centres, _ = scene(N_KIND, N_OTHER, other=ONE_ARM_ELSEWHERE)
    return tomogram, centres + np.random.default_rng(1).uniform(-1.2, 1.2, centres.shape)


@pytest.mark.parametrize("draw", [1, 2, 4])
def test_kinds_that_differ_by_one_arm_are_told_apart(draw: int) -> None:
    tomogram, centres, _ = scene(N_KIND, N_OTHER, other=ONE_ARM_ELSEWHERE, seed=draw)
    points = centres + np.random.default_rng(draw).uniform(-1.2, 1.2, centres.shape)
    positive, negative = 3, N_KIND + 3
    division = divide(search_for(tomogram), points, np.array([positive]), np.array([negative]))
    assert division is not None
    is_wrong = (division.probabilities > 0.5) != (np.arange(N_KIND + N_OTHER) < N_KIND)
    assert np.count_nonzero(is_wrong) <= 1
    assert division.probabilities[[positive, negative]].tolist() == [1, 0]
    assert division.correlation < 0.9


def test_what_is_alone_divides_nothing(two_kinds) -> None:
    """The kind must not be cut in two because one other particle was clicked."""
    tomogram, points = two_kinds
    kind_and_one = points[: N_KIND + 1]
    assert divide(search_for(tomogram), kind_and_one, np.array([0]), np.array([N_KIND])) is None
