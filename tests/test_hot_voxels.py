"""Single damaged voxels change nothing, and what is rare but real stays."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cryosam.arrays import Volume
from cryosam.hot_voxels import sample_without_hot_voxels, without_hot_voxels
from cryosam.intensities import detect_contrast, normalise
from cryosam.io.pictures import gray_range
from cryosam.missing_wedge import find_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.tomogram import Tomogram
from cryosam.ui.viewed import ViewedTomogram

_NOWHERE = Path("tomo.mrc")
SHAPE = (66, 132, 130)
CLICK = np.array([[30.0, 40.0, 50.0]])


def specimen() -> Volume:
    """Dark balls in noise that lacks a wedge about y."""
    rng = np.random.default_rng(0)
    volume = rng.normal(size=SHAPE)
    grid = np.indices(SHAPE).transpose(1, 2, 3, 0)
    for centre in [CLICK[0], *rng.uniform(10, np.array(SHAPE) - 10, (60, 3))]:
        volume[np.linalg.norm(grid - centre, axis=-1) <= 5] -= 1.5
    kz, _, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij")
    spectrum = np.fft.fftn(volume)
    spectrum[np.abs(kz) > np.abs(kx) * np.tan(np.radians(55))] = 0
    return np.fft.ifftn(spectrum).real.astype(np.float32)


def damaged(volume: Volume, value: float, step: int = 64) -> Volume:
    out = volume.copy()
    out[:33, ::step, ::step] = value  # lines along the beam
    out[33::2, ::step, ::step] = value
    out[5, 7, 9] = value
    return out


@pytest.fixture(scope="module")
def clean() -> Volume:
    return specimen()


@pytest.mark.parametrize("value", [-1e6, 1e6, -1e30, 1e30, 3e38])
def test_hot_voxels_change_nothing_that_is_measured(clean: Volume, value: float) -> None:
    volume = damaged(clean, value)
    assert 1e-4 < (volume != clean).mean() < 1e-3
    for points in (CLICK, np.zeros((0, 3))):
        seen, expected = (detect_contrast(Tomogram(each), points) for each in (volume, clean))
        assert seen.contrast == expected.contrast == "dark"
        assert seen.evidence == pytest.approx(expected.evidence, abs=0.3)
    found, wanted = (normalise(Tomogram(each), "dark", (0.05, 99.95)) for each in (volume, clean))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=0.01)
    assert gray_range(volume) == pytest.approx(gray_range(clean), rel=0.02)
    limits = [ViewedTomogram(path=_NOWHERE, tomogram=Tomogram(each)).grey.limits for each in (volume, clean)]
    assert limits[0] == pytest.approx(limits[1], rel=0.02)
    wedge, expected_wedge = (find_wedge(PowerSpectrum.of(Tomogram(each))) for each in (volume, clean))
    assert expected_wedge.is_visible
    assert str(wedge.wedge) == str(expected_wedge.wedge)


def test_only_the_hot_voxels_are_replaced(clean: Volume) -> None:
    volume = damaged(clean, 1e30)
    out = without_hot_voxels(volume)
    np.testing.assert_array_equal(out[volume == clean], clean[volume == clean])
    assert np.abs(out).max() < 10
    assert np.shares_memory(without_hot_voxels(clean), clean)
    odd = sample_without_hot_voxels(volume, (1, 4, 2))
    assert odd.shape == clean[::1, ::4, ::2].shape
    assert np.abs(odd).max() < 10


def test_markers_and_particles_before_an_empty_background_are_no_hot_voxels() -> None:
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 0.001, (30, 31, 32))
    volume[10:13, 10:13, 10:13] = 1.0
    np.testing.assert_array_equal(without_hot_voxels(volume), volume)
    np.testing.assert_array_equal(sample_without_hot_voxels(volume, (2, 3, 3)), volume[::2, ::3, ::3])
    normalised = normalise(Tomogram(volume), "bright", (0.05, 99.95))
    assert normalised.high > 0.9


def test_integers_and_volumes_that_are_not_finite_are_taken() -> None:
    counts = np.full((5, 6, 7), 100, dtype=np.int16) + np.arange(7, dtype=np.int16)
    counts[2, 3, 3] = 32000
    assert without_hot_voxels(counts).dtype == np.int16
    assert without_hot_voxels(counts).max() == 106
    broken = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(5, 6, 7)), 1)
    broken[1, 1, 1], broken[3, 3, 3] = np.nan, np.inf
    np.testing.assert_array_equal(without_hot_voxels(broken), broken)


def test_beside_voxels_that_are_no_numbers_a_hot_one_becomes_ordinary() -> None:
    block = np.arange(105.0).reshape(3, 5, 7)
    block[0, 0, 0], block[1, 2, 3] = np.nan, 1e30
    assert without_hot_voxels(block)[1, 2, 3] == 53.0
