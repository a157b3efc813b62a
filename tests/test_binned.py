"""A tomogram at other voxel sizes: means, and where they lie."""

import numpy as np
import pytest

from cryosam.errors import VoxelSizeError
from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structures import BinnedTomogram
from cryosam.tomogram import Tomogram

SHAPE = (31, 42, 53)


def _binned(data: np.ndarray, size: float | None = 10.0) -> BinnedTomogram:
    return BinnedTomogram.of(normalise(Tomogram(data, size), "bright", (0.0, 100.0)), MissingWedge())


@pytest.mark.parametrize("size", [4.0, 10.0, 13.3, 20.0, 24.7, 31.0])
def test_a_spot_is_where_the_map_of_coordinates_says(size: float) -> None:
    z, y, x = np.indices(SHAPE)
    place = np.array([[14.0, 22.0, 27.0]])
    square = (z - place[0, 0]) ** 2 + (y - place[0, 1]) ** 2 + (x - place[0, 2]) ** 2
    volume = _binned(np.exp(-square / (2 * 5.0**2)).astype(np.float32)).at(size, clip=np.inf)
    assert volume.voxel_size_angstrom == pytest.approx(max(size, 10.0), rel=0.22)
    weights = np.maximum(volume.data - np.quantile(volume.data, 0.95), 0)
    centre = np.array([(np.indices(volume.data.shape)[a] * weights).sum() / weights.sum() for a in range(3)])
    np.testing.assert_allclose(volume.to_voxels(centre[None]), place, atol=0.15)
    np.testing.assert_allclose(volume.from_voxels(volume.to_voxels(centre[None])), centre[None])


def test_whole_cubes_are_plain_means() -> None:
    data = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    means = data[:30, :42, :52].reshape(15, 2, 21, 2, 26, 2).mean(axis=(1, 3, 5))
    found = _binned(data).at(20.0, clip=np.inf).data
    assert found.shape == means.shape
    assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.99999


def test_noise_is_as_strong_at_every_voxel_size() -> None:
    data = np.random.default_rng(1).normal(size=(40, 80, 80)).astype(np.float32)
    for size in (10.0, 12.5, 17.0, 20.0):
        binned = _binned(data).at(size)
        assert binned.data.std() == pytest.approx(1, abs=0.05)
        phases = [binned.data[:, :, k::2].std() for k in range(2)]
        assert phases[0] == pytest.approx(phases[1], rel=0.03)
        assert abs(float(np.median(binned.data))) < 1e-6


def test_structures_need_a_voxel_size() -> None:
    with pytest.raises(VoxelSizeError, match="set it with --voxel-size"):
        _binned(np.random.default_rng(0).random(SHAPE, dtype=np.float32), None)
