"""A volume that is smoothed where it is looked at."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.instances import smoothing
from cryosam.instances.smoothing import Smoothed
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram, Voxels

VOLUME = np.random.default_rng(0).random((19, 33, 50), dtype=np.float32)


@pytest.mark.parametrize("edge", [7, 16, 96])
@pytest.mark.parametrize("sigma", [0.0, 0.9, 2.6])
@pytest.mark.parametrize("limit", [1.0, None])
def test_it_is_the_smoothed_whole_whatever_the_blocks_and_the_budget(monkeypatch, edge, sigma, limit) -> None:
    monkeypatch.setattr(smoothing, "_EDGE", edge)
    monkeypatch.setattr("cryosam.memory._LEAST", 1)
    whole = ndimage.gaussian_filter(VOLUME, sigma)
    smoothed = Smoothed(Tomogram(VOLUME), sigma, Workspace(limit))
    assert isinstance(smoothed, Voxels)
    assert isinstance(smoothed.crop(np.s_[:1, :1, :1]), np.memmap) == (limit is not None)
    np.testing.assert_array_equal(smoothed.crop(np.s_[5:9, 30:33, 2:3]), whole[5:9, 30:33, 2:3])
    np.testing.assert_array_equal(smoothed.slice("x", 49), whole[:, :, 49])
    np.testing.assert_array_equal(smoothed.crop(np.s_[:, :, :]), whole)


def test_only_what_is_looked_at_is_smoothed() -> None:
    asked = []

    class Watched:
        shape = (500, 300, 200)

        def crop(self, box):
            asked.append([s.stop - s.start for s in box])
            return np.zeros(asked[-1], dtype=np.float32)

        slice = digest = crop

    smoothed = Smoothed(Watched(), 1.0, Workspace())
    for _ in range(2):
        smoothed.crop(np.s_[10:20, 90:100, 0:5])
    assert asked == [[100, 100, 100], [100, 104, 100]]


def test_another_gaussian_is_another_volume() -> None:
    digests = {Smoothed(Tomogram(VOLUME + i), sigma, Workspace()).digest() for i in (0, 1) for sigma in (1.0, 1.5)}
    assert len(digests) == 4
