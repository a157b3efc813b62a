"""Filaments in small volumes in which everything is known."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.config import FilamentConfig
from cryosam.errors import ConfigError, PromptError
from cryosam.geometry import half_sphere
from cryosam.intensities import normalise
from cryosam.masks import InstanceMask
from cryosam.missing_wedge import MissingWedge
from cryosam.structure_results import Filament
from cryosam.structures import BinnedTomogram
from cryosam.structures.agreement import CrossSections
from cryosam.structures.cross_sections import PlaneImaging
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.lines import integrate_lines, line_steps
from cryosam.structures.radial_profile import RadialProfile
from cryosam.structures.straightened import straighten
from cryosam.structures.thin_axis import ThinLines
from cryosam.structures.tracing import Curve, Tracer, cut_ends, join, smooth
from cryosam.structures.tubes import paint_tube
from cryosam.structures.whitening import whiten
from cryosam.tomogram import Tomogram

SHAPE = (36, 64, 70)
TUBE = (np.array([17.0, 20.0, 35.0]), np.array([0.05, 0.3, 0.95]))  # a point on it and its direction
THIN = (np.array([18.0, 44.0, 35.0]), np.array([-0.1, 0.2, 0.97]))


def distance_to(line: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Of all voxels to a straight line."""
    unit = line[1] / np.linalg.norm(line[1])
    offset = np.moveaxis(np.indices(shape), 0, -1) - line[0]
    return np.linalg.norm(offset - (offset @ unit)[..., None] * unit, axis=-1)


def make_scene(seed: int = 0, noise: float = 1.0) -> np.ndarray:
    """A tube of radius 6 voxels, a thin filament, a sheet and noise; protein bright."""
    rng = np.random.default_rng(seed)
    volume = 3.0 * np.exp(-((distance_to(TUBE) - 6) ** 2) / 2)
    volume += 4.0 * np.exp(-(distance_to(THIN) ** 2) / 3)
    volume += 3.0 * np.exp(-((np.indices(SHAPE)[1] - 58) ** 2) / 2)
    return (volume + noise * ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.6) / 0.35).astype(np.float32)


def binned(volume: np.ndarray, voxel_size: float = 20.0) -> BinnedTomogram:
    """All tilts are there: what the wedge does is tested by itself."""
    voxels = normalise(Tomogram(volume, voxel_size), "bright", (0, 100))
    return BinnedTomogram.of(voxels, MissingWedge(tilt_range=(-90.0, 90.0)))


FINDER = FilamentFinder(FilamentConfig(n_directions=80))


def off(line: tuple[np.ndarray, np.ndarray], points: np.ndarray) -> np.ndarray:
    """Distance of points from a line."""
    unit = line[1] / np.linalg.norm(line[1])
    offset = points - line[0]
    return np.linalg.norm(offset - (offset @ unit)[:, None] * unit, axis=1)


@pytest.fixture(scope="module")
def scene() -> BinnedTomogram:
    return binned(make_scene())


def test_a_click_on_the_wall_finds_the_tube_and_its_radius(scene: BinnedTomogram) -> None:
    (found,) = FINDER.find(scene, TUBE[0][None] + [[6.0, 0.0, 0.0]])
    assert off(TUBE, found.points).max() < 1.0
    assert np.ptp(found.points[:, 2]) > 60  # from one border to the other
    cosine = np.abs(found.tangents @ TUBE[1] / np.linalg.norm(TUBE[1]))
    assert np.degrees(np.arccos(cosine.clip(0, 1))).max() < 5
    assert found.radius_angstrom == pytest.approx(
        140, abs=20
    )  # the wall's middle is at 120, half of it falls off at 144
    inside = np.zeros(SHAPE, dtype=bool)
    inside[found.mask.box] = found.mask.data
    true = distance_to(TUBE) <= 7
    assert 2 * (inside & true).sum() / (inside.sum() + true.sum()) > 0.85


def test_a_click_on_the_thin_one_finds_neither_tube_nor_sheet(scene: BinnedTomogram) -> None:
    found = FINDER.find(scene, THIN[0][None])
    assert len(found) == 1
    assert off(THIN, found[0].points).max() < 1.0
    assert found[0].radius_angstrom < 60


@pytest.mark.parametrize("click", [[18.0, 58.0, 35.0], [10.0, 58.0, 20.0]])
def test_a_click_on_a_sheet_is_refused(scene: BinnedTomogram, click: list[float]) -> None:
    with pytest.raises(PromptError, match=r"sheet|no longer than|recognised"):
        FINDER.find(scene, np.array([click]))


def test_a_click_on_a_ball_is_refused() -> None:
    volume = make_scene()
    offset = np.moveaxis(np.indices(SHAPE), 0, -1) - [18, 33, 12]
    volume += 5 * np.exp(-((np.linalg.norm(offset, axis=-1) / 3) ** 2)).astype(np.float32)
    with pytest.raises(PromptError):
        FINDER.find_clicked(binned(volume), np.array([[18.0, 33.0, 12.0]]))


def test_the_answer_is_the_same_at_half_the_voxel_size(scene: BinnedTomogram) -> None:
    click = TUBE[0][None]
    first = FINDER.find_clicked(scene, click)[0]
    fine = np.kron(make_scene(), np.ones((2, 2, 2), dtype=np.float32))
    third = FINDER.find_clicked(binned(fine, 10.0), 2 * click + 0.5)[0]
    np.testing.assert_allclose((third.points - 0.5) / 2, first.points, atol=1e-3)
    assert third.length_angstrom == pytest.approx(first.length_angstrom)


@pytest.mark.parametrize("clicks", [np.zeros((0, 3)), np.array([[500.0, 20.0, 20.0]])])
def test_no_click_and_one_outside_are_refused(scene: BinnedTomogram, clicks: np.ndarray) -> None:
    with pytest.raises(PromptError):
        FINDER.find(scene, clicks)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError):
        FilamentConfig(low_strength=0.9)


def test_lines_are_means_in_units_of_their_own_background() -> None:
    volume = np.random.default_rng(1).normal(size=(12, 20, 24)).astype(np.float32)
    lines = integrate_lines(volume, 4, 3)
    middle, expected = np.array([6, 10, 12]), []
    for step, deviation in zip(line_steps(4, 3), lines.deviations, strict=True):
        places = middle - step[None]
        for n in (1, 2, 4):
            places = np.concatenate([places, places + np.rint(step * (n / 4)).astype(int)])
        assert len(places) == 8
        expected.append(volume[tuple(places.T)].mean() / deviation)
    assert lines.strength[tuple(middle)] == pytest.approx(max(expected), rel=1e-5)
    assert lines.direction[tuple(middle)] == np.argmax(expected)
    np.testing.assert_array_equal(lines.opposite, integrate_lines(-volume, 4, 3).strength)


def test_a_gap_that_is_bridged_is_inferred_from_either_side() -> None:
    for gap in (3.0, 6.0, 9.5):
        x = np.concatenate([np.arange(0, 21.0), np.arange(20.0 + gap, 41.0 + gap)])
        points = np.stack([np.full_like(x, 5), np.full_like(x, 6), x], axis=1)
        halves = [Curve(part, np.zeros(len(part), dtype=bool)) for part in (points[:21], points[21:])]
        (joined,) = join(halves, 12.0, np.radians(25), 2.0)
        dense = joined.at(1.0)
        inside = (dense.points[:, 2] > 20.5) & (dense.points[:, 2] < 19.5 + gap)
        assert dense.is_inferred[inside].all()
        assert not dense.is_inferred[(dense.points[:, 2] < 17) | (dense.points[:, 2] > 23 + gap)].any()
        back = Curve(joined.points[::-1], joined.is_inferred[::-1]).at(1.0)
        np.testing.assert_array_equal(back.is_inferred[::-1], dense.is_inferred)


def test_lines_that_meet_at_an_angle_are_not_joined() -> None:
    along = np.arange(0, 21.0)
    one = np.stack([np.full_like(along, 5), np.full_like(along, 6), along], axis=1)
    two = np.stack([np.full_like(along, 5), 6 + along, np.full_like(along, 20.0)], axis=1)
    halves = [Curve(part, np.zeros(len(part), dtype=bool)) for part in (one, two)]
    assert len(join(halves, 12.0, np.radians(25), 2.0)) == 2


def test_a_ring_is_followed_once() -> None:
    z, y, x = np.mgrid[:9, :80, :80]
    tube = np.hypot(np.hypot(y - 40, x - 40) - 25, z - 4)
    volume = np.exp(-(tube**2) / 4).astype(np.float32)
    tracer = Tracer(volume, step=2.0, ahead=6.0, low=0.3, most_turn=np.radians(16), distance=3.0)
    found = tracer.trace(np.array([4.0, 40, 65]), np.array([0.0, 1, 0]))
    assert found.length == pytest.approx(2 * np.pi * 25, rel=0.1)


def test_a_line_of_ones_has_mean_one() -> None:
    volume = np.zeros((16, 18, 40), dtype=np.float32)
    volume[7:10, 8:11] = 1
    volume += 0.01 * np.random.default_rng(0).normal(size=volume.shape).astype(np.float32)
    lines = integrate_lines(volume, 8, 300)
    index = lines.direction[8, 9, 20]
    assert abs(lines.tangents[index][2]) > 0.98
    assert lines.strength[8, 9, 20] * lines.deviations[index] == pytest.approx(1, abs=0.05)


def test_a_whitened_volume_has_a_flat_spectrum() -> None:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(32, 36, 40)), 1).astype(np.float32)
    white = whiten(volume, MissingWedge(tilt_range=(-90.0, 90.0)))
    again = whiten(white.data, MissingWedge(tilt_range=(-90.0, 90.0)))
    inner = again.power[8:50]
    assert inner.max() / inner.min() < 2
    assert white.power[8] / white.power[50] > 10


def test_directions_cover_half_a_sphere() -> None:
    cosines = np.abs(half_sphere(200) @ half_sphere(3000).T).max(axis=0)
    assert np.degrees(np.arccos(cosines.clip(0, 1))).max() < 9


def test_a_tracer_goes_straight_on_at_a_crossing() -> None:
    shape = (20, 60, 60)
    one, two = (np.array([10.0, 30, 30]), np.array([0.0, 1, 1])), (np.array([10.0, 30, 30]), np.array([0.0, 1, -1]))
    volume = sum(np.exp(-(distance_to(line, shape) ** 2) / 2) for line in (one, two)).astype(np.float32).clip(0, 1)
    tracer = Tracer(volume, 2.0, 7.0, 0.35, np.radians(16), 2.0)
    curve = tracer.trace(np.array([10.0, 12.0, 12.0]), np.array([0, 1, 1]) / np.sqrt(2))
    assert off(one, curve.points).max() < 1
    assert curve.length > 70


def straight(start: float, stop: float, y: float = 5.0) -> Curve:
    points = np.array([[5.0, y, x] for x in np.arange(start, stop + 1, 2)])
    return Curve(points, np.zeros(len(points), dtype=bool))


def test_ends_that_continue_each_other_are_joined_and_the_gap_is_inferred() -> None:
    (joined,) = join([straight(0, 20), straight(26, 50)], most_gap=8, most_angle=0.4, spacing=2)
    assert joined.is_inferred.sum() == 2
    assert set(joined.points[joined.is_inferred][:, 2]) == {22.0, 24.0}
    assert len(join([straight(0, 20), straight(26, 50)], most_gap=5, most_angle=0.4, spacing=2)) == 2
    assert len(join([straight(0, 20), straight(26, 50, y=10.0)], most_gap=8, most_angle=0.4, spacing=2)) == 2


def test_a_tube_has_the_volume_of_a_cylinder_and_inferred_voxels_apart() -> None:
    line = straight(6, 30, y=10.0)
    gapped = Curve(line.points + np.array([5.0, 0, 0]), (line.points[:, 2] > 15) & (line.points[:, 2] < 21))
    measured, inferred = paint_tube(gapped, 4.0, (20, 20, 40))
    assert measured.n_voxels + inferred.n_voxels == pytest.approx(np.pi * 16 * 25, rel=0.05)
    assert inferred.n_voxels > 100
    assert measured.overlap(inferred) == 0


def test_a_smoothed_line_keeps_its_ends_and_loses_its_scatter() -> None:
    rng = np.random.default_rng(0)
    exact = np.stack([np.full(40, 5.0), 10 + 4 * np.sin(np.arange(40) / 20), np.arange(40.0)], axis=1)
    noisy = Curve(exact + rng.normal(scale=0.5, size=exact.shape), np.zeros(40, dtype=bool))
    smoothed = smooth(noisy, 1.0, 0.5)
    deviation = np.interp(smoothed.points[:, 2], exact[:, 2], exact[:, 1]) - smoothed.points[:, 1]
    assert np.abs(deviation).mean() < 0.3
    assert np.ptp(smoothed.points[:, 2]) > 36


def test_a_bent_filament_is_made_straight_and_its_repeat_is_seen() -> None:
    shape, x = (24, 60, 140), np.arange(10.0, 130.0, 0.5)
    points = np.stack([np.full(len(x), 12.0), 20 + 12 * np.sin(x / 50), x], axis=1)
    track = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    volume = np.zeros(shape, dtype=np.float32)
    for point, weight in zip(points, 1 + np.cos(2 * np.pi * track / 7), strict=True):
        volume[tuple(np.rint(point).astype(int))] += weight
    volume = ndimage.gaussian_filter(volume, 1.2)
    volume += np.random.default_rng(0).normal(scale=0.05 * volume.max(), size=shape).astype(np.float32)
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    line = Filament(InstanceMask.empty(), 1.0, points, tangents, track[-1] * 10, 40.0)
    straight_one = straighten(binned(volume, 10.0), line, 3)
    assert straight_one.number == 3
    assert abs(len(straight_one.box) - track[-1]) < 3
    assert straight_one.densest_radius_angstrom == 0
    assert straight_one.repeat.is_seen
    assert straight_one.repeat.angstrom == pytest.approx(70, rel=0.03)
    assert straight_one.repeat.n_chance > 99
    along = straight_one.average[:, 6, 6]
    assert np.unravel_index(straight_one.average.mean(axis=0).argmax(), (13, 13)) == (6, 6)
    assert np.corrcoef(along[:-7], along[7:])[0, 1] > 0.95  # it repeats
    assert along.max() - along.min() > 0.5 * along.max() - 0.5 * np.median(straight_one.box)
    flat = straighten(binned(ndimage.gaussian_filter1d(volume, 9, axis=2), 10.0), line)
    assert not flat.repeat.is_seen


def test_a_gap_counts_neither_for_the_average_nor_for_the_repeat() -> None:
    z, y, x = np.mgrid[:20, :30, :90]
    volume = np.exp(-(np.abs(np.hypot(z - 10, y - 15) - 5) ** 2) / 2)
    hidden = (x > 30) & (x < 60)
    empty = np.where(hidden, 0, volume).astype(np.float32)
    noise = np.random.default_rng(0).normal(scale=0.1, size=volume.shape).astype(np.float32)
    points = np.stack([np.full(80, 10.0), np.full(80, 15.0), np.linspace(5, 84, 80)], axis=1)
    tangents = np.tile([0.0, 0.0, 1.0], (80, 1))
    inferred = InstanceMask.crop(hidden & (np.hypot(z - 10, y - 15) < 7))
    lines = [
        Filament(InstanceMask.empty(), 1.0, points, tangents, 790.0, 60.0, each)
        for each in (InstanceMask.empty(), inferred)
    ]
    seen, known = (straighten(binned(empty + noise, 10.0), line) for line in lines)
    assert known.densest_radius_angstrom == 50
    assert known.average.max() > 1.2 * seen.average.max()


def test_a_profile_knows_where_it_ends() -> None:
    tube = RadialProfile(np.array([0.0, 0.0, -0.2, 0.1, 1.0, 0.8, 0.1, 0.0]))
    rod = RadialProfile(np.array([1.0, 0.8, 0.1, 0.0, -0.1, 0.0]))
    assert tube.outer_radius == pytest.approx(5 + 0.3 / 0.7)
    assert rod.outer_radius == pytest.approx(1 + 0.4 / 0.7)
    # the spectrum at 0 is the integral over the cross-section
    flat = RadialProfile(np.ones(10))
    assert flat.spectrum(np.array([0.0]))[0] == pytest.approx(np.pi * 9.5**2, rel=0.12)


@pytest.mark.parametrize(
    ("density", "is_filament"),
    [
        ([4.8, 5.3, 0.4, -3.0, -2.0, 1.7, 2.9, 1.5, 0.2], True),  # solid, and its neighbours in a bundle
        ([0.1, -0.5, -1.8, -2.3, 1.0, 5.5, 3.4, -0.9], True),  # hollow
        ([-4.6, -4.3, 0.9, 3.3, 2.8, -0.3, -0.8, 0.0], False),  # the dark place between a filament and its fringe
        ([1.8, 0.1, -0.3, -4.0, -3.3, 1.9, 4.0, 5.2], False),  # something around that does not end
        ([-9.0, 0.5, 1.0, 3.0, 2.0, 0.2, 0.0, 0.0], True),  # one dark voxel in the middle is noise
    ],
)
def test_fringes_of_what_is_beside_are_no_filament(density: list[float], is_filament: bool) -> None:
    assert RadialProfile(np.array(density)).is_filament == is_filament


def test_a_line_with_another_profile_is_not_explained() -> None:
    radius = np.arange(12.0)
    shape = 4 * np.exp(-(radius**2) / 3) + 1.5 * np.exp(-((radius - 6) ** 2) / 2)  # a rod and a ring of its neighbours
    volume = np.interp(distance_to(THIN), radius, shape) + 3.0 * np.exp(-((distance_to(TUBE) - 6) ** 2) / 2)
    volume += np.random.default_rng(0).normal(scale=2.0, size=SHAPE)
    wedge = MissingWedge(tilt_range=(-90.0, 90.0))
    white = whiten(volume.astype(np.float32), wedge)
    imaging = PlaneImaging(wedge, white.frequencies, 1 / np.sqrt(white.power), 4)
    sections = CrossSections(white.data, imaging, RadialProfile(shape), 2.0)
    explained = []
    for line in (THIN, TUBE):
        unit = line[1] / np.linalg.norm(line[1])
        points = line[0] + np.arange(-20.0, 21.0, 2.0)[:, None] * unit
        explained.append(sections.explained_along(points, np.tile(unit, (len(points), 1))))
    assert explained[0] > 0.8
    assert explained[1] < 0.5
    inverted = CrossSections(-white.data, imaging, RadialProfile(shape), 2.0)
    assert inverted.explained_along(points, np.tile(unit, (len(points), 1))) <= explained[1]
    assert sections.explained_along(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def test_only_what_was_clicked_need_not_be_explained() -> None:
    twin = (np.array([17.0, 42.0, 35.0]), TUBE[1])
    volume = make_scene() - 4.0 * np.exp(-(distance_to(THIN) ** 2) / 3)
    volume += 3.0 * np.exp(-((distance_to(twin) - 6) ** 2) / 2)
    for least, n in ((0.5, 2), (1.0, 1)):
        finder = FilamentFinder(FilamentConfig(n_directions=80, least_explained=least))
        found = finder.find(binned(volume.astype(np.float32)), TUBE[0][None])
        assert len(found) == n
        assert np.median(off(TUBE, found[0].points)) < 1.5 or n == 2


@pytest.mark.parametrize(("first", "last"), [(8.0, 52.0), (20.0, 30.0)])
def test_what_is_beyond_the_ends_of_a_filament_is_cut(first: float, last: float) -> None:
    z, y, x = np.mgrid[:9, :11, :60]
    volume = np.exp(-((z - 4) ** 2 + (y - 5) ** 2) / 4) * ((x >= 15) & (x <= 45))
    volume = 0.7 * volume.astype(np.float32)  # a filament that is fainter than the clicked one
    points = np.stack([np.full(23, 4.0), np.full(23, 5.0), np.linspace(first, last, 23)], axis=1)
    cut = cut_ends(Curve(points, np.zeros(23, dtype=bool)), volume, 2.0)
    assert cut.points[[0, -1], 2] == pytest.approx([max(first, 14.75), min(last, 45.25)], abs=0.51)
    assert np.linalg.norm(np.diff(cut.points, axis=0), axis=1).max() < 1.2 * (last - first) / 22


def noisy_scene(seed: int, strength: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """A thin filament across noise in which a slice hardly shows it."""
    shape, line = (30, 72, 110), (np.array([14.0, 35.0, 55.0]), np.array([0.05, 0.2, 0.97]))
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.6) / 0.35
    return (strength * np.exp(-(distance_to(line, shape) ** 2) / 3) + noise).astype(np.float32), line


def test_a_thin_line_is_found_in_noise_and_not_in_noise_alone() -> None:
    for strength, is_there in ((1.5, True), (0.0, False)):
        volume, line = noisy_scene(1, strength)
        white = whiten(volume, MissingWedge(tilt_range=(-90.0, 90.0)))
        axis = ThinLines(white, 20.0, 8, 200).at(line[0] + [0.0, 1.0, 0.0])
        assert (axis is not None) == is_there
        if axis is not None:
            assert off(line, axis.centre[None])[0] < 1.5
            assert abs(axis.tangent @ line[1]) / np.linalg.norm(line[1]) > np.cos(np.radians(12))


def test_a_filament_whose_profile_is_lost_in_noise_is_traced() -> None:
    for seed in range(3):
        volume, line = noisy_scene(seed, 1.5)
        (found,) = FINDER.find_clicked(binned(volume), line[0][None])
        assert np.median(off(line, found.points)) < 1.0
        assert found.length_angstrom > 1000
