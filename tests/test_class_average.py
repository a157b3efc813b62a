"""Averages of some particles, and how like each other those of one kind are."""

import numpy as np
import pytest

from cryosam.averaging.class_average import ClassAverage, noise_free_correlation
from scenes import ONE_ARM_ELSEWHERE, OTHER, scene, search_for

N_KIND, N_OTHER = 12, 8
DRAWS = [(OTHER, 0.2, 1), (OTHER, 0.2, 2), (OTHER, 0.6, 3), (ONE_ARM_ELSEWHERE, 0.2, 1), (ONE_ARM_ELSEWHERE, 0.4, 2)]


@pytest.fixture(scope="module", params=DRAWS, ids=["rod", "another rod", "in noise", "arm", "arm in noise"])
def groups(request: pytest.FixtureRequest) -> list[ClassAverage]:
    """Two halves of one kind, and another kind: a rod, or one that differs by an arm."""
    other, noise, seed = request.param
    tomogram, centres, _ = scene(N_KIND, N_OTHER, noise=noise, other=other, seed=seed)
    search = search_for(tomogram)
    spectra = search.cut.spectra(centres)
    of_each = [np.arange(0, N_KIND, 2), np.arange(1, N_KIND, 2), np.arange(N_KIND, N_KIND + N_OTHER)]
    groups = [ClassAverage(search, centres, spectra, search.cut.cut(centres[members[:1]])[0]) for members in of_each]
    for group, members in zip(groups, of_each, strict=True):
        group.gather(members)
        group.gather(members)
    return groups


def test_halves_of_a_kind_are_alike_and_another_kind_is_not(groups) -> None:
    first, second, other = groups
    assert noise_free_correlation(first, second) > 0.9
    assert (
        max(noise_free_correlation(first, other), noise_free_correlation(second, other))
        < noise_free_correlation(first, second) - 0.03
    )


def test_particles_that_are_no_member_are_known_by_the_average(groups) -> None:
    first, second, other = groups
    of_kind, of_other = first.fisher_z[second.members], first.fisher_z[other.members]
    assert np.mean(of_kind[:, None] > of_other) > 0.75


def test_what_was_not_averaged_has_no_reliability() -> None:
    tomogram, centres, _ = scene(3, 0)
    search = search_for(tomogram)
    alone = ClassAverage(search, centres, search.cut.spectra(centres), search.cut.cut(centres[:1])[0])
    with pytest.raises(ValueError, match="averaged"):
        alone.reliability()
