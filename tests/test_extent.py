"""The whole of particles of which one part was seen."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.averaging.extent import find_extent
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Tomogram

CENTRES = np.array([[22.0, y, x] for y in (26, 68, 110) for x in (26, 68, 110, 152)])
TURNS = Rotation.random(len(CENTRES), random_state=4)
SHAPE = (44, 136, 178)
DIAMETER = 10.0


def _tomogram(*arms: tuple[float, float, float], turns: Rotation = TURNS) -> Tomogram:
    """Blobs on particles, each where the particle's rotation takes it."""
    volume = np.random.default_rng(5).normal(0, 1.2, SHAPE).astype(np.float32)
    for arm in arms:
        volume[tuple(np.round(CENTRES + turns.apply(arm)).astype(int).T)] += 300
    return Tomogram(ndimage.gaussian_filter(volume, 2.2))


@pytest.mark.parametrize("arm", [(0.0, 0, 10), (7.0, -6, 0)])
def test_the_other_part_of_a_particle_is_found(arm) -> None:
    found = find_extent(_tomogram((0, 0, 0), arm), CENTRES, TURNS, DIAMETER, MissingWedge())
    assert found is not None
    assert np.linalg.norm(found.centre - np.array(arm) / 2) < 1.0
    alone = find_extent(_tomogram((0, 0, 0)), CENTRES, TURNS, DIAMETER, MissingWedge())
    assert alone is not None
    assert np.linalg.norm(alone.centre) < 0.7
    assert alone.diameter < 0.9 * found.diameter


@pytest.mark.parametrize("arm", [(0.0, 0, 11), (8.0, -8, 0)])
def test_a_neighbour_is_no_part_of_a_particle(arm) -> None:
    """Each of the two was detected: the extent is that of one without a neighbour."""
    pairs = _tomogram((0, 0, 0), arm)
    both = np.concatenate([CENTRES, CENTRES + TURNS.apply(arm)])
    found = find_extent(pairs, both, Rotation.concatenate([TURNS, TURNS]), DIAMETER, MissingWedge())
    alone = find_extent(_tomogram((0, 0, 0)), CENTRES, TURNS, DIAMETER, MissingWedge())
    assert found is not None
    assert alone is not None
    assert np.linalg.norm(found.centre) < 0.5
    assert found.diameter == pytest.approx(alone.diameter, rel=0.06)


def test_what_reaches_out_of_the_box_has_no_centre() -> None:
    """Such as a membrane: all particles stand on it in the same way."""
    upright = Rotation.from_euler("x", np.linspace(0, 300, len(CENTRES))[:, None], degrees=True)  # about z
    volume = _tomogram((0, 0, 0), turns=upright).data.copy()
    volume[25:29] += 4
    assert find_extent(Tomogram(volume), CENTRES, upright, DIAMETER, MissingWedge()) is None


@pytest.mark.parametrize("seed", range(6, 12))
def test_nothing_but_noise_has_no_extent(seed: int) -> None:
    noise = Tomogram(np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32))
    assert find_extent(noise, CENTRES, TURNS, DIAMETER, MissingWedge()) is None
