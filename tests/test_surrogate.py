"""A tomogram without its particles."""

import numpy as np
import pytest

from cryosam.averaging.surrogate import phase_randomised
from cryosam.tomogram import Tomogram
from scenes import BALLS, phantom


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    tomogram = phantom()
    return tomogram.data, phase_randomised(tomogram).data


def test_the_spectrum_is_kept(pair) -> None:
    given, surrogate = (np.abs(np.fft.rfftn(volume)) for volume in pair)
    within = np.ones(given.shape, dtype=bool)
    within[0, 0, 0] = False  # the mean is kept below
    np.testing.assert_allclose(surrogate[within], given[within], rtol=1e-2, atol=1e-3 * given[within].max())
    assert pair[0].mean() == pytest.approx(pair[1].mean(), abs=1e-4)
    assert pair[0].std() == pytest.approx(pair[1].std(), rel=1e-3)


def test_the_structure_is_gone(pair) -> None:
    """Dense balls make a heavy tail; without them all is as in noise, and the places of the balls are as any."""
    given, surrogate = ((volume - volume.mean()) / volume.std() for volume in pair)
    assert abs(np.corrcoef(given.ravel(), surrogate.ravel())[0, 1]) < 0.1
    assert (given**3).mean() > 1
    assert abs((surrogate**3).mean()) < 0.3
    at = tuple(BALLS.astype(int).T)
    assert given[at].min() > 2
    assert abs(surrogate[at].mean()) < 1.5


def test_a_surrogate_is_the_same_each_time_and_another_by_another_seed(pair) -> None:
    np.testing.assert_array_equal(phase_randomised(phantom()).data, pair[1])
    assert not np.allclose(phase_randomised(phantom(), seed=1).data, pair[1])


def test_of_a_large_one_the_middle_is_taken(monkeypatch) -> None:
    """In full thickness, and in the proportions of the whole."""
    monkeypatch.setattr("cryosam.averaging.surrogate._MOST_VOXELS", 36 * 30 * 36)
    volume = np.zeros((36, 60, 72), dtype=np.float32)
    volume[:, 15:45, 18:54] = 1 + phantom().data[:, 15:45, 18:54]
    surrogate = phase_randomised(Tomogram(volume)).data
    assert surrogate.shape == (36, 30, 36)
    assert surrogate.mean() == pytest.approx(volume[:, 15:45, 18:54].mean(), rel=1e-3)
