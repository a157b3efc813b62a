"""Rotation-invariant descriptors and the field that whitens them."""

from itertools import permutations

import numpy as np
import pytest
import torch

from cryosam.backends import DescriptorPart, VolumeDescriptor
from cryosam.backends.invariants import Invariants
from cryosam.geometry import level_to_voxel
from cryosam.matching.features import FeatureField, dense, dense_field
from cryosam.matching.features.dense import extract_dense
from cryosam.matching.features.dense_field import DenseField
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram
from oracles import invariants_by_convolution


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def describe(volume, scale, stride=1):
    """On the grid of that stride, from the means of its cells."""
    part = Invariants(scales=(scale,)).parts(stride)[0]
    cells = [n // stride for n in volume.shape]
    means = volume.reshape(cells[0], stride, cells[1], stride, cells[2], stride).mean(axis=(1, 3, 5))
    return part.describe(means).numpy()


def extract(volume, scales=(1.5,), stride=2, workspace=None):
    return extract_dense(Tomogram(volume), Invariants(scales=scales), stride, workspace or Workspace())


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_invariants_agree_with_the_definition(scale) -> None:
    volume = noise((9, 11, 14))
    fast = describe(volume, scale)
    slow = invariants_by_convolution(volume.astype(float), scale)
    smooth, gradient, laplacian, hessian, deviation = slow
    np.testing.assert_allclose(fast, [smooth, laplacian, gradient, hessian, deviation], atol=1e-4)


def test_invariants_do_not_change_when_the_volume_turns() -> None:
    volume = noise((12, 12, 12))
    reference = describe(volume, 1.5, stride=2)
    for order in permutations(range(3)):
        turned = describe(np.ascontiguousarray(volume.transpose(order)), 1.5, stride=2)
        np.testing.assert_allclose(turned, reference.transpose(0, *(1 + o for o in order)), atol=1e-5)
    mirrored = describe(np.ascontiguousarray(volume[::-1]), 1.5, stride=2)
    np.testing.assert_allclose(mirrored, reference[:, ::-1], atol=1e-5)


def test_a_blob_is_seen_at_its_own_voxel_at_every_stride() -> None:
    z, y, x = np.mgrid[:24, :28, :36]
    blob = np.exp(-((z - 11.5) ** 2 + (y - 9.5) ** 2 + (x - 23.5) ** 2) / 18).astype(np.float32)
    for stride in (1, 2, 4):
        smooth = describe(blob, 2.0, stride)[0]
        cells = np.argwhere(smooth > 0.5 * smooth.max())
        centre = np.average(level_to_voxel(cells, stride), axis=0, weights=smooth[tuple(cells.T)])
        np.testing.assert_allclose(centre, [11.5, 9.5, 23.5], atol=0.05)


def test_a_constant_volume_has_no_structure() -> None:
    described = describe(np.full((8, 10, 12), 0.25, dtype=np.float32), 1.5, stride=2)
    np.testing.assert_allclose(described[0], 0.25, atol=1e-6)
    np.testing.assert_allclose(described[1:], 0, atol=1e-3)


def test_large_scales_are_described_on_coarser_grids() -> None:
    descriptor = Invariants(scales=(1.5, 11.9, 12.1, 18.0, 24.5))
    assert isinstance(descriptor, VolumeDescriptor)
    parts = descriptor.parts(2)
    assert all(isinstance(part, DescriptorPart) for part in parts)
    assert [(part.stride, part.n_channels) for part in parts] == [(2, 10), (4, 10), (8, 5)]
    assert [part.stride for part in Invariants(scales=(13.0,)).parts(2)] == [2, 4]  # the finest is always there


def test_a_coarser_grid_gives_nearly_the_same_similarity() -> None:
    """The largest scale is described on a grid twice as coarse, or on the finest like the others."""
    volume = noise((48, 56, 64))
    z, y, x = np.mgrid[:48, :56, :64]
    for centre in ((12, 14, 16), (30, 40, 20), (24, 20, 50)):
        volume += np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 50).astype(np.float32)
    scales = (2.1, 3.4, 5.2, 8.1, 12.6)
    coarse = extract(volume, scales)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryosam.backends.invariants._CELLS", 100.0)
        fine = extract(volume, scales)
    assert len(coarse.to_arrays()["strides"]) == 2
    assert len(fine.to_arrays()["strides"]) == 1
    at = np.array([[12.0, 14.0, 16.0]])
    maps = [field.similarity_map(field.sample(at)[0], 2) for field in (coarse, fine)]
    assert np.abs(maps[0] - maps[1]).max() < 0.1
    assert np.sqrt(np.mean((maps[0] - maps[1]) ** 2)) < 0.01
    assert maps[0].argmax() == maps[1].argmax()


def similarities(field):
    return field.similarity_map(field.sample(np.array([[15.0, 17.0, 21.0]]))[0], field.stride)


def test_blocks_do_not_show(monkeypatch) -> None:
    """Products of matrices of other sizes differ in the last digit, which half precision may round either way."""
    volume = noise((30, 37, 41))
    whole = extract(volume, (1.5, 12.5))
    monkeypatch.setattr(dense, "_BLOCK", 6)
    monkeypatch.setattr(dense_field, "_CHUNK", 500)
    blocks = extract(volume, (1.5, 12.5))
    for name, array in whole.to_arrays().items():
        np.testing.assert_allclose(blocks.to_arrays()[name].astype(float), array.astype(float), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(similarities(blocks), similarities(whole), atol=1e-3)


def test_the_budget_changes_nothing() -> None:
    volume = noise((90, 101, 110))
    reference = extract(volume, (1.5, 12.5)).to_arrays()
    field = extract(volume, (1.5, 12.5), workspace=Workspace(limit=1.0))
    found = field.to_arrays()
    assert isinstance(found["channels_2"], np.memmap)
    for name, array in reference.items():
        np.testing.assert_array_equal(found[name], array)
    np.testing.assert_array_equal(similarities(field), similarities(DenseField.from_arrays(reference)))


def test_the_number_of_threads_changes_the_last_digit_at_most() -> None:
    """Threads share a product of matrices in parts of other sizes."""
    volume = noise((90, 101, 110))
    reference = extract(volume, (1.5, 12.5))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        found = extract(volume, (1.5, 12.5))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(similarities(found), similarities(reference), atol=1e-4)


def test_background_is_whitened() -> None:
    field = extract(noise((40, 44, 48)), (1.5, 12.5))
    cells = np.argwhere(np.ones((20, 22, 24), dtype=bool))
    features = field.sample(level_to_voxel(cells, 2)).astype(float)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.01)
    covariance = np.cov(features.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.5
    assert 0.3 < np.diag(covariance).min() <= np.diag(covariance).max() < 1.2


def field_of(channels, stride=2, **coarser):
    shape, n = tuple(stride * n for n in channels.shape[1:]), len(channels) + sum(map(len, coarser.values()))
    parts = {stride: channels} | {int(name[1:]): part for name, part in coarser.items()}
    parts = {own: part.astype(np.float16) for own, part in parts.items()}
    return DenseField(shape, parts, np.zeros(n, dtype=np.float32), np.eye(n, dtype=np.float32))


def test_dense_field_is_a_feature_field() -> None:
    assert isinstance(field_of(noise((3, 4, 5, 6))), FeatureField)


def test_what_varies_linearly_is_sampled_exactly_between_cell_centres() -> None:
    field = field_of(np.stack(np.mgrid[:4, :5, :6]))
    points = np.array([[3.5, 2.5, 2.5], [2.5, 4.5, 8.5], [3.0, 5.25, 7.75]])
    np.testing.assert_allclose(field.sample(points), (points + 0.5) / 2 - 0.5, atol=1e-3)


def test_at_a_cells_centre_there_is_its_value_and_beyond_the_outermost_theirs() -> None:
    channels = noise((3, 4, 5, 6))
    field = field_of(channels)
    cells = np.array([[0, 0, 0], [3, 4, 5], [1, 2, 5]])
    values = channels.astype(np.float16)[:, cells[:, 0], cells[:, 1], cells[:, 2]].T
    np.testing.assert_allclose(field.sample(level_to_voxel(cells, 2)), values, atol=1e-6)
    np.testing.assert_allclose(field.sample(np.array([[0.0, 0, 0], [7, 9, 11]])), values[:2], atol=1e-6)


def test_channels_of_a_coarser_grid_are_interpolated() -> None:
    fine, coarse = np.stack(np.mgrid[:8, :10, :12]), np.stack(np.mgrid[:4, :5, :6])
    field = field_of(fine, _4=coarse)
    points = np.array([[5.5, 7.5, 9.5], [6.5, 6.25, 10.25], [8.0, 9.0, 15.0]])
    expected = [(points + 0.5) / 2 - 0.5, (points + 0.5) / 4 - 0.5]
    np.testing.assert_allclose(field.sample(points), np.concatenate(expected, axis=1), atol=1e-3)


def test_the_map_is_the_similarity_at_the_cells_centres() -> None:
    """Also where the coarse grid hangs over the end; whitened by any matrix."""
    rng, shape = np.random.default_rng(0), (13, 18, 23)
    parts = {2: rng.normal(size=(3, 7, 9, 12)).astype(np.float16), 4: rng.normal(size=(2, 4, 5, 6)).astype(np.float16)}
    mean, whitening = (rng.normal(size=size).astype(np.float32) for size in (5, (5, 5)))
    field, query = DenseField(shape, parts, mean, whitening), rng.normal(size=5)
    centres = (np.argwhere(np.ones((7, 9, 12), dtype=bool)) + 0.5) * 2 - 0.5
    features = field.sample(centres).astype(float)
    expected = 2 * features @ query / ((features**2).sum(axis=1) + query @ query)
    np.testing.assert_allclose(field.similarity_map(query, 2).ravel(), expected, atol=2e-5)
    np.testing.assert_allclose(field.similarity_at(query, centres), expected, atol=2e-5)


def test_similarity_is_one_at_the_query_and_counts_the_length() -> None:
    descriptors = np.zeros((2, 1, 1, 3))
    descriptors[:, 0, 0] = [[3, 1, 0], [4, 4 / 3, -5]]
    field = field_of(descriptors)
    query = np.array([3.0, 4.0])
    expected = [1.0, 2 * 25 / 3 / (25 + 25 / 9), 2 * -20 / (25 + 25)]
    np.testing.assert_allclose(field.similarity_map(query, 2)[0, 0], expected, atol=2e-3)


@pytest.mark.parametrize("stride", [2, 4])
def test_only_the_cells_that_are_asked_for_are_compared(stride) -> None:
    field, query = field_of(noise((4, 6, 7, 9))), np.arange(4.0)
    whole = field.similarity_map(query, stride)
    where = noise(whole.shape) > 0.7
    some = field.similarity_map(query, stride, where)
    np.testing.assert_allclose(some[where], whole[where], atol=1e-6)
    assert np.isnan(some[~where]).all()


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
    """PyTorch's device without data: an array that was left in memory could not take part in the work."""
    described = Invariants(scales=(1.5, 2.5), device="meta").parts(2)[0].describe(noise((8, 9, 10)))
    assert described.device.type == "meta"
    assert described.shape == (10, 8, 9, 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_describes_as_the_cpu_does() -> None:
    volume = noise((40, 44, 48))
    parts = (Invariants(scales=(1.5, 3.0), device=device).parts(2)[0] for device in ("cpu", "cuda"))
    on_cpu, on_gpu = (part.describe(volume).cpu().numpy() for part in parts)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)
