"""Kinds that are described in one tomogram and found in another one, of another voxel size and contrast."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.config import FilamentConfig
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structure_query import CompartmentKind, FilamentKind, MembraneKind
from cryosam.structures import BinnedTomogram, StructureFinder
from cryosam.structures.compartments import CompartmentFinder
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.membranes import MembraneFinder
from cryosam.tomogram import Tomogram

EXTENT = np.array([920.0, 1200.0, 1500.0])  # angstrom
HERE, THERE = 20.0, 26.0  # angstrom a voxel
VESICLE, RADIUS = np.array([480.0, 560.0, 560.0]), 320.0
FILAMENTS = FilamentFinder(FilamentConfig(n_directions=60))


def place(size: float) -> np.ndarray:
    """z, y, x in angstrom of each voxel."""
    return np.moveaxis(np.indices(np.round(EXTENT / size).astype(int)), 0, -1) * size


def opened(density: np.ndarray, size: float, brightness: float) -> BinnedTomogram:
    """A tomogram with noise in which the structures are so much brighter than the noise."""
    noise = np.random.default_rng(round(size)).normal(size=density.shape)
    voxels = normalise(Tomogram((brightness * density + noise).astype(np.float32), size), "bright", (0, 100))
    return BinnedTomogram.of(voxels, MissingWedge(tilt_range=(-90.0, 90.0)))


def with_membranes(size: float, brightness: float = 4.0) -> BinnedTomogram:
    """A vesicle of 40 angstrom, and a slab three times as thick."""
    at = place(size)
    vesicle = np.exp(-(((np.linalg.norm(at - VESICLE, axis=-1) - RADIUS) / 22) ** 2) / 2)
    slab = 1.0 * (abs(at[..., 2] - 1250) < 90)
    return opened(vesicle + 0.7 * ndimage.gaussian_filter(slab, 20 / size), size, brightness)


def with_filaments(size: float, brightness: float = 4.0, *, has_tube: bool = True) -> BinnedTomogram:
    """A tube of 110 angstrom along x, and a thin filament along y."""
    at = place(size)
    tube = np.exp(-(((np.hypot(at[..., 0] - 400, at[..., 1] - 700) - 110) / 25) ** 2) / 2)
    thin = np.exp(-(((np.hypot(at[..., 0] - 700, at[..., 2] - 500)) / 30) ** 2) / 2)
    return opened(has_tube * tube + thin, size, brightness)


@pytest.mark.parametrize("finder", [MembraneFinder(), FilamentFinder(), CompartmentFinder()])
def test_they_are_finders(finder):
    assert isinstance(finder, StructureFinder)


def test_a_membrane_is_found_in_a_fainter_and_coarser_tomogram():
    finder = MembraneFinder()
    kind = finder.describe(with_membranes(HERE), (VESICLE + np.array([0, 0, RADIUS]))[None] / HERE)
    assert isinstance(kind, MembraneKind)
    assert (kind.profiles.shape, kind.step_angstrom, kind.is_tube) == ((1, 31), 10.0, False)
    assert abs(int(np.argmax(kind.profiles[0])) - 15) <= 1
    best = finder.search(with_membranes(THERE, 2.5), kind)[0]
    distance = np.linalg.norm(best.points * THERE - VESICLE, axis=1)
    assert best.is_closed
    assert np.abs(distance - RADIUS).max() < 40


def test_a_membrane_is_found_where_it_is_as_strong_as_gold():
    finder = MembraneFinder()
    kind = finder.describe(with_membranes(HERE, 2.5), (VESICLE + np.array([0, 0, RADIUS]))[None] / HERE)
    strong = with_membranes(THERE, 12.0)
    clicked = finder.describe(strong, (VESICLE + np.array([0, 0, RADIUS]))[None] / THERE)
    assert clicked.gold_share > 2 * max(kind.gold_share, finder.settings.spread)
    best = finder.search(strong, kind)[0]
    assert best.is_closed
    assert np.abs(np.linalg.norm(best.points * THERE - VESICLE, axis=1) - RADIUS).max() < 40


def test_a_filament_is_found_in_a_fainter_and_coarser_tomogram_and_others_are_not():
    kind = FILAMENTS.describe(with_filaments(HERE), np.array([[400.0, 800, 700]]) / HERE)
    assert isinstance(kind, FilamentKind)
    assert kind.step_angstrom == HERE
    (found,) = FILAMENTS.search(with_filaments(THERE, 2.5), kind)
    assert np.hypot(found.points[:, 0] * THERE - 400, found.points[:, 1] * THERE - 700).max() < 30
    assert found.length_angstrom > 1250
    assert found.radius_angstrom == pytest.approx(135, abs=25)
    assert FILAMENTS.search(with_filaments(THERE, has_tube=False), kind) == ()


def test_a_compartment_is_found_in_a_fainter_and_coarser_tomogram():
    finder = CompartmentFinder()
    kind = finder.describe(with_membranes(HERE), VESICLE[None] / HERE)
    assert isinstance(kind, CompartmentKind)
    assert kind.least_radius_angstrom == kind.most_radius_angstrom == pytest.approx(RADIUS, abs=20)
    (found,) = finder.search(with_membranes(THERE, 2.5), kind)
    assert np.linalg.norm(found.mask.centroid * THERE - VESICLE) < 40
    assert found.volume_angstrom3 == pytest.approx(4 / 3 * np.pi * (RADIUS - 24) ** 3, rel=0.15)


def test_where_there_is_nothing_nothing_is_found():
    empty = opened(np.zeros(np.round(EXTENT / THERE).astype(int)), THERE, 0.0)
    membrane = MembraneKind(
        profiles=np.exp(-((np.arange(-15.0, 16) / 3) ** 2) / 2)[None],
        step_angstrom=10.0,
        least_likeness=np.array([0.9]),
        gold_share=0.0,
        is_tube=False,
    )
    filament = FilamentKind(density=np.array([0, 0, 0, 1, 3, 4, 3, 1, 0.0]), step_angstrom=20.0, similarity=0.9)
    assert MembraneFinder().search(empty, membrane) == ()
    assert FILAMENTS.search(empty, filament) == ()
    vesicle = CompartmentKind(least_radius_angstrom=400.0, most_radius_angstrom=400.0, seen=0.8)
    assert CompartmentFinder().search(empty, vesicle) == ()


def test_nothing_is_described_where_there_is_nothing():
    empty = opened(np.zeros(np.round(EXTENT / THERE).astype(int)), THERE, 0.0)
    with pytest.raises(PromptError, match="no membrane"):
        MembraneFinder().describe(empty, np.array([[17.0, 30.0, 30.0]]))
