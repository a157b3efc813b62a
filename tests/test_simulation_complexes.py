"""Complexes: what each kind is, and that maps of other voxel sizes and scales come to the same terms."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.errors import ConfigError, InputError, VoxelSizeError
from cryosam.evaluation.simulation import COMPLEXES, make_complex, normalise_density, random_complex, resample_density
from cryosam.evaluation.simulation.complexes import render_blobs

SYMMETRIES = {"tetramer": "D2", "barrel": "D7", "ring": "C6", "shell": "I", "tripod": "C3", "clamp": "C2"}


def _moments(density):
    """Centre of mass, and principal variances in ascending order, z, y, x in voxels."""
    grid = np.indices(density.shape).reshape(3, -1)
    mass = density.ravel().astype(float)
    centre = grid @ mass / mass.sum()
    offsets = grid - centre[:, None]
    return centre, np.linalg.eigvalsh(offsets * mass @ offsets.T / mass.sum())


def _shape_profile(density):
    """What does not change when a map turns or grows: mass by radius in units of its size, and its axes' ratios."""
    centre, variances = _moments(density)
    distance = np.linalg.norm(np.indices(density.shape) - centre[:, None, None, None], axis=0)
    scale = np.sqrt(variances.sum())
    radial, _ = np.histogram(distance / scale, bins=8, range=(0, 2), weights=density)
    return np.concatenate([radial / radial.sum(), np.sqrt(variances / variances.sum())])


def _turned_about_middle(density, turn):
    """The map under a rotation of x, y, z about the middle of its box."""
    matrix = turn.as_matrix()[::-1, ::-1]  # the same rotation of z, y, x
    middle = (np.array(density.shape) - 1) / 2
    return ndimage.affine_transform(density, matrix.T, middle - matrix.T @ middle, order=3)


def test_blobs_by_their_definition():
    centres, heights = np.array([[2.0, 3.3, 4.0], [5.0, 0.0, 1.5]]), np.array([1.0, 0.5])
    grid = np.stack(np.meshgrid(*map(np.arange, (7, 9, 11)), indexing="ij"), axis=-1)
    squares = ((grid[..., None, :] - centres) ** 2).sum(axis=-1)
    expected = (heights * np.exp(-squares / (2 * 1.2**2))).sum(axis=-1)
    np.testing.assert_allclose(render_blobs((7, 9, 11), centres, 1.2, heights), expected, atol=1e-3)


@pytest.mark.parametrize("name", COMPLEXES)
def test_density_is_that_of_protein(name):
    density = make_complex(name, 10.0)
    assert density.dtype == np.float32
    assert len(set(density.shape)) == 1
    assert density.shape[0] % 2 == 1
    assert 0 <= density.min() < 1e-3
    assert 0.75 < np.percentile(density[density > 0.3], 95) <= 1
    faces = [np.take(density, end, axis=axis) for axis in range(3) for end in (0, -1)]
    assert max(face.max() for face in faces) < 0.01  # the box holds all of it
    _, n_parts = ndimage.label(density > 0.2)
    assert n_parts == 1  # nothing floats


def test_kinds_differ_in_shape_and_not_only_in_size():
    profiles = {name: _shape_profile(make_complex(name, 8.0)) for name in COMPLEXES}
    same = np.linalg.norm(profiles["bilobe"] - _shape_profile(make_complex("bilobe", 11.0)))
    assert same < 0.02  # the profile itself ignores size
    for first, second in itertools.combinations(COMPLEXES, 2):
        assert np.linalg.norm(profiles[first] - profiles[second]) > 5 * same, (first, second)


@pytest.mark.parametrize(("name", "group"), SYMMETRIES.items())
def test_symmetry(name, group):
    density = make_complex(name, 6.0)
    turns = Rotation.create_group(group, axis="Z")
    for turn in turns[turns.magnitude() > 0][:4]:
        np.testing.assert_allclose(_turned_about_middle(density, turn), density, atol=0.02)


def test_the_bilobe_has_no_symmetry():
    density = make_complex("bilobe", 10.0)
    turns = Rotation.create_group("O")
    for turn in turns[turns.magnitude() > 0]:
        assert np.abs(_turned_about_middle(density, turn) - density).max() > 0.3


def test_the_rod_is_long_and_thin():
    lengths = np.sqrt(_moments(make_complex("rod", 10.0))[1])
    assert lengths[2] > 2.5 * lengths[1]


def test_hollow_kinds_are_hollow():
    for name in ("barrel", "shell", "ring"):
        density = make_complex(name, 8.0)
        assert density[tuple(n // 2 for n in density.shape)] < 0.15


def test_a_kind_keeps_its_size_at_any_voxel_size():
    fine, coarse = make_complex("barrel", 5.0), make_complex("barrel", 13.0)
    np.testing.assert_allclose(fine.sum() * 5.0**3, coarse.sum() * 13.0**3, rtol=0.1)
    np.testing.assert_allclose(np.sqrt(_moments(fine)[1]) * 5.0, np.sqrt(_moments(coarse)[1]) * 13.0, rtol=0.05)


def test_unknown_complex_and_voxel_size():
    with pytest.raises(ConfigError, match="no built-in complex is called 'donut'; there are bilobe, "):
        make_complex("donut", 10.0)
    with pytest.raises(VoxelSizeError, match="must be positive, got 0"):
        make_complex("ring", 0.0)


def test_random_complexes():
    """Each seed its own shape, about as long as was asked for."""
    maps = [random_complex(seed, 200.0, 10.0) for seed in range(6)]
    profiles = [_shape_profile(density) for density in maps]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(profiles, 2)) > 0.02
    for density in maps:
        inside = np.argwhere(density > 0.3) * 10.0
        longest = np.linalg.norm(inside[:, None] - inside[None], axis=2).max()
        assert 120 < longest < 230
    np.testing.assert_array_equal(maps[4], random_complex(4, 200.0, 10.0))


@pytest.mark.parametrize("target", [4.0, 7.0, 10.0, 17.0])
def test_resampling_keeps_place_and_mass(target):
    density = np.zeros((20, 23, 26), dtype=np.float32)
    density[8:13, 9:17, 10:14] = 1
    resampled = resample_density(density, 7.0, target)
    assert all(n % 2 == 1 for n in resampled.shape)
    from_middle = (_moments(density)[0] - (np.array(density.shape) - 1) / 2) * 7.0
    now = (_moments(resampled)[0] - (np.array(resampled.shape) - 1) / 2) * target
    np.testing.assert_allclose(now, from_middle, atol=0.1 * target)
    np.testing.assert_allclose(resampled.sum() * target**3, density.sum() * 7.0**3, rtol=0.1)


def test_resampling_refuses_a_voxel_size_that_is_none():
    with pytest.raises(VoxelSizeError):
        resample_density(np.ones((3, 3, 3), dtype=np.float32), 0.0, 10.0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 230.0])
def test_maps_of_any_scale_become_comparable(scale):
    """Noise around the protein vanishes, its inside comes to 1."""
    rng = np.random.default_rng(0)
    noisy = np.clip(rng.normal(scale=0.02, size=(21, 23, 25)), -0.05, 0.05)
    noisy[6:14, 7:15, 8:18] += 1
    density = normalise_density((scale * noisy).astype(np.float32))
    assert density[0].max() == 0
    assert density.min() == 0
    np.testing.assert_allclose(density[8:12, 9:13, 10:16].mean(), 1, atol=0.05)


@pytest.mark.parametrize(("value", "place"), [(np.nan, (1, 1, 1)), (-3.0, ...), (0.0, ...)])
def test_maps_without_protein_are_refused(value, place):
    density = np.zeros((3, 4, 5), dtype=np.float32)
    density[place] = value
    with pytest.raises(InputError, match="1abc must have finite values and positive protein"):
        normalise_density(density, "1abc")
