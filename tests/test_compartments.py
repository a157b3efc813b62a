"""Compartments: the volumes that membranes enclose, and clicks that nothing encloses."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.config import CompartmentConfig
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structures import BinnedTomogram
from cryosam.structures.compartments import CompartmentFinder, CompartmentSearch
from cryosam.tomogram import Tomogram

VOXEL = 20.0
RADII = (13.0, 15.0)  # voxels, of the membranes' middles
CENTRES = (np.array([20.0, 26.0, 24.0]), np.array([24.0, 30.0, 74.0]))


def membranes(shape: tuple[int, int, int], gap: float = 0.0) -> np.ndarray:
    """Two spherical membranes of 40 A; their caps towards the beam are missing to ``gap`` degrees from it."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    out = np.zeros(shape)
    for centre, radius in zip(CENTRES, RADII, strict=True):
        apart = grid - centre
        distance = np.linalg.norm(apart, axis=-1)
        is_cap = np.abs(apart[..., 0]) > np.cos(np.radians(gap)) * distance if gap else np.zeros(shape, dtype=bool)
        out = np.maximum(out, np.exp(-(((distance - radius) / 1.0) ** 2) / 2) * ~is_cap)
    return out


def tomogram(density: np.ndarray, noise: float = 0.35) -> BinnedTomogram:
    data = density + noise * np.random.default_rng(0).normal(size=density.shape)
    return BinnedTomogram.of(
        normalise(Tomogram(data.astype(np.float32), voxel_size_angstrom=VOXEL), "bright", (0.1, 99.9)), MissingWedge()
    )


SHAPE = (46, 58, 100)


@pytest.fixture(scope="module")
def with_caps_missing() -> BinnedTomogram:
    return tomogram(membranes(SHAPE, gap=35.0))


def test_one_click_finds_both_vesicles_with_their_volumes(with_caps_missing: BinnedTomogram) -> None:
    found = CompartmentFinder().find(with_caps_missing, CENTRES[:1][0][None] + np.array([[2.0, -4.0, 3.0]]))
    assert len(found) == 2
    for each, centre, radius in zip(found, CENTRES, RADII, strict=True):
        assert np.linalg.norm(each.mask.centroid - centre) < 1.5
        lumen = 4 / 3 * np.pi * ((radius - 1.2) * VOXEL) ** 3
        assert each.volume_angstrom3 == pytest.approx(lumen, rel=0.15)
        assert not each.is_cut
        assert 0.5 < each.score < 0.95  # the caps were not measured


def test_a_click_near_the_wall_gives_the_same_compartment(with_caps_missing: BinnedTomogram) -> None:
    search = CompartmentSearch.of(CompartmentConfig(), with_caps_missing)
    volumes = [
        search.compartment(search.around_click(CENTRES[1] + np.array([0.0, shift, 0.0]))).volume_angstrom3
        for shift in (0.0, 11.0)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.05)


def test_a_click_in_the_open_is_told_so(with_caps_missing: BinnedTomogram) -> None:
    with pytest.raises(PromptError, match="open compartment"):
        CompartmentFinder().find(with_caps_missing, np.array([[8.0, 50.0, 48.0]]))


def test_a_compartment_that_the_border_cuts_says_so() -> None:
    density = membranes(SHAPE)
    whole = CompartmentFinder().find(tomogram(density), CENTRES[1][None])[0]
    cut = CompartmentFinder().find(tomogram(density[:, :, :82]), CENTRES[1][None])[0]
    assert not whole.is_cut
    assert cut.is_cut
    assert cut.volume_angstrom3 < 0.9 * whole.volume_angstrom3
    assert cut.mask.box[2].stop <= 82


def test_noise_has_no_compartment() -> None:
    with pytest.raises(PromptError):
        CompartmentFinder().find(tomogram(np.zeros((40, 44, 48)), noise=1.0), np.array([[20.0, 22.0, 24.0]]))


def test_lumina_are_in_the_voxels_of_the_tomogram() -> None:
    fine = ndimage.zoom(membranes(SHAPE), 2, order=1, grid_mode=True, mode="nearest")
    data = fine + 0.5 * np.random.default_rng(1).normal(size=fine.shape)
    voxels = normalise(Tomogram(data.astype(np.float32), voxel_size_angstrom=VOXEL / 2), "bright", (0.1, 99.9))
    click = CENTRES[0] * 2 + 0.5
    (found, *_) = CompartmentFinder().find(BinnedTomogram.of(voxels, MissingWedge()), click[None])
    assert np.linalg.norm(found.mask.centroid - click) < 2
    assert found.volume_angstrom3 == pytest.approx(4 / 3 * np.pi * ((RADII[0] - 1.2) * VOXEL) ** 3, rel=0.15)
