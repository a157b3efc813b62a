"""Places that correlate with a radial profile, where it is known what lies where."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryosam.averaging.surrogate import phase_randomised
from cryosam.matching.radial_correlation import RadialCorrelation
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Tomogram
from scenes import BLOBS, scene

DIAMETER = 14.0
N_KIND = 20


@pytest.fixture(scope="module")
def found() -> tuple[RadialCorrelation, np.ndarray, Tomogram]:
    """Twenty copies of one particle, each turned in another way."""
    tomogram, centres, _ = scene(N_KIND, 0, noise=0.4)
    return RadialCorrelation.of(tomogram, DIAMETER, MissingWedge()), centres, tomogram


def test_copies_that_lie_in_any_way_are_found_by_one(found) -> None:
    """All but one hold one of the best peaks; in a long particle, which is no ball, it is not at the middle."""
    radial, centres, _ = found
    points, values = radial.peaks(radial.profile(centres[3:4]), DIAMETER / 2)
    distance = cKDTree(points[: 2 * N_KIND]).query(centres)[0]
    assert np.count_nonzero(distance < DIAMETER / 2) >= N_KIND - 1
    assert (np.diff(values) <= 0).all()
    assert cKDTree(points).query(points, 2)[0][:, 1].min() > 0.99 * DIAMETER / 2
    assert np.abs(radial.correlate(radial.profile(centres[3:4]))).max() < 1.05


@pytest.mark.parametrize(("scale", "offset"), [(2.5, 0.0), (0.3, -4.0)])
def test_brightness_and_contrast_do_not_matter(found, scale, offset) -> None:
    radial, centres, tomogram = found
    other = RadialCorrelation.of(Tomogram(scale * tomogram.data + np.float32(offset)), DIAMETER, MissingWedge())
    expected = radial.correlate(radial.profile(centres[:1]))
    np.testing.assert_allclose(other.correlate(other.profile(centres[:1])), expected, atol=1e-3)
    np.testing.assert_allclose(radial.correlate(5 * radial.profile(centres[:1]) + 3), expected, atol=1e-3)


def test_the_profile_of_an_average_is_that_of_its_particles(found) -> None:
    """The noise-free particle, in half voxels, against the mean around all copies."""
    radial, centres, _ = found
    edge, step = 65, 0.5
    grid = (np.stack(np.indices((edge,) * 3), axis=-1) - edge // 2) * step
    box = sum(np.exp(-((grid - blob) ** 2).sum(axis=-1) / (2 * 2.0**2)) for blob in BLOBS)
    of_box, of_points = radial.profile_of(box, step), radial.profile(centres)
    n = int(DIAMETER / radial.stride)
    assert np.corrcoef(of_box[:n], of_points[:n])[0, 1] > 0.98
    same = np.corrcoef(radial.correlate(of_box).ravel(), radial.correlate(of_points).ravel())[0, 1]
    assert same > 0.95


def test_in_noise_nothing_stands_out_of_what_chance_gives() -> None:
    noise = Tomogram(np.random.default_rng(5).standard_normal((40, 100, 120)).astype(np.float32))
    there, by_chance = (
        RadialCorrelation.of(volume, DIAMETER, MissingWedge()) for volume in (noise, phase_randomised(noise))
    )
    profile = there.profile(np.array([[20.0, 50, 60]]))
    _, values = there.peaks(profile, DIAMETER)
    _, expected = by_chance.peaks(profile, DIAMETER)
    # the first is the place whose profile it is
    assert np.count_nonzero(values[1:] > expected.max()) <= 5
    assert len(values) == pytest.approx(len(expected), rel=0.15)
    assert np.median(values) == pytest.approx(np.median(expected), rel=0.1)


def test_copies_stand_out_of_what_chance_gives(found) -> None:
    radial, centres, tomogram = found
    by_chance = RadialCorrelation.of(phase_randomised(tomogram), DIAMETER, MissingWedge())
    profile = radial.profile(centres)
    _, values = radial.peaks(profile, DIAMETER)
    _, expected = by_chance.peaks(profile, DIAMETER)
    assert np.count_nonzero(values > expected.max()) >= N_KIND - 3


def test_a_blank_margin_holds_no_peak(found) -> None:
    _, _, tomogram = found
    padded = np.pad(tomogram.data, ((0, 0), (0, 0), (0, 40)))
    radial = RadialCorrelation.of(Tomogram(padded), DIAMETER, MissingWedge())
    points, values = radial.peaks(radial.profile(scene(N_KIND, 0, noise=0.4)[1][:1]), DIAMETER)
    assert values[points[:, 2] > tomogram.shape[2] + DIAMETER].max(initial=0) < values[N_KIND // 2]
