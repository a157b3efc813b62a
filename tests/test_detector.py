"""The learned detector, where it is known where particles are."""

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.spatial import cKDTree

from cryosam.averaging.surrogate import phase_randomised
from cryosam.backends.detector_network import DetectorNetwork, load_detector_network
from cryosam.errors import WeightsError
from cryosam.matching import detector
from cryosam.matching.detector import Detections, DetectorView, detect
from cryosam.tomogram import Tomogram
from scenes import SHELL_DIAMETER, scene, touching_shells

DIAMETER = 14.0


@pytest.fixture(scope="module")
def lattice() -> tuple[Tomogram, np.ndarray]:
    """Twelve particles of one kind and six of another, neither of them seen in the training, in noise."""
    tomogram, centres, _ = scene(noise=0.5)
    return tomogram, centres


def _best(tomogram: Tomogram, n: int) -> Detections:
    found = detect(tomogram, DIAMETER, 0.6 * DIAMETER)
    return Detections(found.points[:n], found.log_odds[:n])


def test_particles_of_all_kinds_are_found_at_their_centres(lattice) -> None:
    tomogram, centres = lattice
    distance, _ = cKDTree(_best(tomogram, len(centres)).points).query(centres)
    assert (distance < 0.3 * DIAMETER).mean() >= 0.9
    assert np.median(distance) < 0.15 * DIAMETER


def test_a_particle_is_more_than_what_is_found_where_there_is_nothing(lattice) -> None:
    tomogram, centres = lattice
    found, by_chance = _best(tomogram, len(centres)), _best(phase_randomised(tomogram), len(centres))
    assert np.median(found.log_odds) > by_chance.log_odds.max()


def test_touching_hollow_particles_are_found() -> None:
    """Their middle is as light as the surroundings, and their density inverted here: dark ones are made bright."""
    tomogram, centres = touching_shells()
    found = detect(Tomogram(-tomogram.data), SHELL_DIAMETER, 0.6 * SHELL_DIAMETER)
    distance, _ = cKDTree(found.points[: len(centres)]).query(centres)
    assert (distance < 0.3 * SHELL_DIAMETER).mean() >= 0.9


def test_detections_are_sorted_and_apart(lattice) -> None:
    found = detect(lattice[0], DIAMETER, 20.0)
    assert (np.diff(found.log_odds) <= 0).all()
    assert not cKDTree(found.points).query_pairs(20.0)


def test_voxels_of_half_the_size_give_the_same_places(lattice) -> None:
    tomogram, centres = lattice
    fine = Tomogram(np.kron(tomogram.data, np.ones((2, 2, 2), dtype=np.float32)))
    points = detect(fine, 2 * DIAMETER, 1.2 * DIAMETER).points[: len(centres)]
    distance, _ = cKDTree((points + 0.5) / 2 - 0.5).query(_best(tomogram, len(centres)).points)
    assert np.median(distance) < 0.05 * DIAMETER


def test_tiles_change_nothing_inside_them(lattice, monkeypatch: pytest.MonkeyPatch) -> None:
    tomogram, centres = lattice
    whole = _best(tomogram, len(centres))
    monkeypatch.setattr(detector, "_TILE", (16, 32, 32))
    tiles = _best(tomogram, len(centres))
    distance, nearest = cKDTree(tiles.points).query(whole.points)
    assert (distance < 0.05 * DIAMETER).mean() >= 0.9
    np.testing.assert_allclose(np.median(tiles.log_odds[nearest] - whole.log_odds), 0, atol=0.2)


def test_a_place_is_that_of_the_network_in_a_volume_of_any_shape() -> None:
    """A network that finds the brightest cell: its place comes back in voxels of the tomogram, along each axis."""

    class Brightest(DetectorNetwork):
        def forward(self, volume: torch.Tensor) -> torch.Tensor:
            cells = torch.nn.functional.avg_pool3d(volume[:, 1:], 2)
            return torch.cat([cells, torch.zeros_like(cells).expand(-1, 3, -1, -1, -1)], dim=1)

    volume = np.zeros((43, 61, 50), dtype=np.float32)
    volume[20:24, 40:44, 12:16] = 1
    points = DetectorView.of(Tomogram(volume), 16.0).detect(Brightest(), 8.0).points
    np.testing.assert_allclose(points[0], [21.5, 41.5, 13.5], atol=1.1)


@pytest.mark.parametrize("weights", [b"no weights", save({"stem.0.weight": torch.zeros(1)})])
def test_damaged_weights_are_named(weights) -> None:
    with pytest.raises(WeightsError, match="detector"):
        load_detector_network(weights)


def test_the_network_of_the_package_is_the_one_that_is_described() -> None:
    shipped, fresh = load_detector_network(), DetectorNetwork()
    assert {n: v.shape for n, v in shipped.state_dict().items()} == {n: v.shape for n, v in fresh.state_dict().items()}
    assert not shipped.training
