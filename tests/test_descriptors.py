"""Learned vectors of places, where it is known what lies where."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from cryosam.backends.descriptor_network import BOX_PX, DescriptorNetwork, load_descriptor_network
from cryosam.errors import WeightsError
from cryosam.matching.coarse import block_means
from cryosam.matching.descriptors import DescribedBoxes, Descriptors, Resemblance
from cryosam.tomogram import Tomogram
from scenes import OTHER, scene

N_KIND, N_OTHER = 12, 8
DIAMETER = 14.0


@pytest.fixture(scope="module")
def places() -> tuple[Resemblance, Tomogram, np.ndarray]:
    """Twelve particles of one kind and eight of another, each turned in another way."""
    tomogram, centres, _ = scene(N_KIND, N_OTHER, noise=0.3)
    return Descriptors.of(tomogram, DIAMETER).resemblance(centres), tomogram, centres


def test_particles_of_one_kind_resemble_each_other_however_they_lie(places) -> None:
    """The network has seen neither kind; of two particles of the kind and one other, the others are told apart."""
    resemblance, _, _ = places
    is_kind = np.arange(N_KIND + N_OTHER) < N_KIND
    ranks = []
    for click in range(N_KIND):
        log_odds = resemblance.log_odds(np.array([click]))
        rest = np.arange(len(is_kind)) != click
        ranks.append((log_odds[rest & is_kind][:, None] > log_odds[~is_kind]).mean())
    assert np.mean(ranks) > 0.8


def test_brightness_and_contrast_do_not_matter(places) -> None:
    resemblance, tomogram, centres = places
    other = Tomogram(3 * tomogram.data - np.float32(2))
    again = Descriptors.of(other, DIAMETER).resemblance(centres)
    np.testing.assert_allclose(again.vectors, resemblance.vectors, atol=0.02)


def test_a_vector_does_not_depend_on_the_other_places(places) -> None:
    resemblance, tomogram, centres = places
    alone = Descriptors.of(tomogram, DIAMETER).resemblance(centres[5:6])
    np.testing.assert_allclose(alone.vectors, resemblance.vectors[5:6], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(resemblance.vectors, axis=1), 1, atol=1e-5)


def test_no_places_have_no_vectors(places) -> None:
    _, tomogram, _ = places
    assert Descriptors.of(tomogram, DIAMETER).resemblance(np.zeros((0, 3))).vectors.shape == (0, 128)


def test_a_box_is_in_proportion_to_the_diameter() -> None:
    """The same particles in voxels half the size, with twice the diameter in voxels, give nearly the same boxes."""
    fine = np.kron(scene(4, 2, noise=0.2, other=OTHER)[0].data, np.ones((2, 2, 2), dtype=np.float32))
    coarse = block_means(Tomogram(fine), 2)
    points = np.array([[20.0, 20, 20], [20, 20, 52]])
    boxes = [
        DescribedBoxes.of(Tomogram(volume), diameter).cut(at)
        for volume, diameter, at in ((coarse, 13.0, points), (fine, 26.0, 2 * points + 0.5))
    ]
    assert boxes[0].shape == (2, 2, BOX_PX, BOX_PX, BOX_PX)
    torch.testing.assert_close(boxes[0], boxes[1], atol=0.05, rtol=0.05)


def test_the_nearest_are_found_step_by_step() -> None:
    """Vectors on an arc: the far end resembles the members in between, not the seed; what is impossible stays out."""
    angles = np.concatenate([np.linspace(0, 0.9, 20), [2.5, 2.6]])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    resemblance, possible = Resemblance(vectors, 40.0, -30.0), np.arange(22) != 3
    members = resemblance.nearest(np.array([0]), possible)
    assert members[0] == 0
    assert 3 not in members
    assert set(members) < set(range(20))
    assert len(members) > 8


def test_all_seeds_count_and_nothing_impossible_does() -> None:
    """Ten seeds and one other place, of which one may not be: all seeds, and no more than there are."""
    angles = np.linspace(0, 0.1, 12)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    members = Resemblance(vectors, 40.0, -30.0).nearest(np.arange(10), np.arange(12) != 11)
    assert sorted(members) == list(range(11))


def test_an_empty_margin_does_not_matter(places) -> None:
    """Two thirds of the volume are empty, as in a rotated one."""
    resemblance, tomogram, centres = places
    padded = np.pad(tomogram.data, ((0, 0), (0, 2 * tomogram.shape[1]), (0, 0)))
    again = Descriptors.of(Tomogram(padded), DIAMETER).resemblance(centres)
    similar = (again.vectors * resemblance.vectors).sum(axis=1)
    assert similar.min() > 0.9


def test_a_member_is_compared_with_the_others() -> None:
    vectors = np.array([[1.0, 0], [0, 1], [0, 1]])
    log_odds = Resemblance(vectors, 1.0, 0.0).log_odds(np.array([0, 1]))
    np.testing.assert_allclose(log_odds, [0, 0, np.sqrt(0.5)], atol=1e-6)


@pytest.mark.parametrize("weights", [b"no weights", save({"stem.0.weight": torch.zeros(1)})])
def test_damaged_weights_are_named(weights) -> None:
    with pytest.raises(WeightsError, match="descriptor"):
        load_descriptor_network(weights)


def test_the_network_of_the_package_is_the_one_that_is_described() -> None:
    shipped, fresh = load_descriptor_network(), DescriptorNetwork()
    assert {n: v.shape for n, v in shipped.state_dict().items()} == {n: v.shape for n, v in fresh.state_dict().items()}
    assert not shipped.training
