"""Scenes: every particle lies where the table says, turned as it says, and alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.errors import ConfigError
from cryosam.evaluation.simulation import FILAMENT_LABEL, GOLD_LABEL, MEMBRANE_LABEL, make_complex
from cryosam.evaluation.simulation.specimen import Specimen, turn_density

SHAPE = (51, 62, 73)


def _scene(seed=0, shape=SHAPE):
    return Specimen(shape, 10.0, np.random.default_rng(seed))


def _three_arms():
    """Arms of different length along +z, +y, +x: no rotation and no mirror brings it onto itself."""
    density = np.zeros((31, 33, 35), dtype=np.float32)
    for axis, length in enumerate((12, 8, 5)):
        centre = [15, 16, 17]
        for _ in range(length):
            density[tuple(centre)] = 1
            centre[axis] += 1
    return ndimage.gaussian_filter(density, 1.5)


def _centre_of_mass(density):
    return np.array(ndimage.center_of_mass(density.astype(float)))


def test_centres_of_mass_are_those_of_the_density():
    """One particle to a scene, so that the whole density is its own."""
    for seed, name in enumerate(["bilobe", "tripod", "clamp", "barrel"]):
        scene = _scene(seed)
        scene.add_particles(make_complex(name, 10.0), name, 1, 1)
        np.testing.assert_allclose(_centre_of_mass(scene.density), scene.points[0], atol=0.1)


def test_positions_are_not_those_of_voxels():
    scene = _scene(shape=(71, 92, 103))
    scene.add_particles(make_complex("ring", 10.0), "ring", 1, 12)
    parts = scene.points - np.round(scene.points)
    assert parts.std() > 0.2  # 0.29 if evenly spread over [-1/2, 1/2]
    assert abs(parts.mean()) < 0.2


@given(seed=st.integers(0, 2**32 - 1), shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
@settings(max_examples=15)
def test_a_turned_map_follows_the_convention(seed, shift):
    """What lies at offset d from the centre of mass comes to R d: looked up point by point."""
    density = _three_arms()
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    turned, centre = turn_density(density, rotation, np.array(shift))
    np.testing.assert_allclose(_centre_of_mass(turned), centre, atol=0.1)
    np.testing.assert_allclose(turned.sum(), density.sum(), rtol=0.02)
    middle = _centre_of_mass(density)
    tips = np.array([[24.0, 16, 17], [15, 22, 17], [15, 16, 20], [15, 16, 17]])
    places = centre + (tips - middle) @ rotation.T
    found = ndimage.map_coordinates(turned, places.T, order=1)
    expected = ndimage.map_coordinates(density, tips.T, order=1)
    assert (found > 0.75 * expected).all()
    inverse = centre + (tips[:3] - middle) @ rotation
    if np.linalg.norm(inverse[:, None] - places, axis=2).min() > 8:
        assert ndimage.map_coordinates(turned, inverse.T, order=1).max() < 0.5 * expected[:3].max()


def test_a_quarter_turn_moves_the_arms():
    """R takes z to y and y to -z: the long arm along +z comes to +y, that along +y to -z."""
    turned, centre = turn_density(_three_arms(), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
    reach = np.argwhere(turned > 0.1 * turned.max()) - centre
    low, high = reach.min(axis=0), reach.max(axis=0)
    assert high[1] > 8  # +y: 12 voxels from the hub
    assert low[0] < -5  # -z: 8 voxels
    assert high[1] > -low[0] > high[2]


def test_the_table_s_rotation_recovers_the_map():
    """A particle cut out and turned back by its rotation is the kind's own map again."""
    density = make_complex("bilobe", 10.0)
    scene = _scene(4)
    scene.add_particles(density, "bilobe", 1, 1)
    middle = _centre_of_mass(density)
    grid = np.indices(density.shape).reshape(3, -1).T
    places = scene.points[0] + (grid - middle) @ scene.rotations[0].T
    back = ndimage.map_coordinates(scene.density, places.T, order=1).reshape(density.shape)
    assert np.corrcoef(back.ravel(), density.ravel())[0, 1] > 0.98
    wrong = ndimage.map_coordinates(scene.density, (scene.points[0] + (grid - middle) @ scene.rotations[0]).T, order=1)
    assert np.corrcoef(wrong, density.ravel())[0, 1] < 0.9


def test_rotations_are_proper_and_cover_all_directions():
    scene = _scene(shape=(81, 112, 123))
    scene.add_particles(make_complex("clamp", 10.0), "clamp", 1, 40)
    squared = scene.rotations @ scene.rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(squared, np.tile(np.eye(3), (40, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(scene.rotations), 1)
    axes = scene.rotations[:, :, 0]  # where each particle's own z points
    assert np.linalg.norm(axes.mean(axis=0)) < 0.45  # 40 random directions: 0.16 on average
    np.testing.assert_allclose(axes.T @ axes / 40, np.eye(3) / 3, atol=0.2)


def test_labels_instances_and_points_agree():
    scene = _scene(shape=(71, 92, 103))
    scene.add_particles(make_complex("barrel", 10.0), "barrel", 1, 5)
    scene.add_particles(make_complex("clamp", 10.0), "clamp", 2, 7)
    assert scene.instances.max() == len(scene.particles) == 12
    np.testing.assert_array_equal(scene.instances > 0, scene.labels > 0)
    for number, particle in enumerate(scene.particles, start=1):
        mask = scene.instances == number
        assert set(scene.labels[mask]) == {1 if particle.name == "barrel" else 2}
        np.testing.assert_allclose(np.argwhere(mask).mean(axis=0), scene.points[number - 1], atol=0.6)
        assert scene.density[mask].min() >= 0.3 - 1e-6


def test_particles_do_not_touch():
    """Two empty voxels at least lie between any two; every particle is whole and in one piece."""
    density = make_complex("ring", 10.0)
    scene = _scene(shape=(61, 82, 93))
    scene.add_particles(density, "ring", 1, 25)
    touched = np.zeros(scene.instances.shape, dtype=np.int16)
    sizes = np.bincount(scene.instances.ravel())[1:]
    for number in range(1, 26):
        touched += ndimage.binary_dilation(scene.instances == number)
    assert touched.max() == 1
    np.testing.assert_allclose(sizes, np.count_nonzero(density > 0.3), rtol=0.12)
    assert ndimage.label(scene.instances > 0)[1] == 25


def test_everything_else_leaves_the_particles_alone():
    scene = _scene(3, shape=(65, 122, 133))
    scene.add_vesicles(1)
    scene.add_gold(2)
    scene.add_particles(make_complex("clamp", 10.0), "clamp", 1, 15)
    before, alone = scene.instances.copy(), scene.density[scene.instances > 0].copy()
    scene.add_filaments(2)
    scene.add_debris(10)
    np.testing.assert_array_equal(scene.instances, before)
    np.testing.assert_allclose(scene.density[before > 0], alone, atol=0.05)
    assert set(np.unique(scene.labels)) == {0, 1, FILAMENT_LABEL, GOLD_LABEL, MEMBRANE_LABEL}
    assert not (before[(scene.labels > 1)] > 0).any()


def test_gold_is_a_ball_of_its_diameter():
    scene = _scene()
    scene.add_gold(1, diameter_angstrom=120.0)
    gold = scene.labels == GOLD_LABEL
    np.testing.assert_allclose(np.count_nonzero(gold), 4 / 3 * np.pi * 6**3, rtol=0.15)
    assert scene.density[gold].mean() > 3


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_membrane_has_two_leaflets_40_angstrom_apart(seed):
    """Seen where the vesicle's outermost point along x or y lies, since the normal is known there."""
    shape = (80, 180, 190)
    scene = _scene(seed, shape)
    scene.add_vesicles(1)
    membrane = scene.labels == MEMBRANE_LABEL
    n_tops = 0
    for axis, end in ((1, 0), (1, -1), (2, 0), (2, -1)):
        along = np.argwhere(membrane)[:, axis]
        top = along.min() if end == 0 else along.max()
        rows = np.argwhere(np.take(membrane, top, axis=axis))
        if top in (0, shape[axis] - 1) or rows[:, 0].min() == 0 or rows[:, 0].max() == shape[0] - 1:
            continue  # the outermost point is cut off
        place = np.insert(np.round(rows.mean(axis=0)).astype(int), axis, 0)
        line = [int(p) for p in place]
        profile = np.moveaxis(scene.density, axis, 0)[:, *[p for a, p in enumerate(line) if a != axis]]
        inwards = profile[top:][:9] if end == 0 else profile[: top + 1][::-1][:9]
        assert inwards[:3].argmax() in (0, 1)  # the outer leaflet, about 10 angstrom within the label
        np.testing.assert_allclose(3 + inwards[3:].argmax() - inwards[:3].argmax(), 4, atol=1)
        assert inwards[2:5].min() < 0.5 * inwards.max()
        n_tops += 1
    assert n_tops > 0


def test_a_filament_is_long_and_thin():
    scene = _scene(2)
    scene.add_filaments(1)
    rows = np.argwhere(scene.labels == FILAMENT_LABEL).astype(float)
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(rows.T)))
    assert spread[2] > 12
    assert spread[1] < 6
    assert len(rows) > 200


def test_debris_is_density_without_a_label():
    scene = _scene()
    scene.add_debris(3)
    assert scene.density.max() > 0.5
    assert not scene.labels.any()
    assert len(scene.points) == 0


@pytest.mark.parametrize("share", [0.005, 0.03])
def test_a_crowd_fills_its_share_and_leaves_the_rest_alone(share):
    scene = _scene(shape=(61, 92, 103))
    scene.add_particles(make_complex("barrel", 10.0), "barrel", 1, 4)
    before, alone = scene.density.copy(), scene.instances > 0
    labels = scene.labels.copy()
    scene.add_crowd(share)
    added = scene.density - before
    assert added[alone].max() < 0.05
    np.testing.assert_array_equal(scene.labels, labels)
    assert len(scene.points) == 4
    lumps, _ = ndimage.label(added > 0.25)
    np.testing.assert_allclose(np.count_nonzero(lumps) / lumps.size, share, rtol=0.1, atol=600 / lumps.size)
    sizes = np.bincount(lumps.ravel())[1:]
    assert np.median(sizes) < 400  # voxels; a barrel has 1000
    assert sizes.max() > 2 * sizes.min()  # proteins of different sizes


def test_no_crowd_draws_no_random_numbers():
    first, second = _scene(), _scene()
    first.add_crowd(0.0)
    for scene in (first, second):
        scene.add_debris(1)
    np.testing.assert_array_equal(first.density, second.density)


def test_a_full_or_thin_volume_is_refused():
    with pytest.raises(ConfigError, match=r"no room for all particles of bilobe in \(51, 62, 73\) voxels"):
        _scene().add_particles(make_complex("bilobe", 10.0), "bilobe", 1, 40)
    with pytest.raises(ConfigError, match="no room for a crowd that fills"):
        _scene(shape=(31, 42, 43)).add_crowd(0.5)
    with pytest.raises(ConfigError, match="no room for all particles of barrel"):
        _scene(shape=(9, 62, 73)).add_particles(make_complex("barrel", 10.0), "barrel", 1, 1)
