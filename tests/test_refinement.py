"""Orientations and centres of planted particles."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.averaging.refinement import Refinement, refine
from cryosam.classification.kind_average import align
from cryosam.config import AveragingConfig
from scenes import scene, search_for

N = 12
OFF = np.random.default_rng(3).uniform(-1.2, 1.2, (N, 3))  # voxels that the given centres are wrong by


@pytest.fixture(scope="module")
def found() -> tuple[Refinement, np.ndarray, Rotation]:
    tomogram, centres, turns = scene()
    points = centres[:N] + OFF
    search = search_for(tomogram)
    coarse = align(search, points, np.array([0]))
    return refine(search, points, coarse.average), centres[:N], turns[:N]


def test_planted_rotations_are_recovered_within_the_step(found) -> None:
    """Up to one common rotation, that of the average."""
    refined, _, turns = found
    frames = turns.inv() * refined.rotations
    errors = min((np.degrees((frame.inv() * frames).magnitude()) for frame in frames), key=np.median)
    step = np.degrees((8 * np.pi**2 / AveragingConfig().n_rotations) ** (1 / 3))
    assert errors.max() < step
    assert np.median(errors) < 8


def test_centres_mark_one_place_in_all_particles(found) -> None:
    refined, centres, _ = found
    offsets = refined.rotations.inv().apply(refined.points - centres)
    assert np.linalg.norm(offsets - offsets.mean(axis=0), axis=1).mean() < 0.7
    assert np.linalg.norm(refined.points - centres, axis=1).mean() < np.linalg.norm(OFF, axis=1).mean()


def test_a_particle_is_its_average_turned(found) -> None:
    """Read where the rotation takes it, the average looks like the particle: the direction is not the inverse one."""
    from scipy import ndimage

    refined, _, _ = found
    tomogram, _, _ = scene()
    smooth = ndimage.gaussian_filter(tomogram.data, 1.0)
    edge = len(refined.average.data)
    grid = np.stack(np.indices((21,) * 3), axis=-1).reshape(-1, 3) - 10.0
    grid = grid[np.linalg.norm(grid, axis=1) < 9]
    correlations = {}
    for name in ("as documented", "inverse"):
        values = []
        for point, rotation in zip(refined.points, refined.rotations, strict=True):
            back = rotation.inv() if name == "as documented" else rotation
            at_average = back.apply(grid) / refined.average.step + edge // 2
            template = ndimage.map_coordinates(refined.average.data, at_average.T, order=1)
            seen = ndimage.map_coordinates(smooth, (grid + point).T, order=1, mode="nearest")
            values.append(np.corrcoef(template, seen)[0, 1])
        correlations[name] = np.mean(values)
    assert correlations["as documented"] > 0.6
    assert correlations["as documented"] > correlations["inverse"] + 0.2


def test_a_place_within_a_particle_is_kept_where_nothing_reaches_beyond_it() -> None:
    """Only the whole of a part moves the centres, not what is smaller than the part."""
    tomogram, centres, turns = scene()
    points = centres[:N] + turns[:N].apply([0.0, 0, 7])
    coarse = align(search_for(tomogram, 24.0), points, np.array([0]))
    refined = refine(search_for(tomogram, 24.0), points, coarse.average)
    assert refined.extent is None
    assert np.linalg.norm(refined.points - points, axis=1).max() < 3


def test_noise_resolves_less_than_particles(found) -> None:
    refined, _, _ = found
    tomogram, centres, _ = scene(noise=1.5)
    search = search_for(tomogram)
    coarse = align(search, centres, np.array([0]))
    noisy = refine(search, centres[:N], coarse.average)
    assert 2 <= refined.resolution < noisy.resolution


@pytest.mark.parametrize("n", [1, 4])
def test_a_few_particles_lie_as_they_fit_the_coarse_average(n: int) -> None:
    """Within twice the step of the rotations compared, up to one common rotation; their centres stay."""
    tomogram, centres, turns = scene()
    search = search_for(tomogram)
    coarse = align(search, centres, np.array([0]))
    few = refine(search, centres[:n], coarse.average)
    many = refine(search, centres[:N], coarse.average)
    assert few.resolution is None
    np.testing.assert_array_equal(few.points, centres[:n])
    common = (turns[:N].inv() * many.rotations).mean()
    errors = np.degrees((common.inv() * (turns[:n].inv() * few.rotations)).magnitude())
    step = np.degrees((8 * np.pi**2 / AveragingConfig().n_rotations) ** (1 / 3))
    assert errors.max() < 2 * step
