"""Tilt series in real space: against the simulation in Fourier space, and each thing that sets a projection apart."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft, ndimage

from cryosam.errors import ConfigError
from cryosam.evaluation.simulation import Deconvolution, TiltSeries
from cryosam.evaluation.simulation.deconvolution import deconvolve
from cryosam.evaluation.simulation.imaging import Imaging, back_project, list_tilts, project
from cryosam.evaluation.simulation.tilt_series import (
    exposure_filter,
    list_exposures,
    ray_matrix,
    record_tilt_series,
)

TILTS = list_tilts((-60.0, 60.0), 3.0)
IMAGING = Imaging(voxel_size_angstrom=10.0, tilts=TILTS, defocus_um=0.0, snr=np.inf, smoothing=0.0)
PERFECT = TiltSeries(defocus_jitter_um=0.0, electrons_per_angstrom2=0.0, thickness_angstrom=0.0, misalignment=0.0)


def _ball(shape, centre, sigma=2.0):
    grid = np.indices(shape, dtype=float)
    squares = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


def _seen(density, imaging=IMAGING, series=PERFECT, seed=0):
    return record_tilt_series(density, density > 0.3, np.random.default_rng(seed), imaging, series)


def _noise(shape, series, seed=0, **changes):
    return _seen(np.zeros(shape, dtype=np.float32), replace(IMAGING, snr=1.0, **changes), series, seed)


def _power(volume):
    """Power spectrum, angle of (kz, kx) to the x axis in degrees, and length of (kz, kx)."""
    n_z, n_y, n_x = volume.shape
    window = np.hanning(n_z)[:, None, None] * np.hanning(n_x)  # what leaves the volume would smear over kz and kx
    kz, kx, flat = fft.fftfreq(n_z)[:, None, None], fft.rfftfreq(n_x), np.zeros((1, n_y, 1))
    angle = np.degrees(np.arctan2(np.abs(kz), np.abs(kx))) + flat
    return np.abs(fft.rfftn(volume * window)) ** 2, angle, np.hypot(kz, kx) + flat


def test_exposures_are_dose_symmetric():
    np.testing.assert_allclose(list_exposures(np.array([-6.0, -3, 0, 3, 6]), 2.0), [9, 5, 1, 3, 7])
    assert np.abs(TILTS)[np.argsort(list_exposures(TILTS, 1.0))].tolist() == sorted(np.abs(TILTS))


def test_fading_at_the_critical_exposure():
    """At 10 angstrom it is 0.245 * 10 ** 1.665 + 2.81 = 14.14 electrons; then exp(-1/2) of the amplitude is left."""
    np.testing.assert_allclose(exposure_filter(np.array([0.1]), 14.14), np.exp(-0.5), rtol=1e-3)
    assert exposure_filter(np.zeros(1), 100.0)[0] == 1


@pytest.mark.parametrize(("shape", "width"), [((5, 9), 15), ((6, 8), 14), ((5, 8), 14), ((6, 9), 15)])
def test_where_a_column_falls_on_the_camera(shape, width):
    """By the definition x cos t - z sin t, and with all of its density."""
    n_z, n_x = shape
    matrix = ray_matrix(n_z, n_x, TILTS, width)
    pixels = matrix.toarray().reshape(n_z, n_x, len(TILTS), width)
    np.testing.assert_allclose(pixels.sum(axis=-1), 1, atol=1e-6)
    middle = (width - n_x) // 2 + (n_x - 1) / 2
    z, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    angles = np.radians(TILTS)
    expected = middle + x[:, None] * np.cos(angles) - z[:, None, None] * np.sin(angles)
    np.testing.assert_allclose(pixels @ np.arange(width), expected, atol=1e-5)
    untilted = pixels[:, :, len(TILTS) // 2]
    assert set(np.unique(untilted)) == {0.0, 1.0}


@pytest.mark.parametrize("shape", [(33, 36, 45), (32, 37, 44)])
@pytest.mark.parametrize("centre", [(15.0, 18.0, 22.0), (9.3, 12.6, 31.8), (24.5, 25.2, 10.4)])
def test_without_imperfections_it_is_the_back_projection_in_fourier_space(shape, centre):
    density = _ball(shape, centre, 2.0)
    slices = back_project(project(density, TILTS), TILTS, shape)
    rays = _seen(density)
    near = density > 0.05
    assert np.corrcoef(slices[near], rays[near])[0, 1] > 0.99
    np.testing.assert_allclose(rays.max(), slices.max(), rtol=0.15)
    found = np.array(ndimage.center_of_mass(np.where(near, rays - rays[near].min(), 0)))
    np.testing.assert_allclose(found, centre, atol=0.1)


def test_a_point_is_found_back_within_half_a_voxel():
    """With every imperfection, in a volume that is even along some axes and odd along others."""
    series, imaging = TiltSeries(misalignment=0.5), replace(IMAGING, defocus_um=3.0, smoothing=1.0)
    for centre in ((10.0, 17.0, 30.0), (21.0, 30.0, 9.0)):
        seen = _seen(_ball((30, 41, 44), centre, 0.8), imaging, series)
        peak = np.unravel_index(seen.argmax(), seen.shape)
        box = tuple(slice(p - 2, p + 3) for p in peak)
        found = np.array(ndimage.center_of_mass(np.maximum(seen[box], 0))) + np.array(peak) - 2
        np.testing.assert_allclose(found, centre, atol=0.5)


def test_the_missing_wedge_is_empty():
    density = _ball((64, 40, 72), (31, 20, 35), sigma=1.0)
    before, angle, radius = _power(density)
    after = _power(_seen(density))[0]
    band = (radius > 0.1) & (radius < 0.3)
    missing, measured = band & (angle > 66), band & (angle < 50)
    assert after[missing].sum() < 0.01 * before[missing].sum()
    assert 0.6 < after[measured].sum() / before[measured].sum() < 1  # linear interpolation takes the rest


def test_noise_has_the_wedge_and_the_ramp():
    power, angle, radius = _power(_noise((96, 64, 96), PERFECT))
    inside = (angle < 50) & (angle > 5)
    low, high = (power[inside & (np.abs(radius - r) < 0.02)].mean() for r in (0.08, 0.16))
    np.testing.assert_allclose(high / low, 2, rtol=0.2)
    assert power[(angle > 70) & (radius > 0.1) & (radius < 0.4)].mean() < 0.01 * low


@pytest.mark.parametrize("thickness", [0.0, 4000.0])
def test_noise_grows_with_the_path_through_the_ice(thickness):
    """exp(thickness / 3950 * (1 / cos 54 - 1)) between tilts of 54 and 0 degrees."""
    power, angle, radius = _power(_noise((96, 64, 96), replace(PERFECT, thickness_angstrom=thickness)))
    ring = (radius > 0.08) & (radius < 0.2)
    # as in the volume without the path: the interpolation is not alike along all directions
    same = _power(_noise((96, 64, 96), PERFECT))[0]
    high, low = (
        power[ring & (angle > a) & (angle < b)].mean() / same[ring & (angle > a) & (angle < b)].mean()
        for a, b in ((52, 56), (1, 9))
    )
    expected = np.exp(thickness / 3950 * (1 / np.cos(np.radians(54)) - 1))
    np.testing.assert_allclose(high / low, expected, rtol=0.1)


def test_exposure_fades_the_high_tilts_and_the_fine_detail():
    density = _ball((48, 40, 56), (23, 20, 27), sigma=0.8)
    fresh, angle, radius = _power(_seen(density))
    faded = _power(_seen(density, series=replace(PERFECT, electrons_per_angstrom2=3.0)))[0]

    def left(lowest, highest, near):
        where = (angle >= lowest) & (angle < highest) & (np.abs(radius - near) < 0.05)
        return faded[where].sum() / fresh[where].sum()

    assert left(45, 55, 0.35) < 0.6 * left(0, 10, 0.35)
    assert left(45, 55, 0.35) < 0.6 * left(45, 55, 0.1)


def test_misalignment_blurs():
    density = _ball((24, 30, 33), (12, 15, 16), 0.8)
    sharp, blurred = (_seen(density, series=replace(PERFECT, misalignment=m)) for m in (0.0, 0.8))
    assert blurred.max() < 0.75 * sharp.max()


def test_defocus_jitter_fills_the_zeros_of_the_transfer():
    density = np.zeros((20, 120, 33), dtype=np.float32)
    density[10, 60, 16] = 1
    frequency = fft.rfftfreq(120) / 10
    zero = np.abs(frequency - np.sqrt((1 - np.arcsin(0.07) / np.pi) / (0.0197 * 4.0e4))).argmin()
    imaging = replace(IMAGING, defocus_um=4.0)
    even, uneven = (
        np.abs(fft.rfft(_seen(density, imaging, replace(PERFECT, defocus_jitter_um=jitter)).sum(axis=(0, 2))))
        for jitter in (0.0, 0.5)
    )
    assert uneven[zero] > 3 * even[zero]
    assert even[zero // 2] > 10 * even[zero]


@pytest.mark.parametrize("snr", [0.1, 2.0])
def test_the_signal_to_noise_ratio_is_the_one_stated(snr):
    density = sum(_ball((40, 51, 60), centre, 3.0) for centre in ((12, 20, 20), (26, 35, 42)))
    imaging, particles = replace(IMAGING, defocus_um=3.0), density > 0.3
    signal, noisy = (_seen(density, replace(imaging, snr=s), TiltSeries()) for s in (np.inf, snr))
    scaled = signal * np.sqrt(snr / np.mean(signal[particles] ** 2))
    np.testing.assert_allclose((noisy - scaled).std(), 1, rtol=1e-3)


def test_the_same_random_numbers_give_the_same_tomogram():
    density = _ball((20, 26, 31), (10, 13, 15))
    imaging = replace(IMAGING, snr=0.5)
    first, again, other = (_seen(density, imaging, TiltSeries(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.5


def test_smoothing_does_not_raise_the_noise_at_the_faces():
    noise = _noise((41, 60, 71), PERFECT, smoothing=1.0)
    for axis in range(3):
        across = noise.std(axis=tuple(a for a in range(3) if a != axis))
        np.testing.assert_allclose(across[[0, -1]], across.mean(), rtol=0.15)


def test_one_tilt_is_enough():
    density = _ball((9, 20, 23), (4, 10, 11))
    seen = _seen(density, replace(IMAGING, tilts=np.zeros(1)))
    np.testing.assert_allclose(seen, np.broadcast_to(seen[:1], seen.shape), atol=1e-6)  # nothing is known of z
    assert np.unravel_index(seen[0].argmax(), (20, 23)) == (10, 11)


def test_deconvolution_raises_low_frequencies():
    tomogram = np.random.default_rng(0).normal(size=(45, 46, 47)).astype(np.float32)
    after = deconvolve(tomogram, 10.0, 4.0, Deconvolution())
    kz, ky, kx = fft.fftfreq(45)[:, None, None], fft.fftfreq(46)[:, None], fft.rfftfreq(47)
    radius = np.sqrt(kz**2 + ky**2 + kx**2)
    gain = np.abs(fft.rfftn(after) / fft.rfftn(tomogram))
    rings = [np.median(gain[np.abs(radius - r) < 0.02]) for r in (0.08, 0.16, 0.3, 0.45)]
    assert rings == sorted(rings, reverse=True)
    assert rings[0] > 2  # the transfer is low there
    assert rings[3] < 0.2  # nothing but noise is expected there
    np.testing.assert_allclose(deconvolve(tomogram + 5, 10.0, 4.0, Deconvolution()), after, atol=1e-4)  # no mean


def test_deconvolution_by_its_formula():
    """Of a wave along y that fits the mirrored volume, whose amplitude the filter multiplies."""
    frequency = 3.5 / 70
    wave = np.cos(2 * np.pi * frequency * (np.arange(70) + 0.5)).astype(np.float32)
    tomogram = np.broadcast_to(wave[:, None], (9, 70, 8)).copy()
    after = deconvolve(tomogram, 10.0, 3.0, Deconvolution(strength=0.5, falloff_angstrom=150.0))
    ratio = 10**1.5 * np.exp(-150 * frequency / 10)
    transfer = np.sin(np.pi * 0.0197 * 3e4 * (frequency / 10) ** 2 + np.arcsin(0.07))
    middle = slice(25, 45)
    gain = (after[:, middle] * tomogram[:, middle]).sum() / (tomogram[:, middle] ** 2).sum()
    np.testing.assert_allclose(gain, transfer / (transfer**2 + 1 / ratio), rtol=0.1)


def test_deconvolution_comes_last():
    density = _ball((20, 26, 31), (10, 13, 15))
    imaging = replace(IMAGING, snr=0.5, defocus_um=4.0)
    before = _seen(density, imaging, TiltSeries())
    after = _seen(density, imaging, TiltSeries(deconvolution=Deconvolution(strength=0.8)))
    np.testing.assert_allclose(after, deconvolve(before, 10.0, 4.0, Deconvolution(strength=0.8)), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (TiltSeries, {"misalignment": -0.1}, "misalignment must be a number from 0, got -0.1"),
        (TiltSeries, {"thickness_angstrom": float("nan")}, "thickness_angstrom must be a number from 0, got nan"),
        (TiltSeries, {"electrons_per_angstrom2": float("inf")}, "electrons_per_angstrom2 must be a number"),
        (Deconvolution, {"strength": 0.0}, "strength must be a positive number, got 0"),
        (Deconvolution, {"high_pass_angstrom": -1.0}, "high_pass_angstrom must be a positive number, got -1"),
    ],
)
def test_settings_out_of_range(make, change, message):
    with pytest.raises(ConfigError, match=message):
        make(**change)
