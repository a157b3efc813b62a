"""Rotation-invariant descriptors and the field that whitens them."""

from itertools import permutations

import numpy as np
import pytest
import torch

from cryosam.backends.invariants import Invariants
from cryosam.features import FeatureField, dense
from cryosam.features.dense import DenseField, extract_dense
from cryosam.geometry import level_to_voxel
from cryosam.tomogram import Tomogram
from oracles import invariants_by_convolution


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_invariants_agree_with_the_definition(scale) -> None:
    volume = noise((9, 11, 14))
    fast = Invariants(scales=(scale,)).describe(volume, stride=1).numpy()
    slow = invariants_by_convolution(volume.astype(float), scale)
    smooth, gradient, laplacian, hessian, deviation = slow
    np.testing.assert_allclose(fast, [smooth, laplacian, gradient, hessian, deviation], atol=1e-4)


def test_invariants_do_not_change_when_the_volume_turns() -> None:
    volume = noise((12, 12, 12))
    reference = Invariants(scales=(1.5,)).describe(volume, stride=2).numpy()
    for order in permutations(range(3)):
        turned = Invariants(scales=(1.5,)).describe(np.ascontiguousarray(volume.transpose(order)), stride=2).numpy()
        np.testing.assert_allclose(turned, reference.transpose(0, *(1 + o for o in order)), atol=1e-5)
    mirrored = Invariants(scales=(1.5,)).describe(np.ascontiguousarray(volume[::-1]), stride=2).numpy()
    np.testing.assert_allclose(mirrored, reference[:, ::-1], atol=1e-5)


def test_a_blob_is_seen_at_its_own_voxel_at_every_stride() -> None:
    z, y, x = np.mgrid[:24, :28, :36]
    blob = np.exp(-((z - 11.5) ** 2 + (y - 9.5) ** 2 + (x - 23.5) ** 2) / 18).astype(np.float32)
    for stride in (1, 2, 4):
        smooth = Invariants(scales=(2.0,)).describe(blob, stride)[0].numpy()
        cells = np.argwhere(smooth > 0.5 * smooth.max())
        centre = np.average(level_to_voxel(cells, stride), axis=0, weights=smooth[tuple(cells.T)])
        np.testing.assert_allclose(centre, [11.5, 9.5, 23.5], atol=0.05)


def test_a_constant_volume_has_no_structure() -> None:
    described = Invariants(scales=(1.5,)).describe(np.full((8, 9, 10), 0.25, dtype=np.float32), stride=2).numpy()
    np.testing.assert_allclose(described[0], 0.25, atol=1e-6)
    np.testing.assert_allclose(described[1:], 0, atol=1e-3)


def test_blocks_do_not_show(monkeypatch) -> None:
    tomogram = Tomogram(noise((30, 37, 41)))
    descriptor = Invariants(scales=(1.5,))
    whole = extract_dense(tomogram, descriptor, 2).to_arrays()["descriptors"]
    monkeypatch.setattr(dense, "_BLOCK", 12)
    monkeypatch.setattr(dense, "_SAMPLE_BLOCKS", 10_000)
    blocks = extract_dense(tomogram, descriptor, 2).to_arrays()["descriptors"]
    np.testing.assert_allclose(blocks.astype(float), whole.astype(float), atol=2e-2)  # half precision


def test_background_is_whitened() -> None:
    field = extract_dense(Tomogram(noise((40, 44, 48))), Invariants(scales=(1.5, 3.0)), 2)
    flat = field.to_arrays()["descriptors"].reshape(10, -1).astype(float)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=0.01)
    covariance = np.cov(flat)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.5
    assert 0.3 < np.diag(covariance).min() <= np.diag(covariance).max() < 1.2


def field_of(descriptors, stride=2):
    shape = tuple(stride * n for n in descriptors.shape[1:])
    return DenseField(shape, stride, descriptors.astype(np.float16))


def test_dense_field_is_a_feature_field() -> None:
    assert isinstance(field_of(noise((3, 4, 5, 6))), FeatureField)


def test_sampling_is_trilinear_between_cell_centres() -> None:
    z, y, x = np.mgrid[:4, :5, :6]
    field = field_of(np.stack([z, y, x]))
    points = np.array([[0.5, 0.5, 0.5], [2.5, 4.5, 8.5], [1.5, 3.0, 9.25]])
    np.testing.assert_allclose(field.sample(points), (points + 0.5) / 2 - 0.5, atol=1e-3)


def test_similarity_is_one_at_the_query_and_counts_the_length() -> None:
    descriptors = np.zeros((2, 1, 1, 3))
    descriptors[:, 0, 0] = [[3, 1, 0], [4, 4 / 3, -5]]
    field = field_of(descriptors)
    query = np.array([3.0, 4.0])
    expected = [1.0, 2 * 25 / 3 / (25 + 25 / 9), 2 * -20 / (25 + 25)]
    np.testing.assert_allclose(field.similarity_map(query, 2)[0, 0], expected, atol=2e-3)


def test_map_and_points_agree_at_other_strides() -> None:
    field = field_of(noise((4, 6, 7, 9)))
    query = np.arange(4.0)
    coarse = field.similarity_map(query, 4)
    cells = np.argwhere(np.ones(coarse.shape, dtype=bool))
    at_points = field.similarity_at(query, level_to_voxel(cells, 4, field.shape))
    np.testing.assert_allclose(coarse.ravel(), at_points, atol=1e-6)


def test_arrays_give_the_field_back() -> None:
    field = field_of(noise((3, 4, 5, 6)))
    again = DenseField.from_arrays(field.to_arrays())
    query = np.array([1.0, -1.0, 2.0])
    np.testing.assert_array_equal(again.similarity_map(query, 2), field.similarity_map(query, 2))
    assert again.shape == field.shape


def test_device_is_where_the_work_is_done() -> None:
    assert Invariants(scales=(1.5,), device="cpu").describe(noise((8, 8, 8)), 2).device == torch.device("cpu")
