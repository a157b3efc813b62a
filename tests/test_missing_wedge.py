"""The missing wedge: which frequencies it leaves, and what a power spectrum shows of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cryosam.arrays import Volume
from cryosam.averaging.fourier import FourierFrame
from cryosam.config import Config, TomogramConfig
from cryosam.io import read_volume
from cryosam.missing_wedge import MissingWedge, SeenWedge, find_wedge, settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.run_report import RunReport
from cryosam.scene import Scene
from cryosam.tomogram import Tomogram

SHAPE = (48, 96, 101)


def imaged(wedge: MissingWedge, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """White noise without the frequencies in the wedge."""
    grid = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    noise = np.fft.fftn(np.random.default_rng(0).normal(size=shape))
    return np.fft.ifftn(noise * wedge.is_sampled(*grid)).real.astype(np.float32)


def spectrum_of(volume: Volume) -> PowerSpectrum:
    return PowerSpectrum.of(Tomogram(volume))


def seen_in(volume: Volume) -> SeenWedge:
    return find_wedge(spectrum_of(volume))


# which frequencies are sampled


def test_the_plane_of_each_tilt_within_the_range_is_sampled() -> None:
    wedge, tilts = MissingWedge(tilt_range=(-50.0, 60.0)), np.radians([-51, -49, 0, 59, 61])
    u, w = np.cos(tilts), np.sin(tilts)
    expected = [False, True, True, True, False]
    nothing = np.zeros(5)
    for sign in (1, -1):  # the other half of Fourier space is the mirror image
        np.testing.assert_array_equal(wedge.is_sampled(sign * w, nothing, sign * u), expected)
    np.testing.assert_array_equal(wedge.is_sampled(w, nothing + 3, u), expected)
    about_x = MissingWedge(tilt_range=(-50.0, 60.0), axis=0.0)
    np.testing.assert_array_equal(about_x.is_sampled(w, -u, nothing), expected)
    before_rotation = MissingWedge(tilt_range=(-50.0, 60.0), beam="y")
    np.testing.assert_array_equal(before_rotation.is_sampled(nothing, w, u), expected)


def test_an_axis_turned_by_half_a_circle_is_the_same_with_other_signs() -> None:
    random = np.random.default_rng(0).normal(size=(3, 200))
    here = MissingWedge(tilt_range=(-40.0, 60.0), axis=30.0).is_sampled(*random)
    there = MissingWedge(tilt_range=(-60.0, 40.0), axis=210.0).is_sampled(*random)
    np.testing.assert_array_equal(here, there)
    assert 0.4 < here.mean() < 0.7


def test_the_margin_is_along_the_beam() -> None:
    one, nothing = np.ones(2), np.zeros(2)
    fz = np.array([1.4, 1.6])
    wedge = MissingWedge(tilt_range=(-45.0, 45.0))
    np.testing.assert_array_equal(wedge.is_sampled(fz, nothing, one, margin=0.5), [True, False])


def test_a_frame_has_what_the_tilts_sampled() -> None:
    """z, y, x in cycles per box: steep in x-z is missing for tilts about y, and in y-z for tilts about x."""
    about_y, about_x = (FourierFrame.around(12.0, 3.0, MissingWedge(axis=a), "cpu").tilted.numpy() for a in (90.0, 0.0))
    middle = len(about_y) // 2
    assert about_y[middle + 6, middle, middle + 2] == 0
    assert about_y[middle + 2, middle + 6, middle + 6] == 1
    np.testing.assert_array_equal(about_x, about_y.transpose(0, 2, 1))


# what a spectrum shows


@pytest.mark.parametrize(("low", "high", "axis"), [(-60, 60, 90), (-51, 57, 90), (-57, 51, 0), (-40, 66, 120)])
def test_a_known_wedge_is_found(low: float, high: float, axis: float) -> None:
    seen = seen_in(imaged(MissingWedge(tilt_range=(low, high), axis=axis)))
    assert seen.is_visible
    assert seen.wedge.beam == "z"
    assert seen.wedge.tilt_range == pytest.approx((low, high), abs=3.5)
    assert seen.wedge.axis == pytest.approx(axis, abs=1)


@pytest.mark.parametrize("axes", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_exchanged_axes_exchange_the_geometry(axes: tuple[int, int, int]) -> None:
    seen = seen_in(imaged(MissingWedge(tilt_range=(-45.0, 60.0))).transpose(axes).copy())
    beam = "zyx"[axes.index(0)]
    assert seen.wedge.beam == beam
    assert seen.wedge.axis == (0.0 if axes == (0, 2, 1) else 90.0)
    low, high = (-60, 45) if axes == (0, 2, 1) else (-45, 60)
    assert seen.wedge.tilt_range == pytest.approx((low, high), abs=3.5)


@pytest.mark.parametrize("sigma", [(0, 0, 0), (1, 1, 1), (2, 0, 0), (2, 1, 1)])
def test_noise_without_a_wedge_has_none(sigma: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    seen = seen_in(ndimage.gaussian_filter(noise, sigma))
    assert not seen.is_visible
    assert seen.wedge == MissingWedge()


def test_a_cone_about_the_beam_is_no_wedge() -> None:
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert not seen_in(ndimage.uniform_filter1d(noise, 3, axis=0)).is_visible


def test_a_filled_wedge_is_not_visible() -> None:
    wedge = MissingWedge(tilt_range=(-50.0, 60.0))
    everything = np.random.default_rng(1).normal(size=SHAPE)
    assert seen_in((imaged(wedge) + 0.2 * everything).astype(np.float32)).is_visible
    assert not seen_in((imaged(wedge) + 0.6 * everything).astype(np.float32)).is_visible


def test_smoothing_leaves_the_wedge_until_there_is_nothing_else() -> None:
    volume = imaged(MissingWedge(tilt_range=(-51.0, 57.0)))
    assert seen_in(ndimage.gaussian_filter(volume, 1.5)).wedge.tilt_range == pytest.approx((-51, 57), abs=4)
    assert not seen_in(ndimage.gaussian_filter(volume, 6.0)).is_visible


@pytest.mark.parametrize("shape", [(15, 96, 101), (48, 9, 101)])
def test_a_volume_too_small_shows_nothing(shape: tuple[int, int, int]) -> None:
    assert seen_in(imaged(MissingWedge(), shape)) == SeenWedge()


def test_a_constant_volume_shows_nothing() -> None:
    spectrum = spectrum_of(np.full(SHAPE, 3.0, dtype=np.float32))
    assert find_wedge(spectrum) == SeenWedge()
    assert spectrum.describe(10.0) == ""


# settings and spectrum together


def test_what_is_given_comes_before_what_is_seen() -> None:
    spectrum = spectrum_of(imaged(MissingWedge(tilt_range=(-51.0, 57.0))))
    measured = settle_wedge(spectrum, TomogramConfig())
    assert (measured.source, measured.doubts) == ("spectrum", ())
    given = settle_wedge(spectrum, TomogramConfig(tilt_range=(-50.0, 55.0), tilt_axis="y"))
    assert (str(given.wedge), given.source, given.doubts) == ("-50 to +55 degrees about y", "settings", ())
    turned = settle_wedge(spectrum, TomogramConfig(tilt_range=(-55.0, 50.0), tilt_axis=-90.0))
    assert turned.doubts == ()
    wrong = settle_wedge(spectrum, TomogramConfig(tilt_range=(-35.0, 57.0)))
    assert [code for code, _ in wrong.doubts] == ["tilts_disagree"]
    across = settle_wedge(spectrum, TomogramConfig(tilt_axis="x"))
    assert across.wedge.axis == 0
    assert [code for code, _ in across.doubts] == ["tilts_disagree"]


def test_a_volume_that_was_not_rotated_is_noticed() -> None:
    tilted = imaged(MissingWedge()).transpose(1, 0, 2).copy()
    settled = settle_wedge(spectrum_of(tilted), TomogramConfig())
    assert settled.wedge.beam == "y"
    assert [code for code, _ in settled.doubts] == ["beam_not_z"]
    noise = np.random.default_rng(0).normal(size=(96, 30, 101)).astype(np.float32)
    unknown = settle_wedge(spectrum_of(noise), TomogramConfig())
    assert (unknown.wedge, unknown.source) == (MissingWedge(), "default")
    assert [code for code, _ in unknown.doubts] == ["beam_not_z"]


# in a run


def test_a_run_measures_it_and_records_it() -> None:
    config = Config().override(propagation__segmenter="classical", averaging__n_rotations=20)
    volume = imaged(MissingWedge(tilt_range=(-51.0, 57.0), axis=0.0))
    scene = Scene.open(Tomogram(volume), np.zeros((0, 3)), config)
    assert scene.for_kind(config).orientations(12.0).wedge.axis == 0
    recorded = scene.for_kind(config)
    wedge = recorded.missing_wedge()
    report = recorded.record.report
    assert wedge == find_wedge(spectrum_of(volume)).wedge
    assert report.wedge_source == "spectrum"
    assert (report.lowest_tilt, report.highest_tilt, report.tilt_axis, report.beam) == (*wedge.tilt_range, 0, "z")
    restored = RunReport.from_provenance(report.provenance())
    assert replace(restored, warnings=report.warnings) == report


def test_a_run_warns_once_for_a_kind_of_what_is_doubtful() -> None:
    config = Config().override(
        propagation__segmenter="classical", tomogram__contrast="dark", tomogram__tilt_range=(-30.0, 30.0)
    )
    volume = imaged(MissingWedge()).transpose(1, 0, 2).copy()
    scene = Scene.open(Tomogram(volume), np.zeros((0, 3)), config)
    for kind in (scene.for_kind(config), scene.for_kind(config)):
        for _ in range(2):
            assert kind.missing_wedge() == MissingWedge(tilt_range=(-30.0, 30.0), beam="y")
        assert [warning.code for warning in kind.record.report.warnings] == ["tilts_disagree", "beam_not_z"]
        assert kind.record.report.wedge_source == "settings"


# the spectrum in words


def test_the_spectrum_in_words() -> None:
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert spectrum_of(noise).describe(None) == "noise at all frequencies"
    smooth = spectrum_of(ndimage.gaussian_filter(noise, 1.0))
    assert smooth.describe(10.0).startswith("band-limited: hardly anything beyond ")
    grid = np.meshgrid(*map(np.fft.fftfreq, SHAPE), indexing="ij")
    lows = np.linalg.norm(grid, axis=0) < 0.05
    strong = np.fft.ifftn(np.fft.fftn(noise) * (1 + 20 * lows)).real.astype(np.float32)
    assert spectrum_of(strong).describe(None).startswith("low frequencies dominate")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("tomo_dev/tomo.mrc", -60, 60),
        ("tilt_wbp/tomo.mrc", -60, 60),
        ("tilt_deconv/tomo.mrc", -57, 51),  # -51 to 57 with the other sign of tilts
        ("structures/tomo.mrc", -60, 60),
        ("real/lamella.mrc", -59, 62),  # measured; the true ones of these four are not known
        ("real/apoferritin.mrc", -40, 44),
        ("real/exosomes.mrc", -65, 57),
        ("microtubule_13pf.tif", -66, 57),
    ],
)
def test_the_wedge_of_the_development_data(shared_data: Path, name: str, low: float, high: float) -> None:
    seen = find_wedge(PowerSpectrum.of(Tomogram(read_volume(shared_data / name))))
    assert seen.is_visible
    assert seen.wedge.tilt_range == pytest.approx((low, high), abs=2)
    assert (seen.wedge.beam, seen.wedge.axis) == ("z", pytest.approx(90, abs=1))
