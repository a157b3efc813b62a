"""Tilt series and back-projection against sums written out, points that must stay, and the noise that is promised."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft, ndimage

from cryosam.evaluation.simulation.imaging import Imaging, back_project, list_tilts, project, record, transfer_function

TILTS = list_tilts((-60.0, 60.0), 3.0)
IMAGING = Imaging(voxel_size_angstrom=10.0, tilts=TILTS, defocus_um=0.0, snr=np.inf, smoothing=0.0)


def _ball(shape, centre, sigma=2.0):
    grid = np.indices(shape, dtype=float)
    squares = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


def _angles(shape):
    """Angle of (kz, kx) to the x axis in degrees, and its length, for the coefficients of rfftn."""
    kz, kx = fft.fftfreq(shape[0])[:, None, None], fft.rfftfreq(shape[2])
    flat = np.zeros((1, shape[1], 1))
    return np.degrees(np.arctan2(np.abs(kz), np.abs(kx))) + flat, np.hypot(kz, kx) + flat


def test_tilts():
    np.testing.assert_allclose(list_tilts((-3.0, 4.0), 2.0), [-3, -1, 1, 3])
    np.testing.assert_allclose(list_tilts((-0.3, 0.3), 0.1), np.linspace(-0.3, 0.3, 7), atol=1e-12)


def test_the_untilted_projection_is_the_sum_along_the_beam():
    density = np.random.default_rng(0).normal(size=(5, 7, 9)).astype(np.float32)
    image = fft.irfft2(project(density, np.zeros(1))[:, 0].T, (7, 9))
    np.testing.assert_allclose(image, density.sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 7, 9), (6, 8, 10)])
def test_a_tilted_projection_by_its_definition(shape):
    """The coefficient at (kx, ky) of tilt t is that of the density at kz = kx tan t, z from the middle."""
    density = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    tilts = np.array([-50.0, 20.0])
    slices = project(density, tilts)
    z, y, x = np.indices(shape)
    for i, kx in enumerate(fft.rfftfreq(shape[2])):
        for j, tilt in enumerate(np.radians(tilts)):
            for m, ky in enumerate(fft.fftfreq(shape[1])):
                kz = kx * np.tan(tilt)
                wave = np.exp(-2j * np.pi * (kz * (z - (shape[0] - 1) / 2) + ky * y + kx * x))
                expected = (density * wave).sum() if kx / np.cos(tilt) < 0.5 else 0
                np.testing.assert_allclose(slices[i, j, m], expected, atol=1e-3)


def test_which_way_a_tilt_turns():
    """A point that lies above the middle (z + 10) shifts by -10 tan t in the x of the slices of tilt t."""
    density = _ball((41, 11, 65), (30, 5, 32))
    image = fft.irfft2(project(density, np.array([30.0]))[:, 0].T, (11, 65))
    np.testing.assert_allclose(ndimage.center_of_mass(image)[1], 32 + 10 * np.tan(np.radians(30)), atol=0.05)


@pytest.mark.parametrize("shape", [(17, 21, 27), (16, 20, 26), (17, 20, 27)])
@pytest.mark.parametrize("place", [(8, 10, 13), (3, 4, 22)])
def test_a_point_stays_on_its_voxel(shape, place):
    """Its maximum does, and its two neighbours along each axis are alike, as they would not be after half a voxel."""
    density = np.zeros(shape, dtype=np.float32)
    density[place] = 1
    seen = record(density, density > 0, np.random.default_rng(0), IMAGING)
    assert np.unravel_index(seen.argmax(), shape) == place
    for axis in range(3):
        before, after = (seen[tuple(np.add(place, step * np.eye(3, dtype=int)[axis]))] for step in (-1, 1))
        np.testing.assert_allclose(before, after, atol=0.01 * seen.max())


def test_the_missing_wedge_is_empty_and_the_rest_is_whole():
    shape = (64, 40, 72)
    density = _ball(shape, (31, 20, 35), sigma=1.0)
    seen = back_project(project(density, TILTS), TILTS, shape)
    window = np.hanning(64)[:, None, None].astype(np.float32)  # what leaves the volume along z would smear over kz
    before, after = fft.rfftn(density * window), fft.rfftn(seen * window)
    angle, radius = _angles(shape)
    missing = (angle > 65) & (radius > 0.1) & (radius < 0.4)
    measured = (angle < 55) & (radius > 0.1) & (radius < 0.4)
    strong = np.abs(before) > 0.01 * np.abs(before).max()
    assert (np.abs(after[missing]) ** 2).sum() < 1e-3 * (np.abs(before[missing]) ** 2).sum()
    np.testing.assert_allclose(after[measured & strong], before[measured & strong], atol=0.05 * np.abs(before).max())
    ratio = np.abs(after[measured & strong]).sum() / np.abs(before[measured & strong]).sum()
    np.testing.assert_allclose(ratio, 1, atol=0.05)


def test_a_range_to_one_side_leaves_the_other_side_out():
    """Planes kz = kx tan t of positive tilts alone: no power where kz and kx have different signs."""
    shape, tilts = (64, 9, 72), list_tilts((10.0, 50.0), 2.0)
    density = _ball(shape, (31, 4, 35), sigma=1.0)
    seen = back_project(project(density, tilts), tilts, shape) * np.hanning(64)[:, None, None]
    power = np.abs(fft.rfftn(seen)) ** 2
    kz, kx = fft.fftfreq(64)[:, None, None], fft.rfftfreq(72)
    same = (kz > 0.1) & (kx > 0.1) & np.ones((1, 9, 1), dtype=bool)
    other = (kz < -0.1) & (kx > 0.1) & np.ones((1, 9, 1), dtype=bool)
    assert power[other].sum() < 1e-3 * power[same].sum()


@pytest.mark.parametrize("tilts", [TILTS, np.array([0.0])])
def test_the_mean_is_kept(tilts):
    seen = back_project(project(np.full((9, 10, 11), 2.5, dtype=np.float32), tilts), tilts, (9, 10, 11))
    np.testing.assert_allclose(seen, 2.5, rtol=1e-4)


def test_transfer_at_known_frequencies():
    """The amplitude contrast at 0, and no transfer where the phase shift passes pi."""
    assert transfer_function(np.zeros(1), 3.0)[0] == pytest.approx(0.07)
    np.testing.assert_array_equal(transfer_function(np.linspace(0, 0.05, 5), 0.0), 1)
    frequency = np.linspace(0, 0.045, 20001)
    first_zero = frequency[1:][transfer_function(frequency, 3.0)[1:] < 1e-3][0]
    # without the spherical aberration: pi lambda defocus k^2 = pi - arcsin 0.07
    closed_form = np.sqrt((1 - np.arcsin(0.07) / np.pi) / (0.0197 * 3.0e4))
    np.testing.assert_allclose(first_zero, closed_form, rtol=0.01)


def test_the_tomogram_carries_the_transfer():
    """Along ky the coefficients of a point are the transfer function and the damping, nothing else."""
    density = np.zeros((31, 160, 33), dtype=np.float32)
    density[15, 80, 16] = 1
    seen = record(density, density > 0, np.random.default_rng(0), replace(IMAGING, defocus_um=2.0))
    line = np.abs(fft.rfft(seen.sum(axis=(0, 2))))
    frequency = fft.rfftfreq(160) / 10
    expected = transfer_function(frequency, 2.0) * np.exp(-2 * (np.pi * 6 * frequency) ** 2)
    np.testing.assert_allclose(line / line.max(), expected / expected.max(), atol=0.03)


@pytest.mark.parametrize("snr", [0.1, 2.0])
def test_the_signal_to_noise_ratio_is_the_one_stated(snr):
    density = sum(_ball((48, 61, 70), centre, 3.0) for centre in ((12, 20, 20), (30, 40, 50), (24, 15, 55)))
    particles = density > 0.3
    imaging = replace(IMAGING, defocus_um=3.0)
    signal = record(density, particles, np.random.default_rng(0), imaging)
    noisy = record(density, particles, np.random.default_rng(0), replace(imaging, snr=snr))
    scale = (noisy * signal).sum() / (signal**2).sum()  # the noise is independent of the signal
    noise = noisy - scale * signal
    np.testing.assert_allclose(noise.std(), 1, rtol=0.02)
    np.testing.assert_allclose(
        (scale * signal[particles]).std() ** 2 + (scale * signal[particles]).mean() ** 2, snr, rtol=0.1
    )


def test_noise_is_that_of_a_weighted_back_projection():
    """None in the missing wedge; elsewhere its power grows with the distance from the tilt axis and ignores ky."""
    shape = (96, 64, 96)
    empty = np.zeros(shape, dtype=np.float32)
    noise = record(empty, empty > 0, np.random.default_rng(1), replace(IMAGING, snr=1.0))
    power = np.abs(fft.rfftn(noise * np.hanning(96)[:, None, None] * np.hanning(96))) ** 2
    angle, radius = _angles(shape)
    inside = (angle < 50) & (angle > 5)
    low, high = ((inside & (np.abs(radius - r) < 0.03)) for r in (0.15, 0.3))
    np.testing.assert_allclose(power[high].mean() / power[low].mean(), 2, rtol=0.15)
    assert power[(angle > 70) & (radius > 0.1)].mean() < 0.01 * power[low].mean()
    wide = inside & (radius > 0.1) & (radius < 0.35)
    ky = np.abs(fft.fftfreq(64))[None, :, None] + np.zeros_like(radius)
    np.testing.assert_allclose(power[wide & (ky < 0.2)].mean() / power[wide & (ky > 0.3)].mean(), 1, rtol=0.1)


def test_the_specimen_does_not_reach_round_to_the_other_side():
    density = _ball((24, 64, 66), (12, 3, 4))
    seen = np.abs(record(density, density > 0.3, np.random.default_rng(0), replace(IMAGING, defocus_um=4.0)))
    assert seen[:, -8:].max() < 0.02 * seen.max()


def test_smoothing_comes_last():
    density = _ball((20, 22, 24), (10, 11, 12))
    imaging = replace(IMAGING, snr=0.5)
    rough = record(density, density > 0.3, np.random.default_rng(2), imaging)
    smooth = record(density, density > 0.3, np.random.default_rng(2), replace(imaging, smoothing=1.5))
    np.testing.assert_allclose(smooth, ndimage.gaussian_filter(rough, 1.5), atol=1e-5)
